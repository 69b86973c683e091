package plexauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G22: relinking the same account keeps the identifier and the server. Another account
// is refused unless wanted, and the old login stays.
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

// G22, G23: an approval by another account is refused, but has ended that account's
// token in another profile. That profile gets the new one.
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

// G23, G22: plex.tv keeps one token for each account and identifier. Profiles of the
// same account get the new one, and others keep theirs.
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

// G23: stored data of one account never stands next to another account's token, even
// if only its name is known.
func TestAccountsDoNotMix(t *testing.T) {
	const stored = `{"server_url":"http://10.0.0.2:32400","account_token":"TEST_old","pms_token":"TEST_pms","client_id":"abc","machine_id":"m1","username":"alice","account_id":5,"home_pin":"QXYZ","pms_token_server":"http://10.0.0.2:32400"}`
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
			assert.Equal(t, kept, strings.Contains(w.doc(t), "QXYZ"))
			assert.Contains(t, w.doc(t), `"machine_id":"m1"`)
		})
	}
}

// SwitchAccount keeps the settings if the same account approves.
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
	assert.NotContains(t, w.doc(t), "_was")
}

// G22: Start finds out whose the stored login is, so that another account is refused.
func TestMismatchWithAnUnknownAccount(t *testing.T) {
	for _, how := range []string{"could not be read", "another program's config"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if how == "could not be read" {
					w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				}
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.ResetFaults()
				if how != "could not be read" {
					w.forgetAccount(t, nil)
				}
				old := mustSettings(t, w.PlexAuth).AccountToken
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				_, err = w.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				assert.True(t, old.Equal(mustSettings(t, w.PlexAuth).AccountToken))
			})
		})
	}
}

// G23: a login that ends another profile's token gives it the next one, even if that
// profile's account was unknown.
func TestSuccessorForAnUnknownAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.ResetFaults()
		w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
		_, err := w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G23: the next account gets nothing of the previous one, even if plex.tv cannot say
// whose either login is. An equal title does not count as the same account.
func TestNextAccountInheritsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, w *world) // changes alice's profile
		outage bool                         // during the next login
	}{
		"linked, outage":         {outage: true},
		"never read":             {before: func(t *testing.T, w *world) { w.forgetAccount(t, map[string]any{"username": ""}) }, outage: true},
		"by name only":           {before: func(t *testing.T, w *world) { w.forgetAccount(t, nil) }, outage: true},
		"by name only, rejected": {before: func(t *testing.T, w *world) { w.forgetAccount(t, nil); w.plex.Revoke(w.alice) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, true)
				box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
				theirs := w.plex.ServerToken(w.alice, box)
				_, err := w.Inspect(t.Context())
				require.NoError(t, err)
				w.edit(t, map[string]any{"home_pin": "QXYZ"})
				if c.before != nil {
					c.before(t, w)
				}
				if c.outage {
					w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				}
				mallory := w.plex.AddUser(plextest.User{Username: "mallory", Title: "Alice"})
				w.signIn(t, w.PlexAuth, mallory, plexauth.PinOptions{SwitchAccount: true})
				for range 2 {
					s := mustSettings(t, w.PlexAuth)
					assert.NotEqual(t, theirs, s.ServerToken.Secret())
					assert.NotEqual(t, "1", s.AccountID)
					assert.NotContains(t, []any{"QXYZ"}, w.stored(t)["home_pin"])
					w.plex.ResetFaults()
					_, _ = w.Inspect(t.Context())
				}
				assert.NotContains(t, w.doc(t), theirs)
				assert.NotContains(t, w.doc(t), "QXYZ")
				assert.NotContains(t, w.doc(t), "_was")
			})
		})
	}
}

// G22: an account that signs in again during an outage gets its settings back, and so
// does a server token that was the account's own.
func TestSameAccountGetsItsSettingsBack(t *testing.T) {
	for _, sameToken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, true)
			w.plex.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: sameToken})
			box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
			_, err := w.Inspect(t.Context())
			require.NoError(t, err)
			w.edit(t, map[string]any{"home_pin": "1234", "account_id": 23456, "username": "Kid"})
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{SwitchAccount: true})
			assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero(), "not before the account is known")
			w.plex.ResetFaults()
			_, err = w.Verify(t.Context())
			require.NoError(t, err)
			s := mustSettings(t, w.PlexAuth)
			want := w.plex.ServerToken(w.alice, box)
			if sameToken {
				want = w.plex.Token(w.alice, s.ClientID)
			}
			assert.Equal(t, want, s.ServerToken.Secret())
			assert.Equal(t, "23456", s.AccountID)
			assert.Equal(t, "Kid", s.Username)
			assert.Equal(t, "1234", w.stored(t)["home_pin"])
			assert.NotContains(t, w.doc(t), "_was")
		})
	}
}

