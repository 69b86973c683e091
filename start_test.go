package plexauth_test

import (
	"context"
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

// pinsMade lists the client identifiers under which PINs were asked for.
func pinsMade(requests []plextest.Request) (clientIDs []string) {
	for _, r := range only(requests, http.MethodPost, "/api/v2/pins") {
		clientIDs = append(clientIDs, r.Header.Get("X-Plex-Client-Identifier"))
	}
	return clientIDs
}

// assertPending asserts that pin is the one that waits for its approval, and that it can be
// approved.
func (w *world) assertPending(t *testing.T, p *plexauth.PlexAuth, pin *plexauth.Pin) {
	t.Helper()
	if s := must(p.Status(t.Context())); assert.NotNil(t, s.Pending) {
		assert.Equal(t, pin.Code, s.Pending.Code)
	}
	require.NoError(t, w.plex.Approve(pin.Code, w.alice))
	s, err := p.Wait(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
}

// Start replaces a PIN of another kind. If an approval of that could have ended no token,
// plex.tv is not asked about it. An approval that no one has seen is kept as a login of its own.
func TestStartOverAPendingPIN(t *testing.T) {
	for name, approve := range map[string]bool{"nothing to lose": false, "approved": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if approve {
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				}
				old := start(t, w)
				time.Sleep(10 * time.Second)
				if approve {
					require.NoError(t, w.plex.Approve(old.Code, w.alice))
				}
				asked, began := w.fromNow(), time.Now()
				pin, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
				require.NoError(t, err)
				if !approve {
					assert.Len(t, asked(), 1, "the new PIN alone")
					assert.Zero(t, time.Since(began))
				} else {
					require.NoError(t, errOf(w.Verify(t.Context())))
				}
				assert.True(t, pin.Strong)
				w.assertPending(t, w.PlexAuth, pin)
			})
		})
	}
}

// G12: a Start that cannot settle the approval of the PIN before asks for no other one.
func TestStartOverAnApprovalThatCannotBeSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(outageOfAccounts)
		asked := w.fromNow()
		require.ErrorIs(t, errOf(w.Start(t.Context(), plexauth.PinOptions{Strong: true})), plexauth.ErrUnavailable)
		assert.Empty(t, pinsMade(asked()))
	})
}

// G1, G8: while a Start asks for its PIN, another process begins a login. There is one PIN for
// both if theirs is of the same kind and lives for a minute, and else the one that was asked for
// last. So it is with device keys, which the two do not share.
func TestStartBesideAStartElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		theirs plexauth.PinOptions
		life   time.Duration
		shared bool
	}{
		"of the same kind": {life: time.Minute, shared: true},
		"that ends soon":   {life: 59 * time.Second},
		"of another kind":  {theirs: plexauth.PinOptions{Strong: true}},
	} {
		for kind, keys := range map[string]bool{"": false, ", with a device key": true} {
			t.Run(name+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					withKey := func(o *plexauth.Options) { o.DeviceKey = keys }
					w := newWorld(t, withKey)
					w.replicas = true
					var theirs *plexauth.Pin
					p := w.openInterrupted(t, "/api/v2/pins", func() {
						w.plex.SetPinLifetime(c.life, 0)
						var err error
						theirs, err = w.Start(t.Context(), c.theirs)
						require.NoError(t, err)
						w.plex.SetPinLifetime(0, 0)
					}, withKey)
					asked := w.fromNow()
					ours, err := p.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					assert.False(t, ours.Strong)
					assert.Equal(t, c.shared, ours.Code == theirs.Code)
					if made := pinsMade(asked()); keys && !c.shared {
						require.Len(t, made, 3)
						assert.Equal(t, made[0], made[1], "the key in the store, for both")
						assert.NotEqual(t, made[0], made[2])
					} else {
						assert.Len(t, made, 2)
					}
					w.assertPending(t, p, ours)
				})
			})
		}
	}
}

