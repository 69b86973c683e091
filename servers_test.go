package plexauth_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// Servers lists the media servers of a recorded answer, own ones first.
func TestServers(t *testing.T) {
	p, mock := linkedMock(t)
	mock.RegisterResponder("GET", resourcesURL, func(r *http.Request) (*http.Response, error) {
		assert.Equal(t, []string{"application/json"}, r.Header["Accept"])
		assert.Equal(t, "TEST_account-token", r.Header.Get("X-Plex-Token"))
		assert.Equal(t, "0123456789abcdef01234567", r.Header.Get("X-Plex-Client-Identifier"))
		assert.Equal(t, "My App", r.Header.Get("X-Plex-Product"))
		return httpmock.NewStringResponse(200, payload(t, "resources.json")), nil
	})
	servers, err := p.Servers(t.Context())
	require.NoError(t, err)
	require.Len(t, servers, 3, "players are left out")
	names := []string{servers[0].Name, servers[1].Name, servers[2].Name}
	assert.Equal(t, []string{"Box", "Asleep", "Bob's server"}, names, "one's own first")

	box := servers[0]
	assert.Equal(t, "5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42", box.MachineID)
	assert.Equal(t, "1.43.2.10687-563d026ea", box.Version)
	assert.Equal(t, "Linux", box.Platform)
	assert.Equal(t, "203.0.113.7", box.PublicAddress)
	assert.Equal(t, "TEST_server-token-01", box.Token.Secret())
	assert.True(t, box.Owned)
	assert.True(t, box.Presence)
	assert.True(t, box.Relay)
	assert.False(t, box.Home)
	assert.False(t, box.HTTPSRequired)
	assert.False(t, box.PublicAddressMatches)
	assert.Zero(t, box.OwnerID)
	require.Len(t, box.Connections, 5)
	assert.Equal(t, plexauth.Connection{
		URI:     "https://172-18-0-3.0123456789abcdef0123456789abcdef.plex.direct:32400",
		Address: "172.18.0.3", Port: 32400, Local: true,
	}, box.Connections[0])
	assert.True(t, box.Connections[3].IPv6)
	assert.True(t, box.Connections[4].Relay)

	assert.False(t, servers[1].Presence)
	assert.Empty(t, servers[1].Connections)
	assert.Equal(t, int64(67890), servers[2].OwnerID)
	assert.Equal(t, "bob", servers[2].Owner)
	assert.False(t, servers[2].Owned)
	b, err := json.Marshal(servers[1])
	require.NoError(t, err)
	assert.Contains(t, string(b), `"connections":[]`)
}

// G4: a change in one field of a server does not affect the others.
func TestServersDrift(t *testing.T) {
	one := func(body string) plexauth.Server {
		p, mock := linkedMock(t)
		mock.RegisterResponder("GET", resourcesURL, httpmock.NewStringResponder(200, body))
		servers, err := p.Servers(t.Context())
		require.NoError(t, err, body)
		require.Len(t, servers, 1, body)
		return servers[0]
	}
	var devices []map[string]any
	require.NoError(t, json.Unmarshal([]byte(payload(t, "resources.json")), &devices))
	box := devices[0]
	for field := range box {
		for _, odd := range []any{nil, "x", 7.5, true, []any{1, "a", nil}, map[string]any{"a": 1}} {
			if field == "clientIdentifier" || field == "provides" {
				continue
			}
			kept := box[field]
			box[field] = odd
			body, err := json.Marshal([]any{box})
			require.NoError(t, err)
			s := one(string(body))
			assert.Equal(t, "5f1c0e6f2a8c4b1fae53f2bb3c1d9a7e0b6c8d42", s.MachineID)
			if field != "accessToken" {
				assert.Equal(t, "TEST_server-token-01", s.Token.Secret(), field)
			}
			if field != "connections" {
				assert.Len(t, s.Connections, 5, field)
			}
			box[field] = kept
		}
	}
	// Other types with the same meaning.
	s := one(`[null, 7, [], {"provides":"player","clientIdentifier":"p"}, {"provides":"client, server","clientIdentifier":"m","owned":"1","home":1,"ownerId":"7",
		"connections":[null,{},{"uri":"https://a:1","port":"32400","local":"true","relay":0,"IPv6":1}]}]`)
	assert.True(t, s.Owned)
	assert.True(t, s.Home)
	assert.Equal(t, int64(7), s.OwnerID)
	assert.Equal(t, []plexauth.Connection{{URI: "https://a:1", Port: 32400, Local: true, IPv6: true}}, s.Connections)
	assert.True(t, s.Token.IsZero())
	assert.True(t, one(`[{"provides":"server","clientIdentifier":"m"}]`).Token.IsZero())
	for _, token := range []string{"a b", "a\nb", "é", strings.Repeat("x", 5000), ""} {
		b, err := json.Marshal(token)
		require.NoError(t, err)
		assert.True(t, one(`[{"provides":"server","clientIdentifier":"m","accessToken":`+string(b)+`}]`).Token.IsZero(), token)
	}
}

// Servers tells a rejection from other answers.
func TestServersErrors(t *testing.T) {
	for body, want := range map[string]error{
		`{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`: plexauth.ErrTokenRejected,
		`<html>no</html>`: plexauth.ErrUnavailable,
	} {
		p, mock := linkedMock(t)
		mock.RegisterResponder("GET", resourcesURL, jsonAnswer(401, body))
		_, err := p.Servers(t.Context())
		require.ErrorIs(t, err, want)
		s, err := p.Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want == plexauth.ErrTokenRejected, s.NeedsLogin)
		assert.False(t, mustSettings(t, p).AccountToken.IsZero())
	}
	for _, body := range []string{``, `{}`, `null`, `"x"`, `<resources/>`, `[{`} {
		p, mock := linkedMock(t)
		mock.RegisterResponder("GET", resourcesURL, jsonAnswer(200, body))
		_, err := p.Servers(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable, body)
	}
}