// G22: if Start cannot find out whose the stored login is, that is done at the
// approval, before anything is replaced.
func TestMismatchFoundOutLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.forgetAccount(t, nil)
		old := mustSettings(t, w.PlexAuth).AccountToken
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503}) // once, at Start
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.True(t, old.Equal(mustSettings(t, w.PlexAuth).AccountToken))
		_, err = w.Verify(t.Context())
		require.NoError(t, err)

		// The same account's approval has ended the old token, so that plex.tv cannot be asked.
		w.forgetAccount(t, nil)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G22, G23: an expired JWT tells itself whose it was. Its account may sign in, and
// another one only if wanted.
func TestRelinkOverAnExpiredJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.open(t, deviceKey), w.alice, plexauth.PinOptions{})
		old := mustSettings(t, w.PlexAuth)
		put(t, w.store, fmt.Sprintf(`{"client_id":%q,"account_token":%q}`, old.ClientID, old.AccountToken.Secret()))
		time.Sleep(8 * 24 * time.Hour)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		require.True(t, s.NeedsLogin)
		before := w.doc(t)

		login := func(u *plextest.User, o plexauth.PinOptions) error {
			_, err := w.Login(t.Context(), o, func(pin *plexauth.Pin) error { return w.plex.Approve(pin.Code, u) })
			return err
		}
		require.NoError(t, login(w.alice, plexauth.PinOptions{}))
		put(t, w.store, before)
		require.ErrorIs(t, login(w.bob, plexauth.PinOptions{}), plexauth.ErrAccountMismatch)
		require.NoError(t, login(w.bob, plexauth.PinOptions{SwitchAccount: true}))
		s, err = w.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
}

// G22, G23: plex.tv refuses to say whose the old token is, but does not reject it. The
// approval of another account does not replace it: the login waits, and fails at its
// end. With SwitchAccount it succeeds.
func TestRelinkOverARefusal(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		lasts  bool
	}{
		{403, `{"errors":[{"code":1009,"message":"Managed users may not do this","status":403}]}`, true},
		{401, `{"errors":[{"code":1029,"message":"Please enter the verification code","status":401}]}`, true},
		{422, `{"errors":[{"code":1008,"message":"Unprocessable request","status":422}]}`, true},
		{404, `{"errors":[{"code":1002,"message":"Not found","status":404}]}`, false},
		{503, `{"errors":[{"code":1007,"message":"Internal server error","status":503}]}`, false},
		{403, `<html>blocked</html>`, false},
	} {
		t.Run(fmt.Sprint(row.status, row.lasts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.forgetAccount(t, nil)
				v := &verdict{RoundTripper: w.plex.Client().Transport, token: mustSettings(t, w.PlexAuth).AccountToken.Secret(), status: row.status, body: row.body}
				p := w.open(t, withTransport(v))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				s, err := p.Finish(t.Context())
				require.Error(t, err)
				assert.False(t, s.Connected)
				if !row.lasts {
					v.token = "unused"
				}
				_, err = p.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				s, err = p.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "alice", s.User)
				assert.Nil(t, s.Pending)

				w.signIn(t, p, w.bob, plexauth.PinOptions{SwitchAccount: true})
			})
		})
	}
}

