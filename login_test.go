package plexauth_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// looks are the times of the looks at PINs, counted from start.
func (w *world) looks(start time.Time) []time.Duration {
	var at []time.Duration
	for _, r := range w.plex.Requests() {
		if r.Method == http.MethodGet && r.Path == "/api/v2/pins/{id}" {
			at = append(at, r.Time.Sub(start))
		}
	}
	return at
}

// count is the number of requests with this method and path.
func (w *world) count(method, path string) int {
	n := 0
	for _, r := range w.plex.Requests() {
		if r.Method == method && r.Path == path {
			n++
		}
	}
	return n
}

// G1: one identifier, however many processes and restarts, saved before the
// first request.
func TestOneIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 500})
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		saved, err := w.Settings(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, saved.ClientID, "saved although the first request failed")

		var wg sync.WaitGroup
		for i := range 4 {
			p := w.open(t).Instance([]string{"", "PLEX-P01", "PLEX-P02", "PLEX-P03"}[i])
			wg.Go(func() {
				_, err := p.Start(t.Context(), plexauth.PinOptions{})
				assert.NoError(t, err)
				_, err = p.Finish(t.Context())
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err = w.Disconnect(t.Context())
		require.NoError(t, err)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		for _, r := range w.plex.Requests() {
			assert.Equal(t, saved.ClientID, r.Header.Get("X-Plex-Client-Identifier"), r)
		}
	})
}

// G1: processes that start together on an empty store agree on one, and two
// empty stores differ.
func TestIdentifierIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var wg sync.WaitGroup
		for range 8 {
			p := w.open(t)
			wg.Go(func() {
				_, err := p.Start(t.Context(), plexauth.PinOptions{})
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		ids := map[string]bool{}
		for _, r := range w.plex.Requests() {
			ids[r.Header.Get("X-Plex-Client-Identifier")] = true
		}
		assert.Len(t, ids, 1)
		other := newWorld(t)
		_, err := other.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		v, err := other.Settings(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, ids, v.ClientID)
	})
}

// G1: a token and a PIN stay with the identifier they were made under when the
// program brings one of its own.
func TestIdentifierOfTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		before, err := w.Settings(t.Context())
		require.NoError(t, err)

		p := w.open(t, func(o *plexauth.Options) { o.ClientID = "my-own-id" })
		_, err = p.Verify(t.Context())
		require.NoError(t, err)
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Verify(t.Context())
		require.NoError(t, err, "the old token goes with the old identifier while the new PIN is pending")
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		_, err = w.open(t).Wait(t.Context()) // another process, without that option
		require.NoError(t, err)
		after, err := p.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "my-own-id", after.ClientID)
		assert.NotEqual(t, before.ClientID, after.ClientID)
	})
}

// G5: nothing that the network or a proxy does ends a login before its
// deadline.
func TestWeatherDoesNotEndALogin(t *testing.T) {
	faults := map[string]plextest.Fault{
		"reset":               {Reset: true},
		"reset after":         {ResetAfter: true},
		"hang":                {Hang: true},
		"truncated":           {Truncate: true},
		"drip":                {Drip: time.Second},
		"endless":             {Endless: true},
		"DNS":                 {Err: &net.DNSError{Err: "no such host", Name: "plex.tv", IsNotFound: true}},
		"TLS":                 {Err: x509.UnknownAuthorityError{}},
		"408":                 {Status: 408},
		"425":                 {Status: 425},
		"429":                 {Code: 1003},
		"500":                 {Code: 1007},
		"502 HTML":            {Status: 502, Body: "<html>bad gateway</html>", ContentType: "text/html"},
		"503":                 {Status: 503},
		"200 HTML":            {Status: 200, Body: "<!doctype html><title>Log in to the Wi-Fi</title>", ContentType: "text/html"},
		"200 XML":             {Status: 200, Body: `<pin id="1"/>`, ContentType: "application/xml"},
		"200 empty":           {Status: 200},
		"200 error":           {Status: 200, Body: `{"errors":[{"code":1007}]}`, ContentType: "application/json"},
		"403 HTML":            {Status: 403, Body: "<html>blocked</html>", ContentType: "text/html"},
		"404 HTML":            {Status: 404, Body: "<html>not here</html>", ContentType: "text/html"},
		"401 plain":           {Status: 401, Body: "who are you?", ContentType: "text/plain"},
		"redirect to foreign": {Redirect: "https://elsewhere.example/api/v2/pins/1"},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				fault.Method, fault.Path, fault.Times = "GET", "/api/v2/pins/*", 3
				w.plex.Inject(fault)
				time.AfterFunc(2*time.Minute, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				s, err := w.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.LessOrEqual(t, strings.Count(w.log.String(), "no look at the PIN possible"), 1, "logged once per change")
			})
		})
	}
}

