package plexauth_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// New names all invalid options in one error.
func TestOptions(t *testing.T) {
	_, err := plexauth.New(plexauth.Options{
		Product: "\r\n", ClientID: "two\nlines", Instance: "a\x00b", PollInterval: -1, BaseURL: "not a url",
	})
	require.Error(t, err)
	for _, field := range []string{"Product", "ClientID", "Instance", "PollInterval", "BaseURL"} {
		assert.ErrorContains(t, err, field, "one error names all of them")
	}
	for _, base := range []string{"plex.example", "ftp://plex.example", "http://plex.example", "https://u:p@plex.example", "https://plex.example/path", "https://plex.example?q=1", "://", "http://192.168.1.1"} {
		_, err := plexauth.New(plexauth.Options{Product: "x", BaseURL: base})
		assert.ErrorContains(t, err, "BaseURL", base)
	}
	for _, base := range []string{"https://plex.example", "https://plex.example/", "http://127.0.0.1:80", "http://localhost:3000", "http://[::1]:1"} {
		_, err := plexauth.New(plexauth.Options{Product: "x", BaseURL: base})
		assert.NoError(t, err, base)
	}
	p, err := plexauth.New(plexauth.Options{Product: "x"})
	require.NoError(t, err)
	_, err = p.Instance("bad\n").Status(t.Context())
	assert.ErrorContains(t, err, "control characters")
	_, err = p.Instance("bad\n").Disconnect(t.Context())
	assert.ErrorContains(t, err, "control characters")
	assert.ErrorContains(t, p.Instance("bad\n").Cancel(t.Context()), "control characters")
}

// Every call returns the error of a context that has ended, or names an invalid
// profile, as no other kind of failure. No store hears of such a profile.
func TestContextError(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWorld(t)
	heard := does(func() { t.Error("the store was accessed") })
	unused := w.open(t, withStore(w.hooked(hooks{beforeLoad: heard, beforeUpdate: heard})))
	for name, c := range map[string]struct {
		ctx context.Context
		p   *plexauth.PlexAuth
	}{"context": {over, w.PlexAuth}, "id": {t.Context(), unused.Instance("a\nb")}} {
		ctx, p := c.ctx, c.p
		for op, err := range map[string]error{
			"Start":          errOf(p.Start(ctx, plexauth.PinOptions{})),
			"Finish":         errOf(p.Finish(ctx)),
			"Wait":           errOf(p.Wait(ctx)),
			"Login":          errOf(p.Login(ctx, plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })),
			"Cancel":         p.Cancel(ctx),
			"Status":         errOf(p.Status(ctx)),
			"Settings":       errOf(p.Settings(ctx)),
			"Instances":      errOf(p.Instances(ctx)),
			"Token":          errOf(p.Token(ctx)),
			"Verify":         errOf(p.Verify(ctx)),
			"Refresh":        errOf(p.Refresh(ctx)),
			"UseDeviceKey":   errOf(p.UseDeviceKey(ctx)),
			"Disconnect":     errOf(p.Disconnect(ctx)),
			"SignOut":        errOf(p.SignOut(ctx)),
			"Account":        errOf(p.Account(ctx)),
			"HomeUsers":      errOf(p.HomeUsers(ctx)),
			"SwitchHomeUser": errOf(p.SwitchHomeUser(ctx, plexauth.HomeUser{UUID: "0123456789abcdef"}, "")),
			"Servers":        errOf(p.Servers(ctx)),
			"Inspect":        errOf(p.Inspect(ctx)),
			"UseServer":      errOf(p.UseServer(ctx, "m1")),
			"Probe":          errOf(p.Probe(ctx, "http://192.168.1.5:32400")),
		} {
			require.Error(t, err, "%s: %s", name, op)
			if name == "id" {
				assert.ErrorContains(t, err, `Instance "a\nb"`, op)
			} else {
				assert.ErrorIs(t, err, context.Canceled, op)
			}
			for _, k := range errorKinds {
				assert.NotErrorIs(t, err, k.is, "%s: %s", name, op)
			}
		}
	}
}

// Capabilities are CrossWatch's, byte for byte, and each caller gets a copy.
func TestCapabilities(t *testing.T) {
	const want = `{"features":{"watchlist":{"read":true,"write":true},"collections":{"read":true,"write":false},"ratings":{"read":true,"write":true,"scale":"1-10"},"watched":{"read":true,"write":true},"liked_lists":{"read":false,"write":false}},"entity_types":["movie","show"]}`
	assert.Equal(t, want, jsonText(plexauth.Capabilities()), "byte for byte")
	w := newWorld(t)
	assert.Equal(t, plexauth.Capabilities(), w.Capabilities())
	plexauth.Capabilities().EntityTypes[0] = "changed"
	assert.Equal(t, want, jsonText(plexauth.Capabilities()), "each caller has a copy")
}

// The manifest is CrossWatch's.
func TestManifest(t *testing.T) {
	const want = `{"name":"PLEX","label":"Plex","flow":"device_pin","fields":[],"actions":{"start":true,"finish":true,"refresh":false,"disconnect":true},"verify_url":"https://plex.tv/pin","notes":"Open Plex, enter the PIN, then click 'Check PIN'."}`
	assert.JSONEq(t, want, jsonText(newWorld(t).Manifest()))
}

// Profile names are normalized as CrossWatch does.
func TestInstanceIDs(t *testing.T) {
	w := newWorld(t)
	for id, want := range map[string]string{
		"": "default", " ": "default", "DEFAULT": "default", " Default ": "default", "Default:03": "default", "PLEX-P01": "PLEX-P01", " plex-p01 ": "plex-p01",
		"plex:0": "plex", "a:1:2": "a:1", ":5": ":5", "x :1": "x", "a:b": "a:b", "a:": "a:", "1": "1", "x:٣": "x",
	} {
		s, err := w.Instance(id).Status(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, s.Instance, "%q", id)
	}
}

// G7: the JSON of a Status has CrossWatch's fields, and the countdown of the PIN.
func TestStatusJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, err := w.Status(t.Context())
		require.NoError(t, err)
		assert.JSONEq(t, `{"connected":false,"label":"Plex","user":null,"expires_at":null,"scopes":null,"extra":{"needs_login":false},"instance":"default"}`, jsonText(s))
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err = w.Status(t.Context())
		require.NoError(t, err)
		var m struct {
			Extra struct {
				Pending struct {
					Code, URL string
					ExpiresIn int `json:"expires_in"`
				}
			}
		}
		require.NoError(t, json.Unmarshal([]byte(jsonText(s)), &m))
		assert.Equal(t, pin.Code, m.Extra.Pending.Code)
		assert.Equal(t, pin.URL(), m.Extra.Pending.URL)
		assert.Equal(t, 900, m.Extra.Pending.ExpiresIn)
	})
}
