package plexauth_test

import (
	"cmp"
	"context"
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

// The panel lists the servers, and a person chooses one or enters an address.
func TestPanelServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := func(ip string) []plextest.Connection { return []plextest.Connection{{Address: ip, Local: true}} }
		attic := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Attic", Connections: at("192.168.1.5")})
		cellar := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Cellar", Connections: at("192.168.1.6")})
		bobs := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Bob's", Connections: at("192.168.1.7")})
		off := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Off", Offline: true, Connections: []plextest.Connection{{Address: "192.168.1.8", Local: true, BlackHole: true}}})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		panel := openPanel(t, w.PlexAuth)

		rec := panel.do(http.MethodGet, "/servers", "")
		var list struct{ Servers []plexauth.Server }
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &list))
		assert.Len(t, list.Servers, 3)
		for _, s := range list.Servers {
			assert.NotEmpty(t, s.Connections, s.Name)
		}
		v := panel.refused(panel.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "server_choice")
		assert.Len(t, v.Servers, 3)

		s := panel.post("/server", fmt.Sprintf(`{"machine_id":%q}`, cellar.MachineID))
		assert.Equal(t, cellar.MachineID, s.Settings.MachineID)
		assert.Contains(t, s.Settings.ServerURL, "192-168-1-6")
		panel.refused(panel.do(http.MethodPost, "/server", fmt.Sprintf(`{"machine_id":%q}`, bobs.MachineID)), http.StatusConflict, "server_choice")
		panel.refused(panel.do(http.MethodPost, "/server", fmt.Sprintf(`{"machine_id":%q}`, off.MachineID)), http.StatusBadGateway, "server_unreachable")

		probe := func(body string) (v struct {
			Result  string
			Account struct {
				OK      bool
				Problem *panelProblem
			}
			Server struct {
				OK            bool
				Problem       *panelProblem
				URL           string
				TokenAccepted bool `json:"token_accepted"`
			}
		}) {
			rec := panel.do(http.MethodPost, "/probe", body)
			require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &v))
			if v.Result != "" {
				assert.JSONEq(t, fmt.Sprintf(`{"result":%q}`, v.Result), rec.Body.String(), "and no more")
			}
			return v
		}
		all := probe("{}")
		assert.True(t, all.Account.OK)
		assert.True(t, all.Server.OK)
		assert.True(t, all.Server.TokenAccepted)
		assert.Equal(t, "ok", probe(`{"url":"http://192.168.1.6:32400"}`).Result)
		assert.Equal(t, "wrong_server", probe(`{"url":"http://192.168.1.5:32400"}`).Result)
		assert.Equal(t, "unreachable", probe(`{"url":"http://192.168.1.77:32400"}`).Result)

		s = panel.post("/server", `{"url":"192.168.1.5"}`)
		assert.Equal(t, attic.MachineID, s.Settings.MachineID, "an address is accepted as a person types it")
		assert.Equal(t, "http://192.168.1.5:32400", s.Settings.ServerURL)
		v = panel.refused(panel.do(http.MethodPost, "/server", `{"url":"nas"}`), http.StatusBadGateway, "server_unreachable")
		assert.Contains(t, v.Detail, "http://nas:32400", "a bare name is the name of a host")
		v = panel.refused(panel.do(http.MethodPost, "/server", `{"url":"fd00::5"}`), http.StatusBadGateway, "server_unreachable")
		assert.Contains(t, v.Detail, "http://[fd00::5]:32400", "a bare address, too")
		assert.Contains(t, w.log.String(), "found no media server at the address that was entered")

		w.plex.ChangeMediaServer(attic, func(m *plextest.MediaServer) { m.Connections = nil })
		w.plex.MoveServer(attic, plextest.Connection{Address: "192.168.1.55", Local: true})
		w.plex.Revoke(w.alice)
		all = probe("")
		assert.False(t, all.Account.OK)
		assert.Equal(t, "rejected", all.Account.Problem.Error)
		assert.False(t, all.Server.OK)
	})
}

