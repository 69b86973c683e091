package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// plain is what one writes by hand with net/http, without thinking of weather,
// limits or a restart: the measure of all the others.
type plain struct {
	http   *http.Client
	origin string
}

// plainPIN is every field of the answer, as one writes it down from a sample.
type plainPIN struct {
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

type plainUser struct {
	ID       int64  `json:"id"`
	UUID     string `json:"uuid"`
	Username string `json:"username"`
	Title    string `json:"title"`
	Email    string `json:"email"`
}

func (p *plain) request(method, path, token string) (*http.Request, error) {
	return p.requestContext(context.Background(), method, path, token)
}

func (p *plain) requestContext(ctx context.Context, method, path, token string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.origin+path, nil)
	if err != nil {
		return nil, err
	}
	setHeaders(req, token)
	return req, nil
}

func setHeaders(req *http.Request, token string) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Plex-Product", "My App")
	req.Header.Set("X-Plex-Version", "1.0")
	req.Header.Set("X-Plex-Platform", "linux")
	req.Header.Set("X-Plex-Device", "linux")
	req.Header.Set("X-Plex-Device-Name", "host")
	req.Header.Set("X-Plex-Client-Identifier", clientID)
	if token != "" {
		req.Header.Set("X-Plex-Token", token)
	}
}

func (p *plain) do(ctx context.Context, method, path, token string, v any) error {
	req, err := p.requestContext(ctx, method, path, token)
	if err != nil {
		return err
	}
	resp, err := p.http.Do(req)
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

func (p *plain) pinPath(pin *plainPIN) string {
	return "/api/v2/pins/" + strconv.FormatInt(pin.ID, 10)
}

func (p *plain) create() (*plainPIN, error) {
	var pin plainPIN
	err := p.do(context.Background(), "POST", "/api/v2/pins", "", &pin)
	return &pin, err
}

func (p *plain) check(ctx context.Context, pin *plainPIN) (token string, err error) {
	var now plainPIN
	if err := p.do(ctx, "GET", p.pinPath(pin), "", &now); err != nil || now.AuthToken == nil {
		return "", err
	}
	return *now.AuthToken, nil
}

func (p *plain) user(token string) (*plainUser, error) {
	var u plainUser
	err := p.do(context.Background(), "GET", userPath, token, &u)
	return &u, err
}

// login is a whole one of somebody who has approved already.
func (p *plain) login() (token string, u *plainUser, err error) {
	pin, err := p.create()
	if err != nil {
		return "", nil, err
	}
	if token, err = p.check(context.Background(), pin); err != nil {
		return "", nil, err
	}
	if token == "" {
		return "", nil, errors.New("no token")
	}
	u, err = p.user(token)
	return token, u, err
}

// wait looks at this pace.
func (p *plain) wait(ctx context.Context, pin *plainPIN, pace time.Duration) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		token, err := p.check(ctx, pin)
		if err != nil {
			return err
		}
		if token != "" {
			_, err := p.user(token)
			return err
		}
	}
}

// plainTransport puts the headers on a program's own requests.
type plainTransport struct {
	base  http.RoundTripper
	token string
}

func (t plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	setHeaders(r, t.token)
	return t.base.RoundTrip(r)
}

// writeUnsafe changes one value in a JSON file as most programs do: another
// process's change can be lost, and a crash leaves half a file.
func writeUnsafe(path string, token string) error {
	b, err := editFile(path, token)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// writeAtomic does it as careful programs do, without a lock: a temporary
// file, fsync, rename, fsync of the directory.
func writeAtomic(path string, token string) error {
	b, err := editFile(path, token)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func editFile(path, token string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	plex, ok := doc["plex"].(map[string]any)
	if !ok {
		plex = map[string]any{}
		doc["plex"] = plex
	}
	plex["account_token"] = token
	return json.MarshalIndent(doc, "", "  ")
}
