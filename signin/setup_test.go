package signin_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// G21: if a visitor is refused because the app is not set up, the page and the log say so.
// If the account is the reason, the page does not mention the setup.
func TestNotSetUp(t *testing.T) {
	ownerOr := func(id int64) signin.Policy {
		return func(ctx context.Context, v signin.Visitor) (bool, error) {
			if in, err := signin.Owner(ctx, v); in || err != nil {
				return in, err
			}
			return v.Account.ID == id, nil
		}
	}
	for _, c := range []struct {
		name   string
		policy signin.Policy
		plex   func(*world) *plexauth.PlexAuth
		who    func(*world) *plextest.User
		says   string // "" if the account is the reason
		in     bool
	}{
		{name: "not connected", plex: func(w *world) *plexauth.PlexAuth { return unlinked(w.t, w) }, says: "is not connected to Plex yet"},
		{name: "not connected, home", policy: signin.Home, plex: func(w *world) *plexauth.PlexAuth { return unlinked(w.t, w) }, says: "is not connected to Plex yet"},
		{name: "not connected, shared", policy: signin.Shared, plex: func(w *world) *plexauth.PlexAuth { return unlinked(w.t, w) }, says: "is not connected to Plex yet"},
		{name: "disconnected", plex: func(w *world) *plexauth.PlexAuth {
			_, err := w.app.Disconnect(w.t.Context())
			require.NoError(w.t, err)
			return w.app
		}, says: "is not connected to Plex yet"},
		{name: "no login configured", plex: func(*world) *plexauth.PlexAuth { return nil }, says: "is not connected to Plex yet"},
		{name: "owns no server", plex: func(w *world) *plexauth.PlexAuth { return w.link(w.bob, "") }, who: func(w *world) *plextest.User { return w.bob }, says: "does not own its media server"},
		{name: "another's server", plex: func(w *world) *plexauth.PlexAuth { return w.link(w.bob, w.box.MachineID) }, says: "does not own its media server"},
		{name: "no server chosen", policy: signin.Shared, plex: func(w *world) *plexauth.PlexAuth { return w.link(w.alice, "") }, who: func(w *world) *plextest.User { return w.bob }, says: "no media server has been chosen"},
		{name: "no server chosen, its owner", policy: signin.Shared, plex: func(w *world) *plexauth.PlexAuth { return w.link(w.alice, "") }, in: true},
		{name: "a stranger", who: func(w *world) *plextest.User { return w.eve }},
		{name: "a stranger, shared", policy: signin.Shared, who: func(w *world) *plextest.User { return w.eve }},
		{name: "another account, not connected", policy: signin.Accounts(1), plex: func(w *world) *plexauth.PlexAuth { return unlinked(w.t, w) }},
		{name: "not connected, but the policy lets in", policy: ownerOr(7001009), plex: func(w *world) *plexauth.PlexAuth { return unlinked(w.t, w) }, in: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.handler(func(w *world, o *signin.Options) {
					o.Policy = c.policy
					if c.plex != nil {
						o.Plex = c.plex(w)
					}
				})
				who := w.alice
				if c.who != nil {
					who = c.who(w)
				}
				rec := w.signIn(h, who)
				if c.in {
					assert.Equal(t, http.StatusSeeOther, rec.Code)
					assert.Len(t, w.signedIn, 1)
					return
				}
				assert.Empty(t, w.signedIn)
				if c.says == "" {
					assert.Equal(t, http.StatusForbidden, rec.Code)
					assert.NotContains(t, rec.Body.String(), "set up")
					assert.NotContains(t, w.log.b.String(), "set up")
					return
				}
				assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
				assert.Contains(t, rec.Body.String(), c.says)
				assert.NotContains(t, rec.Body.String(), "No access")
				assert.Contains(t, w.log.b.String(), c.says)
			})
		})
	}
}

// Every policy refuses a Visitor that the app has made by itself.
func TestVisitorOfTheApp(t *testing.T) {
	for _, policy := range []signin.Policy{signin.Owner, signin.Home, signin.Shared} {
		in, err := policy(t.Context(), signin.Visitor{Account: plexauth.Account{ID: 1}})
		assert.NoError(t, err)
		assert.False(t, in)
	}
}

// The page tells visitors about Plex's Security Alert, and not to approve a sign-in that
// another person has started. The documents tell the operator.
func TestSecurityAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(w)
		first := b.get("/signin/")
		require.Equal(t, http.StatusOK, first.Code)
		b.start(nil)
		for _, rec := range []string{first.Body.String(), b.get("/signin/").Body.String(), b.post("/signin/finish").Body.String(), w.browser(w).get("/signin/callback").Body.String()} {
			assert.Contains(t, rec, "Security Alert")
			assert.Contains(t, rec, "sent a link or a code, cancel")
		}
	})
	for _, name := range []string{"../docs/web.md", "../docs/troubleshooting.md", "../SECURITY.md"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Contains(t, string(b), "Security Alert", name)
	}
	for _, name := range []string{"../docs/web.md", "../SECURITY.md"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		text := strings.ToLower(string(b))
		assert.Contains(t, text, "pin phishing", name)
		assert.Contains(t, text, "dns rebinding", name)
	}
}
