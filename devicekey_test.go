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
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/corpus"
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
		var devices []string
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
			devices = append(devices, w.block(t).Device.ClientID)
		}
		assert.NotEqual(t, devices[0], devices[1], "a login that works lends its device to none that is not approved yet")
		b := w.block(t)
		assert.Regexp(t, `^[0-9a-f]{24}$`, b.Device.ClientID)
		assert.NotEqual(t, b.ClientID, b.Device.ClientID)
		v := mustSettings(t, w.PlexAuth)
		assert.Equal(t, b.Device.ClientID, v.ClientID)
		assert.Equal(t, b.AccountToken, v.AccountToken.Secret())
		assert.Equal(t, fmt.Sprint(w.alice.ID), v.CloudAccountID)
		assert.Contains(t, string(part(t, tokenOf(t, w.PlexAuth), 1)), b.Device.ClientID)
		for _, r := range w.plex.Requests() {
			assert.Contains(t, devices, r.Header.Get("X-Plex-Client-Identifier"), r)
		}
		assert.Equal(t, 1, w.count("DELETE", "/api/v2/users/signout"), "the first device does not stay listed")
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

// G23: a plain login is what it was with DeviceKey off, and is not upgraded by
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

		_, err = w.Refresh(t.Context())
		require.NoError(t, err, "the refused login has not touched the one that stands")
		assert.Equal(t, "alice", mustSettings(t, w.PlexAuth).Username)

		w.signIn(t, w.PlexAuth, w.bob, plexauth.PinOptions{SwitchAccount: true})
		assert.NotEqual(t, before.Device.ClientID, w.block(t).Device.ClientID)
		assert.Equal(t, fmt.Sprint(w.bob.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
		_, err = w.Refresh(t.Context())
		require.NoError(t, err)
	})
}

// G22, G23: whoever approves a PIN that nobody looks at any more does not get the
// profile, nor the device of the login that stands.
func TestApprovedUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.Cancel(t.Context()))
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		time.Sleep(6 * day)
		tokenOf(t, w.PlexAuth)
		a, err := w.Account(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice", a.Username)
	})
}

// Disconnect forgets the key with the rest. G22: the next one is the same
// device's in the person's list.
func TestDisconnectForgetsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		before := w.block(t).Device
		secret := before.Secret
		require.Len(t, secret, 43)
		_, err := w.Disconnect(t.Context())
		require.NoError(t, err)
		assert.NotContains(t, w.doc(t), "_device")
		assert.NotContains(t, w.doc(t), secret)
		_, err = w.Token(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrNotConnected)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		after := w.block(t).Device
		assert.Equal(t, before.ClientID, after.ClientID)
		assert.NotEqual(t, before.Kid, after.Kid)
		assert.NotContains(t, w.doc(t), "device_client_id")
		_, err = w.Refresh(t.Context())
		assert.NoError(t, err)
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

// G8: plex.tv's keys cannot be had when the approval comes. The token is kept
// until they can, past the PIN's end and over a restart, and counts as nothing
// before.
func TestApprovalWithoutKeys(t *testing.T) {
	for name, finish := range map[string]func(p *plexauth.PlexAuth) (plexauth.Status, error){
		"Wait":   func(p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Wait(context.Background()) },
		"Finish": func(p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Finish(context.Background()) },
		"Verify": func(p *plexauth.PlexAuth) (plexauth.Status, error) { return p.Verify(context.Background()) },
	} {
		for _, later := range []time.Duration{time.Minute, time.Hour, 30 * day} {
			t.Run(fmt.Sprint(name, later), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, deviceKey)
					w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
					w.plex.Inject(plextest.Fault{Path: keysPath, Status: 503, Times: -1})
					pin, err := w.Start(t.Context(), plexauth.PinOptions{})
					require.NoError(t, err)
					require.NoError(t, w.plex.Approve(pin.Code, w.alice))
					s, err := w.Finish(t.Context())
					require.ErrorIs(t, err, plexauth.ErrUnavailable)
					assert.False(t, s.Connected)
					assert.NotNil(t, s.Pending)
					_, err = w.Token(t.Context())
					require.ErrorIs(t, err, plexauth.ErrNotConnected)
					time.Sleep(later)
					w.plex.ResetFaults()
					s, err = finish(w.open(t, deviceKey))
					require.NoError(t, err)
					assert.True(t, s.Connected)
					assert.Equal(t, "alice", s.User)
					assert.Equal(t, 1, w.count("GET", "/api/v2/pins/{id}"))
				})
			})
		}
	}
}

