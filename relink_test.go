package plexauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G22, G23: a login that is refused, because another account approved it, has
// retired that account's token in another profile: the new one goes there.
func TestMismatchLeavesOthersConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p2 := w.Instance("P2")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p2, w.bob, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p2} {
			s, err := p.Verify(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
		}
	})
}

// G8: a token that is parked while another Start is on its way is not lost to
// the new PIN.
func TestStartKeepsAnApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Delay: 3 * time.Second})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = w.Wait(t.Context()) })
		wg.Go(func() { _, _ = w.Start(t.Context(), plexauth.PinOptions{Strong: true}) })
		time.Sleep(500 * time.Millisecond)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(30 * time.Second)
		w.plex.ResetFaults()
		wg.Wait()
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// G23: what is stored of one account never stands beside another's token, also
// where only its name is known.
func TestAccountsDoNotMix(t *testing.T) {
	const stored = `{"server_url":"http://10.0.0.2:32400","account_token":"TEST_old","pms_token":"TEST_pms","client_id":"abc","machine_id":"m1","username":"alice","account_id":5,"home_pin":"1234","pms_token_server":"http://10.0.0.2:32400"}`
	for user, kept := range map[string]bool{"alice": true, "bob": false} {
		t.Run(user, func(t *testing.T) {
			w := newWorld(t)
			put(t, w.store, stored)
			pin, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, map[string]*plextest.User{"alice": w.alice, "bob": w.bob}[user]))
			s, err := w.Finish(t.Context())
			require.NoError(t, err)
			assert.Equal(t, user, s.User)
			assert.Equal(t, kept, strings.Contains(w.doc(t), "TEST_pms"))
			assert.Equal(t, kept, strings.Contains(w.doc(t), "1234"))
			assert.Contains(t, w.doc(t), `"machine_id":"m1"`)
		})
	}
}

// SwitchAccount forgets what was another account's, and only that.
func TestSwitchToTheSameAccount(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"http://10.0.0.2:32400","machine_id":"m1","pms_token":"TEST_pms","pms_token_server":"http://10.0.0.2:32400","account_id":7,`, 1))
	pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	_, err = w.Finish(t.Context())
	require.NoError(t, err)
	assert.Contains(t, w.doc(t), "TEST_pms")
	assert.Equal(t, "7", mustSettings(t, w.PlexAuth).AccountID)
	assert.NotContains(t, w.doc(t), "_was_account")
}

// SignOut ends every token of the account, also one that is parked elsewhere.
func TestSignOutEndsParkedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p1 := w.Instance("P1")
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, p1, w.alice, plexauth.PinOptions{})
		id := mustSettings(t, w.PlexAuth).ClientID
		pin, err := p1.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		_, err = p1.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		_, err = w.SignOut(t.Context())
		require.NoError(t, err)
		assert.Empty(t, w.plex.Token(w.alice, id))
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

// G22: unlinking and cancelling wait for nobody, whatever plex.tv does to the
// request that is under way.
func TestDisconnectWhileTheAccountHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Hang: true, Times: -1})
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		ended := make(chan error, 1)
		go func() {
			_, err := w.Wait(t.Context())
			ended <- err
		}()
		time.Sleep(3 * time.Second)
		began := time.Now()
		_, err = w.Disconnect(t.Context())
		require.NoError(t, err)
		assert.Less(t, time.Since(began), 2*time.Second)
		assert.ErrorIs(t, <-ended, plexauth.ErrNoPendingPin)
		assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
	})
}

// A login that somebody else has settled is a success for all who wait, without
// another request.
func TestSettledByAnother(t *testing.T) {
	for name, settle := range map[string]func(*plexauth.PlexAuth, context.Context) error{
		"Cancel": func(p *plexauth.PlexAuth, c context.Context) error { return p.Cancel(c) },
		"Verify": func(p *plexauth.PlexAuth, c context.Context) error { return second(p.Verify(c)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
				ended := make(chan error, 1)
				go func() {
					_, err := w.Wait(t.Context())
					ended <- err
				}()
				time.Sleep(10 * time.Second)
				w.plex.ResetFaults()
				looks := len(w.looks(pin.CreatedAt))
				require.NoError(t, settle(w.PlexAuth, t.Context()))
				assert.NoError(t, <-ended)
				assert.Len(t, w.looks(pin.CreatedAt), looks)
			})
		})
	}
}

// Login follows its own PIN: finished or replaced while it was being shown.
func TestLoginFollowsItsPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, err := w.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			return second(w.Finish(t.Context()))
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
		_, err = w.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error {
			pin, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
			require.NoError(t, err)
			return w.plex.Approve(pin.Code, w.alice)
		})
		require.ErrorIs(t, err, plexauth.ErrPinSuperseded)
		_, err = w.Login(t.Context(), plexauth.PinOptions{}, nil)
		require.ErrorContains(t, err, "shows the PIN")
	})
}

// G10: a token that is rejected right after its approval is known as such.
func TestRejectedAtLogin(t *testing.T) {
	w := newWorld(t)
	pin, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1001})
	s, err := w.Finish(t.Context())
	require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	assert.True(t, s.NeedsLogin)
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
