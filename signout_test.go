package plexauth_test

import (
	"net/http"
	"strings"
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
// profile gets the approved one, unless it shared the login that is signed out.
func TestSignOutLeavesTheApprovalToASibling(t *testing.T) {
	for name, row := range map[string]struct {
		linked func(w *world) *plextest.User
		gone   bool
	}{
		"no login":          {linked: func(*world) *plextest.User { return nil }},
		"another account's": {linked: func(w *world) *plextest.User { return w.bob }},
		"the same account":  {linked: func(w *world) *plextest.User { return w.alice }, gone: true},
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
