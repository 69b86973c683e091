package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/plexauth/plexauth/internal/measure"
)

// plain is the login by hand.
type plain struct{ measure.Client }

func newPlain(c *http.Client, origin string) *plain {
	return &plain{measure.Client{HTTP: c, Origin: origin}}
}

// login signs in a person who has approved already.
func (p *plain) login(ctx context.Context) (token string, err error) {
	pin, err := p.Create(ctx)
	if err != nil {
		return "", err
	}
	if token, err = p.Check(ctx, pin); err != nil {
		return "", err
	}
	if token == "" {
		return "", errors.New("no token")
	}
	_, err = p.User(ctx, token)
	return token, err
}

// wait checks the PIN at this interval until it is approved.
func (p *plain) wait(ctx context.Context, pin *measure.PIN, pace time.Duration) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		token, err := p.Check(ctx, pin)
		if err != nil {
			return err
		}
		if token != "" {
			_, err := p.User(ctx, token)
			return err
		}
	}
}

// plainTransport adds the headers to the requests of a program.
type plainTransport struct {
	base  http.RoundTripper
	token string
}

func (t plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	measure.SetHeaders(r, t.token)
	return t.base.RoundTrip(r)
}

// writeUnsafe changes one value in a JSON file as most programs do. A change of another
// process can be lost, and a crash leaves half a file.
func writeUnsafe(path string, token string) error {
	b, err := editFile(path, token)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// writeAtomic changes it as careful programs do, but without a lock: with a temporary file,
// fsync, rename and fsync of the directory.
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
