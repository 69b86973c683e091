package plexauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
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

// overwriteToken writes u's token into alice's profile as another program does, and
// nothing else. Unless marked is set, the stored account number does not name its
// token, as in an older version.
func (w *world) overwriteToken(t *testing.T, u *plextest.User, marked bool) (token string) {
	t.Helper()
	w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	doc := w.stored(t)
	token = w.plex.IssueToken(u, mustSettings(t, w.PlexAuth).ClientID)
	doc["account_token"] = token
	if !marked {
		doc["_cloud"] = map[string]any{"account_id": w.alice.ID}
	}
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	put(t, w.store, string(raw))
	time.Sleep(time.Minute)
	return token
}

// G22, G23: account data that was read with one token does not count for another token
// that a program has put in its place. plex.tv is asked whose that is.
func TestAccountDataIsBoundToItsToken(t *testing.T) {
	for _, marked := range []bool{true, false} {
		for name, f := range map[string]func(t *testing.T, w *world, bobs string){
			"a sibling's login leaves it": func(t *testing.T, w *world, bobs string) {
				w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
				assert.Equal(t, bobs, mustSettings(t, w.PlexAuth).AccountToken.Secret())
			},
			"a sibling's sign-out leaves it": func(t *testing.T, w *world, bobs string) {
				w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
				_, err := w.Instance("second").SignOut(t.Context())
				require.NoError(t, err)
				assert.Equal(t, bobs, mustSettings(t, w.PlexAuth).AccountToken.Secret())
			},
			"its owner signs in again": func(t *testing.T, w *world, _ string) {
				w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
				assert.Equal(t, "bob", mustSettings(t, w.PlexAuth).Username)
			},
			"its owner gets a device key": func(t *testing.T, w *world, _ string) {
				w.signIn(t, w.open(t, deviceKey), w.bob, plexauth.PinOptions{})
				assert.Equal(t, fmt.Sprint(w.bob.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
			},
			"the account before is another one": func(t *testing.T, w *world, bobs string) {
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				_, err = w.Wait(t.Context())
				require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
				assert.Equal(t, bobs, mustSettings(t, w.PlexAuth).AccountToken.Secret())
			},
			"Verify finds out": func(t *testing.T, w *world, _ string) {
				s, err := w.Verify(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "bob", s.User)
				assert.Equal(t, fmt.Sprint(w.bob.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
			},
			"plex.tv does not answer before the login": func(t *testing.T, w *world, bobs string) {
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: http.StatusBadGateway, Times: 2})
				w.signIn(t, w.Instance("second"), w.alice, plexauth.PinOptions{})
				assert.Equal(t, bobs, mustSettings(t, w.PlexAuth).AccountToken.Secret())
			},
		} {
			t.Run(fmt.Sprint(name, marked), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					bobs := w.overwriteToken(t, w.bob, marked)
					if marked { // until then nothing is known of it
						s, err := w.Status(t.Context())
						require.NoError(t, err)
						v := mustSettings(t, w.PlexAuth)
						assert.Empty(t, s.User+v.Username+v.CloudAccountID+v.AccountID)
					}
					f(t, w, bobs)
				})
			})
		}
	}
}

// G22: an older version has not noted which token its account number belongs to. If
// that token is dead, plex.tv cannot be asked, and the number counts.
func TestAccountOfADeadToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.overwriteToken(t, w.alice, false)
		assert.Equal(t, fmt.Sprint(w.alice.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
		w.plex.Revoke(w.alice)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.Equal(t, "alice", mustSettings(t, w.PlexAuth).Username)
	})
}

