package plexauth_test

import (
	"context"
	"fmt"
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

// SignOut ends every token of the account, including one that is parked in another
// profile.
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

// G22: Disconnect does not wait for a request that hangs.
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

// G22: Disconnect sends no request, and keeps the server and other programs' data.
func TestDisconnectOffline(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	put(t, w.store, strings.Replace(w.doc(t), "{", `{"server_url":"http://10.0.0.2:32400","machine_id":"m1","pms_token":"TEST_pms","pms_token_server":"http://10.0.0.2:32400","home_pin":"QXYZ","label":"mine","scrobble":{"libraries":["1"]},"_theirs":1,`, 1))
	asked := w.fromNow()
	s, err := w.Disconnect(t.Context())
	require.NoError(t, err)
	assert.False(t, s.Connected)
	assert.Empty(t, asked())
	m := w.stored(t)
	assert.Equal(t, "http://10.0.0.2:32400", m["server_url"])
	assert.Equal(t, "m1", m["machine_id"])
	assert.Equal(t, "mine", m["label"])
	assert.NotContains(t, m, "pms_token_server")
	assert.NotContains(t, w.doc(t), "TEST_")
	assert.NotContains(t, w.doc(t), "QXYZ")
	assert.Contains(t, w.doc(t), `"_theirs":1`)
}

// SignOut deletes the token here first, and reports if plex.tv could not be told.
func TestSignOut(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	id := mustSettings(t, w.PlexAuth).ClientID
	w.plex.Inject(plextest.Fault{Path: "/api/v2/users/signout", Status: 502})
	s, err := w.SignOut(t.Context())
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
	assert.ErrorContains(t, err, "signed out here")
	assert.False(t, s.Connected)
	assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
	assert.NotEmpty(t, w.plex.Token(w.alice, id))

	w.signInNow(t)
	_, err = w.SignOut(t.Context())
	require.NoError(t, err)
	assert.Empty(t, w.plex.Token(w.alice, id), "revoked")

	w.signInNow(t)
	w.plex.Revoke(w.alice)
	_, err = w.SignOut(t.Context())
	require.NoError(t, err, "a token that is dead already needs no revocation")
	_, err = w.SignOut(t.Context())
	require.NoError(t, err)
}

// SignOut of a profile whose token another program has removed leaves the other profiles of the
// account signed in.
func TestSignOutWithoutAToken(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	other := w.Instance("second")
	w.signIn(t, other, w.alice, plexauth.PinOptions{})
	w.edit(t, map[string]any{"account_token": ""})
	_, err := w.SignOut(t.Context())
	require.NoError(t, err)
	s, err := other.Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
}

// G10: a token that plex.tv has rejected is not revoked again.
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

// approveUnseen begins a login in p that alice approves, and at which p does not look.
func approveUnseen(t *testing.T, w *world, p *plexauth.PlexAuth) {
	t.Helper()
	time.Sleep(time.Minute)
	pin, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
}

// G8: SignOut also ends an approval that has not been seen yet, in this profile or
// another one with the same token.
func TestSignOutFetchesTheApproval(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, w *world) *plexauth.PlexAuth{
		"here": func(_ *testing.T, w *world) *plexauth.PlexAuth { return w.PlexAuth },
		"in another profile": func(t *testing.T, w *world) *plexauth.PlexAuth {
			p := w.Instance("second")
			w.signIn(t, p, w.alice, plexauth.PinOptions{})
			return p
		},
		"with a device key": func(t *testing.T, w *world) *plexauth.PlexAuth { return w.open(t, deviceKey) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				id := mustSettings(t, w.PlexAuth).ClientID
				approveUnseen(t, w, open(t, w))
				began := time.Now()
				s, err := w.SignOut(t.Context())
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(began), 4*time.Second)
				assert.False(t, s.Connected)
				assert.Empty(t, w.plex.Token(w.alice, id))
				if name == "with a device key" {
					assert.Equal(t, 2, w.count("DELETE", "/api/v2/users/signout"), "neither device stays listed")
				}
			})
		})
	}
}

// G8: SignOut says if it could not find out whether the pending login was approved, and
// changes nothing if the store cannot be read.
func TestSignOutCannotFetchTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		approveUnseen(t, w, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Status: 502, Times: -1})
		began := time.Now()
		s, err := w.SignOut(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "may have been approved")
		assert.LessOrEqual(t, time.Since(began), 4*time.Second)
		assert.False(t, s.Connected)
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		id := mustSettings(t, w.PlexAuth).ClientID
		approveUnseen(t, w, w.PlexAuth)
		p := w.open(t, withStore(w.hooked(hooks{beforeLoad: calls(1, 1, fails(errDisk))})))
		s, err := p.SignOut(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.True(t, s.Connected, "nothing is forgotten")
		s, err = p.SignOut(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		assert.Empty(t, w.plex.Token(w.alice, id))
	})
}

