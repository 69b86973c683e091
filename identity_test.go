package plexauth_test

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G1: a device key takes an identifier over under which another profile's token
// lives. That token keeps it, whatever is begun and given up afterwards, and no new
// login gets it.
func TestIdentifierStaysWithItsToken(t *testing.T) {
	for name, begin := range map[string]func(w *world) *plexauth.PlexAuth{
		"on the same profile": func(w *world) *plexauth.PlexAuth { return w.PlexAuth },
		"on a third one":      func(w *world) *plexauth.PlexAuth { return w.Instance("third") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{})
				moved := w.Instance("moved")
				w.signIn(t, moved, w.alice, plexauth.PinOptions{})
				before := mustSettings(t, w.PlexAuth)
				require.NoError(t, second(moved.UseDeviceKey(t.Context())))

				p := begin(w)
				time.Sleep(time.Minute)
				require.NoError(t, second(p.Start(t.Context(), plexauth.PinOptions{})))
				require.NoError(t, p.Cancel(t.Context()))
				after := mustSettings(t, w.PlexAuth)
				assert.Equal(t, before.ClientID, after.ClientID)
				assert.True(t, before.AccountToken.Equal(after.AccountToken))
				require.NoError(t, second(w.Verify(t.Context())))

				w.signIn(t, p, w.bob, plexauth.PinOptions{})
				next := mustSettings(t, p).ClientID
				assert.NotEqual(t, before.ClientID, next)
				w.signIn(t, w.Instance("fourth"), w.alice, plexauth.PinOptions{})
				assert.Equal(t, next, mustSettings(t, w.Instance("fourth")).ClientID, "one for all new logins")
				for _, p := range []*plexauth.PlexAuth{w.PlexAuth, moved, p} {
					require.NoError(t, second(p.Verify(t.Context())))
				}
				require.NoError(t, second(moved.Refresh(t.Context())))
			})
		})
	}
}

// G1, G23: a PIN that was replaced, cancelled or has expired can be approved all the
// same. It takes nothing from the login that came after it.
func TestPINsShareNoKey(t *testing.T) {
	for name, row := range map[string]struct {
		before func(w *world, t *testing.T)
		drop   func(w *world, t *testing.T)
	}{
		"replaced": {drop: func(*world, *testing.T) {}},
		"cancelled": {drop: func(w *world, t *testing.T) {
			require.NoError(t, w.Cancel(t.Context()))
		}},
		"forgotten": {drop: func(w *world, t *testing.T) {
			require.NoError(t, second(w.Disconnect(t.Context())))
		}},
		"replaced, over a dead login": {
			before: func(w *world, t *testing.T) {
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Revoke(w.alice)
				require.Error(t, second(w.Verify(t.Context())))
			},
			drop: func(*world, *testing.T) {},
		},
		"cancelled, over a dead login": {
			before: func(w *world, t *testing.T) {
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Revoke(w.alice)
				require.Error(t, second(w.Verify(t.Context())))
			},
			drop: func(w *world, t *testing.T) { require.NoError(t, w.Cancel(t.Context())) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deviceKey)
				if row.before != nil {
					row.before(w, t)
				}
				old, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
				require.NoError(t, err)
				time.Sleep(time.Minute)
				row.drop(w, t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				require.NoError(t, w.plex.Approve(old.Code, w.bob))
				require.NoError(t, second(w.Refresh(t.Context())))
				time.Sleep(8 * day)
				a, err := w.Account(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "alice", a.Username)
			})
		})
	}
}

// G24: while a login moves over to a device key, another replica begins a login with
// one, and also finishes it. Key, identifier and token stay together: the profile has
// those of the one or of the other, and they work.
func TestMoveBesideAnotherLogin(t *testing.T) {
	for _, at := range []string{"/api/v2/auth/jwk", nonces, exchanges} {
		for _, finishes := range []bool{false, true} {
			t.Run(at, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
					other := w.open(t, deviceKey)
					time.Sleep(time.Minute)
					var once sync.Once
					p := w.open(t, deviceKey, func(o *plexauth.Options) {
						o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
							if r.URL.Path == at {
								once.Do(func() {
									if finishes {
										w.signIn(t, other, w.alice, plexauth.PinOptions{})
									} else {
										assert.NoError(t, second(other.Start(t.Context(), plexauth.PinOptions{})))
									}
								})
							}
							return w.plex.Client().Transport.RoundTrip(r)
						})}
					})
					_, err := p.UseDeviceKey(t.Context())
					assert.Equal(t, finishes, err != nil, "%v", err)
					require.NoError(t, second(p.Account(t.Context())))
					require.NoError(t, second(p.Refresh(t.Context())))
					time.Sleep(8 * day)
					require.NoError(t, second(p.Account(t.Context())))
				})
			})
		}
	}
}