// G8, G22: plex.tv refuses to say whose an approved token is. It is asked again once a
// minute until the PIN's end. Then the token is revoked, and the old login stays.
func TestRefusedApproval(t *testing.T) {
	for name, row := range map[string]struct {
		status int
		body   string
		end    func(t *testing.T, w *world, p *plexauth.PlexAuth) error
		most   int
		far    bool
	}{
		"Cancel": {403, `{"errors":[{"code":1009,"message":"no","status":403}]}`, func(t *testing.T, _ *world, p *plexauth.PlexAuth) error {
			return p.Cancel(t.Context())
		}, 2, false},
		"Start": {422, `{"errors":[{"code":1008,"message":"no","status":422}]}`, func(t *testing.T, _ *world, p *plexauth.PlexAuth) error {
			return errOf(p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true}))
		}, 2, false},
		"Wait": {401, `{"errors":[{"code":1029,"message":"no","status":401}]}`, func(t *testing.T, w *world, p *plexauth.PlexAuth) error {
			_, err := p.Wait(t.Context())
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, 1029, e.Code)
			return nil
		}, 17, false},
		"Wait, with a false date": {403, `{"errors":[{"code":1009,"message":"no","status":403}]}`, func(t *testing.T, _ *world, p *plexauth.PlexAuth) error {
			require.Error(t, errOf(p.Wait(t.Context())))
			return nil
		}, 70, true},
		"Verify a day later": {404, `{"errors":[{"code":1002,"message":"no","status":404}]}`, func(t *testing.T, _ *world, p *plexauth.PlexAuth) error {
			time.Sleep(24 * time.Hour)
			require.Error(t, errOf(p.Verify(t.Context())))
			return nil
		}, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				time.Sleep(time.Minute)
				pin, err := w.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
				id := mustSettings(t, w.PlexAuth).ClientID
				bobs := w.plex.Token(w.bob, id)
				s := &verdict{RoundTripper: w.plex.Client().Transport, token: bobs, path: "/api/v2/user", status: row.status, body: row.body}
				p := w.open(t, withTransport(s))
				require.Error(t, errOf(p.Finish(t.Context())))
				if row.far { // the clock was set, or a person has edited the date
					put(t, w.store, strings.Replace(w.doc(t), fmt.Sprint(pin.ExpiresAt.UnixMilli()), fmt.Sprint(pin.ExpiresAt.AddDate(1, 0, 0).UnixMilli()), 1))
				}
				require.NoError(t, row.end(t, w, p))
				assert.LessOrEqual(t, s.asked, row.most)
				assert.Empty(t, w.plex.Token(w.bob, id), "it was revoked")
				st, err := p.Verify(t.Context())
				if errors.Is(err, plexauth.ErrTokenRejected) {
					t.Fatal("the login before is gone")
				}
				require.NoError(t, err)
				assert.Equal(t, "alice", st.User)
			})
		})
	}
}

// asOlderVersion changes the document to that of an older version, whose account
// numbers do not name their tokens.
func (w *world) asOlderVersion(t *testing.T) {
	t.Helper()
	doc := w.doc(t)
	for _, p := range []string{"default", "second"} {
		doc = strings.Replace(doc, `,"bound_to":"`, `,"bound_before":"`, 1)
		require.Contains(t, doc, "bound_before", p)
	}
	put(t, w.store, doc)
}

// G23: an older version has not noted which tokens its account numbers belong to. A
// profile whose token is ended by another login or a switch of the Home user gets the
// next one all the same.
func TestAccountsOfAnOlderVersion(t *testing.T) {
	for name, row := range map[string]struct {
		who     func(w *world) *plextest.User
		retires func(t *testing.T, w *world)
	}{
		"a login": {func(w *world) *plextest.User { return w.alice }, func(t *testing.T, w *world) {
			require.NoError(t, w.plex.Approve(w.pending(t).Code, w.alice))
			require.NoError(t, errOf(w.open(t).Wait(t.Context())))
		}},
		"a login that is cancelled": {func(w *world) *plextest.User { return w.alice }, func(t *testing.T, w *world) {
			require.NoError(t, w.plex.Approve(w.pending(t).Code, w.alice))
			require.NoError(t, w.open(t).Cancel(t.Context()))
		}},
		"a switch": {func(w *world) *plextest.User {
			return w.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: w.alice})
		}, func(t *testing.T, w *world) {
			users, err := w.HomeUsers(t.Context())
			require.NoError(t, err)
			for _, u := range users {
				if u.Username == "carol" {
					require.NoError(t, errOf(w.SwitchHomeUser(t.Context(), u, "")))
				}
			}
		}},
	} {
		for _, o := range []plexauth.PinOptions{{}, {SwitchAccount: true}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					w.signIn(t, w.Instance("second"), row.who(w), plexauth.PinOptions{})
					time.Sleep(time.Minute)
					require.NoError(t, errOf(w.Start(t.Context(), o)))
					w.asOlderVersion(t)
					row.retires(t, w)
					for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.Instance("second")} {
						require.NoError(t, errOf(p.Verify(t.Context())))
					}
				})
			})
		}
	}
}

// pending returns the PIN that waits for its approval.
func (w *world) pending(t *testing.T) *plexauth.Pin {
	t.Helper()
	s, err := w.Status(t.Context())
	require.NoError(t, err)
	require.NotNil(t, s.Pending)
	return s.Pending
}