// G8, G23: SignOut finds an approval that has ended another profile's token. That
// profile gets the approved one, unless it shared the login that is signed out. An older
// version has not noted which tokens its account numbers belong to.
func TestSignOutLeavesTheApprovalToASibling(t *testing.T) {
	nobody := func(*world) *plextest.User { return nil }
	for name, row := range map[string]struct {
		linked      func(w *world) *plextest.User
		older, gone bool
	}{
		"no login":                   {linked: nobody},
		"no login, an older version": {linked: nobody, older: true},
		"another account's":          {linked: func(w *world) *plextest.User { return w.bob }},
		"the same account":           {linked: func(w *world) *plextest.User { return w.alice }, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if u := row.linked(w); u != nil {
					w.signIn(t, w.PlexAuth, u, plexauth.PinOptions{})
				}
				sibling := w.Instance("sibling")
				w.signIn(t, sibling, w.alice, plexauth.PinOptions{})
				time.Sleep(time.Minute)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
				require.NoError(t, err)
				if row.older {
					put(t, w.store, strings.ReplaceAll(w.doc(t), `,"bound_to":"`, `,"bound_before":"`))
				}
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				s, err := w.SignOut(t.Context())
				require.NoError(t, err)
				assert.False(t, s.Connected)
				_, err = sibling.Verify(t.Context())
				if row.gone {
					require.ErrorIs(t, err, plexauth.ErrNotConnected)
					return
				}
				require.NoError(t, err)
			})
		})
	}
}

// G1, G2: a token that another program has written without an identifier is revoked under the
// document's, which is made for that.
func TestSignOutOfATokenWithoutIdentifier(t *testing.T) {
	for _, id := range []string{"default", "PLEX-P01"} {
		w := newWorld(t)
		w.forgive = foreignIdentifier
		token := w.plex.IssueToken(w.alice, elsewhere)
		put(t, w.store, jsonText(map[string]any{"instances": map[string]any{"PLEX-P01": map[string]any{"account_token": token}}, "account_token": token}))
		_, err := w.Instance(id).SignOut(t.Context())
		require.NoError(t, err, id)
		assert.Empty(t, w.plex.Token(w.alice, elsewhere), "the token is revoked")
		asked := w.plex.Requests()
		assert.Equal(t, mustSettings(t, w.PlexAuth).ClientID, asked[len(asked)-1].Header.Get("X-Plex-Client-Identifier"), "it stays")
	}
}

// G22: Disconnect ends a Wait at once.
func TestDisconnectEndsAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		ended := make(chan error, 1)
		go func() { ended <- errOf(w.Wait(t.Context())) }()
		time.Sleep(1500 * time.Millisecond)
		began := time.Now()
		require.NoError(t, errOf(w.Disconnect(t.Context())))
		require.ErrorIs(t, <-ended, plexauth.ErrNoPendingPin)
		assert.Zero(t, time.Since(began))
	})
}

// G22: a login that begins while another one is disconnected goes on.
func TestDisconnectLeavesTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		var waits sync.WaitGroup
		var next *plexauth.Pin
		store.set(hooks{afterUpdate: does(func() {
			store.set(hooks{})
			next = must(p.Start(t.Context(), plexauth.PinOptions{}))
			waits.Go(func() { assert.NoError(t, errOf(p.Wait(t.Context()))) })
			time.Sleep(1500 * time.Millisecond)
		})})
		s, err := p.Disconnect(t.Context())
		require.NoError(t, err)
		require.NotNil(t, s.Pending)
		assert.Equal(t, next.Code, s.Pending.Code)
		require.NoError(t, w.plex.Approve(next.Code, w.alice))
		waits.Wait()
	})
}

// G12: the caller's context ends Disconnect, although a login that is being saved has its turn.
func TestDisconnectWhileASaveHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		store.set(hooks{beforeUpdate: calls(1, 1, hang)})
		waiting, stop := context.WithCancel(t.Context())
		var waits sync.WaitGroup
		waits.Go(func() { assert.Error(t, errOf(p.Wait(waiting))) })
		time.Sleep(1500 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, errOf(p.Disconnect(ctx)), context.DeadlineExceeded)
		stop()
		waits.Wait()
		assert.True(t, mustSettings(t, w.PlexAuth).AccountToken.IsZero())
	})
}

// SignOut says in the log that the person is signed out, and succeeds if the store has
// carried out an Update of which it reports an error.
func TestSignOutSavedWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		id := mustSettings(t, w.PlexAuth).ClientID
		p := w.open(t, withStore(w.hooked(hooks{afterUpdate: fails(errDisk)})))
		s, err := p.SignOut(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		assert.Empty(t, w.plex.Token(w.alice, id))
		assert.Contains(t, w.log.String(), "the store has removed the login, although it reported an error")
		assert.Contains(t, w.log.String(), ": signed out")
	})
}

