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

// UseDeviceKey moves a long-lived login to a device key without asking the person. The
// old token ends, and the identifier becomes the device's.
func TestUseDeviceKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, scopes("username"))
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, w.Instance("bob"), w.bob, plexauth.PinOptions{})
		before := mustSettings(t, w.PlexAuth)
		s, err := w.UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.NotZero(t, s.ExpiresAt)
		assert.Equal(t, []string{"username"}, s.Scopes)
		after := mustSettings(t, w.PlexAuth)
		assert.Equal(t, before.ClientID, after.ClientID)
		assert.Equal(t, before.Username, after.Username)
		assert.Empty(t, w.plex.Token(w.alice, before.ClientID), "the long-lived token has ended")
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		_, err = w.Instance("bob").Verify(t.Context())
		require.NoError(t, err, "another account's token under that identifier is its own")

		first, asked := tokenOf(t, w.PlexAuth), w.fromNow()
		time.Sleep(time.Minute)
		_, err = w.UseDeviceKey(t.Context()) // again: as Refresh
		require.NoError(t, err)
		assert.NotEqual(t, first, tokenOf(t, w.PlexAuth))
		assert.Empty(t, only(asked(), "POST", "/api/v2/auth/jwk"), "the key is registered already")

		third := w.Instance("third") // a long-lived login after that does not end the JWT
		w.signIn(t, third, w.alice, plexauth.PinOptions{})
		assert.NotEqual(t, before.ClientID, mustSettings(t, third).ClientID)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.Instance("bob"), third} {
			_, err = p.Verify(t.Context())
			require.NoError(t, err)
		}
	})
}

// A server token that was the long-lived token itself ends with it.
func TestUseDeviceKeyAndTheServerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: true})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		v, err := w.Inspect(t.Context())
		require.NoError(t, err)
		require.True(t, v.ServerToken.Equal(v.AccountToken))
		_, err = w.UseDeviceKey(t.Context())
		require.NoError(t, err)
		after := mustSettings(t, w.PlexAuth)
		assert.True(t, after.ServerToken.IsZero())
		assert.Equal(t, v.ServerURL, after.ServerURL)
		_, err = w.Inspect(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrServerToken)
	})
}

// A move that cannot be made changes nothing.
func TestUseDeviceKeyRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNotConnected)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		put(t, w.store, strings.Replace(w.doc(t), "{", fmt.Sprintf(`{"instances":{"PLEX-P01":{"account_token":%q}},`, tokenOf(t, w.PlexAuth)), 1))
		before := w.doc(t)
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorContains(t, err, "PLEX-P01")
		assert.Equal(t, before, w.doc(t))
		_, err = w.Instance("PLEX-P01").Disconnect(t.Context())
		require.NoError(t, err)

		// The token of that login would be under the identifier of the device.
		_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		before = w.doc(t)
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorContains(t, err, `"PLEX-P01" has a login pending`)
		assert.Equal(t, before, w.doc(t))
		time.Sleep(16 * time.Minute) // that PIN has expired

		old := tokenOf(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/auth/jwk", Status: 502})
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, old, tokenOf(t, w.PlexAuth))
		assert.Zero(t, w.count("GET", nonces), "a failed move is not continued without another call")
		_, err = w.open(t, deviceKey).Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, mustSettings(t, w.PlexAuth).ClientID, w.credentials(t).Device.ClientID, "a login with a device key does not use the key of the failed move")

		w.plex.Revoke(w.alice)
		s, err := w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.True(t, s.NeedsLogin)
	})
}

// A move that stopped half way is continued with the key that is registered.
func TestUseDeviceKeyGoesOn(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"registered, answer lost": {Path: "/api/v2/auth/jwk", ResetAfter: true},
		"no nonce":                {Path: nonces, Status: 502, Times: 4},
		"exchanged, answer lost":  {Path: exchanges, ResetAfter: true, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Inject(fault)
				_, err := w.UseDeviceKey(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				kid := w.credentials(t).Device.Kid
				w.plex.ResetFaults()
				time.Sleep(2 * time.Second)
				s, err := w.open(t).UseDeviceKey(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.NotZero(t, s.ExpiresAt)
				assert.Equal(t, kid, w.credentials(t).Device.Kid)
			})
		})
	}
}

