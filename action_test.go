package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G12: one live PIN, started from the web at most every ten seconds.
func TestPanelStartPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		var clicks sync.WaitGroup
		for range 10 {
			clicks.Go(func() { f.post("/start", "") })
		}
		clicks.Wait()
		assert.Len(t, w.plex.PendingCodes(), 1)
		f.post("/cancel", "")
		v := f.refused(f.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, 10, v.RetryAfter)
		time.Sleep(10 * time.Second)
		f.post("/start", "")
		assert.Len(t, w.plex.PendingCodes(), 2, "plex.tv keeps the cancelled one until it expires")

		rec := f.do(http.MethodPost, "/start", `{"switch_account":true}`)
		f.refused(rec, http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, "10", rec.Header().Get("Retry-After"))
	})
}

// G12: the ten seconds are the profile's, however many handlers it has.
func TestPanelStartsPerProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := openPanel(t, w.PlexAuth), openPanel(t, w.PlexAuth)
		first.post("/start", "")
		first.post("/cancel", "")
		second.refused(second.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		time.Sleep(11 * time.Second)
		second.post("/start", "")
	})
}

// G12: and over however many processes.
func TestPanelStartsPerStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := openPanel(t, w.PlexAuth), openPanel(t, w.open(t))
		first.post("/start", "")
		time.Sleep(time.Second)
		first.post("/cancel", "")
		v := second.refused(second.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
		assert.Equal(t, 9, v.RetryAfter)
		time.Sleep(9 * time.Second)
		second.post("/start", "")
		time.Sleep(time.Minute)
		second.post("/cancel", "")
		assert.NotContains(t, w.doc(t), "cancelled", "an old one is not kept in mind")
		first.post("/start", "")
	})
}

// G12: and however the login of the last one has ended, wherever that was.
func TestPanelStartsAfterAnyEnd(t *testing.T) {
	approve := func(u *plextest.User) func(*world, *front, *plexauth.PlexAuth) {
		return func(w *world, f *front, _ *plexauth.PlexAuth) {
			require.NoError(w.t, w.plex.Approve(w.plex.PendingCodes()[0], u))
			time.Sleep(2 * time.Second)
			f.post("/disconnect", "")
		}
	}
	for name, end := range map[string]func(w *world, f *front, other *plexauth.PlexAuth){
		"cancelled":              func(_ *world, f *front, _ *plexauth.PlexAuth) { f.post("/cancel", "") },
		"disconnected":           func(_ *world, f *front, _ *plexauth.PlexAuth) { f.post("/disconnect", "") },
		"signed out":             func(_ *world, f *front, _ *plexauth.PlexAuth) { f.post("/disconnect", `{"revoke":true}`) },
		"cancelled by a program": func(w *world, _ *front, other *plexauth.PlexAuth) { require.NoError(w.t, other.Cancel(w.t.Context())) },
		"disconnected by a program": func(w *world, _ *front, other *plexauth.PlexAuth) {
			require.NoError(w.t, second(other.Disconnect(w.t.Context())))
		},
		"approved and disconnected": func(w *world, f *front, other *plexauth.PlexAuth) { approve(w.alice)(w, f, other) },
		"approved by another":       func(w *world, f *front, other *plexauth.PlexAuth) { approve(w.bob)(w, f, other) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, c := range []struct {
					keys    bool
					profile string
				}{{}, {keys: true}, {profile: "PLEX-P01"}} {
					w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey, o.Instance = c.keys, c.profile })
					open := func() *plexauth.PlexAuth {
						return w.open(t, func(o *plexauth.Options) { o.DeviceKey, o.Instance = c.keys, c.profile })
					}
					if name == "approved by another" {
						w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
						time.Sleep(10 * time.Second)
					}
					before := w.count(http.MethodPost, "/api/v2/pins")
					f := openPanel(t, w.PlexAuth)
					f.post("/start", "")
					end(w, f, open())
					other := openPanel(t, open())
					other.refused(other.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
					assert.Equal(t, before+1, w.count(http.MethodPost, "/api/v2/pins"))
					time.Sleep(10 * time.Second)
					other.post("/start", "")
				}
			})
		})
	}
}

// A start counts on a replica whose clock is behind, too.
func TestPanelStartsWithAnotherClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		for ahead, soon := range map[time.Duration]bool{5 * time.Second: true, time.Hour: false} {
			put(t, w.store, fmt.Sprintf(`{"_cancelled_pin":%d}`, time.Now().Add(ahead).Unix()))
			rec := f.do(http.MethodPost, "/start", "")
			if soon {
				assert.Equal(t, 10, f.refused(rec, http.StatusTooManyRequests, "too_soon").RetryAfter)
			} else {
				f.state(rec)
				time.Sleep(time.Minute)
			}
		}
	})
}

