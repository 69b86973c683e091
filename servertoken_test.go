package plexauth_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// get makes a request of the program's to a media server. It returns 0 where there
// was no answer.
func (w *world) get(t *testing.T, at string) int {
	t.Helper()
	rt := w.plex.Transport()
	defer rt.CloseIdleConnections()
	c := &http.Client{Transport: w.open(t).Transport(rt)}
	defer c.CloseIdleConnections()
	resp, err := c.Get(at + "/library/sections")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// G14: verify_ssl: false counts for the one address that a person typed. Whatever
// is chosen after that is verified, and the typed address is not when it comes back.
func TestVerifySSLCountsForOneAddress(t *testing.T) {
	const self = "https://192.168.1.5:32400"
	setup := func(t *testing.T) (w *world, other *plextest.MediaServer) {
		w = linked(t, true)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.5", URI: self, BadCert: true}}})
		other = w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "plex.example.org", Port: 443, URI: "https://plex.example.org"}}})
		return w, other
	}
	for name, typedFirst := range map[string]func(*testing.T, *world){
		"stored": func(t *testing.T, w *world) {
			w.edit(t, map[string]any{"server_url": "192.168.1.5", "verify_ssl": false})
			require.NoError(t, second(w.Inspect(t.Context())))
		},
		"stored and never inspected": func(t *testing.T, w *world) { w.edit(t, map[string]any{"server_url": self, "verify_ssl": false}) },
		"UseServer": func(t *testing.T, w *world) {
			w.edit(t, map[string]any{"verify_ssl": false})
			require.NoError(t, second(w.UseServer(t.Context(), "192.168.1.5")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, other := setup(t)
				typedFirst(t, w)
				assert.False(t, mustSettings(t, w.PlexAuth).VerifySSL)
				for _, choice := range []string{other.MachineID, "https://plex.example.org", "plex.example.org"} {
					s, err := w.UseServer(t.Context(), choice)
					require.NoError(t, err)
					require.Equal(t, "https://plex.example.org", s.ServerURL)
					assert.True(t, s.VerifySSL, "the address is another one")
					require.Equal(t, http.StatusOK, w.get(t, s.ServerURL))
					w.plex.ChangeMediaServer(other, func(m *plextest.MediaServer) { m.Connections[0].BadCert = true })
					assert.Zero(t, w.get(t, s.ServerURL))
					require.ErrorIs(t, second(w.UseServer(t.Context(), choice)), plexauth.ErrUnavailable)
					require.ErrorIs(t, second(w.Probe(t.Context(), "https://plex.example.org")), plexauth.ErrUnavailable)
					w.plex.ChangeMediaServer(other, func(m *plextest.MediaServer) { m.Connections[0].BadCert = false })
				}
				s, err := w.UseServer(t.Context(), self)
				require.NoError(t, err, "it was meant for this one")
				assert.False(t, s.VerifySSL)
				assert.Equal(t, http.StatusOK, w.get(t, self))
			})
		})
	}
	// A found address is verified, and one of plex.direct however it came.
	for _, typed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, true)
			w.edit(t, map[string]any{"verify_ssl": false})
			box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
			at := box.Connections[0].URI
			var s plexauth.Settings
			var err error
			if typed {
				s, err = w.UseServer(t.Context(), at)
			} else {
				s, err = w.Inspect(t.Context())
			}
			require.NoError(t, err)
			assert.True(t, s.VerifySSL)
			assert.Equal(t, false, w.stored(t)["verify_ssl"], "what is stored is another program's, too")
			require.Equal(t, http.StatusOK, w.get(t, at))
			w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Connections[0].BadCert = true })
			assert.Zero(t, w.get(t, at))
		})
	}
}

// G14: while verify_ssl is false for a typed address, the server there does not
// pass for another one that is chosen.
func TestVerifySSLImpostor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.5", URI: "https://192.168.1.5:32400", BadCert: true}}})
		w.edit(t, map[string]any{"server_url": "https://192.168.1.5:32400", "verify_ssl": false})
		require.NoError(t, second(w.Inspect(t.Context())))
		other := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
		n := len(w.plex.Requests())
		s, err := w.UseServer(t.Context(), other.MachineID)
		require.NoError(t, err)
		assert.Equal(t, other.Connections[0].URI, s.ServerURL)
		for _, r := range w.plex.Requests()[n:] {
			assert.NotEqual(t, "192.168.1.5:32400", r.Host, "that address is another server's")
		}
	})
}

// G14: a machine's identifier can be claimed by anybody, so a token is kept for one
// owner's machine. A duplicate of another owner gets none of it, and is used only
// when a person chooses it.
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

// G14, G23: an older program wrote a token without its server, and a person has
// entered another server since. The token goes to no server until it is known
// which one answers there, and Inspect goes over to that one.
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
	// Where nobody has changed the address, the token is that server's after all; a
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

// G14: another server is chosen while a request to the one before waits for the next
// JWT. Its token does not go to the one before.
func TestServerChosenDuringARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{lan}})
		require.ErrorIs(t, second(w.UseServer(t.Context(), box.MachineID)), plexauth.ErrServerToken)
		require.NoError(t, second(w.Probe(t.Context(), "")))
		at := mustSettings(t, w.PlexAuth).ServerURL
		time.Sleep(8 * day)
		p := w.beside(t, exchanges, func() {
			w.edit(t, map[string]any{
				"server_url": "https://other.example", "machine_id": "other",
				"pms_token": "TEST_others-token", "pms_token_server": "https://other.example",
			})
		})
		wire := &seen{}
		resp, err := p.Transport(wire).RoundTrip(request(t, "GET", at+"/library/sections", nil))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Empty(t, wire.last().Header.Get("X-Plex-Token"))
	})
}
