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

// newAPI returns a client without a token.
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

// decode returns the value of a text in JSON.
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

// statusOf returns the status of an answer.
func statusOf(status int, _ string) int { return status }

// household is a fake with alice's Plex Home of three users, and bob outside of
// it.
type household struct {
	srv                    *plextest.Server
	alice, kid, carol, bob *plextest.User
	a                      *api // alice's
}

// newHousehold returns a household, which is closed when the test ends.
func newHousehold(t *testing.T) household {
	srv := plextest.NewServer()
	t.Cleanup(srv.Close)
	alice := srv.AddUser(plextest.User{Username: "alice", HomePIN: "1234"})
	h := household{
		srv: srv, alice: alice,
		kid:   srv.AddUser(plextest.User{Title: "Kids", Restricted: true, HomeAdmin: alice}),
		carol: srv.AddUser(plextest.User{Username: "carol", HomeAdmin: alice, HomePIN: "9876"}),
		bob:   srv.AddUser(plextest.User{Username: "bob"}),
	}
	h.a = newAPI(srv)
	h.a = h.a.as(srv.IssueToken(alice, h.a.clientID))
	return h
}

// resource has the fields of a device in plex.tv's JSON.
type resource struct {
	Name, Provides, ClientIdentifier string
	AccessToken                      *string
	OwnerID                          *int64
	SourceTitle                      *string
	Owned, Home, Presence, Relay     bool
	HTTPSRequired                    bool
	PublicAddressMatches             bool
	Connections                      []struct {
		Protocol, Address, URI string
		Port                   int
		Local, Relay, IPv6     bool
	}
}

// allKinds lists devices with all kinds of addresses.
const allKinds = "/api/v2/resources?includeHttps=1&includeRelay=1&includeIPv6=1"

// readPage returns the status and the body of a page of the fake.
func readPage(t *testing.T, resp *http.Response, err error) (int, string) {
	t.Helper()
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}
