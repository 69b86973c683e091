// Package measure is what the benchmarks here and in internal/integration
// share: the login that one writes by hand with net/http, which plexauth is
// compared with, answers without a network, a server for one HTTP/2
// connection, and the memory of the process.
package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/plexauth/plexauth"
)

// PlexTV is where both clients send their requests, unless told otherwise.
const PlexTV = "https://plex.tv"

// ClientID is the client identifier that all clients send.
const ClientID = "000102030405060708090a0b"

// Options are those of a program that asks for nothing special. It sends the
// same headers as [Client].
func Options(c *http.Client) plexauth.Options {
	return plexauth.Options{
		Product: "My App", Version: "1.0", Platform: "linux", Device: "linux", DeviceName: "host",
		ClientID: ClientID, HTTPClient: c,
	}
}

// Client is what one writes by hand with net/http, without thinking of weather,
// limits or a restart: the measure of all the others.
type Client struct {
	HTTP   *http.Client
	Origin string
}

// PIN is every field of the answer, as one writes it down from a sample.
type PIN struct {
	ID               int64  `json:"id"`
	Code             string `json:"code"`
	Product          string `json:"product"`
	Trusted          bool   `json:"trusted"`
	QR               string `json:"qr"`
	ClientIdentifier string `json:"clientIdentifier"`
	Location         struct {
		Code                       string `json:"code"`
		EuropeanUnionMember        bool   `json:"european_union_member"`
		ContinentCode              string `json:"continent_code"`
		Country                    string `json:"country"`
		City                       string `json:"city"`
		TimeZone                   string `json:"time_zone"`
		PostalCode                 string `json:"postal_code"`
		InPrivacyRestrictedCountry bool   `json:"in_privacy_restricted_country"`
		InPrivacyRestrictedRegion  bool   `json:"in_privacy_restricted_region"`
		Subdivisions               string `json:"subdivisions"`
		Coordinates                string `json:"coordinates"`
	} `json:"location"`
	ExpiresIn       int     `json:"expiresIn"`
	CreatedAt       string  `json:"createdAt"`
	ExpiresAt       string  `json:"expiresAt"`
	AuthToken       *string `json:"authToken"`
	NewRegistration *bool   `json:"newRegistration"`
}

// Path is where plex.tv has the PIN.
func (p *PIN) Path() string { return "/api/v2/pins/" + strconv.FormatInt(p.ID, 10) }

// UserPath is where plex.tv says whose a token is.
const UserPath = "/api/v2/user"

// User is what a program wants to know of an account.
type User struct {
	ID       int64  `json:"id"`
	UUID     string `json:"uuid"`
	Username string `json:"username"`
	Title    string `json:"title"`
	Email    string `json:"email"`
}

// Create asks for a PIN.
func (c *Client) Create(ctx context.Context) (*PIN, error) {
	var pin PIN
	err := c.do(ctx, http.MethodPost, "/api/v2/pins", "", &pin)
	return &pin, err
}

// Check looks at the PIN once. An empty token says that it is pending.
func (c *Client) Check(ctx context.Context, pin *PIN) (token string, err error) {
	var now PIN
	if err := c.do(ctx, http.MethodGet, pin.Path(), "", &now); err != nil || now.AuthToken == nil {
		return "", err
	}
	return *now.AuthToken, nil
}

// User asks whose token this is.
func (c *Client) User(ctx context.Context, token string) (*User, error) {
	var u User
	err := c.do(ctx, http.MethodGet, UserPath, token, &u)
	return &u, err
}

func (c *Client) do(ctx context.Context, method, path, token string, v any) error {
	req, err := c.Request(ctx, method, path, token)
	if err != nil {
		return err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return json.Unmarshal(body, v)
}

// Request is one with all headers; token may be empty.
func (c *Client) Request(ctx context.Context, method, path, token string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Origin+path, nil)
	if err != nil {
		return nil, err
	}
	SetHeaders(req, token)
	return req, nil
}

// SetHeaders puts identity and token, if there is one, on a request.
func SetHeaders(req *http.Request, token string) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Plex-Product", "My App")
	req.Header.Set("X-Plex-Version", "1.0")
	req.Header.Set("X-Plex-Platform", "linux")
	req.Header.Set("X-Plex-Device", "linux")
	req.Header.Set("X-Plex-Device-Name", "host")
	req.Header.Set("X-Plex-Client-Identifier", ClientID)
	if token != "" {
		req.Header.Set("X-Plex-Token", token)
	}
}
