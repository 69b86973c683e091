package plextest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

// api is a client of plex.tv that commits no violations, written with net/http.
type api struct {
	client   *http.Client
	base     string // "" is https://plex.tv
	clientID string
	token    string
	accept   string // "" means application/json; "-" sends no such header
}

func newAPI(srv *plextest.Server) *api {
	return &api{client: srv.Client(), clientID: "test-client-0001"}
}

// as returns a copy of a with a token.
func (a api) as(token string) *api {
	a.token = token
	return &a
}

// from returns a copy of a with a client identifier.
func (a api) from(clientID string) *api {
	a.clientID = clientID
	return &a
}

// new returns a request. If body is not empty, it is sent as a form.
func (a *api) new(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	base := a.base
	if base == "" {
		base = "https://plex.tv"
	}
	if strings.Contains(path, "://") {
		base = ""
	}
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if strings.HasPrefix(body, "{") {
			r.Header.Set("Content-Type", "application/json")
		}
	}
	switch a.accept {
	case "":
		r.Header.Set("Accept", "application/json")
	case "-":
	default:
		r.Header.Set("Accept", a.accept)
	}
	r.Header.Set("X-Plex-Client-Identifier", a.clientID)
	r.Header.Set("X-Plex-Product", "Test App")
	if a.token != "" {
		r.Header.Set("X-Plex-Token", a.token)
	}
	return r
}

// send sends r and returns the response and its body.
func (a *api) send(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := a.client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

// do sends a request and returns the status and the body of the answer.
func (a *api) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	resp, text := a.send(t, a.new(t, method, path, body))
	return resp.StatusCode, text
}

// pin has the fields of a PIN in plex.tv's JSON.
type pin struct {
	ID               int64   `json:"id"`
	Code             string  `json:"code"`
	Product          string  `json:"product"`
	QR               string  `json:"qr"`
	ClientIdentifier string  `json:"clientIdentifier"`
	ExpiresIn        *int    `json:"expiresIn"`
	CreatedAt        string  `json:"createdAt"`
	ExpiresAt        string  `json:"expiresAt"`
	AuthToken        *string `json:"authToken"`
	NewRegistration  *bool   `json:"newRegistration"`
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

// createPin creates a PIN.
func (a *api) createPin(t *testing.T) pin {
	t.Helper()
	status, body := a.do(t, "POST", "/api/v2/pins", "")
	require.Equal(t, http.StatusCreated, status, body)
	return decode[pin](t, body)
}