// G25: a friend sees no problem in the panel. The server shows its accounts to its
// owner alone, and a friend does not need them.
func TestPanelOfAFriend(t *testing.T) {
	for name, refusal := range map[string]plextest.Fault{
		"as the server does": {Host: "unused.example"},
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
				panel := openPanel(t, w.PlexAuth)
				s := panel.post("/server", fmt.Sprintf(`{"machine_id":%q}`, box.MachineID))
				assert.Nil(t, s.Problem)
				assert.Equal(t, fmt.Sprint(w.alice.ID), s.Settings.AccountID)
				assert.Nil(t, panel.post("/inspect", "").Problem)

				time.Sleep(time.Minute)
				panel.post("/start", "")
				for _, code := range w.plex.PendingCodes() {
					require.NoError(t, w.plex.Approve(code, w.alice))
				}
				time.Sleep(time.Minute)
				s = panel.get("/status")
				assert.True(t, s.Connected)
				assert.Nil(t, s.Problem)
				assert.Equal(t, fmt.Sprint(w.alice.ID), s.Settings.AccountID)
			})
		})
	}
}

// Another server at the saved address is reported as another server, not as silence.
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
					panel := openPanel(t, w.PlexAuth)
					var trouble *panelProblem
					if route == "/inspect" {
						v := panel.refused(panel.do(http.MethodPost, route, ""), http.StatusConflict, "other_server")
						trouble = &v
					} else {
						trouble = panel.probe().Server.Problem
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

// G11: a login with a device key has no token for an own server. The panel says so, and
// does not send the person to the server's owner.
func TestPanelDeviceKeyAndOwnServer(t *testing.T) {
	for _, probed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
			panel := openPanel(t, w.PlexAuth)
			trouble := panel.refused(panel.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "server_token")
			if probed { // the same by Probe, which has tried the JWT
				problem := panel.probe().Server.Problem
				require.NotNil(t, problem)
				trouble = *problem
			}
			assert.Equal(t, "server_token", trouble.Error)
			assert.Contains(t, trouble.Message, "device key")
			assert.NotContains(t, trouble.Message, "owner")
		})
	}
}

// G11: for a server of another person that is not shared, or not any more, the owner is the
// one to ask. All that the panel can do about it says so.
func TestPanelWithdrawnShare(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, panel *browser) panelProblem{
		"inspect": func(t *testing.T, panel *browser) panelProblem {
			return panel.refused(panel.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "server_token")
		},
		"test": func(t *testing.T, panel *browser) panelProblem {
			problem := panel.probe().Server.Problem
			require.NotNil(t, problem)
			return *problem
		},
		"its address": func(t *testing.T, panel *browser) panelProblem {
			return panel.refused(panel.do(http.MethodPost, "/server", `{"url":"http://192.168.1.5:32400"}`), http.StatusConflict, "server_token")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, false)
				bobs := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Alice's", Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
				_, err := w.UseServer(t.Context(), bobs.MachineID)
				require.NoError(t, err)
				w.plex.ChangeMediaServer(bobs, func(m *plextest.MediaServer) { m.SharedWith = nil })
				trouble := ask(t, openPanel(t, w.PlexAuth))
				assert.Equal(t, "server_token", trouble.Error)
				assert.Contains(t, trouble.Message, "not shared with your account")
				assert.Contains(t, trouble.Message, "owner")
				assert.NotContains(t, trouble.Message, "device key")
			})
		})
	}
}

// A server of the account's own whose saved token has ended was not shared by anyone.
func TestPanelOwnServerRefusesItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Path: "/", Status: http.StatusUnauthorized, Times: -1})
		problem := openPanel(t, w.PlexAuth).probe().Server.Problem
		require.NotNil(t, problem)
		assert.Equal(t, "server_token", problem.Error)
		assert.Contains(t, problem.Message, "Find the server again")
		assert.NotContains(t, problem.Message, "shared")
	})
}

// G11: the panel names the address at which the media server does not answer, as a person
// knows it.
func TestPanelNamesTheSilentAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Offline = true })
		panel := openPanel(t, w.PlexAuth)
		const named = "The media server does not answer at 192.168.1.5:32400."
		trouble := panel.refused(panel.do(http.MethodPost, "/inspect", ""), http.StatusBadGateway, "server_unreachable")
		assert.Contains(t, trouble.Message, named)
		problem := panel.probe().Server.Problem
		require.NotNil(t, problem)
		assert.Contains(t, problem.Message, named)

		w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) {
			m.Connections = append(m.Connections, plextest.Connection{Address: "192.168.1.6", Local: true})
		})
		time.Sleep(time.Minute) // the list of servers is kept for a while
		problem = panel.probe().Server.Problem
		require.NotNil(t, problem)
		assert.Contains(t, problem.Message, "does not answer at 192.168.1.5:32400, nor at its other addresses.")
	})
}

