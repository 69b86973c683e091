package plexauth_test

import (
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// Login asks a person only where that helps: where the profile is signed in, it
// returns its Status without a request and shows no code.
func TestLoginWhereSignedIn(t *testing.T) {
	weeks := func(t *testing.T, _ *world) { time.Sleep(30 * 24 * time.Hour) }
	for name, tc := range map[string]struct {
		deviceKey bool
		before    func(t *testing.T, w *world)
		o         plexauth.PinOptions
		instance  string
		asks      bool
	}{
		"signed in":                {},
		"other options":            {o: plexauth.PinOptions{Strong: true}},
		"with a device key":        {deviceKey: true},
		"the JWT is to be renewed": {deviceKey: true, before: weeks},
		"a login is pending": {before: func(t *testing.T, w *world) {
			require.NoError(t, second(w.Start(t.Context(), plexauth.PinOptions{})))
		}},
		"switch account":  {o: plexauth.PinOptions{SwitchAccount: true}, asks: true},
		"another profile": {instance: "P1", asks: true},
		"signed out here": {asks: true, before: func(t *testing.T, w *world) {
			require.NoError(t, second(w.Disconnect(t.Context())))
		}},
		"rejected": {asks: true, before: func(t *testing.T, w *world) {
			w.plex.Revoke(w.alice)
			require.ErrorIs(t, second(w.Verify(t.Context())), plexauth.ErrTokenRejected)
		}},
		"the key is damaged": {deviceKey: true, asks: true, before: func(t *testing.T, w *world) {
			put(t, w.store, regexp.MustCompile(`"secret":"[^"]*"`).ReplaceAllString(w.doc(t), `"secret":"x"`))
		}},
		"a JWT without a key is over": {deviceKey: true, asks: true, before: func(t *testing.T, w *world) {
			put(t, w.store, regexp.MustCompile(`"_device":\{[^}]*\}`).ReplaceAllString(w.doc(t), `"_device":null`))
			weeks(t, w)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = tc.deviceKey })
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				if tc.before != nil {
					tc.before(t, w)
				}
				p := w.open(t, func(o *plexauth.Options) { o.DeviceKey = tc.deviceKey }).Instance(tc.instance)
				requests, began, asked := len(w.plex.Requests()), time.Now(), false
				before, err := p.Status(t.Context())
				require.NoError(t, err)
				s, err := p.Login(t.Context(), tc.o, func(pin *plexauth.Pin) error {
					asked = true
					return w.plex.Approve(pin.Code, w.alice)
				})
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)
				assert.Equal(t, tc.asks, asked)
				if !tc.asks {
					assert.Equal(t, before, s)
					assert.Zero(t, time.Since(began))
					assert.Len(t, w.plex.Requests(), requests)
				}
			})
		})
	}
}

// What is wrong with the call or the store is an error also where the profile is
// signed in.
func TestLoginWhereSignedInFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		show := func(*plexauth.Pin) error {
			t.Error("a code is shown")
			return nil
		}
		_, err := w.Login(t.Context(), plexauth.PinOptions{ForwardURL: "https://app.example"}, show)
		require.ErrorContains(t, err, "ForwardURL")
		_, err = w.Login(t.Context(), plexauth.PinOptions{}, nil)
		require.ErrorContains(t, err, "shows the PIN")
		_, err = w.Instance("a\nb").Login(t.Context(), plexauth.PinOptions{}, show)
		require.ErrorContains(t, err, "Instance")
		store := &stuckStore{ConfigStore: w.store}
		store.load.Store(true)
		_, err = w.open(t, func(o *plexauth.Options) { o.Store = store }).Login(t.Context(), plexauth.PinOptions{}, show)
		require.ErrorIs(t, err, plexauth.ErrStore)
	})
}