// G1, G24: another profile begins a login while a long-lived one moves over to a
// device key. Where plex.tv then refuses the move, the token goes on under the
// identifier that it was made under.
func TestRefusedMoveKeepsTheIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		before := mustSettings(t, w.PlexAuth)
		time.Sleep(time.Minute)
		p := w.beside(t, exchanges, func() {
			assert.NoError(t, second(w.open(t).Instance("other").Start(t.Context(), plexauth.PinOptions{})))
		})
		w.plex.Inject(plextest.Fault{Path: exchanges, Status: 403, Code: 1009, Times: -1})
		require.Error(t, second(p.UseDeviceKey(t.Context())))
		assert.Equal(t, before.ClientID, mustSettings(t, w.PlexAuth).ClientID)
		require.NoError(t, second(w.Verify(t.Context())))
	})
}

// G1, G24: the profile that begins a login during the move is another one, in another
// process. The move stops before plex.tv ends a token for it, or both logins work.
func TestMoveBesideASibling(t *testing.T) {
	for _, at := range []string{"/api/v2/auth/jwk", nonces, exchanges} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				time.Sleep(time.Minute)
				other := w.open(t).Instance("other")
				var pin *plexauth.Pin
				p := w.beside(t, at, func() {
					var err error
					pin, err = other.Start(t.Context(), plexauth.PinOptions{})
					assert.NoError(t, err)
				})
				_, err := p.UseDeviceKey(t.Context())
				if at == exchanges {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, `profile "other" has a login pending`)
				}
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				require.NoError(t, second(other.Wait(t.Context())))
				time.Sleep(8 * day)
				for _, p := range []*plexauth.PlexAuth{w.PlexAuth, other} {
					require.NoError(t, second(p.Verify(t.Context())))
				}
			})
		})
	}
}

// G1, G24: a device key takes over the identifier while another profile's PIN is asked
// for under it. That profile's login gets another one, and both work.
func TestIdentifierTakenOverDuringAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		time.Sleep(time.Minute)
		other := w.beside(t, "/api/v2/pins", func() {
			assert.NoError(t, second(w.UseDeviceKey(t.Context())))
		}).Instance("other")
		w.signIn(t, other, w.alice, plexauth.PinOptions{})
		assert.NotEqual(t, mustSettings(t, w.PlexAuth).ClientID, mustSettings(t, other).ClientID)
		time.Sleep(8 * day)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, other} {
			require.NoError(t, second(p.Verify(t.Context())))
		}
	})
}

// G1: a device key takes over the program's own identifier, too. Then the store's
// serves for the logins of other profiles.
func TestProgramsIdentifierIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *plexauth.Options) { o.ClientID = "my-own-id" })
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		time.Sleep(time.Minute)
		require.NoError(t, second(w.UseDeviceKey(t.Context())))
		ids := map[string]bool{}
		for _, p := range []*plexauth.PlexAuth{w.Instance("second"), w.Instance("third")} {
			w.signIn(t, p, w.alice, plexauth.PinOptions{})
			ids[mustSettings(t, p).ClientID] = true
		}
		assert.Len(t, ids, 1)
		assert.NotContains(t, ids, "my-own-id")
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.Instance("second"), w.Instance("third")} {
			require.NoError(t, second(p.Verify(t.Context())))
		}
		require.NoError(t, second(w.Refresh(t.Context())))
	})
}

// beside opens a replica that does something else before its first request to a path.
func (w *world) beside(t *testing.T, path string, do func()) *plexauth.PlexAuth {
	var once sync.Once
	return w.open(t, func(o *plexauth.Options) {
		o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == path {
				once.Do(do)
			}
			return w.plex.Client().Transport.RoundTrip(r)
		})}
	})
}
