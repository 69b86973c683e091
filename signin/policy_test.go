package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

// G21: no one gets in unless the policy allows it. Each policy lets in exactly the
// accounts that it describes, and compares account IDs.
func TestPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		carol := w.plex.AddUser(plextest.User{Username: "carol", HomeAdmin: w.alice})
		dave := w.plex.AddUser(plextest.User{Username: "dave"})
		// Eve has copied all of alice's names, and her own server has the machine
		// identifier of alice's.
		w.plex.ChangeUser(w.eve, func(u *plextest.User) {
			u.Username, u.Title, u.Email, u.FriendlyName = w.alice.Username, w.alice.Title, w.alice.Email, "alice"
		})
		w.plex.AddMediaServer(w.eve, plextest.MediaServer{Name: "Box", MachineID: w.box.MachineID})
		// A friend of hers has such a server too, and shares it with her.
		w.plex.AddMediaServer(w.plex.AddUser(plextest.User{}), plextest.MediaServer{MachineID: w.box.MachineID, SharedWith: []*plextest.User{w.eve, dave}})

		// Frank owns a server, and alice shares hers with him.
		frank := w.plex.AddUser(plextest.User{Username: "frank"})
		w.plex.AddMediaServer(frank, plextest.MediaServer{Name: "Frank's"})
		w.plex.ChangeMediaServer(w.box, func(m *plextest.MediaServer) { m.SharedWith = append(m.SharedWith, frank) })

		everyone := map[string]*plextest.User{"alice": w.alice, "bob": w.bob, "carol": carol, "kid": kid, "eve": w.eve, "dave": dave, "frank": frank}
		for name, c := range map[string]struct {
			policy signin.Policy
			plex   *plexauth.PlexAuth
			in     []string
		}{
			"default":                                     {nil, w.app, []string{"alice"}},
			"default, no server chosen":                   {nil, w.link(w.alice, ""), []string{"alice"}},
			"default, linked account owns nothing":        {nil, w.link(w.bob, ""), nil},
			"default, another's server chosen":            {nil, w.link(w.bob, w.box.MachineID), nil},
			"default, linked account owns another server": {nil, w.link(frank, w.box.MachineID), nil},
			"default, not linked":                         {nil, unlinked(t, w), nil},
			"default, no login configured":                {nil, nil, nil},
			"home":                                        {signin.Home, w.app, []string{"alice", "carol", "kid"}},
			"home, linked account owns nothing":           {signin.Home, w.link(w.bob, ""), nil},
			"shared":                                      {signin.Shared, w.app, []string{"alice", "bob", "carol", "kid", "frank"}},
			"shared, no server chosen":                    {signin.Shared, w.link(w.alice, ""), []string{"alice"}},
			"shared, no login configured":                 {signin.Shared, nil, nil},
			"accounts":                                    {signin.Accounts(dave.ID, w.bob.ID), nil, []string{"bob", "dave"}},
			"no accounts":                                 {signin.Accounts(), w.app, nil},
			"the app's own": {func(_ context.Context, v signin.Visitor) (bool, error) { return v.Account.Restricted, nil },
				nil, []string{"kid"}},
			"the app's own fails": {func(context.Context, signin.Visitor) (bool, error) { return true, errors.New("no database") },
				nil, nil},
		} {
			h := w.handler(func(_ *world, o *signin.Options) { o.Policy, o.Plex = c.policy, c.plex })
			var in []string
			for who, u := range everyone {
				w.signedIn = nil
				if rec := w.signIn(h, u); len(w.signedIn) > 0 {
					assert.Equal(t, http.StatusSeeOther, rec.Code)
					assert.Equal(t, u.ID, w.signedIn[0].ID)
					in = append(in, who)
				} else {
					assert.Contains(t, []int{http.StatusForbidden, http.StatusServiceUnavailable}, rec.Code)
				}
			}
			assert.ElementsMatch(t, c.in, in, name)
		}

		w.plex.ChangeMediaServer(w.box, func(m *plextest.MediaServer) { m.SharedWith = nil })
		h := w.handler(func(_ *world, o *signin.Options) { o.Policy = signin.Shared })
		assert.Equal(t, http.StatusForbidden, w.signIn(h, w.bob).Code, "the server is no longer shared with him")
	})
}

