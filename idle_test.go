package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// Logins that have ended leave nothing in memory, nor do made-up names of profiles.
func TestEndedLoginsAreForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		p := w.Instance(fmt.Sprint("made-up-", i))
		_, err := p.Finish(t.Context())
		require.NoError(t, err)
		_, err = p.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNoPendingPin)
		require.NoError(t, p.Cancel(t.Context()))
		_, err = p.Disconnect(t.Context())
		require.NoError(t, err)
		_, err = w.Instance(fmt.Sprint("a\nb", i)).Finish(t.Context())
		require.Error(t, err)
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, p.Cancel(t.Context()))
	}
	assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
}

// G9: a login that has ended keeps nothing in memory, not even for the time that its PIN would
// have lived.
func TestEndedLoginKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := func() weak.Pointer[hookedStore] {
			store := w.hooked(hooks{})
			w.signIn(t, w.open(t, withStore(store)), w.alice, plexauth.PinOptions{})
			return weak.Make(store)
		}()
		for range 3 {
			runtime.GC()
		}
		assert.Nil(t, store.Value())
	})
}

// G9: what a process keeps about a profile is dropped once the profile is idle,
// however it was used. A server of many profiles must not grow with each one, nor keep
// tokens after a sign-out.
func TestIdleProfilesAreForgotten(t *testing.T) {
	get := func(t *testing.T, p *plexauth.PlexAuth) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://plex.tv/api/v2/user", nil)
		require.NoError(t, err)
		resp, err := p.Transport(nil).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
	}
	for name, use := range map[string]func(t *testing.T, w *world, p *plexauth.PlexAuth){
		"signed out": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			get(t, p)
			require.NoError(t, errOf(p.Refresh(t.Context())))
			get(t, p)
			require.NoError(t, errOf(p.SignOut(t.Context())))
			get(t, p)
		},
		"renewed": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			time.Sleep(6 * 24 * time.Hour)
			get(t, p)
			get(t, p)
		},
		"not renewed": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			w.plex.Inject(plextest.Fault{Path: exchanges, Status: 503, Times: -1})
			require.Error(t, errOf(p.Refresh(t.Context())))
			time.Sleep(6 * 24 * time.Hour)
			get(t, p)
			w.plex.ResetFaults()
		},
		"refused again and again": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 498, Times: -1})
			require.Error(t, errOf(p.Verify(t.Context())))
			w.plex.ResetFaults()
		},
		"a PIN that is left alone": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		},
		"in the panel": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			panel := &browser{t, p.Handler(ctx)}
			panel.do(http.MethodPost, "/start", "")
			panel.do(http.MethodPost, "/cancel", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, deviceKey)
				const profiles = 20
				for i := range profiles {
					p := w.Instance(fmt.Sprint("PLEX-P", i))
					w.signIn(t, p, w.alice, plexauth.PinOptions{})
					use(t, w, p)
				}
				time.Sleep(time.Hour)
				assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
			})
		})
	}
}