// G6: the pace of a login that nobody disturbs.
func TestPolitePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		start := pin.CreatedAt
		var wg sync.WaitGroup
		for i := range 20 { // tabs, double clicks, an Instance made anew
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

// G6: an approval in the last second is found.
func TestApprovedAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.AfterFunc(time.Until(pin.ExpiresAt)-200*time.Millisecond, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
		s, err := w.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G6, G12: after a 429 everybody slows down, and no gap shrinks; a hostile
// Retry-After parks nobody.
func TestRateLimited(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		least  time.Duration // until the look after the first 429
	}{
		"none":    {"", 6 * time.Second},
		"seconds": {"12", 12 * time.Second},
		"garbage": {"soon", 6 * time.Second},
		"past":    {"Fri, 01 Jan 1999 00:00:00 GMT", 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				fault := plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Times: 3, Code: 1003, Header: http.Header{}}
				if tc.header != "" {
					fault.Header.Set("Retry-After", tc.header)
				}
				w.plex.Inject(fault)
				time.AfterFunc(3*time.Minute, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				_, err = w.Wait(t.Context())
				require.NoError(t, err)
				at := w.looks(pin.CreatedAt)
				for i := 1; i <= 3; i++ {
					assert.GreaterOrEqual(t, at[i]-at[i-1], tc.least)
					if i > 1 {
						assert.GreaterOrEqual(t, at[i]-at[i-1], at[i-1]-at[i-2])
					}
				}
			})
		})
	}
	t.Run("hostile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			pin, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Code: 1003, Header: http.Header{"Retry-After": {"999999"}}})
			go func() { _, _ = w.Wait(t.Context()) }()
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			began := time.Now()
			_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			waited := time.Since(began)
			assert.Greater(t, waited, 20*time.Second, "another profile of the same client slows down too")
			assert.LessOrEqual(t, waited, 30*time.Second, "but is not parked")
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			s, err := w.Wait(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.LessOrEqual(t, time.Since(pin.CreatedAt), 15*time.Minute+time.Second, "at the PIN's deadline at the latest")
		})
	})
}

// G7: whatever shape expiry takes, the login ends when the PIN really does.
func TestTrueExpiry(t *testing.T) {
	ptr := func(n int) *int { return &n }
	for name, tc := range map[string]struct {
		quirks   plextest.Quirks
		clock    time.Duration
		lifetime time.Duration
		end      time.Duration // when the login must have ended
	}{
		"404/1020":          {lifetime: time.Minute, end: time.Minute},
		"200 with null":     {quirks: plextest.Quirks{Expire200Null: true}, lifetime: time.Minute, end: time.Minute},
		"absent":            {quirks: plextest.Quirks{OmitExpiresIn: true}, end: 15 * time.Minute},
		"absent, dies soon": {quirks: plextest.Quirks{OmitExpiresIn: true}, lifetime: time.Minute, end: time.Minute},
		"absent, undead":    {quirks: plextest.Quirks{OmitExpiresIn: true, Expire200Null: true}, lifetime: time.Minute, end: 15 * time.Minute},
		"negative":          {quirks: plextest.Quirks{ExpiresIn: ptr(-1)}, end: 10 * time.Second},
		"zero":              {quirks: plextest.Quirks{ExpiresIn: ptr(0)}, end: 10 * time.Second},
		"huge":              {quirks: plextest.Quirks{ExpiresIn: ptr(1_000_000_000), Expire200Null: true}, end: time.Hour},
		"huge, dies":        {quirks: plextest.Quirks{ExpiresIn: ptr(1_000_000_000)}, end: 15 * time.Minute},
		"clock ahead":       {clock: 72 * time.Hour, lifetime: time.Minute, end: time.Minute},
		"clock behind":      {clock: -72 * time.Hour, lifetime: time.Minute, end: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetQuirks(tc.quirks)
				w.plex.SetClock(tc.clock)
				w.plex.SetPinLifetime(tc.lifetime, 0)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				_, err = w.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrPinExpired)
				took := time.Since(pin.CreatedAt)
				assert.GreaterOrEqual(t, took, tc.end)
				assert.LessOrEqual(t, took, tc.end+1100*time.Millisecond)
				looks := len(w.looks(pin.CreatedAt))
				time.Sleep(time.Hour)
				assert.Len(t, w.looks(pin.CreatedAt), looks, "none after")
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.Nil(t, s.Pending, "a dead PIN is cleared away")
			})
		})
	}
}

