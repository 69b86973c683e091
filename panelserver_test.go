package plexauth_test

import (
	"cmp"
	"encoding/json"
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

// probe is what POST probe says of the saved server.
func (f *front) probe() (v struct{ Server struct{ Problem *trouble } }) {
	rec := f.do(http.MethodPost, "/probe", "{}")
	require.Equal(f.t, http.StatusOK, rec.Code)
	require.NoError(f.t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}

// G25: a friend sees no problem in the panel: the server shows its accounts to its
// owner only, and nothing that a friend needs depends on them.
func TestPanelOfAFriend(t *testing.T) {
	for name, refusal := range map[string]plextest.Fault{
		"as the server does": {Host: "nobody"},
		"404":                {Path: "/accounts", Times: -1, Status: 404},
		"403 of a proxy":     {Path: "/accounts", Times: -1, Status: 403, ContentType: "text/html", Body: "<html></html>"},
		"no answer":          {Path: "/accounts", Times: -1, Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
				w.plex.Inject(refusal)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				f := openPanel(t, w.PlexAuth)
				s := f.post("/server", fmt.Sprintf(`{"machine_id":%q}`, box.MachineID))
				assert.Nil(t, s.Problem)
				assert.Equal(t, fmt.Sprint(w.alice.ID), s.Settings.AccountID)
				assert.Nil(t, f.post("/inspect", "").Problem)

				time.Sleep(time.Minute)
				f.post("/start", "")
				for _, code := range w.plex.PendingCodes() {
					require.NoError(t, w.plex.Approve(code, w.alice))
				}
				time.Sleep(time.Minute)
				s = f.get("/status")
				assert.True(t, s.Connected)
				assert.Nil(t, s.Problem)
				assert.Equal(t, fmt.Sprint(w.alice.ID), s.Settings.AccountID)
			})
		})
	}
}

// Another server at the saved address, typed or found, is called that, and is not
// called silent.
func TestPanelOtherServerAtTheAddress(t *testing.T) {
	for _, choice := range []string{"http://192.168.1.5:32400", ""} {
		for _, route := range []string{"/inspect", "/probe"} {
			t.Run(fmt.Sprintf("%q %s", choice, route), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, false)
					at := plextest.Connection{Address: "192.168.1.5", Local: true, URI: "http://192.168.1.5:32400"}
					old := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{at}})
					_, err := w.UseServer(t.Context(), cmp.Or(choice, old.MachineID))
					require.NoError(t, err)
					w.plex.ChangeMediaServer(old, func(m *plextest.MediaServer) { m.Offline, m.Connections = true, nil })
					w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{at}})
					f := openPanel(t, w.PlexAuth)
					var trouble *trouble
					if route == "/inspect" {
						v := f.refused(f.do(http.MethodPost, route, ""), http.StatusConflict, "other_server")
						trouble = &v
					} else {
						trouble = f.probe().Server.Problem
					}
					require.NotNil(t, trouble)
					assert.Equal(t, "other_server", trouble.Error)
					assert.Contains(t, trouble.Message, "Another media server answers")
					assert.Contains(t, trouble.Message, "choose it again")
					assert.Equal(t, old.MachineID, mustSettings(t, w.PlexAuth).MachineID)
				})
			})
		}
	}
}

// A login with a device key has no token for a server of its own. The panel says
// so, and advises nobody to ask the owner.
func TestPanelDeviceKeyAndOwnServer(t *testing.T) {
	for _, probed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
			f := openPanel(t, w.PlexAuth)
			trouble := f.refused(f.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "server_token")
			if probed { // the same by Probe, which has tried the JWT
				problem := f.probe().Server.Problem
				require.NotNil(t, problem)
				trouble = *problem
			}
			assert.Equal(t, "server_token", trouble.Error)
			assert.Contains(t, trouble.Message, "device key")
			assert.NotContains(t, trouble.Message, "owner")
		})
	}
	// A server that is not shared any more is another matter.
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.bob, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		f := openPanel(t, w.PlexAuth)
		trouble := f.refused(f.do(http.MethodPost, "/server", `{"url":"http://192.168.1.5:32400"}`), http.StatusConflict, "server_token")
		assert.Contains(t, trouble.Message, "owner")
	})
}