// A Start whose key or identifier another login has taken while its PIN was made needs another
// PIN. If it cannot have that, it fails, and the login that is pending stays.
func TestStartBesideAStartElsewhereFails(t *testing.T) {
	t.Run("plex.tv is down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, deviceKey)
			var theirs *plexauth.Pin
			p := w.openInterrupted(t, "/api/v2/pins", func() {
				var err error
				theirs, err = w.Start(t.Context(), plexauth.PinOptions{Strong: true})
				require.NoError(t, err)
				w.plex.Inject(plextest.Fault{Method: http.MethodPost, Status: 502, Times: 1, Skip: 1})
			}, deviceKey, noRetries)
			require.ErrorIs(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})), plexauth.ErrUnavailable)
			w.assertPending(t, p, theirs)
		})
	})
	t.Run("the store fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, false)
			store := w.hooked(hooks{})
			other := w.openInterrupted(t, "/api/v2/pins", func() {
				assert.NoError(t, errOf(w.UseDeviceKey(t.Context())))
				store.set(hooks{beforeUpdate: calls(2, 2, fails(errDisk))})
			}, withStore(store)).Instance("other")
			asked := w.fromNow()
			require.ErrorIs(t, errOf(other.Start(t.Context(), plexauth.PinOptions{})), plexauth.ErrStore)
			assert.Len(t, pinsMade(asked()), 1)
			assert.Nil(t, must(other.Status(t.Context())).Pending)
		})
	})
}

// G8: another process begins a login of another kind while a Start asks for its PIN, and that is
// approved. If plex.tv does not say whose the approval is, the Start fails and the approval stays.
func TestStartBesideAnApprovalElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		p := w.openInterrupted(t, "/api/v2/pins", func() {
			pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.bob))
			w.plex.Inject(outageOfAccounts)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, errOf(p.Start(ctx, plexauth.PinOptions{})), plexauth.ErrUnavailable)
		w.plex.ResetFaults()
		s, err := w.Finish(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "bob", s.User)
	})
}

// G23: a login without a device key does not get one if plex.tv refuses to make its PIN.
func TestRefusedPINWithoutAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Path: "/api/v2/pins", Code: 1014})
		asked := w.fromNow()
		require.Error(t, errOf(w.Start(t.Context(), plexauth.PinOptions{})))
		assert.Len(t, asked(), 1)
		assert.Nil(t, must(w.Status(t.Context())).Pending)
		assert.NotContains(t, w.doc(t), "secret")
	})
}

// G1: another device has the stored key, as in a copied store. The key that takes its place has
// the same identifier, although plex.tv is down when it is first used.
func TestTakenKeyIsReplacedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.credentials(t).Device
		clone := plexauth.NewMemoryStore()
		put(t, clone, jsonText(map[string]any{"_device": map[string]any{"client_id": "another-device", "kid": b.Kid, "secret": b.Secret}}))
		p := w.open(t, deviceKey, withStore(clone), noRetries)
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Path: "/api/v2/pins", Status: 502, Times: 1, Skip: 1})
		require.ErrorIs(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})), plexauth.ErrUnavailable)
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		assert.Equal(t, "another-device", mustSettings(t, p).ClientID)
	})
}

// Another call ends the login of a Start whose PIN has just been saved, and another process has
// begun the next one. Start returns that one, which is pending.
func TestStartFindsTheNextLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		var theirs *plexauth.Pin
		store.set(hooks{afterUpdate: calls(2, 2, does(func() { // the PIN is there
			store.set(hooks{})
			require.NoError(t, p.Cancel(t.Context()))
			var err error
			theirs, err = w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
		}))})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.Equal(t, theirs.Code, pin.Code)
		w.replicas = true
		w.assertPending(t, p, pin)
	})
}