// The account in a verified JWT does where plex.tv cannot be asked for it: who
// signed in is known, and another account is refused.
func TestAccountFromTheJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey, scopes("username"))
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 502, Times: -1})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		v := mustSettings(t, w.PlexAuth)
		assert.Equal(t, fmt.Sprint(w.alice.ID), v.CloudAccountID)
		assert.Equal(t, "alice", v.Username)

		pin, err := w.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		_, err = w.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrAccountMismatch)
		assert.Equal(t, v.AccountToken.Secret(), mustSettings(t, w.PlexAuth).AccountToken.Secret())
	})
}

// G4: a long-lived token for a PIN with a key is a login as well. It goes with
// the device's identifier, and the key exchanges it.
func TestOpaqueTokenForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		odd, client := w.tamper("/api/v2/pins/")
		var device string
		odd.change = func(body []byte) []byte {
			var j map[string]any
			_ = json.Unmarshal(body, &j)
			if j["authToken"] != nil {
				device = j["clientIdentifier"].(string)
				j["authToken"] = w.plex.IssueToken(w.alice, device)
			}
			body, _ = json.Marshal(j)
			return body
		}
		p := w.open(t, client, deviceKey)
		w.plex.Inject(plextest.Fault{Path: nonces, Status: 502, Times: -1})
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		opaque := tokenOf(t, p)
		assert.NotContains(t, opaque, ".")
		s, err := p.Verify(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.Zero(t, s.ExpiresAt)
		w.plex.ResetFaults()
		time.Sleep(time.Hour)
		assert.Equal(t, 2, strings.Count(tokenOf(t, p), "."))
		_, err = p.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, device, mustSettings(t, p).ClientID)
	})
}

// A device JWT that plex.tv does not take is weather: the answer sets the clock
// right, and each look has a new one.
func TestDeviceJWTRefusedAtThePIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, deviceKey)
		pin, err := p.Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		w.plex.SetClock(-2 * time.Hour) // after the PIN was made, so that nobody knows
		time.AfterFunc(25*time.Minute, func() { _ = w.plex.Approve(pin.Code, w.alice) })
		_, err = p.Wait(t.Context())
		require.NoError(t, err)
		refused := 0
		for _, r := range w.plex.Requests() {
			if r.Path == "/api/v2/pins/{id}" && r.Status == 422 {
				refused++
			}
		}
		assert.Equal(t, 1, refused)
	})
}

// "Thumbprint already taken": a store that was copied and given another
// identifier gets one new key, under the same login.
func TestTakenByAnotherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.block(t)
		clone := plexauth.NewMemoryStore()
		put(t, clone, fmt.Sprintf(`{"_device":{"client_id":"another-device","kid":%q,"secret":%q}}`, b.Device.Kid, b.Device.Secret))
		p := w.open(t, deviceKey, func(o *plexauth.Options) { o.Store = clone })
		made := w.count("POST", "/api/v2/pins")
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		assert.Equal(t, made+2, w.count("POST", "/api/v2/pins"))
		v := mustSettings(t, p)
		assert.Equal(t, "another-device", v.ClientID)
		raw, err := clone.Load(t.Context(), plexauth.Namespace)
		require.NoError(t, err)
		assert.NotContains(t, string(raw), b.Device.Kid)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, p} {
			_, err = p.Refresh(t.Context())
			require.NoError(t, err)
		}

		v = mustSettings(t, p)
		w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Code: 1014, Times: -1})
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		var e *plexauth.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 422, e.StatusCode)
		assert.Equal(t, made+4, w.count("POST", "/api/v2/pins"), "one new key, not a loop")
		assert.Equal(t, v.AccountToken.Secret(), mustSettings(t, p).AccountToken.Secret())
	})
}

// A new profile for a device key inherits nothing from the default one.
func TestDeviceProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deviceKey)
		p := w.Instance("PLEX-P01")
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		for _, field := range []string{"server_url", "account_token", "pms_token", "machine_id", "username", "account_id", "home_pin"} {
			assert.Contains(t, w.doc(t), `"`+field+`":""`)
		}
	})
}