// G7: a token wins over any expiry beside it.
func TestApprovedAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetQuirks(plextest.Quirks{ClaimedExpired: true})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	})
}

// G7: a restart with a clock that was set meanwhile; plex.tv's next answer
// decides, and the countdown of others follows it.
func TestRestartWithAnotherClock(t *testing.T) {
	for name, shift := range map[string]time.Duration{"far behind": -365 * 24 * time.Hour, "far ahead": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				// The stored dates as another clock would have written them.
				moved := strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(pin.ExpiresAt.Add(shift).UnixMilli()), 1)
				put(t, w.store, moved)
				p := w.open(t)
				go func() { _, _ = p.Wait(t.Context()) }()
				time.Sleep(3 * time.Second)
				s, err := p.Status(t.Context())
				require.NoError(t, err)
				require.NotNil(t, s.Pending)
				assert.WithinDuration(t, pin.ExpiresAt, s.Pending.ExpiresAt, 3*time.Second)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				done, err := p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, done.Connected)
			})
		})
	}
}

// G8: the process dies with the login pending; the approval comes while nobody
// looks; the next process finds it.
func TestRestartInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, kill := context.WithCancel(t.Context())
		pin, err := w.Start(ctx, plexauth.PinOptions{})
		require.NoError(t, err)
		time.AfterFunc(5*time.Second, kill)
		_, err = w.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(5 * time.Minute)

		p := w.open(t)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		require.NotNil(t, s.Pending)
		assert.Equal(t, pin.Code, s.Pending.Code)
		assert.Equal(t, pin.URL(), s.Pending.URL())
		s, err = p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User)
	})
}

// G8, G12: two replicas, double clicks: one PIN, and whoever looks finishes
// it for all.
func TestOneLivePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		replicas := []*plexauth.PlexAuth{w.PlexAuth, w.open(t), w.open(t)}
		codes := make([]string, 9)
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() {
				pin, err := replicas[i%3].Start(t.Context(), plexauth.PinOptions{})
				if assert.NoError(t, err) {
					codes[i] = pin.Code
				}
			})
		}
		wg.Wait()
		for _, code := range codes {
			assert.Equal(t, codes[0], code)
		}
		assert.LessOrEqual(t, w.count("POST", "/api/v2/pins"), 3, "no more than one a process")
		for _, p := range replicas {
			wg.Go(func() {
				s, err := p.Wait(t.Context())
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
		}
		time.Sleep(10 * time.Second)
		require.NoError(t, w.plex.Approve(codes[0], w.alice))
		wg.Wait()
	})
}

// G8: the store fails when the token is in hand.
func TestSaveFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		flaky := &flakyStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = flaky })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		flaky.fail.Store(20)
		s, err := p.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.NotContains(t, w.log.String(), "FAKE_", "G13: the store's careless error is not passed on")
	})
}

// G8: a store that stays broken ends the wait with its error after five
// minutes, and the login can still be finished.
func TestSaveFailsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		flaky := &flakyStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = flaky })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		flaky.fail.Store(1 << 30)
		began := time.Now()
		s, err := p.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.False(t, s.Connected)
		assert.NotContains(t, err.Error(), "FAKE_")
		assert.InDelta(t, 5*time.Minute, time.Since(began), float64(10*time.Second))
		flaky.fail.Store(0)
		s, err = p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// flakyStore fails its next Updates, and puts what it should save into the
