package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// signInMany signs alice in with a device key in each of n documents, in a few seconds.
func (w *world) signInMany(t *testing.T, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { w.signIn(t, w.document(w.PlexAuth, i), w.alice, plexauth.PinOptions{}) })
	}
	all.Wait()
}

// document returns p on the document with that number.
func (w *world) document(p *plexauth.PlexAuth, i int) *plexauth.PlexAuth {
	return p.Namespace(fmt.Sprint("plex/", i))
}

// watchMany begins Watches of documents, in w's PlexAuth and in others over its store.
func (w *world) watchMany(t *testing.T, processes []*plexauth.PlexAuth, documents []int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, p := range processes {
		for _, i := range documents {
			all.Go(func() { assert.ErrorIs(t, w.document(p, i).Watch(ctx, nil), context.Canceled) })
		}
	}
	return func() { cancel(); all.Wait() }
}

// checkSpread asserts that each of n devices was renewed once, and that no minute and no
// quarter of the time in which that may happen has more than a fair share of them.
func checkSpread(t *testing.T, renewals []plextest.Request, n int, began time.Time, within time.Duration) {
	t.Helper()
	devices, minutes := map[string]int{}, map[int]int{}
	var quarters [4]int
	for _, r := range renewals {
		after := r.Time.Sub(began)
		require.GreaterOrEqual(t, after, time.Duration(0))
		require.Less(t, after, within+10*time.Minute)
		devices[r.Header.Get("X-Plex-Client-Identifier")]++
		minutes[int(after.Minutes())]++
		quarters[min(3, 4*after/within)]++
	}
	assert.Len(t, devices, n)
	assert.Len(t, renewals, n, "one exchange for each")
	fair := float64(n) / within.Minutes()
	for minute, count := range minutes {
		assert.LessOrEqual(t, float64(count), 10+4*fair, "renewals in minute %d", minute)
	}
	for i, count := range quarters {
		assert.InDelta(t, n/4, count, float64(n)*0.15, "renewals in quarter %d", i)
	}
}

// useInTurn uses the token of p, the document with that number, by Transport or by Token, if
// it is its turn in this minute. Some documents are only watched.
func (w *world) useInTurn(t *testing.T, p *plexauth.PlexAuth, number, minute int) {
	switch kind, turn := number%4, number/4; {
	case kind == 1 && turn%10 == minute%10:
		resp, err := p.Transport(nil).RoundTrip(request(t, http.MethodGet, "https://plex.tv/api/v2/user", nil))
		if assert.NoError(t, err) {
			assert.Equal(t, 200, resp.StatusCode)
			resp.Body.Close()
		}
	case kind > 1 && turn%2 == minute%2:
		assert.NoError(t, errOf(p.Token(t.Context())))
	}
}

// G24: JWTs that were made in the same hour are renewed over 5 % of their life, once each,
// however many processes ask for them, and in whatever way.
func TestRenewalsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const documents, life = 200, 7 * day
		w := newWorld(t, deviceKey)
		made := time.Now()
		w.signInMany(t, documents)
		require.Less(t, time.Since(made), time.Hour)
		processes := []*plexauth.PlexAuth{w.PlexAuth, w.open(t), w.open(t), w.open(t)}
		begins, ends := made.Add(life*70/100), time.Now().Add(life*75/100)
		time.Sleep(time.Until(begins) - time.Hour)

		var watched []int
		for i := 0; i < documents; i += 4 {
			watched = append(watched, i)
		}
		stop := w.watchMany(t, processes, watched)
		for minute := 0; time.Now().Before(ends.Add(10 * time.Minute)); minute++ {
			var all sync.WaitGroup
			for _, p := range processes {
				all.Go(func() {
					for i := range documents {
						w.useInTurn(t, w.document(p, i), i, minute)
					}
				})
			}
			all.Wait()
			time.Sleep(time.Minute)
		}
		stop()
		checkSpread(t, only(w.plex.Requests(), http.MethodPost, exchanges), documents, begins, ends.Sub(begins))
	})
}

// G24: a program that was off while the JWTs of many documents fell due renews them over
// half an hour once it watches them again.
func TestOverdueRenewalsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const documents = 200
		w := newWorld(t, deviceKey)
		w.signInMany(t, documents)
		time.Sleep(6 * day)
		var all []int
		for i := range documents {
			all = append(all, i)
		}
		began := time.Now()
		stop := w.watchMany(t, []*plexauth.PlexAuth{w.PlexAuth}, all)
		time.Sleep(40 * time.Minute)
		stop()
		checkSpread(t, only(w.plex.Requests(), http.MethodPost, exchanges), documents, began, 30*time.Minute)
	})
}

// G12: once plex.tv has answered a renewal with 429, no other one of the process leaves
// before the time that it has named. The tokens are used as long as they work.
func TestRateLimitHoldsRenewalsBack(t *testing.T) {
	const documents, retryAfter = 50, 25 * time.Second
	slowDown := plextest.Fault{Path: exchanges, Status: 429, Header: http.Header{"Retry-After": {"25"}}}
	for name, use := range map[string]func(t *testing.T, w *world, token func(i int)){
		"Token": func(t *testing.T, w *world, token func(i int)) {
			for range 300 {
				for i := range documents {
					token(i)
				}
				time.Sleep(time.Second)
			}
		},
		"Watch": func(t *testing.T, w *world, token func(i int)) {
			var all []int
			for i := range documents {
				all = append(all, i)
			}
			stop := w.watchMany(t, []*plexauth.PlexAuth{w.PlexAuth}, all)
			time.Sleep(45 * time.Minute)
			stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deviceKey)
				w.signInMany(t, documents)
				time.Sleep(6 * day)
				asked := w.fromNow()
				w.plex.Inject(slowDown)
				use(t, w, func(i int) { assert.NoError(t, errOf(w.document(w.PlexAuth, i).Token(t.Context()))) })
				var limited time.Time
				renewed := 0
				for _, r := range asked() {
					switch {
					case r.Status == 429:
						require.True(t, limited.IsZero(), "asked again")
						limited = r.Time
					case r.Path == nonces || r.Path == exchanges:
						assert.True(t, limited.IsZero() || !r.Time.Before(limited.Add(retryAfter)), "%v after the 429", r.Time.Sub(limited))
					}
					if r.Path == exchanges && r.Status == 200 {
						renewed++
					}
				}
				assert.False(t, limited.IsZero())
				assert.Equal(t, documents, renewed)
			})
		})
	}
}

// While plex.tv has asked a process to wait, it does not keep others from renewing, and
// leaves the store alone.
func TestRateLimitedRenewalsLeaveTheStoreAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const documents = 20
		w := newWorld(t, deviceKey)
		w.signInMany(t, documents)
		time.Sleep(6 * day)
		store := w.hooked(hooks{})
		p := w.open(t, deviceKey, withStore(store))
		w.plex.Inject(plextest.Fault{Path: exchanges, Status: 429, Header: http.Header{"Retry-After": {"25"}}})
		require.NoError(t, errOf(w.document(p, 0).Token(t.Context())))
		store.set(hooks{beforeUpdate: does(func() { t.Error("the store was written") })})
		for range 24 {
			time.Sleep(time.Second)
			for i := range documents {
				require.NoError(t, errOf(w.document(p, i).Token(t.Context())))
			}
		}
	})
}
