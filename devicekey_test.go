package plexauth_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

func deviceKey(o *plexauth.Options) { o.DeviceKey = true }

func scopes(s ...string) func(*plexauth.Options) { return func(o *plexauth.Options) { o.Scopes = s } }

// newDeviceWorld is a world with a login by device key.
func newDeviceWorld(t *testing.T, change ...func(*plexauth.Options)) *world {
	t.Helper()
	w := newWorld(t, append(change, deviceKey)...)
	w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
	return w
}

const (
	nonces    = "/api/v2/auth/nonce"
	exchanges = "/api/v2/auth/token"
	keysPath  = "/api/v2/auth/keys"
)

// block is the stored block of the default profile.
func (w *world) block(t *testing.T) (b struct {
	ClientID     string `json:"client_id"`
	AccountToken string `json:"account_token"`
	Device       struct {
		ClientID string `json:"client_id"`
		Kid      string `json:"kid"`
		Secret   string `json:"secret"`
		Scope    string `json:"scope"`
	} `json:"_device"`
}) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(w.doc(t)), &b))
	return b
}

// part decodes one part of a JWT.
func part(t *testing.T, jwt string, n int) []byte {
	t.Helper()
	parts := strings.Split(jwt, ".")
	require.Len(t, parts, 3)
	b, err := base64.RawURLEncoding.DecodeString(parts[n])
	require.NoError(t, err)
	return b
}

// forge changes a JWT's header and claims, signed with another key unless
// change breaks that as well.
func forge(t *testing.T, jwt string, change func(header, claims map[string]any)) string {
	t.Helper()
	var header, claims map[string]any
	require.NoError(t, json.Unmarshal(part(t, jwt, 0), &header))
	require.NoError(t, json.Unmarshal(part(t, jwt, 1), &claims))
	change(header, claims)
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(make([]byte, 32)), []byte(signed)))
}

func tokenOf(t *testing.T, p *plexauth.PlexAuth) string {
	t.Helper()
	tok, err := p.Token(t.Context())
	require.NoError(t, err)
	return tok.Secret()
}

// G1, G23: from an empty store to a JWT, under an identifier of the device's
// own.
func TestDeviceKeyLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey, scopes("username", "email"))
		assert.True(t, w.Manifest().Actions["refresh"])
		for _, o := range []plexauth.PinOptions{{}, {Strong: true}} {
			pin, err := w.Start(t.Context(), o)
			require.NoError(t, err)
			assert.Equal(t, o.Strong, len(pin.Code) > 20)
			again, err := w.open(t, deviceKey).Start(t.Context(), o)
			require.NoError(t, err)
			assert.Equal(t, pin.Code, again.Code)
			s, err := w.Finish(t.Context())
			require.NoError(t, err)
			assert.False(t, s.Connected)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			s, err = w.open(t).Wait(t.Context()) // by a process that knows nothing of device keys
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.Equal(t, "alice", s.User)
			assert.Nil(t, s.Pending)
			assert.Equal(t, 7*24*time.Hour, time.Until(s.ExpiresAt).Round(time.Minute))
		}
		b := w.block(t)
		assert.Regexp(t, `^[0-9a-f]{24}$`, b.Device.ClientID)
		assert.NotEqual(t, b.ClientID, b.Device.ClientID)
		v := mustSettings(t, w.PlexAuth)
		assert.Equal(t, b.Device.ClientID, v.ClientID)
		assert.Equal(t, b.AccountToken, v.AccountToken.Secret())
		assert.Equal(t, fmt.Sprint(w.alice.ID), v.CloudAccountID)
		assert.Contains(t, string(part(t, tokenOf(t, w.PlexAuth), 1)), b.Device.ClientID)
		for _, r := range w.plex.Requests() {
			assert.Equal(t, b.Device.ClientID, r.Header.Get("X-Plex-Client-Identifier"), r)
		}
		assert.Equal(t, 2, w.count("POST", "/api/v2/pins"))
		assert.Zero(t, w.count("POST", exchanges), "the PIN gives the first JWT")
	})
}