// error.
type flakyStore struct {
	plexauth.ConfigStore
	fail atomic.Int64
}

func (s *flakyStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fail.Add(-1) < 0 {
		s.fail.Store(0)
		return s.ConfigStore.Update(ctx, ns, edit)
	}
	raw, err := s.Load(ctx, ns)
	if err != nil {
		return err
	}
	if raw, err = edit(raw); err != nil {
		return err
	}
	return fmt.Errorf("cannot write %s", raw)
}

// G8: the caller's context ends while the token is on its way: it is saved all
// the same, within a second.
func TestContextEndsWithTheTokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		slow := &slowStore{ConfigStore: w.store, started: cancel}
		p := w.open(t, func(o *plexauth.Options) { o.Store = slow })
		pin, err := p.Start(ctx, plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		slow.on.Store(true)
		s, err := p.Wait(ctx)
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// slowStore takes half a second, and tells when it began.
type slowStore struct {
	plexauth.ConfigStore
	on      atomic.Bool
	started func()
}

func (s *slowStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.on.Load() {
		s.started()
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// G9: the end of a context stops all work at once, whatever hangs.
func TestCleanStop(t *testing.T) {
	for _, hang := range []string{"POST", "GET", "-"} {
		t.Run(hang, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if hang != "POST" {
					_, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
				}
				w.plex.Inject(plextest.Fault{Method: hang, Hang: true, Times: -1})
				ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
				defer cancel()
				began := time.Now()
				_, err := w.Login(ctx, plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, plexauth.ErrUnavailable)
				assert.Less(t, time.Since(began), 4500*time.Millisecond)
			}) // the bubble panics if a goroutine stays behind
		})
	}
}

// G9, G6: when Cancel returns nothing more is asked about the PIN, and all who
// wait are told.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Hang: true, Times: -1})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := w.Wait(t.Context())
				assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
			})
		}
		time.Sleep(1500 * time.Millisecond) // a look hangs
		began := time.Now()
		require.NoError(t, w.Cancel(t.Context()))
		assert.Less(t, time.Since(began), time.Second)
		n := len(w.looks(pin.CreatedAt))
		wg.Wait()
		time.Sleep(time.Hour)
		assert.Len(t, w.looks(pin.CreatedAt), n)
		require.NoError(t, w.Cancel(t.Context()), "nothing pending is no error")
	})
}

// G8: a replica cancels or replaces the login that this one waits for.
func TestEndedByAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		go func() {
			time.Sleep(10 * time.Second)
			assert.NoError(t, w.open(t).Cancel(t.Context()))
		}()
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)

		_, err = w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		go func() {
			time.Sleep(10 * time.Second)
			_, err := w.open(t).Start(t.Context(), plexauth.PinOptions{Strong: true})
			assert.NoError(t, err)
		}()
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrPinSuperseded)
	})
}

// Another Start with other options supersedes the PIN, in this process at
// once, and its late approval does not overwrite the newer login.
func TestSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() {
			_, err := w.Wait(t.Context())
			ended <- err
		}()
		time.Sleep(2500 * time.Millisecond)
		b, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		synctest.Wait()
		select {
		case err := <-ended:
			assert.ErrorIs(t, err, plexauth.ErrPinSuperseded)
		default:
			t.Error("the older Wait goes on")
		}
		require.NoError(t, w.plex.Approve(b.Code, w.alice))
		s, err := w.Wait(t.Context())
		require.NoError(t, err)
		require.True(t, s.Connected)
		before := w.doc(t)
		require.NoError(t, w.plex.Approve(a.Code, w.bob))
		_, err = w.Finish(t.Context())
		require.NoError(t, err)
		assert.Equal(t, before, w.doc(t))
	})
}

// A PIN with less than a minute left is not shown again.
func TestStartNearTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.Sleep(13 * time.Minute)
		b, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.Equal(t, a.Code, b.Code)
		time.Sleep(90 * time.Second)
		c, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, a.Code, c.Code)
	})
}

