package plexauth_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G14: anyone can claim a machine's identifier, so a token is kept for one owner's
// machine. A machine of another owner does not get it, and is used only if a person
// chooses it.
func TestMachineOfAnotherOwner(t *testing.T) {
	for name, offline := range map[string]bool{"beside the first": false, "in its place": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, true)
				mallory := w.plex.AddUser(plextest.User{Username: "mallory"})
				box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
				s, err := w.UseServer(t.Context(), box.MachineID)
				require.NoError(t, err)
				token := s.ServerToken.Secret()
				duplicate := w.plex.AddMediaServer(mallory, plextest.MediaServer{
					MachineID: box.MachineID, NoAccessToken: true, SharedWith: []*plextest.User{w.alice},
					Connections: []plextest.Connection{{Address: "mallory.example", Port: 443, IP: "203.0.113.66", URI: "https://mallory.example"}},
				})
				w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) {
					m.Connections[0].BlackHole = true
					if offline {
						m.Offline, m.SharedWith = true, nil
					}
				})
				_, err = w.Inspect(t.Context())
				require.Error(t, err)
				_, err = w.Probe(t.Context(), "")
				require.Error(t, err)
				s = mustSettings(t, w.PlexAuth)
				assert.Equal(t, box.Connections[0].URI, s.ServerURL)
				assert.Equal(t, token, s.ServerToken.Secret(), "it may be back")
				if offline {
					s, err = w.UseServer(t.Context(), box.MachineID)
					require.ErrorIs(t, err, plexauth.ErrServerToken)
					assert.Equal(t, "https://mallory.example", s.ServerURL, "a person has chosen it")
					assert.True(t, s.ServerToken.IsZero())
					assert.NotContains(t, w.doc(t), token)
				}
				w.get(t, duplicate.Connections[0].URI)
				for _, r := range w.plex.Requests() {
					if r.Host == "mallory.example" {
						assert.Empty(t, r.Credential)
					}
				}
			})
		})
	}
}

// G14: a machine with the same identifier and perhaps another owner gets no token, even if
// another program has stored it without saying which address it is for.
func TestMachineOfAnUnknownOwner(t *testing.T) {
	for name, bound := range map[string]bool{"bound": true, "unbound": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := linked(t, true)
				mallory := w.plex.AddUser(plextest.User{Username: "mallory"})
				box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
				s, err := w.UseServer(t.Context(), box.MachineID)
				require.NoError(t, err)
				token := s.ServerToken.Secret()
				known := w.stored(t)["_server_account"].(map[string]any)
				delete(known, "owner")
				w.edit(t, map[string]any{"_server_account": known})
				if !bound {
					w.edit(t, map[string]any{"pms_token_server": nil})
				}
				require.Equal(t, token, mustSettings(t, w.PlexAuth).ServerToken.Secret())
				w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Offline, m.SharedWith = true, nil })
				w.plex.AddMediaServer(mallory, plextest.MediaServer{
					MachineID: box.MachineID, NoAccessToken: true, SharedWith: []*plextest.User{w.alice},
					Connections: []plextest.Connection{{Address: "mallory.example", Port: 443, IP: "203.0.113.66", URI: "https://mallory.example"}},
				})
				s, err = w.UseServer(t.Context(), box.MachineID)
				require.ErrorIs(t, err, plexauth.ErrServerToken)
				assert.Equal(t, "https://mallory.example", s.ServerURL)
				assert.True(t, s.ServerToken.IsZero())
				w.get(t, "https://mallory.example")
				for _, r := range w.plex.Requests() {
					if r.Host == "mallory.example" {
						assert.Empty(t, r.Credential)
					}
				}
			})
		})
	}
}

// G14, G23: an older program saved a token without its server, and a person has
// entered another address since. The token is not sent until it is known which server
// answers there. Inspect switches to that one.
func TestUnboundTokenAndEditedAddress(t *testing.T) {
	for name, extra := range map[string]map[string]any{
		"unbound":       {},
		"empty binding": {"pms_token_server": ""},
		"typed":         {"server_url": "http://192.168.1.6:32400"},
		"no token":      {"pms_token": ""},
		"no machine":    {"machine_id": ""},
	} {
		for _, off := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, true)
					a := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
					b := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true, BlackHole: off}}})
					w.edit(t, map[string]any{"server_url": b.Connections[0].URI, "machine_id": a.MachineID, "pms_token": w.plex.ServerToken(w.alice, a)})
					w.edit(t, extra)
					at := mustSettings(t, w.PlexAuth).ServerURL
					assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero())
					w.get(t, at)
					s, err := w.Inspect(t.Context())
					assert.Equal(t, at, s.ServerURL)
					if off {
						require.ErrorIs(t, err, plexauth.ErrUnavailable)
						assert.True(t, s.ServerToken.IsZero())
					} else {
						require.NoError(t, err)
						assert.Equal(t, b.MachineID, s.MachineID)
						assert.Equal(t, http.StatusOK, w.get(t, at))
					}
					assert.Empty(t, w.plex.Violations())
				})
			})
		}
	}
	// If the address has not been changed, the token is that server's after all. A
	// server that has moved since is found.
	for _, moved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, true)
			a := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{lan}})
			w.edit(t, map[string]any{"server_url": a.Connections[0].URI, "machine_id": a.MachineID, "pms_token": w.plex.ServerToken(w.alice, a)})
			if moved {
				w.plex.ChangeMediaServer(a, func(m *plextest.MediaServer) { m.Connections = nil })
				w.plex.MoveServer(a, plextest.Connection{Address: "192.168.1.7", Local: true})
			}
			s, err := w.Inspect(t.Context())
			require.NoError(t, err)
			assert.Equal(t, a.MachineID, s.MachineID)
			assert.Equal(t, http.StatusOK, w.get(t, s.ServerURL))
			assert.Empty(t, w.plex.Violations())
		})
	}
}