// On request a long-lived login is moved over, without asking the person: the
// old token ends by that, and the identifier is the device's from then on.
func TestUseDeviceKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, scopes("username"))
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.signIn(t, w.Instance("bob"), w.bob, plexauth.PinOptions{})
		before := mustSettings(t, w.PlexAuth)
		s, err := w.UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.NotZero(t, s.ExpiresAt)
		assert.Equal(t, []string{"username"}, s.Scopes)
		after := mustSettings(t, w.PlexAuth)
		assert.Equal(t, before.ClientID, after.ClientID)
		assert.Equal(t, before.Username, after.Username)
		assert.Empty(t, w.plex.Token(w.alice, before.ClientID), "the long-lived token has ended")
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		_, err = w.Instance("bob").Verify(t.Context())
		require.NoError(t, err, "another account's token under that identifier is its own")

		first := tokenOf(t, w.PlexAuth)
		time.Sleep(time.Minute)
		_, err = w.UseDeviceKey(t.Context()) // again: as Refresh
		require.NoError(t, err)
		assert.NotEqual(t, first, tokenOf(t, w.PlexAuth))
		assert.Equal(t, 1, w.count("POST", "/api/v2/auth/jwk"))

		third := w.Instance("third") // a long-lived login after that does not end the JWT
		w.signIn(t, third, w.alice, plexauth.PinOptions{})
		assert.NotEqual(t, before.ClientID, mustSettings(t, third).ClientID)
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.Instance("bob"), third} {
			_, err = p.Verify(t.Context())
			require.NoError(t, err)
		}
	})
}

// The server token that was the long-lived one itself ends with it.
func TestUseDeviceKeyAndTheServerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{OwnedTokenIsAccountToken: true})
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		v, err := w.Inspect(t.Context())
		require.NoError(t, err)
		require.True(t, v.ServerToken.Equal(v.AccountToken))
		_, err = w.UseDeviceKey(t.Context())
		require.NoError(t, err)
		after := mustSettings(t, w.PlexAuth)
		assert.True(t, after.ServerToken.IsZero())
		assert.Equal(t, v.ServerURL, after.ServerURL)
		_, err = w.Inspect(t.Context())
		assert.ErrorIs(t, err, plexauth.ErrServerToken)
	})
}

// What is asked for and cannot be done changes nothing.
func TestUseDeviceKeyRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrNotConnected)

		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		put(t, w.store, strings.Replace(w.doc(t), "{", fmt.Sprintf(`{"instances":{"PLEX-P01":{"account_token":%q}},`, tokenOf(t, w.PlexAuth)), 1))
		before := w.doc(t)
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorContains(t, err, "PLEX-P01")
		assert.Equal(t, before, w.doc(t))
		_, err = w.Instance("PLEX-P01").Disconnect(t.Context())
		require.NoError(t, err)

		// What that login brings would live under the identifier of the device.
		_, err = w.Instance("PLEX-P01").Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		before = w.doc(t)
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorContains(t, err, `"PLEX-P01" has a login pending`)
		assert.Equal(t, before, w.doc(t))
		time.Sleep(16 * time.Minute) // that PIN is over, and has brought none

		old := tokenOf(t, w.PlexAuth)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/auth/jwk", Status: 502})
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, old, tokenOf(t, w.PlexAuth))
		assert.Zero(t, w.count("GET", nonces), "an attempt that failed is no request to go on by itself")
		_, err = w.open(t, deviceKey).Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, mustSettings(t, w.PlexAuth).ClientID, w.block(t).Device.ClientID, "a device login does not take the key that is left")

		w.plex.Revoke(w.alice)
		s, err := w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
		assert.True(t, s.NeedsLogin)
	})
}

// A move that stopped half way goes on: the key is registered already, and it
// is ours.
func TestUseDeviceKeyGoesOn(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"registered, answer lost": {Path: "/api/v2/auth/jwk", ResetAfter: true},
		"no nonce":                {Path: nonces, Status: 502, Times: 4},
		"exchanged, answer lost":  {Path: exchanges, ResetAfter: true, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				w.plex.Inject(fault)
				_, err := w.UseDeviceKey(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				kid := w.block(t).Device.Kid
				w.plex.ResetFaults()
				time.Sleep(2 * time.Second)
				s, err := w.open(t).UseDeviceKey(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.NotZero(t, s.ExpiresAt)
				assert.Equal(t, kid, w.block(t).Device.Kid)
			})
		})
	}
}