// G8, G22: the linked account approves, and plex.tv does not plainly reject the old
// token. The stored name, the words for a dead token or the JWT itself show that the
// account is the same. The new token is saved at once.
func TestRelinkBySamePerson(t *testing.T) {
	const (
		xml     = `<?xml version="1.0" encoding="UTF-8"?><errors><error>Invalid authentication token.</error></errors>`
		managed = `{"errors":[{"code":1009,"message":"Managed users may not do this","status":403}]}`
	)
	byKey := func(o *plexauth.Options) { o.DeviceKey, o.Scopes = true, []string{"username"} }
	plain := func(*plexauth.Options) {}
	for name, row := range map[string]struct {
		before, then func(*plexauth.Options)
		more         map[string]any
		status       int
		body         string
	}{
		"404 by words":      {plain, plain, map[string]any{"username": ""}, 404, xml},
		"403 by words":      {plain, plain, map[string]any{"username": ""}, 403, xml},
		"422 by name":       {plain, plain, nil, 422, `{"errors":[{"code":1008,"message":"Unprocessable","status":422}]}`},
		"404 by name":       {plain, plain, nil, 404, `{"errors":[{"code":1002,"message":"Not found","status":404}]}`},
		"403 by e-mail":     {plain, plain, map[string]any{"username": "Alice@Example.com"}, 403, managed},
		"to a key, by name": {plain, byKey, nil, 403, managed},
		"of a key":          {byKey, byKey, map[string]any{"username": ""}, 403, managed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.open(t, row.before), w.alice, plexauth.PinOptions{})
				w.forgetAccount(t, row.more)
				v := &verdict{RoundTripper: w.plex.Client().Transport, token: mustSettings(t, w.PlexAuth).AccountToken.Secret(), status: row.status, body: row.body}
				p := w.open(t, row.then, withTransport(v))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				s, err := p.Finish(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				s, err = p.Verify(t.Context())
				require.NoError(t, err)
				assert.Contains(t, strings.ToLower(s.User), "alice")
			})
		})
	}
}

// G22: a login that waits for such a refusal blocks neither Cancel nor another Start.
// Its error says that the account is unknown.
func TestRefusalBlocksNoOtherLogin(t *testing.T) {
	for name, end := range map[string]func(p *plexauth.PlexAuth, ctx context.Context) error{
		"Cancel": (*plexauth.PlexAuth).Cancel,
		"Start": func(p *plexauth.PlexAuth, ctx context.Context) error {
			return errOf(p.Start(ctx, plexauth.PinOptions{SwitchAccount: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.forgetAccount(t, nil)
				v := &verdict{RoundTripper: w.plex.Client().Transport, token: mustSettings(t, w.PlexAuth).AccountToken.Secret(), status: 403, body: `{"errors":[{"code":1009,"message":"no","status":403}]}`}
				p := w.open(t, withTransport(v))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				_, err = p.Finish(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(pin.ExpiresAt.AddDate(1, 0, 0).UnixMilli()), 1))
				result := make(chan error, 1)
				go func() {
					_, err := p.Wait(t.Context())
					result <- err
				}()
				time.Sleep(time.Second)
				require.NoError(t, end(p, t.Context()))
				err = <-result
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				assert.ErrorContains(t, err, "bob (plex.tv does not tell the account of the linked login)")
				s, err := p.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "alice", s.User)
			})
		})
	}
}

// G22: Start finds out whose logins its approval may end: those under the PIN's
// identifier, even if one of them cannot be asked about.
func TestStartIdentifiesStoredLogins(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, w *world) *plexauth.PlexAuth{
		"the program's identifier": func(t *testing.T, w *world) *plexauth.PlexAuth {
			put(t, w.store, `{"client_id":"0123456789abcdef01234567"}`)
			return w.open(t, func(o *plexauth.Options) { o.ClientID = "my-own-client-id" })
		},
		"one that cannot be asked about": func(t *testing.T, w *world) *plexauth.PlexAuth {
			dead := w.open(t, deviceKey)
			w.signIn(t, dead, w.bob, plexauth.PinOptions{})
			jwt := mustSettings(t, dead).AccountToken.Secret()
			require.NoError(t, errOf(dead.Disconnect(t.Context())))
			put(t, w.store, strings.Replace(w.doc(t), "{", fmt.Sprintf(`{"instances":{"first":{"account_token":%q}},`, jwt), 1))
			time.Sleep(8 * 24 * time.Hour)
			w.forgive = "another client identifier"
			return w.PlexAuth
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := prepare(t, w)
				other := p.Instance("second")
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				w.signIn(t, other, w.alice, plexauth.PinOptions{})
				w.plex.ResetFaults()
				w.signIn(t, p.Instance("third"), w.alice, plexauth.PinOptions{})
				s, err := other.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
			})
		})
	}
}