// G14: another server is chosen while a request waits for the next JWT. The new
// server's token is not sent to the old one.
func TestServerChosenDuringARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{lan}})
		require.ErrorIs(t, errOf(w.UseServer(t.Context(), box.MachineID)), plexauth.ErrServerToken)
		require.NoError(t, errOf(w.Probe(t.Context(), "")))
		at := mustSettings(t, w.PlexAuth).ServerURL
		time.Sleep(8 * day)
		p := w.openInterrupted(t, exchanges, func() {
			w.edit(t, map[string]any{
				"server_url": "https://other.example", "machine_id": "other",
				"pms_token": "TEST_others-token", "pms_token_server": "https://other.example",
			})
		})
		wire := &recordingTransport{}
		resp, err := p.Transport(wire).RoundTrip(request(t, "GET", at+"/library/sections", nil))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Empty(t, wire.last().Header.Get("X-Plex-Token"))
	})
}

// G23: a token for one server is not sent to another.
func TestServerTokenIsBound(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	wire := &recordingTransport{}
	for at, want := range map[string]string{
		"https://a.example:32400":  "TEST_pms",
		"https://A.example:32400/": "TEST_pms",
		"https://b.example:32400":  "",
		"https://a.example":        "",
		"http://a.example:32400":   "",
		"nonsense":                 "",
	} {
		w.edit(t, map[string]any{"server_url": "https://a.example:32400", "pms_token": "TEST_pms", "pms_token_server": at})
		assert.Equal(t, want, mustSettings(t, w.PlexAuth).ServerToken.Secret(), at)
		_, err := (&http.Client{Transport: w.open(t).Transport(wire)}).Get("https://a.example:32400/")
		require.NoError(t, err)
		assert.Equal(t, want, wire.last().Header.Get("X-Plex-Token"), at)
	}
}

// G14, G23: a token that was saved without its server is not sent to the server that
// is chosen next.
func TestServerTokenStaysWithItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t) // so that plex.tv gives no other token
		one := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "one", Connections: []plextest.Connection{lan}})
		two := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Name: "two", Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
		_, err := w.UseServer(t.Context(), one.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		w.edit(t, map[string]any{"pms_token": "TEST_of_one"})
		require.Equal(t, "TEST_of_one", mustSettings(t, w.PlexAuth).ServerToken.Secret())
		s, err := w.UseServer(t.Context(), two.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		require.Equal(t, two.MachineID, s.MachineID)
		assert.True(t, s.ServerToken.IsZero())
		assert.NotContains(t, w.doc(t), "TEST_of_one")
	})
}

// G14, G25: an impostor at the saved address gets no token and does not replace the
// server.
func TestImpostor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{
			{Address: "192.168.1.5", Local: true, Impostor: true, URI: "http://192.168.1.5:32400"}, {Address: "203.0.113.7"},
		}})
		s, err := w.UseServer(t.Context(), box.MachineID)
		require.NoError(t, err)
		assert.Equal(t, box.Connections[1].URI, s.ServerURL)
		for _, r := range w.mediaRequests() {
			if r.Host == "192.168.1.5:32400" {
				assert.Empty(t, r.Credential)
			}
		}
		// At the saved address it gets no token, either.
		w.edit(t, map[string]any{"server_url": "http://192.168.1.5:32400", "pms_token": "TEST_older", "pms_token_server": "http://192.168.1.5:32400", "server_url_found": "http://192.168.1.5:32400"})
		w.plex.Inject(plextest.Fault{Host: strings.TrimPrefix(box.Connections[1].URI, "https://"), Times: 1, Status: 502})
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Equal(t, "TEST_older", s.ServerToken.Secret())
		// A typed address is asked for its identity alone.
		w.edit(t, map[string]any{"pms_token_server": "https://203.0.113.7"})
		w.edit(t, map[string]any{"server_url": "http://192.168.1.5:32400"})
		s, err = w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Equal(t, "http://192.168.1.5:32400", s.ServerURL)
		assert.True(t, s.ServerToken.IsZero())
	})
}