// G23: a move that plex.tv has refused is no move: whoever comes by later leaves
// the long-lived login as it is, and calling again goes on.
func TestUseDeviceKeyRefused(t *testing.T) {
	for name, fault := range map[string]plextest.Fault{
		"no nonce":             {Path: nonces, Code: 1003, Times: -1},
		"the key is refused":   {Path: exchanges, Code: 1001, Times: -1},
		"too many exchanges":   {Path: exchanges, Code: 1003, Times: -1},
		"the word is not good": {Path: exchanges, Code: 1008, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				long := tokenOf(t, w.PlexAuth)
				w.plex.Inject(fault)
				s, err := w.UseDeviceKey(t.Context())
				require.Error(t, err)
				require.NotErrorIs(t, err, plexauth.ErrTokenRejected, "that was not about the token")
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)
				w.plex.ResetFaults()
				time.Sleep(time.Hour)
				_, err = w.open(t).Account(t.Context())
				require.NoError(t, err)
				assert.Equal(t, long, tokenOf(t, w.PlexAuth))
				s, err = w.UseDeviceKey(t.Context())
				require.NoError(t, err)
				assert.NotZero(t, s.ExpiresAt)
			})
		})
	}
}

// Two answers that are lost, one after the other, do not cost the login.
func TestUseDeviceKeyGoesOnTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: "/api/v2/auth/jwk", ResetAfter: true})
		_, err := w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		w.plex.Inject(plextest.Fault{Path: exchanges, ResetAfter: true, Times: 2})
		_, err = w.UseDeviceKey(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		w.plex.ResetFaults()
		time.Sleep(2 * time.Second)
		s, err := w.UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.NotZero(t, s.ExpiresAt)
	})
}

// A double click, and another process at the same time, move the login once.
func TestUseDeviceKeyConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.replicas = true
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		var wg sync.WaitGroup
		for _, p := range []*plexauth.PlexAuth{w.PlexAuth, w.open(t)} {
			for range 5 {
				wg.Go(func() {
					s, err := p.UseDeviceKey(t.Context())
					assert.NoError(t, err)
					assert.NotZero(t, s.ExpiresAt)
				})
			}
		}
		wg.Wait()
		assert.LessOrEqual(t, w.count("POST", "/api/v2/auth/jwk"), 2, "one a process")
		_, err := w.Refresh(t.Context())
		require.NoError(t, err)
	})
}

// A key that is another device's gives way to a new one, once.
func TestUseDeviceKeyTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.block(t)
		clone := plexauth.NewMemoryStore()
		p := w.open(t, func(o *plexauth.Options) { o.Store = clone })
		w.signIn(t, p, w.bob, plexauth.PinOptions{})
		v := mustSettings(t, p)
		raw, err := clone.Load(t.Context(), plexauth.Namespace)
		require.NoError(t, err)
		put(t, clone, strings.Replace(string(raw), "{", fmt.Sprintf(`{"_device":{"client_id":%q,"kid":%q,"secret":%q},`, v.ClientID, b.Device.Kid, b.Device.Secret), 1))
		s, err := p.UseDeviceKey(t.Context())
		require.NoError(t, err)
		assert.NotZero(t, s.ExpiresAt)
		assert.Equal(t, 2, w.count("POST", "/api/v2/auth/jwk"))
		_, err = w.Verify(t.Context())
		require.NoError(t, err)
	})
}

// G23: a JWT that some program took for a server's token does not go to the
// server.
func TestNoJWTToTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		jwt := w.block(t).AccountToken
		put(t, w.store, strings.Replace(w.doc(t), "{", fmt.Sprintf(`{"server_url":"https://plex.example.org","machine_id":"m","pms_token_server":"https://plex.example.org","pms_token":%q,`, jwt), 1))
		wire := &seen{}
		_, err := w.open(t).Transport(wire).RoundTrip(request(t, "GET", "https://plex.example.org/library", nil))
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Empty(t, wire.reqs)
	})
}

