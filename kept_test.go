package plexauth_test

import (
	"context"
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

// G9: what a process keeps by profile is dropped once nothing asks for it, however the
// profile was used: a server of many profiles must not grow by each that it has seen,
// nor keep the tokens of those that have signed out.
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
			require.NoError(t, second(p.Refresh(t.Context())))
			get(t, p)
			require.NoError(t, second(p.SignOut(t.Context())))
			get(t, p)
		},
		"renewed": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			time.Sleep(6 * 24 * time.Hour)
			get(t, p)
			get(t, p)
		},
		"not renewed": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			w.plex.Inject(plextest.Fault{Path: exchanges, Status: 503, Times: -1})
			require.Error(t, second(p.Refresh(t.Context())))
			time.Sleep(6 * 24 * time.Hour)
			get(t, p)
			w.plex.ResetFaults()
		},
		"refused again and again": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 498, Times: -1})
			require.Error(t, second(p.Verify(t.Context())))
			w.plex.ResetFaults()
		},
		"a PIN that is left alone": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			require.NoError(t, second(p.Start(t.Context(), plexauth.PinOptions{})))
		},
		"in the panel": func(t *testing.T, w *world, p *plexauth.PlexAuth) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f := &front{t, p.Handler(ctx)}
			f.do(http.MethodPost, "/start", "")
			f.do(http.MethodPost, "/cancel", "")
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
				logins, renewals, sources := plexauth.Kept(w.PlexAuth)
				assert.Zero(t, logins, "logins")
				assert.Zero(t, renewals, "renewals")
				assert.Zero(t, sources, "tokens of Transports")
			})
		})
	}
}

// A Transport that knows the server's address sends nothing there while the store
// cannot be read, though what it goes by is dropped by then.
func TestTransportRemembersItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signInNow(t)
		w.edit(t, map[string]any{"server_url": "https://10.0.0.2:32400", "machine_id": "m1", "pms_token": "TEST_pms", "pms_token_server": "https://10.0.0.2:32400"})
		store := &stuckStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = store })
		sent := 0
		rt := p.Transport(roundTripFunc(func(*http.Request) (*http.Response, error) {
			sent++
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		}))
		ask := func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://10.0.0.2:32400/identity", nil)
			require.NoError(t, err)
			return second(rt.RoundTrip(req))
		}
		require.NoError(t, ask())
		time.Sleep(time.Hour)
		store.load.Store(true)
		require.ErrorIs(t, ask(), plexauth.ErrStore)
		assert.Equal(t, 1, sent)
	})
}
