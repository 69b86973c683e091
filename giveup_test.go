package plexauth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// givingUp are the ways to end a login that waits.
var givingUp = map[string]func(context.Context, *plexauth.PlexAuth) error{
	"Cancel": func(ctx context.Context, p *plexauth.PlexAuth) error { return p.Cancel(ctx) },
	"Start": func(ctx context.Context, p *plexauth.PlexAuth) error {
		return second(p.Start(ctx, plexauth.PinOptions{SwitchAccount: true}))
	},
}

// G8: an approval counts that comes to light when its login is given up, though
// plex.tv was seen to reject the token before it, which it has ended, and though the
// first looks fail.
func TestGivenUpAfterARejection(t *testing.T) {
	for name, giveUp := range givingUp {
		for _, f := range []plextest.Fault{{}, {Reset: true}, {Status: 502, Body: "<html>", Times: 2}, {Status: 503}} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					time.Sleep(time.Minute)
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					require.ErrorIs(t, second(w.Verify(t.Context())), plexauth.ErrTokenRejected)
					if f.Reset || f.Status != 0 {
						f.Method, f.Path = http.MethodGet, "/api/v2/pins/*"
						w.plex.Inject(f)
					}
					began := time.Now()
					require.NoError(t, giveUp(t.Context(), w.PlexAuth))
					assert.LessOrEqual(t, time.Since(began), 4*time.Second)
					s, err := w.Verify(t.Context())
					require.NoError(t, err)
					assert.True(t, s.Connected)
				})
			})
		}
	}
}

// G8: a caller who cancels within two seconds of the last look leaves plex.tv time to
// tell of an approval.
func TestGivenUpInAHurry(t *testing.T) {
	for name, giveUp := range givingUp {
		for _, limit := range []time.Duration{1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					time.Sleep(time.Minute)
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					time.Sleep(5 * time.Second)
					require.NoError(t, second(w.Finish(t.Context())))
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					w.plex.Inject(plextest.Fault{Path: "/api/v2/*", Delay: 100 * time.Millisecond, Times: -1})
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					require.NoError(t, giveUp(ctx, w.PlexAuth))
					require.NoError(t, second(w.Verify(t.Context())))
				})
			})
		}
	}
}

// unreadOnce is a store whose first Load fails.
type unreadOnce struct {
	plexauth.ConfigStore
	failed bool
}

func (s *unreadOnce) Load(ctx context.Context, ns string) (jsonRaw, error) {
	if !s.failed {
		s.failed = true
		return nil, errors.New("no connection to the database")
	}
	return s.ConfigStore.Load(ctx, ns)
}

// G8: SignOut ends also what was approved and never looked at, on this profile or on
// one that lives on the same token, or says that it could not find out.
func TestSignOutFetchesTheApproval(t *testing.T) {
	for _, row := range []struct {
		name    string
		change  func(*plexauth.Options)
		sibling bool
		down    bool
		deaf    bool // the store fails at first
	}{
		{name: "here"},
		{name: "beside", sibling: true},
		{name: "with a device key", change: deviceKey},
		{name: "plex.tv is down", down: true},
		{name: "the store cannot be read", deaf: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				id := mustSettings(t, w.PlexAuth).ClientID
				p := w.PlexAuth
				if row.change != nil {
					p = w.open(t, row.change)
				}
				if row.sibling {
					p = w.Instance("beside")
					w.signIn(t, p, w.alice, plexauth.PinOptions{})
				}
				time.Sleep(time.Minute)
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				if row.down {
					w.plex.Inject(plextest.Fault{Method: http.MethodGet, Path: "/api/v2/pins/*", Status: 502, Times: -1})
				}
				signOut := w.PlexAuth
				if row.deaf {
					store := &unreadOnce{ConfigStore: w.store}
					signOut = w.open(t, func(o *plexauth.Options) { o.Store = store })
				}
				began := time.Now()
				s, err := signOut.SignOut(t.Context())
				assert.LessOrEqual(t, time.Since(began), 4*time.Second)
				assert.Equal(t, row.deaf, s.Connected, "forgotten, or nothing is")
				if row.down {
					require.ErrorIs(t, err, plexauth.ErrUnavailable)
					assert.ErrorContains(t, err, "may have been approved")
					return
				}
				if row.deaf {
					require.ErrorIs(t, err, plexauth.ErrStore)
					s, err = signOut.SignOut(t.Context())
					assert.False(t, s.Connected)
				}
				require.NoError(t, err)
				assert.Empty(t, w.plex.Token(w.alice, id))
				if row.change != nil {
					assert.Equal(t, 2, w.count("DELETE", "/api/v2/users/signout"))
				}
			})
		})
	}
}

// G8, G23: the approval that SignOut finds is of an account on whose token another
// profile has lived, under the same identifier. That profile gets the approved one.
// Where it lived on the login that is signed out, it is signed out as well.
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