// The claims follow Scopes, and Status tells which were asked for.
func TestScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t, scopes("username", "email"))
		check := func(s plexauth.Status, err error) {
			t.Helper()
			require.NoError(t, err)
			assert.Equal(t, []string{"username", "email"}, s.Scopes)
			claims := string(part(t, tokenOf(t, w.PlexAuth), 1))
			assert.Contains(t, claims, "alice@example.com")
			assert.NotContains(t, claims, "joinedAt")
		}
		check(w.Status(t.Context()))
		check(w.Refresh(t.Context()))
		time.Sleep(time.Minute)
		check(w.open(t).Refresh(t.Context())) // a process without the option asks for the same

		s, err := w.Status(t.Context())
		require.NoError(t, err)
		text, err := json.Marshal(s)
		require.NoError(t, err)
		assert.Contains(t, string(text), fmt.Sprintf(`"expires_at":%d,"scopes":["username","email"]`, s.ExpiresAt.Unix()))

		for _, bad := range []string{"", "user name", "username,email"} {
			_, err := plexauth.New(plexauth.Options{Product: "My App", Scopes: []string{bad}})
			assert.ErrorContains(t, err, "scope", bad)
		}
	})
}

// G1, G23: a long-lived login beside the device key under another profile stays
// valid, and neither token gets to the other profile.
func TestTwoProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		long := tokenOf(t, w.PlexAuth)
		dev := w.open(t, deviceKey).Instance("device")
		w.signIn(t, dev, w.alice, plexauth.PinOptions{})
		jwt := tokenOf(t, dev)
		_, err := dev.Refresh(t.Context())
		require.NoError(t, err)
		_, err = dev.Verify(t.Context())
		require.NoError(t, err)
		_, err = w.Verify(t.Context())
		require.NoError(t, err, "the long-lived token lives")
		assert.Equal(t, long, tokenOf(t, w.PlexAuth))
		assert.NotEqual(t, jwt, tokenOf(t, dev))

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{}) // a relink retires the long-lived one only
		assert.NotEqual(t, long, tokenOf(t, w.PlexAuth))
		_, err = dev.Verify(t.Context())
		require.NoError(t, err)

		_, err = dev.SignOut(t.Context())
		require.NoError(t, err)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, w.doc(t), "_device")
	})
}

// A plain login is what it was with DeviceKey off, and is not upgraded by
// turning it on.
func TestPlainLoginIsNotUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		assert.False(t, w.Manifest().Actions["refresh"])
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.NotContains(t, w.doc(t), "_device")
		before := w.doc(t)
		p := w.open(t, deviceKey)
		s, err := p.Refresh(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Zero(t, s.ExpiresAt)
		assert.Nil(t, s.Scopes)
		tokenOf(t, p)
		assert.Equal(t, before, w.doc(t))
		assert.Zero(t, w.count("GET", nonces))
		assert.Equal(t, 2, w.count("GET", "/api/v2/user"), "with a long-lived token it is Verify")

		_, err = w.open(t, deviceKey).Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Verify(t.Context())
		require.NoError(t, err, "the old token goes with the old identifier while the PIN is pending")
	})
}

// G22, G23: a relink with a device key keeps its identifier and key; another
// account is refused unless wanted.
func TestDeviceRelink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		before := w.block(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.Equal(t, before.AccountToken, w.block(t).AccountToken)

		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		after := w.block(t)
		assert.Equal(t, before.Device.ClientID, after.Device.ClientID)
		assert.Equal(t, before.Device.Kid, after.Device.Kid)
		assert.Equal(t, fmt.Sprint(w.bob.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
	})
}

// Disconnect forgets the key with the rest.
func TestDisconnectForgetsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		secret := w.block(t).Device.Secret
		require.Len(t, secret, 43)
		_, err := w.Disconnect(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, w.doc(t), "_device")
		assert.NotContains(t, w.doc(t), secret)
		_, err = w.Token(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrNotConnected)
	})
}