// G23: a move that plex.tv has refused leaves the long-lived login as it is, also if an
// earlier call had come half way. Calling again continues it, with the key that is
// registered.
func TestUseDeviceKeyRefused(t *testing.T) {
	earlier := map[string]*plextest.Fault{
		"at once":                  nil,
		"after a lost answer":      {Path: "/api/v2/auth/jwk", ResetAfter: true},
		"after trouble on the way": {Path: exchanges, Status: 502, Times: -1},
	}
	for name, fault := range map[string]plextest.Fault{
		"no nonce":                  {Path: nonces, Code: 1003, Times: -1},
		"the key is refused":        {Path: exchanges, Code: 1001, Times: -1},
		"too many exchanges":        {Path: exchanges, Code: 1003, Times: -1},
		"the device JWT is refused": {Path: exchanges, Code: 1008, Times: -1},
	} {
		for when, before := range earlier {
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testUseDeviceKeyRefused(t, fault, before) })
			})
		}
	}
}

// testUseDeviceKeyRefused lets plex.tv refuse a move, perhaps after calls that failed
// otherwise.
func testUseDeviceKeyRefused(t *testing.T, fault plextest.Fault, before *plextest.Fault) {
	w := newWorld(t)
	w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	long := tokenOf(t, w.PlexAuth)
	if before != nil {
		w.plex.Inject(*before)
		require.ErrorIs(t, errOf(w.UseDeviceKey(t.Context())), plexauth.ErrUnavailable)
		if before.Times < 0 {
			require.ErrorIs(t, errOf(w.UseDeviceKey(t.Context())), plexauth.ErrUnavailable)
		}
		w.plex.ResetFaults()
	}
	kid := w.credentials(t).Device.Kid
	w.plex.Inject(fault)
	s, err := w.UseDeviceKey(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, plexauth.ErrTokenRejected, "that was not about the token")
	assert.True(t, s.Connected)
	assert.False(t, s.NeedsLogin)
	if before == nil || fault.Code == 1008 { // which could mean that another device has the key
		kid = w.credentials(t).Device.Kid
	}
	w.plex.ResetFaults()
	time.Sleep(time.Hour)
	_, err = w.open(t).Account(t.Context())
	require.NoError(t, err)
	assert.Equal(t, long, tokenOf(t, w.PlexAuth))
	s, err = w.UseDeviceKey(t.Context())
	require.NoError(t, err)
	assert.NotZero(t, s.ExpiresAt)
	assert.Equal(t, kid, w.credentials(t).Device.Kid)
}

// Two lost answers, one after the other, do not lose the login.
func TestUseDeviceKeyGoesOnTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/auth/jwk", ResetAfter: true})
		_, err := w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		w.plex.Inject(plextest.Fault{Path: exchanges, ResetAfter: true, Times: 2})
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		w.plex.ResetFaults()
		time.Sleep(2 * time.Second)
		s, err := w.UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.NotZero(t, s.ExpiresAt)
	})
}

// Concurrent calls, in two processes, move the login once.
func TestUseDeviceKeyConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		var wg sync.WaitGroup
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.open(t)} {
			for range 5 {
				wg.Go(func() {
					s, err := p.UseDeviceKey(t.Context())
					assert.NoError(t, err)
					assert.NotZero(t, s.ExpiresAt)
				})
			}
		}
		wg.Wait()
		assert.LessOrEqual(t, w.count("POST", "/api/v2/auth/jwk"), 2, "one a process")
		_, err := w.Refresh(t.Context())
		require.NoError(t, err)
	})
}

// G9: a call that waits for another one ends with its context.
func TestUseDeviceKeyInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/auth/jwk", Delay: 5 * time.Second})
		first := make(chan error, 1)
		go func() { first <- errOf(w.UseDeviceKey(t.Context())) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		s, err := w.UseDeviceKey(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
		assert.True(t, s.Connected)
		require.NoError(t, <-first)
	})
}

// A key that the store has not taken is not registered at plex.tv.
func TestUseDeviceKeyUnsaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		writes := 0
		p := w.open(t, withStore(w.hooked(hooks{refuse: func(jsonRaw) error {
			if writes++; writes == 1 {
				return errDisk
			}
			return nil
		}})))
		before := w.doc(t)
		require.ErrorIs(t, errOf(p.UseDeviceKey(t.Context())), plexauth.ErrStore)
		assert.Equal(t, before, w.doc(t))
		assert.Zero(t, w.count("POST", "/api/v2/auth/jwk"))
		require.NoError(t, errOf(p.UseDeviceKey(t.Context())))
	})
}

