package plexauth_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// A storeCall is a call that accesses the store several times. The same call again is a
// success.
type storeCall struct {
	begin func(t *testing.T) *world
	call  func(ctx context.Context, w *world, p *plexauth.PlexAuth) error
}

// adopts makes p adopt the token that alice has elsewhere.
func adopts(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
	token := w.plex.Token(w.alice, elsewhere)
	if token == "" {
		token = w.plex.IssueToken(w.alice, elsewhere)
	}
	return errOf(p.Adopt(ctx, plexauth.NewToken(token), plexauth.AdoptOptions{ClientID: elsewhere}))
}

// pendingBesideASibling returns a world in which another profile has alice's login, and
// alice has approved a login of this profile that no call has noticed.
func pendingBesideASibling(t *testing.T) *world {
	w := newWorld(t)
	w.signIn(t, w.Instance("sibling"), w.alice, plexauth.PinOptions{})
	time.Sleep(time.Minute)
	return approved(t, w)
}

// jwtAfter returns a world with a device key, whose JWT is as old as that.
func jwtAfter(age time.Duration) func(t *testing.T) *world {
	return func(t *testing.T) *world {
		w := newDeviceWorld(t)
		time.Sleep(age)
		return w
	}
}

// foreignToken returns a world with a token that another program has stored without its
// identifier and account.
func foreignToken(t *testing.T) *world {
	w := newWorld(t)
	w.forgive = foreignIdentifier
	put(t, w.store, jsonText(map[string]any{"account_token": w.plex.IssueToken(w.alice, "program")}))
	return w
}

var storeCalls = map[string]storeCall{
	"Adopt":              {newWorldOf, adopts},
	"Adopt over a login": {func(t *testing.T) *world { return linked(t, false) }, adopts},
	"Adopt over a login whose account is not stored": {func(t *testing.T) *world {
		w := linked(t, false)
		w.forgetAccount(t, nil)
		return w
	}, adopts},
	"Adopt over an approval": {pendingBesideASibling, adopts},
	"Adopt without identifier": {newWorldOf, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
		w.forgive = foreignIdentifier
		token := w.plex.Token(w.alice, elsewhere)
		if token == "" {
			token = w.plex.IssueToken(w.alice, elsewhere)
		}
		return errOf(p.Adopt(ctx, plexauth.NewToken(token), plexauth.AdoptOptions{}))
	}},
	"Disconnect": {func(t *testing.T) *world { return approved(t, linked(t, false)) }, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error {
		return errOf(p.Disconnect(ctx))
	}},
	"SignOut": {func(t *testing.T) *world { return linked(t, false) }, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error {
		return errOf(p.SignOut(ctx))
	}},
	"SignOut with an approval": {pendingBesideASibling, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error {
		return errOf(p.SignOut(ctx))
	}},
	"Start over an approval": {pendingBesideASibling, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error {
		return errOf(p.Start(ctx, plexauth.PinOptions{SwitchAccount: true}))
	}},
	"Token":                          {foreignToken, tokenCall},
	"Token of a JWT that is due":     {jwtAfter(6*day + 23*time.Hour), tokenCall},
	"Token of an expired JWT":        {jwtAfter(8 * day), tokenCall},
	"Transport":                      {foreignToken, requestCall},
	"Transport of a JWT that is due": {jwtAfter(6*day + 23*time.Hour), requestCall},
	"Transport of an expired JWT":    {jwtAfter(8 * day), requestCall},
	"Refresh":                        {jwtAfter(time.Hour), func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error { return errOf(p.Refresh(ctx)) }},
	"Account":                        {foreignToken, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error { return errOf(p.Account(ctx)) }},
	"Verify":                         {foreignToken, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error { return errOf(p.Verify(ctx)) }},
	"UseDeviceKey":                   {func(t *testing.T) *world { return linked(t, false) }, func(ctx context.Context, _ *world, p *plexauth.PlexAuth) error { return errOf(p.UseDeviceKey(ctx)) }},
	"SwitchHomeUser beside a sibling": {func(t *testing.T) *world {
		w, kid, _ := home(t)
		w.signIn(t, w.Instance("sibling"), kid, plexauth.PinOptions{})
		return w
	}, func(ctx context.Context, w *world, p *plexauth.PlexAuth) error {
		users, err := w.HomeUsers(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		for _, u := range users {
			if u.Title == "Kid" {
				return errOf(p.SwitchHomeUser(ctx, u, ""))
			}
		}
		return fmt.Errorf("no such user in %v", users)
	}},
}

func newWorldOf(t *testing.T) *world { return newWorld(t) }

func tokenCall(ctx context.Context, _ *world, p *plexauth.PlexAuth) error { return errOf(p.Token(ctx)) }

// requestCall sends a program's request.
func requestCall(ctx context.Context, _ *world, p *plexauth.PlexAuth) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://plex.tv/api/v2/user", nil)
	if err != nil {
		return err
	}
	resp, err := p.Transport(nil).RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// run begins c, acts in its accesses to the store, and returns the error of the call. It asserts