// G13: keys, JWTs and nonces are in no log and no error, and the store has the
// secret ones under names that CrossWatch encrypts.
func TestDeviceKeyLeaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var secrets []string
		wire := &sentBodies{RoundTripper: w.plex.Client().Transport}
		p := w.open(t, deviceKey, func(o *plexauth.Options) {
			o.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if jwt := r.URL.Query().Get("deviceJWT"); jwt != "" {
					secrets = append(secrets, jwt)
				}
				resp, err := wire.RoundTrip(r)
				if err != nil { // as a careless transport would say it
					return nil, fmt.Errorf("%s %s: %w", r.Method, r.URL, err)
				}
				return resp, nil
			})}
		})
		var said strings.Builder
		say := func(v ...any) {
			for _, v := range v {
				fmt.Fprintf(&said, "%v %+v %#v %s\n", v, v, v, v)
				rec := &recorder{} // testify dumps by reflection
				assert.Equal(rec, v, "something else")
				said.WriteString(rec.text)
			}
		}
		for _, fault := range []plextest.Fault{{Reset: true}, {Code: 1008}, {Body: "<html>", Status: 502}} {
			pin, err := p.Start(t.Context(), plexauth.PinOptions{})
			say(pin, err)
			w.plex.Inject(fault)
			s, err := p.Finish(t.Context())
			say(s, err)
			require.Error(t, err)
			time.Sleep(time.Minute)
			fault.Path, fault.Times = "/api/v2/pins/*", -1
			w.plex.Inject(fault)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			s, err = p.Wait(ctx)
			cancel()
			say(s, err)
			w.plex.ResetFaults()
		}
		secrets = append(secrets, w.block(t).Device.Secret)
		w.signIn(t, p, w.alice, plexauth.PinOptions{})
		secrets = append(secrets, tokenOf(t, p))
		for _, path := range []string{nonces, exchanges, keysPath} {
			w.plex.Inject(plextest.Fault{Path: path, Reset: true, Times: 8})
			time.Sleep(2 * time.Hour)
			s, err := p.Refresh(t.Context())
			say(s, err)
			w.plex.ResetFaults()
			time.Sleep(2 * time.Second)
			s, err = p.Refresh(t.Context())
			require.NoError(t, err)
			say(s)
			secrets = append(secrets, tokenOf(t, p))
		}
		for _, sent := range wire.all(exchanges) {
			var body struct{ JWT string }
			require.NoError(t, json.Unmarshal([]byte(sent), &body))
			secrets = append(secrets, body.JWT)
		}
		require.Greater(t, len(secrets), 10)
		text := said.String() + w.log.String()
		for _, s := range secrets {
			for part := range strings.SplitSeq(s, ".") {
				if !strings.Contains(text, part) || part == "" {
					continue
				}
				assert.Fail(t, "a secret was printed", "%s in %s", part, text)
			}
		}
		for name, value := range leaves(t, []byte(w.doc(t)), "") {
			for _, s := range secrets {
				if strings.Contains(value, s) {
					assert.Contains(t, []string{"account_token", "secret"}, name[strings.LastIndex(name, ".")+1:], name)
				}
			}
		}
	})
}

// leaves lists the strings of a document by their paths.
func leaves(t *testing.T, raw []byte, at string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil {
		for k, v := range object {
			for name, value := range leaves(t, v, at+"."+k) {
				all[name] = value
			}
		}
		return all
	}
	all[at] = string(raw)
	return all
}

// jwtsAtServers counts the JWTs that media servers were shown.
func (w *world) jwtsAtServers() (n int) {
	for _, r := range w.mediaRequests() {
		if strings.HasPrefix(r.Credential, "jwt") {
			n++
		}
	}
	return n
}