// G12: a start counts when it is made: plex.tv may have made the PIN of an answer
// that never came.
func TestPanelStartLost(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"the connection breaks": {ResetAfter: true},
		"the browser goes away": {Drip: 10 * time.Millisecond},
		"an error behind a 502": {Status: http.StatusBadGateway},
		"an answer of no use":   {Status: http.StatusOK, Body: "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				f := openPanel(t, w.PlexAuth)
				fault.Method, fault.Path, fault.Times = http.MethodPost, "/api/v2/pins", -1
				w.plex.Inject(fault)
				for range 6 {
					ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
					f.do(http.MethodPost, "/start", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
					leave()
				}
				assert.Len(t, w.plex.Requests(), 1)
				w.plex.ResetFaults()
				f.refused(f.do(http.MethodPost, "/start", ""), http.StatusTooManyRequests, "too_soon")
				time.Sleep(10 * time.Second)
				f.post("/start", "")
			})
		})
	}
}

// It does not count where there certainly is no PIN.
func TestPanelStartRefused(t *testing.T) {
	for name, c := range map[string]struct {
		fault plextest.Fault
		word  string
	}{
		"no connection":   {plextest.Fault{Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, "connect"},
		"plex.tv refuses": {plextest.Fault{Status: http.StatusForbidden, Code: 1009}, "status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *plexauth.Options) { o.MaxRetries = -1 })
				f := openPanel(t, w.PlexAuth)
				c.fault.Method, c.fault.Path = http.MethodPost, "/api/v2/pins"
				w.plex.Inject(c.fault)
				v := f.refused(f.do(http.MethodPost, "/start", ""), http.StatusBadGateway, c.word)
				assert.NotContains(t, v.Message, "Try again", "that does not help")
				f.post("/start", "")
			})
		})
	}
	t.Run("the store cannot take it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			store := &fullStore{ConfigStore: w.store, full: true}
			f := openPanel(t, w.open(t, func(o *plexauth.Options) { o.Store = store }))
			f.refused(f.do(http.MethodPost, "/start", ""), http.StatusServiceUnavailable, "store")
			store.full = false
			f.post("/start", "")
		})
	})
}

// fullStore can be read, and says beforehand that it cannot be written.
type fullStore struct {
	plexauth.ConfigStore
	full bool
}

func (s *fullStore) Check(context.Context) error {
	if s.full {
		return errors.New("no space left on device")
	}
	return nil
}

// What paces the web's starts goes with the credentials, and when a login has
// come of one.
func TestPanelCancelledForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, keys := range []bool{false, true} {
			w := newWorld(t, func(o *plexauth.Options) { o.DeviceKey = keys })
			f := openPanel(t, w.PlexAuth)
			cancelled := func() {
				f.post("/start", "")
				f.post("/cancel", "")
				require.Contains(t, w.doc(t), "_cancelled_pin")
				time.Sleep(10 * time.Second)
			}
			cancelled()
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			assert.NotContains(t, w.doc(t), "_cancelled_pin")
			cancelled()
			_, err := w.Disconnect(t.Context())
			require.NoError(t, err)
			assert.NotContains(t, w.doc(t), "_cancelled_pin")
		}
	})
}

func TestPanelCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := openPanel(t, w.PlexAuth)
		f.post("/start", "")
		time.Sleep(3 * time.Second)
		s := f.post("/cancel", "")
		assert.Nil(t, s.Extra.Pending)
		assert.Nil(t, s.Problem)
		asked := len(w.plex.Requests())
		time.Sleep(time.Minute)
		assert.Len(t, w.plex.Requests(), asked, "nothing is asked any more")
	})
}

// A login approved by another account is refused, and then accepted on demand.
func TestPanelSwitchAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		s := f.post("/start", "")
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = f.get("/status?wait=25")
		require.NotNil(t, s.Problem)
		assert.Equal(t, "account_mismatch", s.Problem.Error)
		assert.Equal(t, "alice", s.User)
		time.Sleep(10 * time.Second)
		s = f.post("/start", `{"switch_account":true}`)
		require.NoError(t, w.plex.Approve(s.Extra.Pending.Code, w.bob))
		s = f.get("/status?wait=25")
		assert.Nil(t, s.Problem)
		assert.Equal(t, "bob", s.User)
	})
}

// Disconnect works offline; with revoke it says what plex.tv was not told.
func TestPanelDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Status: 502, Times: -1})
		s := f.post("/disconnect", `{"revoke":true}`)
		assert.False(t, s.Connected)
		require.NotNil(t, s.Problem)
		assert.Equal(t, "not_revoked", s.Problem.Error)
	})
}