// G8: SignOut says that one of several pending logins could not be asked for, whatever became
// of the others.
func TestSignOutCannotFetchOneApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		sibling := w.Instance("sibling")
		w.signIn(t, sibling, w.alice, plexauth.PinOptions{})
		require.NoError(t, errOf(w.Verify(t.Context())))
		time.Sleep(time.Minute)
		pin, err := sibling.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		start(t, w)
		w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: fmt.Sprint("/api/v2/pins/", pin.ID), Status: 502, Times: -1})
		s, err := w.SignOut(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.ErrorContains(t, err, "may have been approved")
		assert.False(t, s.Connected)
	})
}

// SignOut does not look at a PIN that another process makes, or looks at, during it.
func TestSignOutBesideAnotherProcess(t *testing.T) {
	for name, act := range map[string]func(t *testing.T, w *world, pin *plexauth.Pin){
		"another PIN": func(t *testing.T, w *world, _ *plexauth.Pin) {
			require.NoError(t, errOf(w.open(t).Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})))
		},
		"approved": func(t *testing.T, w *world, pin *plexauth.Pin) {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
			require.ErrorIs(t, errOf(w.open(t).Finish(t.Context())), plexauth.ErrUnavailable)
			w.plex.ResetFaults()
		},
	} {
		for nth := int64(2); nth <= 4; nth++ { // reads of the store, after the first one
			t.Run(fmt.Sprintf("%s before read %d", name, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, false)
					w.replicas = true
					pin := start(t, w)
					time.Sleep(time.Minute)
					asked, reached := w.fromNow(), false
					p := w.open(t, withStore(w.hooked(hooks{beforeLoad: calls(nth, nth, does(func() {
						reached = true
						act(t, w, pin)
						asked = w.fromNow()
					}))})))
					require.NoError(t, errOf(p.SignOut(t.Context())))
					assert.True(t, reached)
					if nth < 4 {
						assert.Empty(t, only(asked(), "GET", "/api/v2/pins/{id}"))
					}
				})
			})
		}
	}
}

// G8: if plex.tv does not tell the account of an approved token, SignOut ends that token as
// well, and logs why other profiles do not get it.
func TestSignOutOfAnApprovalOfUnknownAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pendingBesideASibling(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		require.NoError(t, errOf(w.SignOut(t.Context())))
		assert.Empty(t, w.plex.Token(w.alice, mustSettings(t, w.Instance("sibling")).ClientID))
		assert.Contains(t, w.log.String(), "could not find out which account the approved token belongs to")
	})
}

// A token that has expired cannot be revoked. With a device key there is a new one for that,
// and a device that plex.tv does not know any more is signed out already.
func TestSignOutOfAnExpiredToken(t *testing.T) {
	expired := plextest.Fault{Path: "/api/v2/users/signout", Status: 498, Code: 498, Message: "The token has expired", Times: -1}
	for name, c := range map[string]struct {
		begin   func(t *testing.T) *world
		fault   plextest.Fault
		want    error
		revokes int
	}{
		"long-lived":        {signedIn, expired, plexauth.ErrTokenExpired, 1},
		"device":            {jwtAfter(8 * day), plextest.Fault{Path: "/none"}, nil, 2},
		"device, down":      {jwtAfter(8 * day), plextest.Fault{Path: exchanges, Status: 503, Times: -1}, plexauth.ErrUnavailable, 1},
		"device is unknown": {jwtAfter(8 * day), plextest.Fault{Path: exchanges, Code: 1001, Times: -1}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := c.begin(t)
				w.plex.Inject(c.fault)
				s, err := w.open(t, noRetries).SignOut(t.Context())
				if c.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.want)
				}
				assert.False(t, s.Connected)
				assert.Equal(t, c.revokes, w.count("DELETE", "/api/v2/users/signout"))
			})
		})
	}
}

// G24: a Start that replaces a device's approved login goes on if plex.tv's token is not genuine.
func TestStartOverAnApprovalThatIsNotGenuine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey)
		pin := start(t, w)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: keysPath, Status: 503, Times: -1})
		require.Error(t, errOf(w.open(t, deviceKey, noRetries).Finish(t.Context())))
		w.plex.ResetFaults()
		doc := w.stored(t)["_pending_pin"].(map[string]any)
		doc["account_token"] = forge(t, doc["account_token"].(string), func(_, _ map[string]any) {})
		w.edit(t, map[string]any{"_pending_pin": doc})
		time.Sleep(time.Minute)
		require.NoError(t, errOf(w.Start(t.Context(), switched)))
	})
}