// G21: a policy asks plex.tv for the app's account and for its servers with the same
// token. It ignores a stored account ID, and asks again if the token is replaced in
// between. If the token keeps changing, no one gets in.
func TestPolicyAsksAboutOneToken(t *testing.T) {
	for name, policy := range map[string]signin.Policy{"owner": signin.Owner, "home": signin.Home, "shared": signin.Shared} {
		for _, how := range []string{"before", "in between", "again and again"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					eves := w.plex.IssueToken(w.eve, "app")
					bobs := w.plex.IssueToken(w.bob, "app")
					store := plexauth.NewMemoryStore()
					write := func(token string) {
						assert.NoError(t, store.Update(t.Context(), plexauth.Namespace, func(json.RawMessage) (json.RawMessage, error) {
							return json.Marshal(map[string]any{"client_id": "app", "account_token": token, "username": "bob", "_cloud": map[string]any{"account_id": w.bob.ID}})
						}))
					}
					write(bobs)
					if how == "before" {
						write(eves)
					}
					app, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: &http.Client{Transport: hook(func(r *http.Request) (*http.Response, error) {
						old := r.Header.Get("X-Plex-Token")
						switch {
						case how == "before", r.URL.Path != "/api/v2/resources":
						case old == bobs: // the token is replaced just before this request
							write(eves)
							r.Header.Set("X-Plex-Token", eves)
						case how == "again and again":
							write(bobs)
						}
						return w.plex.Client().Transport.RoundTrip(r)
					})}})
					require.NoError(t, err)
					h := w.handler(func(_ *world, o *signin.Options) { o.Policy, o.Plex = policy, app })
					w.signIn(h, w.bob) // who owns no server
					assert.Empty(t, w.signedIn)
					w.signIn(h, w.eve)
					if how == "again and again" {
						assert.Empty(t, w.signedIn)
					} else if assert.Len(t, w.signedIn, 1) {
						assert.Equal(t, w.eve.ID, w.signedIn[0].ID)
					}
				})
			})
		}
	}
}

// G21: a policy does not let a visitor in because of a server that was replaced during the
// check.
func TestPolicyAsksAboutOneServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Not shared"})
		store := plexauth.NewMemoryStore()
		choose := func(machineID string) {
			assert.NoError(t, store.Update(t.Context(), plexauth.Namespace, func(json.RawMessage) (json.RawMessage, error) {
				return json.Marshal(map[string]any{"client_id": "app", "account_token": w.plex.Token(w.alice, "app"), "machine_id": machineID})
			}))
		}
		w.plex.IssueToken(w.alice, "app")
		choose(w.box.MachineID)
		app, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: &http.Client{Transport: hook(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/api/v2/resources" {
				choose(other.MachineID)
			}
			return w.plex.Client().Transport.RoundTrip(r)
		})}})
		require.NoError(t, err)
		h := w.handler(func(_ *world, o *signin.Options) { o.Policy, o.Plex = signin.Shared, app })
		assert.Equal(t, http.StatusForbidden, w.signIn(h, w.bob).Code)
		assert.Empty(t, w.signedIn)
	})
}

type hook func(*http.Request) (*http.Response, error)

func (f hook) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func unlinked(t *testing.T, w *world) *plexauth.PlexAuth {
	t.Helper()
	p, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: w.plex.Client()})
	require.NoError(t, err)
	return p
}

// If plex.tv has rejected the app's own login, no one gets in, and the page does not blame
// the visitor.
func TestAppRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Revoke(w.alice)
		rec := w.signIn(w, w.alice)
		assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
		assert.Empty(t, w.signedIn)
	})
}

// A policy that hangs is stopped after half a minute.
func TestPolicyHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *world, o *signin.Options) {
			o.Policy = func(ctx context.Context, _ signin.Visitor) (bool, error) {
				<-ctx.Done()
				return true, ctx.Err()
			}
		})
		began := time.Now()
		assert.Equal(t, http.StatusServiceUnavailable, w.signIn(w, w.alice).Code)
		assert.Less(t, time.Since(began), time.Minute)
		assert.Empty(t, w.signedIn)
	})
}