// otherDevicesKey returns a world, and the store of another program in which bob has a
// long-lived login, beside the key of a device in the world.
func otherDevicesKey(t *testing.T) (*world, plexauth.ConfigStore) {
	w := newDeviceWorld(t)
	b := w.credentials(t)
	clone := plexauth.NewMemoryStore()
	p := w.open(t, withStore(clone))
	w.signIn(t, p, w.bob, plexauth.PinOptions{})
	raw, err := clone.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	put(t, clone, strings.Replace(string(raw), "{", fmt.Sprintf(`{"_device":{"client_id":%q,"kid":%q,"secret":%q},`, mustSettings(t, p).ClientID, b.Device.Kid, b.Device.Secret), 1))
	return w, clone
}

// A key that belongs to another device is replaced once by a new one.
func TestUseDeviceKeyTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, clone := otherDevicesKey(t)
		s, err := w.open(t, withStore(clone)).UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.NotZero(t, s.ExpiresAt)
		assert.Equal(t, 2, w.count("POST", "/api/v2/auth/jwk"), "with the key, and with one new key")
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// The store fails after plex.tv has refused another device's key. The call ends with the
// store's error, and the next one goes on.
func TestUseDeviceKeyTakenUnsaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, clone := otherDevicesKey(t)
		failing := &hookedStore{ConfigStore: clone, hooks: hooks{beforeUpdate: calls(4, 4, fails(errDisk))}} // when the refusal is saved, after two attempts
		p := w.open(t, withStore(failing))
		s, err := p.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.True(t, s.Connected)
		assert.Zero(t, s.ExpiresAt)
		assert.Equal(t, 1, w.count("POST", "/api/v2/auth/jwk"))
		s, err = p.UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.NotZero(t, s.ExpiresAt)
	})
}

// G24: another replica starts, and perhaps finishes, a login with a device key during
// a move. The profile ends up with key, identifier and token of one of the two, and
// they work.
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
										assert.NoError(t, errOf(other.Start(t.Context(), plexauth.PinOptions{})))
									}
								})
							}
							return w.plex.Client().Transport.RoundTrip(r)
						})}
					})
					_, err := p.UseDeviceKey(t.Context())
					assert.Equal(t, finishes, err != nil, "%v", err)
					require.NoError(t, errOf(p.Account(t.Context())))
					require.NoError(t, errOf(p.Refresh(t.Context())))
					time.Sleep(8 * day)
					require.NoError(t, errOf(p.Account(t.Context())))
				})
			})
		}
	}
}

// G1, G24: another profile starts a login during a move that plex.tv then refuses. The
// token keeps the identifier that it was made under.
func TestRefusedMoveKeepsTheIdentifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		before := mustSettings(t, w.PlexAuth)
		time.Sleep(time.Minute)
		p := w.openInterrupted(t, exchanges, func() {
			assert.NoError(t, errOf(w.open(t).Instance("other").Start(t.Context(), plexauth.PinOptions{})))
		})
		w.plex.Inject(plextest.Fault{Path: exchanges, Status: 403, Code: 1009, Times: -1})
		require.Error(t, errOf(p.UseDeviceKey(t.Context())))
		assert.Equal(t, before.ClientID, mustSettings(t, w.PlexAuth).ClientID)
		require.NoError(t, errOf(w.Verify(t.Context())))
	})
}

// G1, G24: another profile in another process starts a login during a move. The move
// stops before plex.tv ends a token, or both logins work.
func TestMoveBesideASibling(t *testing.T) {
	for _, at := range []string{"/api/v2/auth/jwk", nonces, exchanges} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				time.Sleep(time.Minute)
				other := w.open(t).Instance("other")
				var pin *plexauth.Pin
				p := w.openInterrupted(t, at, func() {
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
				require.NoError(t, errOf(other.Wait(t.Context())))
				time.Sleep(8 * day)
				for _, p := range []*plexauth.PlexAuth{w.PlexAuth, other} {
					require.NoError(t, errOf(p.Verify(t.Context())))
				}
			})
		})
	}
}

// G1, G24: a device key takes over the identifier while another profile's PIN is
// requested under it. That login gets another identifier, and both work.
func TestIdentifierTakenOverDuringAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		time.Sleep(time.Minute)
		other := w.openInterrupted(t, "/api/v2/pins", func() {
			assert.NoError(t, errOf(w.UseDeviceKey(t.Context())))
		}).Instance("other")
		w.signIn(t, other, w.alice, plexauth.PinOptions{})
		assert.NotEqual(t, mustSettings(t, w.PlexAuth).ClientID, mustSettings(t, other).ClientID)
		time.Sleep(8 * day)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, other} {
			require.NoError(t, errOf(p.Verify(t.Context())))
		}
	})
}
