// Package measure has the helpers that benchmarks here and in
// internal/integration share. [Client] is the handwritten login that plexauth
// is compared with. The rest gives answers without a network, serves HTTP/2,
// and measures the memory of the process.
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

// PlexTV is the origin to which both clients send their requests by default.
const PlexTV = "https://plex.tv"

// ClientID is the client identifier that all measured clients send.
const ClientID = "000102030405060708090a0b"

// Options returns the options of an ordinary program that sends its requests
// by c. It sends the same headers as [Client].
func Options(c *http.Client) plexauth.Options {
	return plexauth.Options{
		Product: "My App", Version: "1.0", Platform: "linux", Device: "linux", DeviceName: "host",
		ClientID: ClientID, HTTPClient: c,
	}
}

// Client is a login written by hand with net/http. It ignores network failures,
// rate limits and restarts, and is the baseline of the comparisons.
type Client struct {
	HTTP   *http.Client
	Origin string
}

// PIN has every field of plex.tv's answer about a PIN.
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

// Path returns the path of p at plex.tv.
func (p *PIN) Path() string { return "/api/v2/pins/" + strconv.FormatInt(p.ID, 10) }

// UserPath is the path of plex.tv's answer about the owner of a token.
const UserPath = "/api/v2/user"

// User has the fields of an account that a program usually needs.
type User struct {
	ID       int64  `json:"id"`
	UUID     string `json:"uuid"`
	Username string `json:"username"`
	Title    string `json:"title"`
	Email    string `json:"email"`
}

// Create creates a PIN.
func (c *Client) Create(ctx context.Context) (*PIN, error) {
	var pin PIN
	err := c.do(ctx, http.MethodPost, "/api/v2/pins", "", &pin)
	return &pin, err
}

// Check polls pin once. The token is empty while the PIN is pending.
func (c *Client) Check(ctx context.Context, pin *PIN) (token string, err error) {
	var now PIN
	if err := c.do(ctx, http.MethodGet, pin.Path(), "", &now); err != nil || now.AuthToken == nil {
		return "", err
	}
	return *now.AuthToken, nil
}

// User returns the account that token belongs to.
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

// Request returns a request with all headers. The token may be empty.
func (c *Client) Request(ctx context.Context, method, path, token string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Origin+path, nil)
	if err != nil {
		return nil, err
	}
	SetHeaders(req, token)
	return req, nil
}

// SetHeaders sets the identity headers of req, and its token if it is not empty.
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