// Connected speaks of this login: an older token is not its success.
func TestFinishSpeaksOfThisLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := w.Finish(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		require.NotNil(t, s.Pending)
		s, err = w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected, "the old token still works")
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err = w.Finish(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected, "within a second a Finish answers from the last look")
		time.Sleep(time.Second)
		s, err = w.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G22: relinking the same account keeps identifier and server choice; another
// account is refused unless told, and leaves the old login as it was.
func TestRelink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		require.NoError(t, w.store.Update(t.Context(), plexauth.Namespace, func(cur jsonRaw) (jsonRaw, error) {
			s := strings.Replace(string(cur), `{`, `{"server_url":"https://plex.example.org","machine_id":"m1","account_id":1,`, 1)
			return jsonRaw(s), nil
		}))
		before, err := w.Settings(t.Context())
		require.NoError(t, err)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		again, err := w.Settings(t.Context())
		require.NoError(t, err)
		assert.False(t, before.AccountToken.Equal(again.AccountToken), "plex.tv gave a new token")
		again.AccountToken, before.AccountToken = plexauth.Token{}, plexauth.Token{}
		assert.Equal(t, before, again, "only the token changed")

		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		s, err := w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.True(t, s.Connected)
		assert.Equal(t, "alice", s.User)
		v, err := w.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
		assert.Empty(t, w.plex.Token(w.bob, v.ClientID), "the other account's token was revoked")
		_, err = w.Verify(t.Context())
		require.NoError(t, err)

		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		v, err = w.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", v.Username)
		assert.Equal(t, fmt.Sprint(w.bob.ID), v.CloudAccountID)
		assert.Empty(t, v.AccountID, "the other account's number on the server is gone")
		assert.Equal(t, "https://plex.example.org", v.ServerURL)
		assert.Equal(t, before.ClientID, v.ClientID)
	})
}

// G8, G22: the account cannot be read when the approval comes. The token is
// parked, the old login stays, and the account decides whenever it can be
// read: also after a restart and past the PIN's end.
func TestParkedToken(t *testing.T) {
	for name, finish := range map[string]func(*plexauth.PlexAuth, context.Context) (plexauth.Status, error){
		"Wait":   (*plexauth.PlexAuth).Wait,
		"Finish": (*plexauth.PlexAuth).Finish,
		"Verify": (*plexauth.PlexAuth).Verify,
		"Cancel": func(p *plexauth.PlexAuth, ctx context.Context) (plexauth.Status, error) {
			if err := p.Cancel(ctx); err != nil {
				return plexauth.Status{}, err
			}
			return p.Status(ctx)
		},
		"Start": func(p *plexauth.PlexAuth, ctx context.Context) (plexauth.Status, error) {
			if _, err := p.Start(ctx, plexauth.PinOptions{}); err != nil {
				return plexauth.Status{}, err
			}
			return p.Status(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				old, err := w.Settings(t.Context())
				require.NoError(t, err)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
				s, err := w.Finish(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.False(t, s.Connected)
				v, err := w.Settings(t.Context())
				require.NoError(t, err)
				assert.True(t, v.AccountToken.Equal(old.AccountToken))
				time.Sleep(time.Hour)
				w.plex.ResetFaults()

				s, err = finish(w.open(t), t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				v, err = w.Settings(t.Context())
				require.NoError(t, err)
				assert.Equal(t, w.plex.Token(w.alice, v.ClientID), v.AccountToken.Secret())
			})
		})
	}
}

// G23, G22: plex.tv keeps one token an account and identifier: the profiles on
// the same account get the new one, those of others keep theirs.
func TestSuccessorToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1, p2 := w.Instance("PLEX-P01"), w.Instance("PLEX-P02")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p2, w.bob, plexauth.PinOptions{})
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		for p, u := range map[*plexauth.PlexAuth]*plextest.User{w.PlexAuth: w.alice, p1: w.alice, p2: w.bob} {
			v, err := p.Settings(t.Context())
			require.NoError(t, err)
			assert.Equal(t, w.plex.Token(u, v.ClientID), v.AccountToken.Secret())
			_, err = p.Verify(t.Context())
			assert.NoError(t, err)
		}
		ids, err := w.Instances(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"default", "PLEX-P02", "PLEX-P01"}, ids)

		_, err = p1.SignOut(t.Context())
		require.NoError(t, err)
		for p, connected := range map[*plexauth.PlexAuth]bool{w.PlexAuth: false, p1: false, p2: true} {
			s, err := p.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, connected, s.Connected)
		}
		assert.Empty(t, w.plex.Token(w.alice, mustSettings(t, w.PlexAuth).ClientID))
	})
}