// SignOut ends a JWT that has expired, too: the device must not stay listed.
func TestSignOutPastExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		time.Sleep(30 * 24 * time.Hour)
		s, err := w.SignOut(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		assert.Equal(t, 1, w.count("POST", exchanges))
		assert.Equal(t, 2, w.count("DELETE", "/api/v2/users/signout"))
	})
}

// The wire of a device key, byte by byte: the vector of RFC 8037's key.
func TestDeviceKeyVector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			seed     = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
			x        = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
			kid      = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
			clientID = "0f2d6e1c-client-id"
			nonce    = "7c415b56-8f48-488a-98ab-847ef4460442"
			vector   = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ.eyJhdWQiOiJwbGV4LnR2IiwiaXNzIjoiMGYyZDZlMWMtY2xpZW50LWlkIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3NjcyMjU5MDAsIm5vbmNlIjoiN2M0MTViNTYtOGY0OC00ODhhLTk4YWItODQ3ZWY0NDYwNDQyIiwic2NvcGUiOiJ1c2VybmFtZSxlbWFpbCxmcmllbmRseV9uYW1lIn0.MG0Pn5SkJG4QQxhE9XBFUSD5B1c4qaWZiObub1Wx96b-ACSw0BOdQmjwjM_jkYhhw-evVHH11waU09KqaunUCQ"
		)
		public, err := base64.RawURLEncoding.DecodeString(x)
		require.NoError(t, err)
		verifies := func(jwt string) bool {
			signed := jwt[:strings.LastIndex(jwt, ".")]
			return ed25519.Verify(public, []byte(signed), part(t, jwt, 2))
		}
		require.True(t, verifies(vector))

		time.Sleep(time.Until(time.Unix(1767225630, 0))) // 30 s after the vector's iat
		w := newWorld(t)
		put(t, w.store, fmt.Sprintf(`{"_device":{"client_id":%q,"kid":%q,"secret":%q}}`, clientID, kid, seed))
		wire := &sentBodies{RoundTripper: w.plex.Client().Transport}
		p := w.open(t, deviceKey, scopes("username", "email", "friendly_name"), func(o *plexauth.Options) {
			o.HTTPClient = &http.Client{Transport: wire}
		})
		w.plex.Inject(plextest.Fault{Path: nonces, Body: `{"nonce":"` + nonce + `"}`, ContentType: "application/json"})
		pin, err := p.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		assert.JSONEq(t, `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"`+x+`","kid":"`+kid+`","alg":"EdDSA","use":"sig"},"strong":true}`, wire.last("/api/v2/pins"))

		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		_, err = p.Wait(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Until(time.Unix(1767225630+3600, 0)))
		_, err = p.Refresh(t.Context())
		require.NoError(t, err)
		assert.Len(t, wire.all(exchanges), 2, "the fake never gave that nonce; the second one is its own")
		var body struct{ JWT string }
		require.NoError(t, json.Unmarshal([]byte(wire.first(exchanges)), &body))
		assert.JSONEq(t, string(part(t, vector, 0)), string(part(t, body.JWT, 0)))
		want := strings.NewReplacer("1767225600", "1767229200", "1767225900", "1767229500").Replace(string(part(t, vector, 1)))
		assert.Equal(t, want, string(part(t, body.JWT, 1)))
		assert.True(t, verifies(body.JWT))
	})
}

// sentBodies keeps what is sent.
type sentBodies struct {
	http.RoundTripper
	mu   sync.Mutex
	sent []string // path and body in turn
}

func (b *sentBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	b.mu.Lock()
	b.sent = append(b.sent, r.URL.Path, string(body))
	b.mu.Unlock()
	return b.RoundTripper.RoundTrip(r)
}

func (b *sentBodies) all(path string) (sent []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := 0; i < len(b.sent); i += 2 {
		if b.sent[i] == path {
			sent = append(sent, b.sent[i+1])
		}
	}
	return sent
}

func (b *sentBodies) first(path string) string { return b.all(path)[0] }
func (b *sentBodies) last(path string) string  { s := b.all(path); return s[len(s)-1] }

var _ = errors.Is
var _ = context.Background
