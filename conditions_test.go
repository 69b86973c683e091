package plexauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
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

// G12: Starts at the same time make one PIN, also with options that no PIN has yet.
func TestStartsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Times: -1, Delay: 2 * time.Second})
		var all sync.WaitGroup
		pins := make([]*plexauth.Pin, 5)
		for i := range pins {
			all.Go(func() {
				var err error
				pins[i], err = w.Start(t.Context(), plexauth.PinOptions{Strong: true})
				assert.NoError(t, err)
			})
		}
		all.Wait()
		assert.Equal(t, 1, w.count("POST", "/api/v2/pins"))
		for _, pin := range pins {
			assert.Equal(t, pins[0].ID, pin.ID)
		}
	})
}

// G1: where the document's identifier changes, a profile whose token was made under the
// old one keeps that.
func TestIdentifierChangesBelowOtherProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		theirs := w.plex.IssueToken(w.bob, "their-id")
		put(t, w.store, `{"client_id":"their-id","instances":{"P1":{"account_token":"`+theirs+`"},"P2":{"account_token":""},"P3":{"account_token":"TEST_x","client_id":"own-id"}}}`)
		p := w.open(t, func(o *plexauth.Options) { o.ClientID = "program-id" })
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		assert.Equal(t, "program-id", mustSettings(t, p).ClientID)
		assert.Equal(t, "their-id", mustSettings(t, p.Instance("P1")).ClientID)
		assert.Equal(t, "program-id", mustSettings(t, p.Instance("P2")).ClientID, "nothing was made under the old one")
		assert.Equal(t, "own-id", mustSettings(t, p.Instance("P3")).ClientID)
		s, err := p.Instance("P1").Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
}

// G9: while Cancel waits for a look to end, none of the others that wait for their turn
// makes the next one.
func TestNoLookWhileCancelWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := false // the end of a look is slow, whatever its context says
		p := w.open(t, func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if slow && r.Method == http.MethodGet {
					time.Sleep(3 * time.Second)
				}
				return next.RoundTrip(r)
			})}
		})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		slow = true
		var tabs sync.WaitGroup
		for range 5 {
			tabs.Go(func() { _, _ = p.Finish(t.Context()) })
		}
		time.Sleep(time.Second)
		require.NoError(t, p.Cancel(t.Context()))
		tabs.Wait()
		assert.LessOrEqual(t, len(w.looks(pin.CreatedAt)), 1)
	})
}

// deafStore takes two seconds for one Load, whatever becomes of its context.
type deafStore struct {
	plexauth.ConfigStore
	before atomic.Int64 // the Loads before that one
}

func (s *deafStore) Load(_ context.Context, ns string) (jsonRaw, error) {
	if s.before.Add(-1) == 0 {
		time.Sleep(2 * time.Second)
	}
	return s.ConfigStore.Load(context.Background(), ns)
}

// G9: a look that still reads the store when Cancel comes does not go on to plex.tv.
func TestNoLookAfterCancelCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &deafStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		store.before.Store(2) // one to take the login up, one of the look
		var look sync.WaitGroup
		look.Go(func() { _, _ = p.Finish(t.Context()) })
		time.Sleep(time.Second)
		require.NoError(t, p.Cancel(t.Context()))
		look.Wait()
		assert.Empty(t, w.looks(pin.CreatedAt))
	})
}

// G10: a token that plex.tv has rejected is not revoked there again.
func TestSignOutOfARejectedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		w.plex.Revoke(w.alice)
		_, err := w.Verify(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		s, err := w.SignOut(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		assert.Zero(t, w.count("DELETE", "/api/v2/users/signout"))
	})
}

// G14: a look that is redirected goes to its new host by that host's name.
func TestHostOfARedirectedLook(t *testing.T) {
	var hosts []string
	p := fuzzed(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
		answer := &http.Response{StatusCode: http.StatusCreated, Header: http.Header{}, Request: r}
		answer.Body = io.NopCloser(strings.NewReader(`{"id":1,"code":"ABCD"}`))
		if r.Method != http.MethodGet {
			return answer, nil
		}
		host := r.Host // net/http sends this, or else the URL's
		if host == "" {
			host = r.URL.Host
		}
		hosts = append(hosts, host)
		answer.StatusCode = http.StatusOK
		if r.URL.Host == "plex.tv" {
			answer.StatusCode = http.StatusTemporaryRedirect
			answer.Header.Set("Location", "https://clients.plex.tv/moved")
		}
		return answer, nil
	}))
	_, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	_, err = p.Finish(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"plex.tv", "clients.plex.tv"}, hosts)
}

