package plexauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G23: a JWT that a program has saved as a server token is not sent to the server.
func TestNoJWTToTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		jwt := w.credentials(t).AccountToken
		put(t, w.store, strings.Replace(w.doc(t), "{", fmt.Sprintf(`{"server_url":"https://plex.example.org","machine_id":"m","pms_token_server":"https://plex.example.org","pms_token":%q,`, jwt), 1))
		wire := &recordingTransport{}
		_, err := w.open(t).Transport(wire).RoundTrip(request(t, "GET", "https://plex.example.org/library", nil))
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Empty(t, wire.reqs)
	})
}

// jwtsAtServers counts the JWTs that were sent to media servers.
func (w *world) jwtsAtServers() (n int) {
	for _, r := range w.mediaRequests() {
		if strings.HasPrefix(r.Credential, "jwt") {
			n++
		}
	}
	return n
}

// G23: plex.tv gives a device the JWT itself for an own server. It is reported, and
// neither saved nor sent.
func TestNoJWTForAMediaServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		v, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Equal(t, box.MachineID, v.MachineID)
		assert.NotEmpty(t, v.ServerURL)
		assert.True(t, v.ServerToken.IsZero())
		assert.NotContains(t, w.doc(t), `"pms_token":"e`)
		assert.Equal(t, 401, w.status(t, request(t, "GET", v.ServerURL+"/library/sections", nil)))
		assert.Zero(t, w.jwtsAtServers())

		shared := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "192.168.1.77", Local: true}}})
		v, _ = w.UseServer(t.Context(), shared.MachineID)
		require.False(t, v.ServerToken.IsZero())
		assert.NotContains(t, v.ServerToken.Secret(), ".")
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err, "a shared server comes with a token of its own")
		assert.True(t, r.TokenAccepted)
		assert.Zero(t, w.jwtsAtServers())
	})
}

// G23: Probe finds out whether a server accepts a JWT. If it does, the server gets the
// current JWT until it refuses one.
func TestMediaServerThatTakesAJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{lan}})
		v, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		library := func() *http.Request { return request(t, "GET", v.ServerURL+"/library/sections", nil) }
		assert.Equal(t, 401, w.status(t, library()))
		_, err = w.Probe(t.Context(), v.ServerURL)
		require.NoError(t, err)
		assert.Zero(t, w.jwtsAtServers(), "only where plex.tv lists it as the account's own")

		w.plex.Inject(plextest.Fault{Path: "/", Status: 401, Body: payload(t, "pms-401.html"), ContentType: "text/html"})
		r, err := w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.False(t, r.TokenAccepted)
		shown := w.jwtsAtServers()
		assert.Equal(t, 401, w.status(t, library()))
		assert.Equal(t, shown, w.jwtsAtServers(), "a JWT that was refused is not sent again")

		r, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.True(t, r.TokenAccepted)
		assert.Equal(t, 200, w.status(t, library()))
		w.plex.Inject(plextest.Fault{Path: "/", Status: 403, Body: "<html>blocked", ContentType: "text/html"})
		_, err = w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Equal(t, 200, w.status(t, library()), "a proxy's page is not the server's refusal")
		v, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.True(t, v.ServerToken.Equal(v.AccountToken))
		time.Sleep(8 * day)
		assert.Equal(t, 200, w.status(t, library()))
		assert.Positive(t, w.count("POST", exchanges), "it was renewed")
		assert.NotContains(t, w.doc(t), `"pms_token":"e`)

		w.plex.Inject(plextest.Fault{Path: "/", Status: 401, Body: payload(t, "pms-401.html"), ContentType: "text/html"})
		_, err = w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Equal(t, 401, w.status(t, library()))
	})
}

// G14, G23: a JWT that one server has accepted is sent to that address alone, even if
// server_url is edited and machine_id is not.
func TestJWTStaysWithItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{lan}})
		other := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.9", Local: true}}})
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		_, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		s := mustSettings(t, w.PlexAuth)
		require.True(t, s.ServerToken.Equal(s.AccountToken), "accepted there")

		w.edit(t, map[string]any{"server_url": other.Connections[0].URI})
		assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero())
		time.Sleep(3 * time.Second) // past what a Transport remembers
		wire := &recordingTransport{}
		resp, err := (&http.Client{Transport: w.Transport(wire)}).Get(other.Connections[0].URI + "/library/sections")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Empty(t, wire.last().Header.Get("X-Plex-Token"))
	})
}

// G23: Servers gives no JWT as a server token.
func TestServersGiveNoJWT(t *testing.T) {
	p, mock := linkedMock(t)
	mock.RegisterResponder("GET", resourcesURL, httpmock.NewStringResponder(200, `[
		{"provides":"server","clientIdentifier":"a","owned":true,"accessToken":"eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJwbGV4LnR2In0.c2ln"},
		{"provides":"server","clientIdentifier":"b","accessToken":"TEST.not.jwt"},
		{"provides":"server","clientIdentifier":"c","accessToken":"TEST_opaque"}]`))
	servers, err := p.Servers(t.Context())
	require.NoError(t, err)
	require.Len(t, servers, 3)
	assert.True(t, servers[0].Token.IsZero())
	assert.Equal(t, "TEST.not.jwt", servers[1].Token.Secret())
	assert.Equal(t, "TEST_opaque", servers[2].Token.Secret())
}
