package plexauth_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// damagedTokens returns tokens that no header can carry, or that plex.tv does not
// give.
func damagedTokens() map[string]string {
	return map[string]string{
		"a NUL": "TEST_abc\x00def", "a line break": "TEST_abc\r\nX-Evil: 1", "a tab": "TEST_abc\tdef", "DEL": "TEST_abc\x7f", "a space": "TEST_abc def",
		"not ASCII": "TEST_äbc", "not UTF-8 once": "TEST_\ufffd", "far too long": "TEST_" + strings.Repeat("x", 5000),
		"a JWT": "eyJhbGciOiJFZERTQSJ9.eyJ1c2VyIjp7ImlkIjoxfX0.x\x01y",
	}
}

// withToken replaces a token in the stored document.
func withToken(t *testing.T, s plexauth.ConfigStore, key, token string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), plexauth.Namespace, func(current jsonRaw) (jsonRaw, error) {
		var doc map[string]any
		if err := json.Unmarshal(current, &doc); err != nil {
			return nil, err
		}
		doc[key] = token
		return json.Marshal(doc)
	}))
}

// G10: every call asks for a new login if no request can carry the stored token.
// Nothing is sent. A new login solves it.
func TestDamagedToken(t *testing.T) {
	for name, token := range damagedTokens() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				withToken(t, w.store, "account_token", token)
				p, asked := w.open(t), w.fromNow()
				s, err := p.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.NeedsLogin)
				assert.False(t, s.Connected)
				for call, do := range map[string]func(ctx context.Context) error{
					"Verify":       func(ctx context.Context) error { return errOf(p.Verify(ctx)) },
					"Account":      func(ctx context.Context) error { return errOf(p.Account(ctx)) },
					"Token":        func(ctx context.Context) error { return errOf(p.Token(ctx)) },
					"Refresh":      func(ctx context.Context) error { return errOf(p.Refresh(ctx)) },
					"UseDeviceKey": func(ctx context.Context) error { return errOf(p.UseDeviceKey(ctx)) },
					"Servers":      func(ctx context.Context) error { return errOf(p.Servers(ctx)) },
					"Inspect":      func(ctx context.Context) error { return errOf(p.Inspect(ctx)) },
					"UseServer":    func(ctx context.Context) error { return errOf(p.UseServer(ctx, "m")) },
					"HomeUsers":    func(ctx context.Context) error { return errOf(p.HomeUsers(ctx)) },
					"SwitchHomeUser": func(ctx context.Context) error {
						return errOf(p.SwitchHomeUser(ctx, plexauth.HomeUser{UUID: "0123456789abcdef"}, ""))
					},
					"Transport": func(ctx context.Context) error {
						return errOf((&http.Client{Transport: p.Transport(nil)}).Get("https://plex.tv/api/v2/user"))
					},
				} {
					err := do(t.Context())
					require.ErrorIs(t, err, plexauth.ErrNotConnected, call)
					assert.NotErrorIs(t, err, plexauth.ErrUnavailable, call)
					assert.Contains(t, err.Error(), "the stored token is damaged", call)
					assert.Contains(t, err.Error(), "sign in", call)
				}
				s, err = p.Finish(t.Context())
				require.NoError(t, err)
				assert.True(t, s.NeedsLogin)
				panel := openPanel(t, p)
				panel.refused(panel.do(http.MethodGet, "/servers", ""), http.StatusConflict, "not_connected")
				assert.True(t, panel.get("/status").Extra.NeedsLogin)
				panel.refused(panel.do(http.MethodPost, "/inspect", "{}"), http.StatusConflict, "not_connected")
				assert.Empty(t, asked(), "plex.tv is left alone")

				w.signIn(t, p, w.alice, plexauth.PinOptions{})
				s, err = p.Verify(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)

				synctest.Wait() // until the open panel has looked for the new login's server
				withToken(t, w.store, "account_token", token)
				asked = w.fromNow()
				s, err = p.SignOut(t.Context()) // there is nothing to revoke
				require.NoError(t, err)
				assert.False(t, s.NeedsLogin)
				assert.Empty(t, asked())
			})
		})
	}
}

// A server token that no request can carry is not sent. Inspect replaces it.
func TestDamagedServerToken(t *testing.T) {
	for name, token := range damagedTokens() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
				good, err := w.Inspect(t.Context())
				require.NoError(t, err)
				withToken(t, w.store, "pms_token", token)
				p := w.open(t)
				assert.True(t, mustSettings(t, p).ServerToken.IsZero())
				c := &http.Client{Transport: p.Transport(nil)}
				_, err = c.Get(good.ServerURL + "/library/sections")
				require.ErrorIs(t, err, plexauth.ErrServerToken)
				assert.NotErrorIs(t, err, plexauth.ErrUnavailable)
				s, err := p.Inspect(t.Context())
				require.NoError(t, err)
				assert.True(t, s.ServerToken.Equal(good.ServerToken))
				resp, err := c.Get(good.ServerURL + "/library/sections")
				require.NoError(t, err)
				assert.Equal(t, http.StatusOK, resp.StatusCode)
				resp.Body.Close()
			})
		})
	}
}

// A parked token that was damaged in the store is fetched again by the next look.
func TestDamagedParkedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 500, Times: -1})
		_, err = w.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		w.plex.ResetFaults()
		doc := w.doc(t)
		i := strings.Index(doc, "_pending_pin")
		j := i + strings.Index(doc[i:], `"account_token":"`) + len(`"account_token":"`)
		put(t, w.store, doc[:j]+`\u0000`+doc[j:])
		s, err := w.open(t).Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.NotContains(t, w.doc(t), `\u0000`)
	})
}
