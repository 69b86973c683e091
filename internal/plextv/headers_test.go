package plextv_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// The device's headers are fit for the wire, whatever a product is called.
func TestIdentity(t *testing.T) {
	c := plextv.New(plextv.Config{Device: plextv.DeviceInfo{Product: "My\nApp", Name: " ", Model: "\x00"}})
	h := http.Header{}
	c.Identity.PutOn(h)
	assert.Equal(t, "My App", h.Get("X-Plex-Product"))
	assert.Equal(t, "0", h.Get("X-Plex-Version"))
	assert.NotEmpty(t, h.Get("X-Plex-Device-Name"))
	assert.NotContains(t, h, "X-Plex-Model")
	full := http.Header{}
	plextv.New(plextv.Config{Device: plextv.DeviceInfo{Product: "App", Version: "1.2", Platform: "Box", Device: "NAS", Name: "attic"}}).Identity.PutOn(full)
	assert.Equal(t, http.Header{
		"X-Plex-Product": {"App"}, "X-Plex-Version": {"1.2"}, "X-Plex-Platform": {"Box"}, "X-Plex-Device": {"NAS"}, "X-Plex-Device-Name": {"attic"},
	}, full, "what the program says counts")
	under := http.Header{}
	c.Identity.Under("id-1").PutOn(under)
	assert.Equal(t, "id-1", under.Get("X-Plex-Client-Identifier"))
	again := http.Header{}
	c.Identity.PutOn(again)
	assert.NotContains(t, again, "X-Plex-Client-Identifier")
}

// G2: each request asks for JSON, and names the device only where that is known to plex.tv.
func TestHeadersOfCalls(t *testing.T) {
	identity := http.Header{}
	for call, want := range map[string]struct{ identity, token, body bool }{
		"account":           {true, true, false},
		"create PIN":        {true, false, false},
		"create device PIN": {true, false, true},
		"server":            {false, false, false},
		"server with token": {true, true, false},
	} {
		var got http.Header
		c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			got = r.Header
			return reply{status: 200, body: `{"id":7}`}.response(r)
		})}, Device: plextv.DeviceInfo{Product: "Test"}})
		if call == "create device PIN" {
			_, _, _ = c.CreatePIN(t.Context(), clientID, newKey(t), false)
		} else {
			_ = calls[call](t.Context(), c, t)
		}
		clear(identity)
		c.Identity.PutOn(identity)
		for name, value := range identity {
			assert.Equal(t, want.identity, got.Get(name) == value[0], "%s: %s", call, name)
		}
		assert.Equal(t, "application/json", got.Get("Accept"), call)
		assert.Equal(t, "plexauth", got.Get("User-Agent"), call)
		assert.Equal(t, clientID, got.Get("X-Plex-Client-Identifier"), call)
		assert.Equal(t, want.token, got.Get("X-Plex-Token") == token.Secret(), call)
		assert.Equal(t, want.token, got["X-Plex-Token"] != nil, call)
		assert.Equal(t, want.body, got.Get("Content-Type") == "application/json", call)
		assert.Equal(t, want.body, got["Content-Type"] != nil, call)
	}
	var got http.Header
	c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		got = r.Header
		return reply{status: 200}.response(r)
	})}})
	anonymous := serverCall(c, secret.Value{})
	anonymous.ClientID = ""
	require.NoError(t, c.Do(t.Context(), anonymous))
	assert.NotContains(t, got, "X-Plex-Client-Identifier")
}
