package plexauth_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A stored verify_ssl: false counts for its server alone, and is never written.
func TestVerifySSL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{
			{Address: "plex.example.org", Port: 8443, BadCert: true, URI: "https://plex.example.org:8443"},
			{Address: "192.168.1.5", Local: true, BadCert: true},
		}})
		w.edit(t, map[string]any{"server_url": "https://plex.example.org:8443"})
		_, err := w.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		require.ErrorContains(t, err, "certificate")
		w.edit(t, map[string]any{"verify_ssl": false})
		s, err := w.Inspect(t.Context())
		require.NoError(t, err)
		assert.False(t, s.VerifySSL)
		assert.Equal(t, "https://plex.example.org:8443", s.ServerURL)

		base := w.plex.Transport()
		c := &http.Client{Transport: w.Transport(base)}
		defer c.CloseIdleConnections()
		resp, err := c.Get(s.ServerURL + "/library/sections")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		_, err = c.Get(box.Connections[1].URI + "/identity")
		require.Error(t, err, "no other address")
		assert.False(t, base.TLSClientConfig.InsecureSkipVerify, "the caller's is not touched")
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, r.Addresses, 3)
		assert.True(t, r.Addresses[0].OK)
		assert.Equal(t, box.Connections[1].URI, r.Addresses[1].URL)
		assert.Contains(t, r.Addresses[1].Finding, "certificate", "plex.tv's addresses are always checked")
	})
}

// verify_ssl: false counts however a person writes the server's address, with or
// without scheme and port.
func TestVerifySSLAsTyped(t *testing.T) {
	for _, typed := range []string{"https://192.168.1.5:32400", "https://192.168.1.5:32400/", "192.168.1.5:32400", "192.168.1.5"} {
		for how, call := range map[string]func(*testing.T, *world) error{
			"stored":    func(t *testing.T, w *world) error { return errOf(w.Inspect(t.Context())) },
			"probed":    func(t *testing.T, w *world) error { return errOf(w.Probe(t.Context(), "")) },
			"UseServer": func(t *testing.T, w *world) error { return errOf(w.UseServer(t.Context(), typed)) },
			"Probe":     func(t *testing.T, w *world) error { return errOf(w.Probe(t.Context(), typed)) },
		} {
			t.Run(how+" "+typed, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := linked(t, true)
					w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.5", URI: "https://192.168.1.5:32400", BadCert: true}}})
					if how == "stored" || how == "probed" {
						w.edit(t, map[string]any{"server_url": typed})
					}
					require.ErrorIs(t, call(t, w), plexauth.ErrUnavailable)
					w.edit(t, map[string]any{"verify_ssl": false})
					require.NoError(t, call(t, w))
				})
			})
		}
	}
}

// G14: verify_ssl: false counts for the one address that a person typed. Servers
// chosen later are verified, and the typed one is not when it is chosen again.
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
			require.NoError(t, errOf(w.Inspect(t.Context())))
		},
		"stored and never inspected": func(t *testing.T, w *world) { w.edit(t, map[string]any{"server_url": self, "verify_ssl": false}) },
		"UseServer": func(t *testing.T, w *world) {
			w.edit(t, map[string]any{"verify_ssl": false})
			require.NoError(t, errOf(w.UseServer(t.Context(), "192.168.1.5")))
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
					require.ErrorIs(t, errOf(w.UseServer(t.Context(), choice)), plexauth.ErrUnavailable)
					require.ErrorIs(t, errOf(w.Probe(t.Context(), "https://plex.example.org")), plexauth.ErrUnavailable)
					w.plex.ChangeMediaServer(other, func(m *plextest.MediaServer) { m.Connections[0].BadCert = false })
				}
				s, err := w.UseServer(t.Context(), self)
				require.NoError(t, err, "verify_ssl was meant for this server")
				assert.False(t, s.VerifySSL)
				assert.Equal(t, http.StatusOK, w.get(t, self))
			})
		})
	}
	// A found address is verified, and so is one of plex.direct that was typed, also with a dot at its end.
	for _, typed := range []string{"", ".plex.direct", ".plex.direct.", ".PLEX.direct."} {
		synctest.Test(t, func(t *testing.T) {
			w := linked(t, true)
			w.edit(t, map[string]any{"verify_ssl": false})
			box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
			at := box.Connections[0].URI
			var s plexauth.Settings
			var err error
			if typed != "" {
				at = strings.Replace(at, ".plex.direct", typed, 1)
				s, err = w.UseServer(t.Context(), at)
			} else {
				s, err = w.Inspect(t.Context())
			}
			require.NoError(t, err)
			assert.True(t, s.VerifySSL)
			assert.Equal(t, false, w.stored(t)["verify_ssl"], "other programs use the stored value, too")
			require.Equal(t, http.StatusOK, w.get(t, at))
			w.plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.Connections[0].BadCert = true })
			assert.Zero(t, w.get(t, at))
		})
	}
}

// G14: while verify_ssl is false for a typed address, the server there cannot pass for
// another one that is chosen.
func TestVerifySSLImpostor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, true)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.168.1.5", URI: "https://192.168.1.5:32400", BadCert: true}}})
		w.edit(t, map[string]any{"server_url": "https://192.168.1.5:32400", "verify_ssl": false})
		require.NoError(t, errOf(w.Inspect(t.Context())))
		other := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "203.0.113.8"}}})
		asked := w.fromNow()
		s, err := w.UseServer(t.Context(), other.MachineID)
		require.NoError(t, err)
		assert.Equal(t, other.Connections[0].URI, s.ServerURL)
		for _, r := range asked() {
			assert.NotEqual(t, "192.168.1.5:32400", r.Host, "that address is another server's")
		}
	})
}