// G23: plex.tv hands a device the JWT itself for a server of its own. That is
// noticed and said, not saved, and not sent.
func TestNoJWTForAMediaServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{Connections: []plextest.Connection{lan}})
		v, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Equal(t, box.MachineID, v.MachineID)
		assert.NotEmpty(t, v.ServerURL)
		assert.True(t, v.ServerToken.IsZero())
		assert.NotContains(t, w.doc(t), `"pms_token":"e`)
		assert.Equal(t, 401, w.status(t, request(t, "GET", v.ServerURL+"/library/sections", nil)))
		assert.Zero(t, w.jwtsAtServers())

		shared := w.plex.AddMediaServer(w.bob, plextest.MediaServer{SharedWith: []*plextest.User{w.alice}, Connections: []plextest.Connection{{Address: "192.168.1.77", Local: true}}})
		v, _ = w.UseServer(t.Context(), shared.MachineID)
		require.False(t, v.ServerToken.IsZero())
		assert.NotContains(t, v.ServerToken.Secret(), ".")
		r, err := w.Probe(t.Context(), "")
		require.NoError(t, err, "a shared server comes with a token of its own")
		assert.True(t, r.TokenAccepted)
		assert.Zero(t, w.jwtsAtServers())
	})
}

// G23: Probe finds out whether a server takes a JWT; if it does, the server gets
// it from then on, renewed like any other, until it refuses.
func TestMediaServerThatTakesAJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{lan}})
		v, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		library := func() *http.Request { return request(t, "GET", v.ServerURL+"/library/sections", nil) }
		assert.Equal(t, 401, w.status(t, library()))
		_, err = w.Probe(t.Context(), v.ServerURL)
		require.NoError(t, err)
		assert.Zero(t, w.jwtsAtServers(), "only where plex.tv lists it as the account's own")

		w.plex.Inject(plextest.Fault{Path: "/", Status: 401, Body: payload(t, "pms-401.html"), ContentType: "text/html"})
		r, err := w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.False(t, r.TokenAccepted)
		assert.Equal(t, 401, w.status(t, library()))
		assert.Equal(t, 1, w.jwtsAtServers())

		r, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		assert.True(t, r.TokenAccepted)
		assert.Equal(t, 200, w.status(t, library()))
		w.plex.Inject(plextest.Fault{Path: "/", Status: 403, Body: "<html>blocked", ContentType: "text/html"})
		_, err = w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Equal(t, 200, w.status(t, library()), "a proxy's page is not the server's refusal")
		v, err = w.Inspect(t.Context())
		require.NoError(t, err)
		assert.True(t, v.ServerToken.Equal(v.AccountToken))
		time.Sleep(8 * day)
		assert.Equal(t, 200, w.status(t, library()))
		assert.Equal(t, 1, w.count("POST", exchanges))
		assert.NotContains(t, w.doc(t), `"pms_token":"e`)

		w.plex.Inject(plextest.Fault{Path: "/", Status: 401, Body: payload(t, "pms-401.html"), ContentType: "text/html"})
		_, err = w.Probe(t.Context(), "")
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		assert.Equal(t, 401, w.status(t, library()))
	})
}

// G13: a store that quotes what it could not write gives no key away.
func TestCarelessStoreQuotesNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.block(t)
		careless := &flakyStore{ConfigStore: w.store}
		p := w.open(t, deviceKey, func(o *plexauth.Options) { o.Store = careless })
		for name, call := range map[string]func() error{
			"Start":      func() error { _, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true}); return err },
			"Refresh":    func() error { _, err := p.Refresh(t.Context()); return err },
			"Disconnect": func() error { _, err := p.Disconnect(t.Context()); return err },
		} {
			time.Sleep(2 * time.Second)
			careless.fail.Store(1)
			err := call()
			require.ErrorIs(t, err, plexauth.ErrStore, name)
			text := fmt.Sprintf("%v %+v %#v", err, err, err) + w.log.String()
			assert.NotContains(t, text, b.Device.Secret, name)
			assert.NotContains(t, text, b.AccountToken[:30], name)
		}
	})
}

