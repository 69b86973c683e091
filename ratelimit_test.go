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

// G12: during a rate limit a call ends within two seconds, and its error says how long
// to wait.
func TestRateLimitedCalls(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for call, c := range map[string]struct {
		path string
		do   func(ctx context.Context, w *world) error
	}{
		"Start":     {"/api/v2/pins", func(ctx context.Context, w *world) error { return errOf(w.Start(ctx, plexauth.PinOptions{})) }},
		"Verify":    {"/api/v2/user", func(ctx context.Context, w *world) error { return errOf(w.Verify(ctx)) }},
		"Servers":   {"/api/v2/resources", func(ctx context.Context, w *world) error { return errOf(w.Servers(ctx)) }},
		"Inspect":   {"/api/v2/resources", func(ctx context.Context, w *world) error { return errOf(w.Inspect(ctx)) }},
		"HomeUsers": {"/api/v2/home/users", func(ctx context.Context, w *world) error { return errOf(w.HomeUsers(ctx)) }},
		"SwitchHomeUser": {"/api/v2/home/users/*/switch", func(ctx context.Context, w *world) error {
			return errOf(w.SwitchHomeUser(ctx, plexauth.HomeUser{UUID: "0123456789abcdef"}, ""))
		}},
		"SignOut": {"/api/v2/users/signout", func(ctx context.Context, w *world) error { return errOf(w.SignOut(ctx)) }},
	} {
		for name, f := range map[string]struct {
			header func() http.Header
			took   time.Duration
			after  time.Duration
		}{
			"no Retry-After": {func() http.Header { return nil }, 2 * time.Second, 5 * time.Second},
			"garbage":        {func() http.Header { return http.Header{"Retry-After": {"soon"}} }, 2 * time.Second, 5 * time.Second},
			"a second":       {func() http.Header { return http.Header{"Retry-After": {"1"}} }, 2 * time.Second, time.Second},
			"two seconds":    {func() http.Header { return http.Header{"Retry-After": {"2"}} }, 2 * time.Second, 2 * time.Second},
			"three seconds":  {func() http.Header { return http.Header{"Retry-After": {"3"}} }, 0, 3 * time.Second},
			"half a minute":  {func() http.Header { return http.Header{"Retry-After": {"30"}} }, 0, 30 * time.Second},
			"a day":          {func() http.Header { return http.Header{"Retry-After": {"86400"}} }, 0, time.Hour},
			"a date":         {func() http.Header { return http.Header{"Retry-After": {date(40 * time.Second)}} }, 0, 40 * time.Second},
			"by another clock": {func() http.Header {
				return http.Header{"Retry-After": {date(time.Hour + 20*time.Second)}, "Date": {date(time.Hour)}}
			}, 0, 20 * time.Second},
			"a date in the past": {func() http.Header { return http.Header{"Retry-After": {date(-time.Minute)}} }, 2 * time.Second, 5 * time.Second},
		} {
			t.Run(call+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signInNow(t)
					w.plex.Inject(plextest.Fault{Path: c.path, Times: -1, Status: http.StatusTooManyRequests, Header: f.header()})
					asked, began := w.fromNow(), time.Now()
					err := c.do(t.Context(), w)
					require.ErrorIs(t, err, plexauth.ErrRateLimited)
					var e *plexauth.Error
					require.ErrorAs(t, err, &e)
					assert.InDelta(t, f.after, e.RetryAfter, float64(time.Second), "RetryAfter")
					assert.Equal(t, f.took, time.Since(began))
					assert.LessOrEqual(t, len(asked()), 3, "once a second at most")
				})
			})
		}
	}
}