func mustSettings(t *testing.T, p *plexauth.PlexAuth) plexauth.Settings {
	t.Helper()
	v, err := p.Settings(t.Context())
	require.NoError(t, err)
	return v
}

// A store that cannot be written is found before a PIN is made.
func TestStoreFailsBeforeThePIN(t *testing.T) {
	for name, store := range map[string]plexauth.ConfigStore{
		"Check":  &checkedStore{plexauth.NewMemoryStore(), errors.New("read-only file system")},
		"Update": brokenStore{},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, func(o *plexauth.Options) { o.Store = store })
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.ErrorContains(t, err, "read-only file system")
			assert.Empty(t, w.plex.Requests())
		})
	}
}

type checkedStore struct {
	plexauth.ConfigStore
	err error
}

func (s *checkedStore) Check(context.Context) error { return s.err }

type brokenStore struct{}

var errBroken = errors.New("read-only file system")

func (brokenStore) Load(context.Context, string) (jsonRaw, error) { return nil, errBroken }
func (brokenStore) Update(context.Context, string, func(jsonRaw) (jsonRaw, error)) error {
	return errBroken
}

// G18: a store that cannot be read is an error everywhere, and never a first
// run.
func TestFailClosed(t *testing.T) {
	for name, doc := range map[string]string{"list": `[]`, "text": `"x"`, "cut": `{"account_token":"TEST_cut`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(t, func(o *plexauth.Options) { o.Store = rawStore(doc) })
			for op, err := range map[string]error{
				"Status":     second(p.Status(t.Context())),
				"Settings":   second(p.Settings(t.Context())),
				"Token":      second(p.Token(t.Context())),
				"Start":      second(p.Start(t.Context(), plexauth.PinOptions{})),
				"Finish":     second(p.Finish(t.Context())),
				"Wait":       second(p.Wait(t.Context())),
				"Verify":     second(p.Verify(t.Context())),
				"Disconnect": second(p.Disconnect(t.Context())),
				"SignOut":    second(p.SignOut(t.Context())),
				"Instances":  second(p.Instances(t.Context())),
			} {
				assert.ErrorIs(t, err, plexauth.ErrCorruptConfig, op)
				assert.ErrorIs(t, err, plexauth.ErrStore, op)
				assert.NotContains(t, err.Error(), "TEST_")
			}
			assert.Empty(t, w.plex.Requests())
		})
	}
}

func second[T any](_ T, err error) error { return err }

// rawStore is a careless store: it hands out whatever it holds.
type rawStore string

func (s rawStore) Load(context.Context, string) (jsonRaw, error) { return jsonRaw(s), nil }
func (s rawStore) Update(_ context.Context, _ string, edit func(jsonRaw) (jsonRaw, error)) error {
	_, err := edit(jsonRaw(s))
	return err
}

// G14: a look follows a redirect within plex.tv's API, and no other.
func TestLookRedirected(t *testing.T) {
	for to, ok := range map[string]bool{"https://clients.plex.tv/moved": true, "http://plex.tv/moved": false, "https://elsewhere.example/moved": false} {
		p, mock := mocked(t)
		mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
		mock.RegisterResponder("GET", pinsURL+"/373040866", httpmock.NewStringResponder(307, "").HeaderSet(http.Header{"Location": {to}}))
		mock.RegisterResponder("GET", to, jsonAnswer(200, payload(t, "pin-approved.json")))
		mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", jsonAnswer(200, payload(t, "user.json")))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := p.Finish(t.Context())
		assert.Equal(t, ok, s.Connected, to)
		assert.Equal(t, ok, err == nil, to)
	}
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

// G6: looks arrive a second apart also where the way takes now longer, now
// shorter.
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
