package plexauth_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G12: a person who waits for a call that plex.tv is too busy for hears so within
// two seconds, and for how long.
func TestRateLimitedCalls(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for call, c := range map[string]struct {
		path string
		do   func(ctx context.Context, w *world) error
	}{
		"Start":     {"/api/v2/pins", func(ctx context.Context, w *world) error { return second(w.Start(ctx, plexauth.PinOptions{})) }},
		"Verify":    {"/api/v2/user", func(ctx context.Context, w *world) error { return second(w.Verify(ctx)) }},
		"Servers":   {"/api/v2/resources", func(ctx context.Context, w *world) error { return second(w.Servers(ctx)) }},
		"Inspect":   {"/api/v2/resources", func(ctx context.Context, w *world) error { return second(w.Inspect(ctx)) }},
		"HomeUsers": {"/api/v2/home/users", func(ctx context.Context, w *world) error { return second(w.HomeUsers(ctx)) }},
		"SwitchHomeUser": {"/api/v2/home/users/*/switch", func(ctx context.Context, w *world) error {
			return second(w.SwitchHomeUser(ctx, plexauth.HomeUser{UUID: "0123456789abcdef"}, ""))
		}},
		"SignOut": {"/api/v2/users/signout", func(ctx context.Context, w *world) error { return second(w.SignOut(ctx)) }},
	} {
		for name, f := range map[string]struct {
			header func() http.Header
			tries  int
			took   time.Duration
			after  time.Duration
		}{
			"no time":        {func() http.Header { return nil }, 2, 2 * time.Second, 5 * time.Second},
			"no time at all": {func() http.Header { return http.Header{"Retry-After": {"soon"}} }, 2, 2 * time.Second, 5 * time.Second},
			"a second":       {func() http.Header { return http.Header{"Retry-After": {"1"}} }, 3, 2 * time.Second, time.Second},
			"two seconds":    {func() http.Header { return http.Header{"Retry-After": {"2"}} }, 2, 2 * time.Second, 2 * time.Second},
			"three seconds":  {func() http.Header { return http.Header{"Retry-After": {"3"}} }, 1, 0, 3 * time.Second},
			"half a minute":  {func() http.Header { return http.Header{"Retry-After": {"30"}} }, 1, 0, 30 * time.Second},
			"a day":          {func() http.Header { return http.Header{"Retry-After": {"86400"}} }, 1, 0, time.Hour},
			"a date":         {func() http.Header { return http.Header{"Retry-After": {date(40 * time.Second)}} }, 1, 0, 40 * time.Second},
			"by another clock": {func() http.Header {
				return http.Header{"Retry-After": {date(time.Hour + 20*time.Second)}, "Date": {date(time.Hour)}}
			}, 1, 0, 20 * time.Second},
			"a date that is by": {func() http.Header { return http.Header{"Retry-After": {date(-time.Minute)}} }, 2, 2 * time.Second, 5 * time.Second},
		} {
			t.Run(call+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signInNow(t)
					w.plex.Inject(plextest.Fault{Path: c.path, Times: -1, Status: http.StatusTooManyRequests, Header: f.header()})
					before, began := len(w.plex.Requests()), time.Now()
					err := c.do(t.Context(), w)
					require.ErrorIs(t, err, plexauth.ErrRateLimited)
					var e *plexauth.Error
					require.ErrorAs(t, err, &e)
					assert.InDelta(t, f.after, e.RetryAfter, float64(time.Second), "RetryAfter")
					assert.Equal(t, f.took, time.Since(began))
					assert.Len(t, w.plex.Requests()[before:], f.tries)
				})
			})
		}
	}
}

// G12: while plex.tv is left alone, a person who asks for something else is told at
// once for how long, without a request. An answer ends a pause that plex.tv has not
// asked for.
func TestCallsWhileTheGuardHolds(t *testing.T) {
	for after, pause := range map[string]time.Duration{"20": 20 * time.Second, "": 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signInNow(t)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Times: -1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {after}}})
			require.ErrorIs(t, second(w.Verify(t.Context())), plexauth.ErrRateLimited)
			time.Sleep(time.Second)
			n, began := len(w.plex.Requests()), time.Now()
			_, err := w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, plexauth.ErrRateLimited)
			assert.Equal(t, pause-time.Second, e.RetryAfter)
			assert.Zero(t, time.Since(began))
			assert.Len(t, w.plex.Requests(), n)
			time.Sleep(pause - 2500*time.Millisecond) // what is left of it is short enough to wait for
			_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: http.StatusTooManyRequests})
		began := time.Now()
		require.NoError(t, second(w.Verify(t.Context())))
		require.NoError(t, second(w.Servers(t.Context())))
		assert.Equal(t, 2*time.Second, time.Since(began))
	})
}

// A 503 that names a long time is no reason to keep a person waiting either.
func TestUnavailableForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/pins", Times: -1, Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"25"}}})
		began := time.Now()
		_, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Zero(t, time.Since(began))
	})
}

// G12: the panel says for how long plex.tv wants to be left alone.
func TestPanelSaysForHowLong(t *testing.T) {
	for after, says := range map[string]string{"30": "Try again in 30 seconds.", "600": "Try again in 10 minutes.", "": "Try again in 5 seconds."} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/pins", Times: -1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {after}}})
			f := openPanel(t, w.PlexAuth)
			v := f.refused(f.do(http.MethodPost, "/start", "{}"), http.StatusTooManyRequests, "rate_limited")
			assert.Contains(t, v.Message, says)
			assert.Positive(t, v.RetryAfter)
		})
	}
}

// G12: after a login in the panel a rate limit delays the search for the server, and
// does not end it.
func TestPanelSearchIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Times: 3, Status: http.StatusTooManyRequests})
		f := openPanel(t, w.PlexAuth)
		code := f.post("/start", "{}").Extra.Pending.Code
		require.NoError(t, w.plex.Approve(code, w.alice))
		time.Sleep(20 * time.Second)
		s := f.get("/status")
		assert.True(t, s.Connected)
		assert.Nil(t, s.Problem)
		assert.NotEmpty(t, s.Settings.ServerURL)
		assert.Equal(t, 4, w.count("GET", "/api/v2/resources"))
	})
}