// G12: after a rate limit other calls say at once how long to wait, without a request.
// A good answer ends a pause that plex.tv has not asked for.
func TestCallsDuringARateLimit(t *testing.T) {
	for after, pause := range map[string]time.Duration{"20": 20 * time.Second, "": 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signInNow(t)
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Times: -1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {after}}})
			require.ErrorIs(t, errOf(w.Verify(t.Context())), plexauth.ErrRateLimited)
			time.Sleep(time.Second)
			asked, began := w.fromNow(), time.Now()
			_, err := w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			require.ErrorIs(t, err, plexauth.ErrRateLimited)
			assert.Equal(t, pause-time.Second, e.RetryAfter)
			assert.Zero(t, time.Since(began))
			assert.Empty(t, asked())
			time.Sleep(pause - 2500*time.Millisecond) // the rest of the pause is short enough to wait for
			_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: http.StatusTooManyRequests})
		began := time.Now()
		require.NoError(t, errOf(w.Verify(t.Context())))
		require.NoError(t, errOf(w.Servers(t.Context())))
		assert.Equal(t, 2*time.Second, time.Since(began))
	})
}

// A 503 with a long Retry-After does not keep the caller waiting, either.
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

// G6, G12: after a 429 all looks slow down, and no gap shrinks. A hostile Retry-After
// delays a login by half a minute at most.
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
			waited := make(chan plexauth.Status, 1)
			go func() {
				s, err := w.Wait(t.Context())
				assert.NoError(t, err)
				waited <- s
			}()
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			began := time.Now()
			_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrRateLimited)
			assert.Zero(t, time.Since(began), "a person is told at once")
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			assert.Greater(t, e.RetryAfter, 20*time.Second, "another profile of the same client slows down too")
			assert.LessOrEqual(t, e.RetryAfter, 30*time.Second, "for half a minute at most")
			time.Sleep(e.RetryAfter)
			_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			assert.True(t, (<-waited).Connected)
			assert.LessOrEqual(t, time.Since(pin.CreatedAt), 15*time.Minute+time.Second, "at the PIN's deadline at the latest")
		})
	})
}

// G12: Finish obeys a 429, and one that another profile has received.
func TestFinishObeysRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1 := w.Instance("P1")
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p1.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Code: 1003, Header: http.Header{"Retry-After": {"20"}}})
		for range 9 {
			_, err = w.Finish(t.Context())
			require.ErrorIs(t, err, plexauth.ErrRateLimited)
			_, err = p1.Finish(t.Context())
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
		}
		assert.Len(t, w.looks(pin.CreatedAt), 1)
		time.Sleep(3 * time.Second)
		_, err = w.Finish(t.Context())
		require.NoError(t, err)
	})
}

// G12: a rate limit also slows a Wait that is between two looks.
func TestRateLimitReachesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Code: 1003, Header: http.Header{"Retry-After": {"20"}}})
		c, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 5 {
			p := w.Instance(fmt.Sprintf("P%d", i))
			_, err := p.Start(c, plexauth.PinOptions{})
			require.NoError(t, err)
			wg.Go(func() { _, _ = p.Wait(c) })
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		assert.Len(t, w.looks(first.CreatedAt), 1)
	})
}

// G12: of two rate limits the longer one counts, whichever comes last.
func TestLongerRateLimitWins(t *testing.T) {
	for _, after := range [][]string{{"20", "5"}, {"5", "20"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p1 := w.Instance("P1")
			for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p1} {
				_, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
			}
			for _, s := range after { // both are on their way at once
				w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Code: 1003, Header: http.Header{"Retry-After": {s}}, Delay: time.Second})
			}
			var both sync.WaitGroup
			began := time.Now()
			both.Go(func() { _, _ = w.Finish(t.Context()) })
			both.Go(func() { time.Sleep(100 * time.Millisecond); _, _ = p1.Finish(t.Context()) })
			both.Wait()
			third := w.Instance("P2")
			for time.Since(began) < 15*time.Second {
				_, err := third.Start(t.Context(), plexauth.PinOptions{})
				require.ErrorIs(t, err, plexauth.ErrRateLimited, after)
				time.Sleep(time.Second)
			}
			time.Sleep(8 * time.Second)
			_, err := third.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
		})
	}
}

