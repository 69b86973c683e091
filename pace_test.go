package plexauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G6: an undisturbed login keeps its pace.
func TestPolitePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		start := pin.CreatedAt
		var wg sync.WaitGroup
		for i := range 20 { // tabs, double clicks, a new Instance
			p := w.PlexAuth
			if i%2 == 1 {
				p = w.Instance("default")
			}
			wg.Go(func() {
				_, err := p.Wait(t.Context())
				assert.ErrorIs(t, err, plexauth.ErrPinExpired)
			})
		}
		wg.Wait()
		at := w.looks(start)
		require.Greater(t, len(at), 800)
		assert.GreaterOrEqual(t, at[0], time.Second, "first look after one interval")
		for i := 1; i < len(at)-1; i++ {
			gap := at[i] - at[i-1]
			assert.GreaterOrEqual(t, gap, time.Second)
			assert.LessOrEqual(t, gap, 1100*time.Millisecond)
		}
		assert.GreaterOrEqual(t, at[len(at)-1], 15*time.Minute, "one look at the deadline")
		assert.Less(t, at[len(at)-1], 15*time.Minute+time.Second, "none after")
	})
}

// slowWay delays every other look on its way to plex.tv.
type slowWay struct {
	http.RoundTripper
	looks int
}

func (s *slowWay) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		if s.looks++; s.looks%2 == 1 {
			time.Sleep(600 * time.Millisecond)
		}
	}
	return s.RoundTripper.RoundTrip(r)
}

// G6: looks arrive at least a second apart even if the time on the way varies.
func TestLooksArriveASecondApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) {
			o.HTTPClient = &http.Client{Transport: &slowWay{RoundTripper: o.HTTPClient.Transport}}
		})
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = w.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var last time.Time
		for _, r := range w.plex.Requests() {
			if r.Method == http.MethodGet {
				assert.False(t, !last.IsZero() && r.Time.Sub(last) < time.Second, "after %v", r.Time.Sub(last))
				last = r.Time
			}
		}
		assert.False(t, last.IsZero())
	})
}

// G6: a program calls Finish, whose look takes two seconds on its way to plex.tv, and Finish
// again at once. The second call answers from the first one's look.
func TestSlowLookIsTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		p := w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
			time.Sleep(2 * time.Second)
			return w.plex.Client().Transport.RoundTrip(r)
		})))
		for range 2 {
			_, err := p.Finish(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, 1, w.count("GET", "/api/v2/pins/{id}"))
	})
}

// G6: after a 429 the pace stays wide, even once plex.tv answers again. After other
// failures it returns to a second.
func TestPaceAfterTrouble(t *testing.T) {
	for name, tc := range map[string]struct {
		fault       plextest.Fault
		least, most time.Duration
	}{
		"429":             {plextest.Fault{Code: 1003}, 6 * time.Second, 7 * time.Second},
		"429, for long":   {plextest.Fault{Code: 1003, Header: http.Header{"Retry-After": {"25"}}}, 10 * time.Second, 11 * time.Second},
		"503":             {plextest.Fault{Status: 503}, time.Second, 1100 * time.Millisecond},
		"503, many times": {plextest.Fault{Status: 503, Times: 5}, time.Second, 1100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				tc.fault.Method, tc.fault.Path = "GET", "/api/v2/pins/*"
				w.plex.Inject(tc.fault)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				_, _ = w.Wait(ctx)
				at := w.looks(pin.CreatedAt)
				for i := max(tc.fault.Times, 1) + 2; i < len(at); i++ {
					assert.GreaterOrEqual(t, at[i]-at[i-1], tc.least)
					assert.LessOrEqual(t, at[i]-at[i-1], tc.most)
				}
				assert.Greater(t, len(at), 8)
			})
		})
	}
}

