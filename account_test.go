package plexauth_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// openAnswered opens a replica that does something else after the first answer from path, before
// it looks at it. asked says how often it asks there.
func (w *world) openAnswered(t *testing.T, path string, do func()) (p *plexauth.PlexAuth, asked *int) {
	asked = new(int)
	return w.open(t, withTransport(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		resp, err := w.plex.Client().Transport.RoundTrip(r)
		if r.URL.Path == path {
			if *asked++; *asked == 1 {
				do()
			}
		}
		return resp, err
	}))), asked
}

// G16, G23: the login of a profile changes while plex.tv is asked for its account. The answer
// is not saved for another login. A token that another profile's login has retired is replaced
// by that one's, and one that has ended for another reason is rejected.
func TestLoginChangesWhileTheAccountIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		during func(t *testing.T, w *world)
		want   error
		linked func(w *world) *plextest.User
		asked  int // how often p asks for the account
	}{
		"relinked":                    {func(t *testing.T, w *world) { w.relink(t, w.alice) }, nil, func(w *world) *plextest.User { return w.alice }, 1},
		"relinked to another account": {func(t *testing.T, w *world) { w.relink(t, w.bob) }, nil, func(w *world) *plextest.User { return w.bob }, 1},
		"the same account in another profile": {func(t *testing.T, w *world) {
			w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
		}, nil, func(w *world) *plextest.User { return w.alice }, 1},
		"the same account in another profile, by an older program": {func(t *testing.T, w *world) {
			retired := w.credentials(t).AccountToken
			w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
			w.edit(t, map[string]any{"account_token": retired}) // it replaces no retired tokens
		}, nil, func(w *world) *plextest.User { return w.alice }, 2},
		"another account in another profile": {func(t *testing.T, w *world) {
			w.signIn(t, w.Instance("sibling"), w.bob, plexauth.PinOptions{})
		}, nil, func(w *world) *plextest.User { return w.alice }, 2},
		"ended": {func(t *testing.T, w *world) {
			w.signIn(t, w.Instance("sibling"), w.bob, plexauth.PinOptions{})
			w.plex.Revoke(w.alice)
		}, plexauth.ErrTokenRejected, func(w *world) *plextest.User { return w.alice }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.signIn(t, w.Instance("second"), w.bob, plexauth.PinOptions{})
				w.forgetAccount(t, nil)
				p, asked := w.openAnswered(t, "/api/v2/user", func() { c.during(t, w) })
				account, err := p.Account(t.Context())
				assert.Equal(t, c.asked, *asked)
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
					assert.True(t, must(w.Status(t.Context())).NeedsLogin)
					return
				}
				require.NoError(t, err)
				require.NotNil(t, account)
				assert.Equal(t, w.alice.ID, account.ID)
				assert.Equal(t, fmt.Sprint(c.linked(w).ID), mustSettings(t, w.PlexAuth).CloudAccountID)
				require.NoError(t, errOf(w.Verify(t.Context())))
			})
		})
	}
}

// Account returns the last answer, where it had to ask twice.
func TestAccountIsAskedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		answers, through := w.tamper("/api/v2/user")
		n := 0
		answers.change = func(body []byte) []byte {
			if n++; n == 1 {
				w.signIn(t, w.Instance("sibling"), w.bob, plexauth.PinOptions{})
				return body
			}
			return bytes.ReplaceAll(body, []byte("alice@example.com"), []byte("new@example.com"))
		}
		account, err := w.open(t, through).Account(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "new@example.com", account.Email)
	})
}

// If the store cannot be read again, Account returns the store's error, and does not ask again.
func TestAccountIsNotSavedBesideASibling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.signIn(t, w.Instance("sibling"), w.bob, plexauth.PinOptions{})
		w.forgetAccount(t, nil)
		asked := w.fromNow()
		_, err := w.open(t, withStore(w.hooked(hooks{beforeLoad: calls(3, 3, fails(errDisk))}))).Account(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.Len(t, asked(), 1)
	})
}

// G8: Verify finishes an approved login whose account was not known yet. Whatever becomes of that,
// it then asks whether the profile's token is valid.
func TestVerifyAfterAnApproval(t *testing.T) {
	for name, isEnded := range map[string]bool{"the token ends after that": false, "the token has ended": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				w.forgetAccount(t, nil)
				approved(t, w)
				w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1})
				require.ErrorIs(t, errOf(w.Finish(t.Context())), plexauth.ErrUnavailable)
				w.plex.ResetFaults()
				time.Sleep(time.Minute)
				if isEnded {
					w.plex.Revoke(w.alice)
				}
				p := w.open(t, withStore(w.hooked(hooks{afterUpdate: does(func() {
					if w.stored(t)["_pending_pin"] == nil {
						w.plex.Revoke(w.alice)
					}
				})})))
				s, err := p.Verify(t.Context())
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.True(t, s.NeedsLogin)
				assert.Nil(t, s.Pending)
			})
		})
	}
}

// Start asks whose the tokens of other profiles are, before they may be retired. It goes on to the
// next profile if plex.tv refuses to tell, and leaves it at one request if plex.tv is down.
func TestStartCannotLearnTheAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		fault plextest.Fault
		asked int
	}{
		"refused": {plextest.Fault{Path: "/api/v2/user", Code: 1013, Status: 422, Times: -1}, 2},
		"down":    {plextest.Fault{Path: "/api/v2/user", Status: 503, Times: -1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.forgive = foreignIdentifier
			put(t, w.store, jsonText(map[string]any{"client_id": "0123456789abcdef01234567", "instances": map[string]any{
				"P1": map[string]any{"account_token": w.plex.IssueToken(w.alice, "a")}, "P2": map[string]any{"account_token": w.plex.IssueToken(w.bob, "b")},
			}}))
			w.plex.Inject(c.fault)
			require.NoError(t, errOf(w.open(t, noRetries).Start(t.Context(), plexauth.PinOptions{})))
			assert.Equal(t, c.asked, w.count(http.MethodGet, "/api/v2/user"))
			assert.Contains(t, w.log.String(), "could not find out which account the stored login belongs to")
		})
	}
}

// SwitchHomeUser does not need to write the store if no profile loses its token by it.
func TestSwitchHomeUserWithAReadOnlyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, kid, _ := home(t)
		u := homeUser(t, w, kid)
		p := w.open(t, withStore(w.hooked(hooks{beforeUpdate: fails(errReadOnly)})))
		began := time.Now()
		token, err := p.SwitchHomeUser(t.Context(), u, "")
		require.NoError(t, err)
		assert.False(t, token.IsZero())
		assert.Less(t, time.Since(began), time.Minute)
	})
}