// G9: a pause that the caller's context does not outlast is not begun: the last answer
// says more than "deadline exceeded" some time later.
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
				for range 2 { // the second one meets the guard
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

// G6: after a 429 the pace stays wide, also once plex.tv answers again; after other
// trouble it is a second's.
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

// G12: a Start or Cancel that comes while a 429 counts makes no last look.
func TestNoLastLookDuringA429(t *testing.T) {
	for name, end := range givingUps {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1003, Header: http.Header{"Retry-After": {"20"}}})
				_, err = w.Account(t.Context())
				require.ErrorIs(t, err, plexauth.ErrRateLimited)
				time.Sleep(2 * time.Second)
				before := len(w.looks(pin.CreatedAt))
				_ = end(t.Context(), w.PlexAuth)
				assert.Len(t, w.looks(pin.CreatedAt), before)
			})
		})
	}
}

var givingUps = map[string]func(context.Context, *plexauth.PlexAuth) error{"Start": calls["Start"], "Cancel": calls["Cancel"]}

// G12: of two 429s the one that asks for more time counts, whichever comes last.
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

// G7: plex.tv's 410 ends a login as its 404 does; a proxy's does not.
func TestGoneMeansExpired(t *testing.T) {
	for name, tc := range map[string]struct {
		fault plextest.Fault
		want  error
	}{
		"plex.tv":  {plextest.Fault{Status: http.StatusGone, Code: 1020}, plexauth.ErrPinExpired},
		"no code":  {plextest.Fault{Status: http.StatusGone, Body: `{"errors":[{"message":"gone"}]}`, ContentType: "application/json"}, plexauth.ErrPinExpired},
		"a portal": {plextest.Fault{Status: http.StatusGone, Body: "<html>gone</html>", ContentType: "text/html"}, plexauth.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				_, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				tc.fault.Method, tc.fault.Path = "GET", "/api/v2/pins/*"
				w.plex.Inject(tc.fault)
				_, err = w.Finish(t.Context())
				require.ErrorIs(t, err, tc.want)
				if tc.want == plexauth.ErrUnavailable {
					assert.NotErrorIs(t, err, plexauth.ErrPinExpired)
				}
			})
		})
	}
}

// G24: a device's own JWT is for plex.tv, from this device, good for minutes.
func TestDeviceJWTOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jwts []string
		w := newWorld(t, deviceKey, func(o *plexauth.Options) {
			next := o.HTTPClient.Transport
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if v := r.URL.Query().Get("deviceJWT"); v != "" {
					jwts = append(jwts, v)
				}
				if r.URL.Path == exchanges {
					body, err := r.GetBody()
					require.NoError(t, err)
					var sent struct{ JWT string }
					require.NoError(t, json.NewDecoder(body).Decode(&sent))
					jwts = append(jwts, sent.JWT)
				}
				return next.RoundTrip(r)
			})}
		})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err := w.Refresh(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(jwts), 2, "at the PIN, and in the exchange")
		for _, jwt := range jwts {
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
			require.NoError(t, err)
			var c struct {
				Aud, Iss string
				Iat, Exp int64
			}
			require.NoError(t, json.Unmarshal(payload, &c))
			assert.Equal(t, "plex.tv", c.Aud)
			assert.Equal(t, mustSettings(t, w.PlexAuth).ClientID, c.Iss)
			now := time.Now().Unix()
			assert.LessOrEqual(t, c.Iat, now)
			assert.GreaterOrEqual(t, c.Iat, now-120)
			assert.Greater(t, c.Exp, now)
			assert.LessOrEqual(t, c.Exp-c.Iat, int64(300), "plex.tv takes five minutes at most")
		}
	})
}