// that each request is made under an identifier that is stored (G1).
func (c storeCall) run(t *testing.T, act func(w *world, p *plexauth.PlexAuth, cancel func()) hook) (w *world, p *plexauth.PlexAuth, err error) {
	w = c.begin(t)
	store := w.hooked(hooks{})
	p = w.open(t, withStore(store), func(o *plexauth.Options) {
		o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			id := r.Header.Get("X-Plex-Client-Identifier")
			assert.True(t, id == elsewhere || id != "" && strings.Contains(w.doc(t), id), "%s under %q", r.URL.Path, id)
			return w.plex.Client().Transport.RoundTrip(r)
		})}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := act(w, p, cancel)
	store.set(hooks{beforeLoad: h, beforeUpdate: h})
	err = c.call(ctx, w, p)
	time.Sleep(time.Minute) // a renewal may go on in the background
	store.set(hooks{})
	return w, p, err
}

// logins says of each profile whether it is signed in, and with a token that works.
func (w *world) logins(t *testing.T) (text string) {
	for _, id := range []string{"default", "sibling"} {
		s, err := w.Instance(id).Verify(t.Context())
		v := mustSettings(t, w.Instance(id))
		text += fmt.Sprintln(id, s.Connected, s.User, s.NeedsLogin, v.CloudAccountID, err == nil)
	}
	return text
}

// G8, G17, G18: whichever access to the store fails, once or from then on, the call ends with the
// store's error, or it is not needed. The same holds for a context that ends. Another
// call then does what the first one should.
func TestEachAccessToTheStoreFails(t *testing.T) {
	for name, c := range storeCalls {
		t.Run(name, func(t *testing.T) {
			var want string
			synctest.Test(t, func(t *testing.T) {
				w, _, err := c.run(t, func(*world, *plexauth.PlexAuth, func()) hook { return does(func() {}) })
				require.NoError(t, err)
				want = w.logins(t)
			})
			for how, f := range map[string]struct {
				last func(nth int64) int64
				is   error
			}{
				"fails once":             {func(nth int64) int64 { return nth }, plexauth.ErrStore},
				"fails from then on":     {func(int64) int64 { return math.MaxInt64 }, plexauth.ErrStore},
				"is in an ended context": {func(nth int64) int64 { return nth }, context.Canceled},
			} {
				nth := int64(1)
				for reached := true; reached; nth++ {
					reached = false
					t.Run(fmt.Sprintf("access %d %s", nth, how), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							w, p, err := c.run(t, func(_ *world, _ *plexauth.PlexAuth, cancel func()) hook {
								return calls(nth, f.last(nth), func(context.Context) error {
									reached = true
									if f.is == plexauth.ErrStore {
										return errDisk
									}
									cancel()
									return nil
								})
							})
							if err != nil {
								require.ErrorIs(t, err, f.is)
							}
							require.NoError(t, c.call(t.Context(), w, p))
							assert.Equal(t, want, w.logins(t))
						})
					})
				}
				assert.Greater(t, nth, int64(2), "the call accesses the store")
			}
		})
	}
}

// G8, G16, G23: whatever another process does to the profile between two accesses of a call to
// the store, the profile has the other's login, the call's, or none. A token that is
// stored works.
func TestAnotherProcessBetweenAccesses(t *testing.T) {
	for does, act := range map[string]func(t *testing.T, other *plexauth.PlexAuth, w *world){
		"disconnects": func(t *testing.T, other *plexauth.PlexAuth, _ *world) {
			require.NoError(t, errOf(other.Disconnect(t.Context())))
		},
		"signs in": func(t *testing.T, other *plexauth.PlexAuth, w *world) {
			w.signIn(t, other, w.alice, plexauth.PinOptions{SwitchAccount: true})
		},
		"signs in to another account": func(t *testing.T, other *plexauth.PlexAuth, w *world) {
			w.signIn(t, other, w.bob, plexauth.PinOptions{SwitchAccount: true})
		},
		"starts a login": func(t *testing.T, other *plexauth.PlexAuth, _ *world) {
			require.NoError(t, errOf(other.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})))
		},
	} {
		for name, c := range storeCalls {
			for nth, reached := int64(1), true; reached; nth++ {
				reached = false
				t.Run(fmt.Sprintf("%s before access %d of %s", does, nth, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, _, _ := c.run(t, func(w *world, _ *plexauth.PlexAuth, _ func()) hook {
							w.replicas, w.forgive = true, "used"
							return calls(nth, nth, func(context.Context) error {
								reached = true
								act(t, w.open(t), w)
								return nil
							})
						})
						err := errOf(w.Verify(t.Context()))
						if mustSettings(t, w.PlexAuth).AccountToken.IsZero() {
							require.ErrorIs(t, err, plexauth.ErrNotConnected)
						} else {
							require.NoError(t, err)
						}
						if name != "SignOut" && name != "Disconnect" && name != "SignOut with an approval" && does == "signs in" && reached {
							assert.NoError(t, err)
						}
					})
				})
			}
		}
	}
}