// A test that reaches the server removes the problem with which a search before it ended.
func TestPanelTestRemovesTheProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		_, err := w.Inspect(t.Context())
		require.NoError(t, err)
		w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Offline = true })
		panel := openPanel(t, w.PlexAuth)
		code := panel.post("/start", "{}").Extra.Pending.Code
		require.NoError(t, w.plex.Approve(code, w.alice))
		time.Sleep(time.Minute)
		problem := panel.get("/status").Problem
		require.NotNil(t, problem)
		assert.Equal(t, "server_unreachable", problem.Error)
		require.NotNil(t, panel.probe().Server.Problem)
		assert.NotNil(t, panel.get("/status").Problem, "it was not reached")

		w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Offline = false })
		require.Nil(t, panel.probe().Server.Problem)
		assert.Nil(t, panel.get("/status").Problem)
	})
}

// A search for the server that cannot succeed soon ends at once, and the panel says why.
func TestPanelSearchFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault plextest.Fault
		kind  string
	}{
		"a rate limit of ten minutes":     {plextest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"600"}}}, "rate_limited"},
		"a rate limit of the search time": {plextest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"45"}}}, "rate_limited"},
		"plex.tv is down":                 {plextest.Fault{Status: http.StatusBadGateway}, "status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, noRetries)
				panel := openPanel(t, w.PlexAuth)
				c.fault.Path, c.fault.Times = "/api/v2/resources", -1
				w.plex.Inject(c.fault)
				code := panel.post("/start", "{}").Extra.Pending.Code
				require.NoError(t, w.plex.Approve(code, w.alice))
				time.Sleep(5 * time.Second)
				s := panel.get("/status")
				assert.True(t, s.Connected)
				assert.False(t, s.Finding)
				require.NotNil(t, s.Problem)
				assert.Equal(t, c.kind, s.Problem.Error)
				assert.Contains(t, w.log.String(), "connected, but not everything is known yet")
			})
		})
	}
}

// A store whose error says that it is asked too often ends the search, as any other one does.
func TestPanelSearchOverABusyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		panel := openPanel(t, w.open(t, withStore(store)))
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Delay: 5 * time.Second})
		code := panel.post("/start", "{}").Extra.Pending.Code
		require.NoError(t, w.plex.Approve(code, w.alice))
		time.Sleep(3 * time.Second)
		busy := fails(fmt.Errorf("database: %w", plexauth.ErrRateLimited))
		store.set(hooks{beforeLoad: busy, beforeUpdate: busy})
		time.Sleep(20 * time.Second)
		store.set(hooks{})
		s := panel.get("/status")
		assert.True(t, s.Connected)
		assert.False(t, s.Finding)
		assert.NotNil(t, s.Problem)
	})
}

// G9: a search that the end of the panel interrupts does nothing more. It is no failure, and is
// not logged as one.
func TestPanelEndsDuringTheSearch(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"in a request":                    {Hang: true},
		"in the pause after a rate limit": {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				fault.Path = "/api/v2/resources"
				w.plex.Inject(fault)
				ctx, stop := context.WithCancel(t.Context())
				panel := &browser{t, w.Handler(ctx)}
				code := panel.post("/start", "{}").Extra.Pending.Code
				require.NoError(t, w.plex.Approve(code, w.alice))
				time.Sleep(5 * time.Second)
				require.Equal(t, 1, w.count(http.MethodGet, "/api/v2/resources"))
				stop()
				time.Sleep(time.Minute)
				assert.Equal(t, 1, w.count(http.MethodGet, "/api/v2/resources"))
				assert.NotContains(t, w.log.String(), "not everything is known")
			})
		})
	}
}

// G12: a rate limit delays the search for the server after a login, and does not end
// it.
func TestPanelSearchIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/resources", Times: 3, Status: http.StatusTooManyRequests})
		panel := openPanel(t, w.PlexAuth)
		code := panel.post("/start", "{}").Extra.Pending.Code
		require.NoError(t, w.plex.Approve(code, w.alice))
		time.Sleep(20 * time.Second)
		s := panel.get("/status")
		assert.True(t, s.Connected)
		assert.Nil(t, s.Problem)
		assert.NotEmpty(t, s.Settings.ServerURL)
	})
}