// G9: a call does not begin a pause that its context will not outlast. It returns the
// last answer, which says more than "deadline exceeded".
func TestNoPauseBeyondTheContext(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"between two attempts": {Path: "/api/v2/user", Status: 503, Times: -1},
		"after a 429":          {Path: "/api/v2/user", Code: 1003, Times: -1, Header: http.Header{"Retry-After": {"2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				w.plex.Inject(fault)
				for range 2 { // the second call meets the rate limit of the first
					ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
					defer cancel()
					began := time.Now()
					_, err := w.Account(ctx)
					var e *plexauth.Error
					require.ErrorAs(t, err, &e)
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
					assert.Less(t, time.Since(began), 100*time.Millisecond)
				}
			})
		})
	}
}

// maxLookGap is the longest pause between looks, plus a second for the look at the
// PIN's end.
const maxLookGap = 31 * time.Second

// assertGaps asserts that no pause between looks is longer than that.
func assertGaps(t *testing.T, at []time.Duration) {
	t.Helper()
	for i := 1; i < len(at); i++ {
		assert.LessOrEqual(t, at[i]-at[i-1], maxLookGap, "look %d", i)
	}
}

// G12: a pending PIN is looked at again within half a minute, whatever Retry-After
// says, and an approval is found.
func TestRetryAfterIsBounded(t *testing.T) {
	ahead := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for name, header := range map[string]func() http.Header{
		"seconds": func() http.Header { return http.Header{"Retry-After": {"900"}} },
		"huge":    func() http.Header { return http.Header{"Retry-After": {"1e300"}} },
		"date":    func() http.Header { return http.Header{"Retry-After": {ahead(time.Hour)}} },
		"date of another clock": func() http.Header {
			return http.Header{"Retry-After": {ahead(73 * time.Hour)}, "Date": {ahead(72 * time.Hour)}}
		},
		"several":        func() http.Header { return http.Header{"Retry-After": {"soon", "3600", "900"}} },
		"garbage":        func() http.Header { return http.Header{"Retry-After": {"after the break"}} },
		"on a 503":       func() http.Header { return http.Header{"Retry-After": {"3600"}, "X-Status": {"503"}} },
		"no Retry-After": func() http.Header { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				fault := plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Times: 12, Code: 1003, Header: header()}
				if fault.Header.Get("X-Status") != "" {
					fault.Code, fault.Status = 0, http.StatusServiceUnavailable
				}
				w.plex.Inject(fault)
				time.AfterFunc(20*time.Second, func() { assert.NoError(t, w.plex.Approve(pin.Code, w.alice)) })
				s, err := w.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				at := w.looks(pin.CreatedAt)
				assertGaps(t, at)
			})
		})
	}
}

// A date in Retry-After counts from the Date of the answer.
func TestRetryAfterByTheClockOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, skew := range []time.Duration{-72 * time.Hour, 72 * time.Hour} {
			w := newWorld(t)
			date := time.Now().Add(skew).UTC()
			w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Code: 1003, Times: -1, Header: http.Header{
				"Date": {date.Format(http.TimeFormat)}, "Retry-After": {date.Add(40 * time.Second).Format(http.TimeFormat)},
			}})
			_, err := w.Start(t.Context(), plexauth.PinOptions{})
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, 40*time.Second, e.RetryAfter)
		}
	})
}

// G12: repeated rate limits of other profiles delay a look at a pending PIN by half a
// minute at most.
func TestRateLimitsOfOtherProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Times: -1, Code: 1003, Header: http.Header{"Retry-After": {"25"}}})
		var others sync.WaitGroup
		for i := range 10 {
			others.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Second)
				for time.Until(pin.ExpiresAt) > 0 {
					_, _ = w.Instance(fmt.Sprint("P", i)).Start(t.Context(), plexauth.PinOptions{})
					time.Sleep(7 * time.Second)
				}
			})
		}
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrPinExpired)
		others.Wait()
		at := w.looks(pin.CreatedAt)
		require.NotEmpty(t, at)
		assertGaps(t, append([]time.Duration{0}, at...))
	})
}