// G6: the last look of a Start counts for callers that wait for the same PIN. No look
// follows within a second, and none after plex.tv has reported the PIN's end.
func TestPaceAfterTheLastLook(t *testing.T) {
	for _, after := range []time.Duration{1500 * time.Millisecond, 2500 * time.Millisecond, 3900 * time.Millisecond} {
		for _, expired := range []bool{false, true} {
			t.Run(fmt.Sprint(after, expired), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t) // it reports looks that must not happen
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					result := make(chan error, 1)
					go func() {
						_, err := w.Wait(t.Context())
						result <- err
					}()
					time.Sleep(after)
					want := plexauth.ErrPinSuperseded
					if expired {
						require.NoError(t, w.plex.Expire(pin.Code))
						want = plexauth.ErrPinExpired
					}
					w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Delay: 2 * time.Second})
					_, err = w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
					require.NoError(t, err)
					assert.ErrorIs(t, <-result, want)
				})
			})
		}
	}
}

// G6: plex.tv does not say whose an approved token is, and the PIN has ended. An open
// panel asks once a minute.
func TestPanelAsksAboutAnApprovalOncePerMinute(t *testing.T) {
	for name, f := range map[string]plextest.Fault{
		"an outage": {Path: "/api/v2/user", Status: http.StatusBadGateway, Times: -1},
		"a block":   {Path: "/api/v2/user", Status: http.StatusForbidden, Body: "<html>", ContentType: "text/html", Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, noRetries)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				time.Sleep(time.Minute)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				w.plex.Inject(f)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w.Handler(ctx)
				time.Sleep(time.Hour)
				asked := w.fromNow()
				time.Sleep(time.Hour)
				assert.LessOrEqual(t, len(asked()), 60, "in an hour")
				cancel()
				synctest.Wait()
			})
		})
	}
}

// loadCounter counts what is read from a store.
type loadCounter struct {
	plexauth.ConfigStore
	loads atomic.Int32
}

func (s *loadCounter) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	s.loads.Add(1)
	return s.ConfigStore.Load(ctx, namespace)
}

// G27: of five looks at a PIN one reads the store, also once another program has changed it.
func TestLooksSpareTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &loadCounter{ConfigStore: w.store}
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		before := store.loads.Load()
		time.AfterFunc(time.Minute, func() { w.edit(t, map[string]any{"another_program": "writes"}) })
		_, err = p.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		looks := len(w.looks(pin.CreatedAt))
		assert.Greater(t, looks, 500)
		assert.LessOrEqual(t, int(store.loads.Load()-before), looks/5+3)
	})
}

// G27: what another process does with the login is noticed within five seconds, and the
// look that is then due.
func TestOtherProcessIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, w *world, other *plexauth.PlexAuth)
		want error
	}{
		"cancelled": {func(t *testing.T, _ *world, other *plexauth.PlexAuth) {
			require.NoError(t, other.Cancel(t.Context()))
		}, plexauth.ErrNoPendingPin},
		"superseded": {func(t *testing.T, _ *world, other *plexauth.PlexAuth) {
			require.NoError(t, errOf(other.Start(t.Context(), plexauth.PinOptions{Strong: true})))
		}, plexauth.ErrPinSuperseded},
		"finished": {func(t *testing.T, w *world, other *plexauth.PlexAuth) {
			require.NoError(t, w.plex.Approve(must(other.Status(t.Context())).Pending.Code, w.alice))
			require.NoError(t, errOf(other.Finish(t.Context())))
		}, nil},
	} {
		for after := range 6 {
			t.Run(fmt.Sprint(name, " after ", after, " looks"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.replicas = true
					_, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					var done time.Time
					var waiter sync.WaitGroup
					waiter.Go(func() {
						_, err := w.Wait(t.Context())
						done = time.Now()
						assert.ErrorIs(t, err, c.want)
					})
					time.Sleep(time.Duration(after)*time.Second + 500*time.Millisecond)
					c.do(t, w, w.open(t))
					began := time.Now()
					waiter.Wait()
					assert.LessOrEqual(t, done.Sub(began), 6*time.Second)
				})
			})
		}
	}
}