// Whatever stands in a JWT or in the stored key: no panic, an error with a type,
// and what is saved is the token that plex.tv's key has signed for this device.
func FuzzJWT(f *testing.F) {
	corpus.Require(f) // of the year 2000, in which a bubble begins
	plexs := ed25519.NewKeyFromSeed(make([]byte, 32))
	keys := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q}]}`, base64.RawURLEncoding.EncodeToString(plexs.Public().(ed25519.PublicKey)))
	f.Fuzz(func(t *testing.T, header, payload, device []byte) {
		doc := fmt.Appendf(nil, `{"_device":%s}`, device)
		if !json.Valid(doc) || !utf8.Valid(doc) { // which no store keeps
			return
		}
		synctest.Test(t, func(t *testing.T) {
			signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
			jwt := signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(plexs, []byte(signed)))
			store := plexauth.NewMemoryStore()
			put(t, store, string(doc))
			p := fuzzed(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
				body := `{"id":7}`
				switch {
				case r.URL.Path == keysPath:
					body = keys
				case r.Method == http.MethodPost:
					body = `{"id":4711,"code":"ABCD"}`
				case strings.HasPrefix(r.URL.Path, "/api/v2/pins/"):
					body = fmt.Sprintf(`{"id":4711,"code":"ABCD","authToken":%q}`, jwt)
				}
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: r}, nil
			}), deviceKey, func(o *plexauth.Options) { o.Store = store })
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			s, err := p.Finish(t.Context())
			saved := mustSettings(t, p).AccountToken.Secret()
			switch {
			case err != nil && saved != "":
				t.Fatalf("an error, and a token: %v", err)
			case err != nil && !errors.Is(err, plexauth.ErrUnavailable):
				t.Fatalf("not typed: %v", err)
			case err == nil && (saved != jwt || !s.Connected || s.ExpiresAt.IsZero()):
				t.Fatalf("not the JWT, or no good: %+v %v", s, saved == jwt)
			}
		})
	})
}

// G14, G23: a JWT that one server has accepted stays with that address, also
// where somebody edits server_url and leaves machine_id as it was.
func TestJWTStaysWithItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		box := w.plex.AddMediaServer(w.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{lan}})
		other := w.plex.AddMediaServer(w.bob, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.9", Local: true}}})
		_, err := w.UseServer(t.Context(), box.MachineID)
		require.ErrorIs(t, err, plexauth.ErrServerToken)
		_, err = w.Probe(t.Context(), "")
		require.NoError(t, err)
		s := mustSettings(t, w.PlexAuth)
		require.True(t, s.ServerToken.Equal(s.AccountToken), "accepted there")

		w.edit(t, map[string]any{"server_url": other.Connections[0].URI})
		assert.True(t, mustSettings(t, w.PlexAuth).ServerToken.IsZero())
		time.Sleep(3 * time.Second) // past what a Transport remembers
		wire := &seen{}
		resp, err := (&http.Client{Transport: w.Transport(wire)}).Get(other.Connections[0].URI + "/library/sections")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Empty(t, wire.last().Header.Get("X-Plex-Token"))
	})
}

// A device that plex.tv refuses, for whatever reason, is not tried for ever: the
// next login is a new one's.
func TestRefusedDevice(t *testing.T) {
	for name, f := range map[string]plextest.Fault{
		"at the PIN":  {Method: "POST", Path: "/api/v2/pins", Code: 1014, Times: -1},
		"at the look": {Method: "GET", Path: "/api/v2/pins/*", Status: 422, Code: 1008, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				before := w.block(t).Device
				_, err := w.Disconnect(t.Context())
				require.NoError(t, err)
				w.plex.Inject(f)
				_, err = w.Login(t.Context(), plexauth.PinOptions{}, func(*plexauth.Pin) error { return nil })
				require.Error(t, err)
				w.plex.ResetFaults()
				w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				assert.NotEqual(t, before.ClientID, w.block(t).Device.ClientID)
			})
		})
	}
}

// A renewal by another process is no approval: a login that was cancelled has not
// succeeded, and one that bob approved is not alice's.
func TestRenewalIsNoApproval(t *testing.T) {
	for _, approved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newDeviceWorld(t)
			pin, err := w.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
			require.NoError(t, err)
			other := w.open(t, deviceKey)
			done := make(chan error, 1)
			go func() {
				_, err := w.Wait(t.Context())
				done <- err
			}()
			time.Sleep(5300 * time.Millisecond)
			_, err = other.Refresh(t.Context())
			require.NoError(t, err)
			require.NoError(t, other.Cancel(t.Context()))
			if approved {
				require.NoError(t, w.plex.Approve(pin.Code, w.bob))
			}
			require.ErrorIs(t, <-done, plexauth.ErrNoPendingPin)
			assert.Equal(t, fmt.Sprint(w.alice.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
		})
	}
}
