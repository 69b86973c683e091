package plexauth_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

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
			require.ErrorIs(t, err, plexauth.ErrRateLimited)
			assert.Zero(t, time.Since(began), "a person is told at once")
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			assert.Greater(t, e.RetryAfter, 20*time.Second, "another profile of the same client slows down too")
			assert.LessOrEqual(t, e.RetryAfter, 30*time.Second, "but is not parked")
			time.Sleep(e.RetryAfter)
			_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			s, err := w.Wait(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.LessOrEqual(t, time.Since(pin.CreatedAt), 15*time.Minute+time.Second, "at the PIN's deadline at the latest")
		})
	})
}

// G12: Finish obeys a 429 too, and one that another profile got as well.
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

// G12: a Wait that sleeps already is slowed too.
func TestRateLimitReachesSleepers(t *testing.T) {
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

// Answers that people write by hand in their tests.
func TestHandMadeAnswers(t *testing.T) {
	answer := func(status int, body string) *http.Response {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))} // no length, no header
	}
	p := fuzzed(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.Method == "POST":
			return answer(201, `{"id":1,"code":"ABCD","errors":null}`), nil
		case strings.HasSuffix(r.URL.Path, "/user"):
			return answer(200, `{"id":7,"username":"alice","errors":[]}`), nil
		}
		return answer(200, `{"id":1,"authToken":"TEST_token","errors":[]}`), nil
	}))
	_, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	s, err := p.Finish(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "alice", s.User)
	for _, resp := range []*http.Response{nil, {StatusCode: 200}} {
		p := fuzzed(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.Method == "POST" {
				return answer(201, `{"id":1,"code":"ABCD"}`), nil
			}
			return resp, nil
		}))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Finish(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrUnavailable)
	}
}

// G6: a look that a Start makes before it gives a PIN up counts for those who wait
// for that PIN: none within a second of it, and none after plex.tv has told the end.
func TestPaceAfterTheLastLook(t *testing.T) {
	for _, after := range []time.Duration{1500 * time.Millisecond, 2500 * time.Millisecond, 3900 * time.Millisecond} {
		for _, expired := range []bool{false, true} {
			t.Run(fmt.Sprint(after, expired), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t) // which tells of looks that must not be
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

// Whoever gives up a Start in the middle of such a look ends nobody else's wait, and
// leaves nobody their own context's error.
func TestStartGivenUpInTheLastLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.Sleep(1500 * time.Millisecond)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Hang: true})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		_, err = w.Start(ctx, plexauth.PinOptions{SwitchAccount: true})
		require.ErrorIs(t, err, context.Canceled)
		_, err = w.Finish(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err := w.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G7: a clock that is set two hours ahead while a login waits, as on a machine
// without one that finds its time server, does not end it: plex.tv tells anew how
// long the PIN lives. Set back by a day, it makes nobody wait for longer, either.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{2 * time.Hour, -24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				plexauth.SetClock(t, by)
				result := make(chan error, 1)
				go func() {
					_, err := w.Wait(t.Context())
					result <- err
				}()
				time.Sleep(time.Minute)
				require.Empty(t, result)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				time.Sleep(2 * time.Second)
				require.Len(t, result, 1)
				assert.NoError(t, <-result)
			})
		})
	}
}

// G7: how long the PIN lives is told to all where a last look has found it out, and
// the PIN goes on after all.
func TestLastLookMovesTheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		began := time.Now()
		put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(began.Add(5*time.Minute).UnixMilli()), 1))
		p := w.open(t)
		_, err = p.Finish(t.Context()) // which takes it up
		require.NoError(t, err)
		put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(began.Add(5*time.Minute).UnixMilli()), 1))
		plexauth.MoveDeadline(p, 5*time.Minute) // it does not know better, either
		time.Sleep(2 * time.Second)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Status: 503, Times: -1})
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		assert.InDelta(t, 30*time.Minute, s.Pending.ExpiresAt.Sub(began), float64(2*time.Second))
	})
}