// G8: a Cancel just before the PIN is saved ends nothing. Start returns its PIN, although the
// store cannot be read then, and although another call may take up the login at that moment.
func TestStartBesideACancelAndAFailedRead(t *testing.T) {
	for name, takeUp := range map[string]bool{"alone": false, "beside a Finish": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				failed := false
				store.set(hooks{beforeUpdate: calls(2, 2, does(func() { // the PIN is about to be saved
					require.NoError(t, p.Cancel(t.Context()))
					store.set(hooks{beforeLoad: calls(1, 1, func(context.Context) error {
						failed = true
						if takeUp {
							require.NoError(t, errOf(p.Finish(t.Context())))
						}
						return errDisk
					})})
				}))})
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				assert.True(t, failed, "the moment was met")
				time.Sleep(2 * time.Second)
				w.assertPending(t, p, pin)
			})
		})
	}
}

// A Start whose PIN is cancelled as soon as it is saved fails if the store cannot be read then:
// it does not know how the login has ended.
func TestStartDoesNotKnowItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		store.set(hooks{afterUpdate: calls(2, 2, does(func() {
			store.set(hooks{})
			require.NoError(t, p.Cancel(t.Context()))
			store.set(hooks{beforeLoad: calls(2, 2, fails(errDisk))})
		}))})
		require.ErrorIs(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})), plexauth.ErrStore)
		assert.Nil(t, must(w.Status(t.Context())).Pending)
	})
}

// Another call finishes the login that a Login finds. It returns at once, with no other poll.
func TestLoginFinishedWhenItIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		store.set(hooks{afterUpdate: once(func() { require.NoError(t, errOf(p.Finish(t.Context()))) })})
		began := time.Now()
		s, err := p.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Zero(t, time.Since(began))
		assert.Len(t, w.looks(began), 1)
	})
}

// G8: the store cannot be read once a PIN is saved, and another process finishes the login before
// the first poll here. The token is told from the one that the profile had before, although that
// was approved as late as the Start.
func TestStartNeedsNoReadAfterItsWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		old, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		require.NoError(t, w.plex.Approve(old.Code, w.alice))
		store.set(hooks{afterUpdate: does(func() {
			if s := must(w.Status(t.Context())); s.Pending != nil && s.Pending.Code != old.Code {
				store.set(hooks{beforeLoad: fails(errDisk)})
			}
		})})
		s, err := p.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(pin *plexauth.Pin) error {
			store.set(hooks{})
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			return errOf(w.open(t).Finish(t.Context()))
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// A PIN with less than a minute left is not shown again.
func TestStartNearTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.Sleep(13 * time.Minute)
		b, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.Equal(t, a.Code, b.Code)
		time.Sleep(90 * time.Second)
		c, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, a.Code, c.Code)
	})
}

// A Start that is cancelled during its last look at the pending PIN neither ends
// another caller's Wait nor passes on its context's error.
func TestStartGivenUpInTheLastLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		time.Sleep(1500 * time.Millisecond)
		w.plex.Inject(plextest.Fault{Method: "GET", Path: "/api/v2/pins/*", Hang: true})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		_, err = w.Start(ctx, plexauth.PinOptions{SwitchAccount: true})
		require.ErrorIs(t, err, context.Canceled)
		_, err = w.Finish(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		s, err := w.Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// Start shows a PIN again that has a minute left, and none that has less.
func TestStartAtTheLimit(t *testing.T) {
	for short, again := range map[time.Duration]bool{0: true, 1: false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			pin := start(t, w)
			time.Sleep(time.Until(pin.ExpiresAt) - time.Minute + short)
			assert.Equal(t, again, start(t, w).ID == pin.ID)
		})
	}
}

// A Start that waits for another one ends with its context. One for a bad id does not get as
// far as the store.
func TestStartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Method: http.MethodPost, Delay: 5 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, errOf(w.Start(t.Context(), plexauth.PinOptions{}))) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, errOf(w.Start(ctx, plexauth.PinOptions{})), context.DeadlineExceeded)
		wg.Wait()

		p := w.open(t, withStore(&checkedStore{w.store, errReadOnly}))
		err := errOf(p.Instance("a\nb").Start(t.Context(), plexauth.PinOptions{}))
		require.ErrorContains(t, err, "without control characters")
		assert.NotErrorIs(t, err, plexauth.ErrStore)
	})
}