// Several servers are never picked from silently.
func TestPanelServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := func(ip string) []plextest.Connection { return []plextest.Connection{{Address: ip, Local: true}} }
		attic := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Attic", Connections: at("192.168.1.5")})
		cellar := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Cellar", Connections: at("192.168.1.6")})
		bobs := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Bob's", Connections: at("192.168.1.7")})
		off := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Off", Offline: true, Connections: []plextest.Connection{{Address: "192.168.1.8", Local: true, BlackHole: true}}})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)

		rec := f.do(http.MethodGet, "/servers", "")
		var list struct{ Servers []plexauth.Server }
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &list))
		assert.Len(t, list.Servers, 3)
		v := f.refused(f.do(http.MethodPost, "/inspect", ""), http.StatusConflict, "server_choice")
		assert.Len(t, v.Servers, 3)

		s := f.post("/server", fmt.Sprintf(`{"machine_id":%q}`, cellar.MachineID))
		assert.Equal(t, cellar.MachineID, s.Settings.MachineID)
		assert.Contains(t, s.Settings.ServerURL, "192-168-1-6")
		f.refused(f.do(http.MethodPost, "/server", fmt.Sprintf(`{"machine_id":%q}`, bobs.MachineID)), http.StatusConflict, "server_choice")
		f.refused(f.do(http.MethodPost, "/server", fmt.Sprintf(`{"machine_id":%q}`, off.MachineID)), http.StatusBadGateway, "server_unreachable")

		probe := func(body string) (v struct {
			Result  string
			Account struct {
				OK      bool
				Problem *trouble
			}
			Server struct {
				OK            bool
				Problem       *trouble
				URL           string
				TokenAccepted bool `json:"token_accepted"`
			}
		}) {
			rec := f.do(http.MethodPost, "/probe", body)
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

		s = f.post("/server", `{"url":"192.168.1.5"}`)
		assert.Equal(t, attic.MachineID, s.Settings.MachineID, "an address does, as a person types it")
		assert.Equal(t, "http://192.168.1.5:32400", s.Settings.ServerURL)
		v = f.refused(f.do(http.MethodPost, "/server", `{"url":"nas"}`), http.StatusBadGateway, "server_unreachable")
		assert.Contains(t, v.Detail, "http://nas:32400", "a bare name is the name of a host")

		w.plex.ChangeMediaServer(attic, func(m *plextest.MediaServer) { m.Connections = nil })
		w.plex.MoveServer(attic, plextest.Connection{Address: "192.168.1.55", Local: true})
		w.plex.Revoke(w.alice)
		all = probe("")
		assert.False(t, all.Account.OK)
		assert.Equal(t, "rejected", all.Account.Problem.Error)
		assert.False(t, all.Server.OK)
	})
}

// A Home user with a PIN is chosen with that PIN only.
func TestPanelUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice, HomePIN: "QXYZ"})
		baby := w.plex.AddUser(plextest.User{Title: "Baby", Restricted: true, HomeAdmin: w.alice})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		f.post("/inspect", "")

		var list struct{ Users []plexauth.HomeUser }
		require.NoError(t, json.Unmarshal(f.do(http.MethodGet, "/users", "").Body.Bytes(), &list))
		assert.Len(t, list.Users, 3)
		choose := func(u *plextest.User, pin string) *httptest.ResponseRecorder {
			return f.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q,"pin":%q}`, u.UUID, pin))
		}
		f.refused(choose(kid, ""), http.StatusForbidden, "home_pin")
		f.refused(choose(kid, "0000"), http.StatusForbidden, "home_pin")
		f.refused(choose(w.bob, ""), http.StatusBadRequest, "bad_request")
		s := f.state(choose(kid, "QXYZ"))
		assert.Equal(t, "Kid", s.Settings.Username)
		assert.Equal(t, fmt.Sprint(kid.ID), s.Settings.AccountID)
		assert.NotContains(t, w.doc(t), "QXYZ", "the PIN is kept nowhere")
		s = f.state(choose(baby, ""))
		assert.Equal(t, "Baby", s.Settings.Username)
		f.state(choose(w.alice, ""))
		time.Sleep(5 * time.Second)
		s = f.get("/status")
		assert.Equal(t, "1", s.Settings.AccountID)
		assert.True(t, s.Connected)
		_, err := w.Verify(t.Context())
		assert.NoError(t, err, "the login is still alice's")
	})
}

// G23: a Home user chosen under one account is not written into the login of
// another that is linked meanwhile.
func TestPanelUserOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		kid := w.plex.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: w.alice})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		f := openPanel(t, w.PlexAuth)
		choose := func() <-chan *httptest.ResponseRecorder {
			w.plex.Inject(plextest.Fault{Path: "/api/v2/home/users", Delay: 8 * time.Second})
			answer := make(chan *httptest.ResponseRecorder, 1)
			go func() { answer <- f.do(http.MethodPost, "/user", fmt.Sprintf(`{"uuid":%q}`, kid.UUID)) }()
			time.Sleep(time.Second)
			return answer
		}
		answer := choose()
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{}) // with another token
		assert.Equal(t, "Kid", f.state(<-answer).Settings.Username, "it is the same account's")

		answer = choose()
		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		f.refused(<-answer, http.StatusConflict, "changed")
		s := f.get("/status")
		assert.Equal(t, "bob", s.Settings.Username)
		assert.Empty(t, s.Settings.AccountID)
	})
}
