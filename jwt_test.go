package plexauth_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/corpus"
)

// G4: only the needed fields of plex.tv's public keys must have their known form.
func TestPublicKeyShapes(t *testing.T) {
	for name, odd := range map[string]map[string]any{
		"kid a number":     {"kid": 7},
		"kid null":         {"kid": nil},
		"use a number":     {"use": 1},
		"use null":         {"use": nil},
		"alg another name": {"alg": "Ed25519"},
		"alg null":         {"alg": nil},
		"key_ops a string": {"key_ops": "verify"},
		"x5c":              {"x5c": []string{"AAAA"}},
		"x5u":              {"x5u": "%%%"},
		"x5t":              {"x5t": "AAAA", "x5t#S256": 7},
		"fields of others": {"n": 5, "e": "AQAB", "y": true, "k": nil},
		"new fields":       {"created_at": "2025", "ext": true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				old := tokenOf(t, w.PlexAuth)
				keys, client := w.tamper(keysPath)
				keys.change = changedKeys(t, odd)
				_, err := w.open(t, client).Refresh(t.Context())
				require.NoError(t, err)
				assert.NotEqual(t, old, tokenOf(t, w.PlexAuth))
			})
		})
	}
}

// A key that cannot verify plex.tv's signature is skipped, and does not keep another
// one from being used.
func TestUnusablePublicKeys(t *testing.T) {
	for name, odd := range map[string]map[string]any{
		"for encryption":      {"use": "enc"},
		"another type":        {"kty": "EC"},
		"another curve":       {"crv": "X25519"},
		"kty null":            {"kty": nil},
		"x cut short":         {"x": "ZMZVfsxQN6j1IJe1V4YdbuBzctrouOXphsGGQ9Oa0u"},
		"x too long":          {"x": "ZMZVfsxQN6j1IJe1V4YdbuBzctrouOXphsGGQ9Oa0ugAAAA"},
		"x a number":          {"x": 7},
		"x in another base":   {"x": "!MZVfsxQN6j1IJe1V4YdbuBzctrouOXphsGGQ9Oa0ug"},
		"another of its name": {"x": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				before := w.doc(t)
				keys, client := w.tamper(keysPath)
				keys.change = changedKeys(t, odd)
				_, err := w.open(t, client).Refresh(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.Equal(t, before, w.doc(t))

				keys.change = func(body []byte) []byte {
					var good, bad struct{ Keys []json.RawMessage }
					require.NoError(t, json.Unmarshal(body, &good))
					require.NoError(t, json.Unmarshal(changedKeys(t, odd)(body), &bad))
					both, err := json.Marshal(map[string]any{"keys": append(append(bad.Keys, good.Keys...), json.RawMessage("7"), json.RawMessage("null"))})
					require.NoError(t, err)
					return both
				}
				time.Sleep(time.Minute)
				_, err = w.open(t, client).Refresh(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// changedKeys sets fields of each key in a set.
func changedKeys(t *testing.T, fields map[string]any) func([]byte) []byte {
	return func(body []byte) []byte {
		var set map[string][]map[string]any
		require.NoError(t, json.Unmarshal(body, &set))
		for _, k := range set["keys"] {
			for name, value := range fields {
				k[name] = value
			}
		}
		body, err := json.Marshal(set)
		require.NoError(t, err)
		return body
	}
}

// forgeries turn plex.tv's JWT into one that this device must not accept.
var forgeries = map[string]func(header, claims map[string]any){
	"unknown key":     func(_, _ map[string]any) {},
	"unknown kid":     func(h, _ map[string]any) { h["kid"] = "unknown" },
	"no kid":          func(h, _ map[string]any) { delete(h, "kid") },
	"alg none":        func(h, _ map[string]any) { h["alg"] = "none" },
	"alg RS256":       func(h, _ map[string]any) { h["alg"] = "RS256" },
	"alg HS256":       func(h, _ map[string]any) { h["alg"] = "HS256" },
	"another device":  func(_, c map[string]any) { c["aud"] = []string{"plex.tv", "another"} },
	"no audience":     func(_, c map[string]any) { delete(c, "aud") },
	"another key":     func(_, c map[string]any) { c["thumbprint"] = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" },
	"no thumbprint":   func(_, c map[string]any) { delete(c, "thumbprint") },
	"another issuer":  func(_, c map[string]any) { c["iss"] = "plex.example" },
	"no expiry":       func(_, c map[string]any) { delete(c, "exp") },
	"critical header": func(h, _ map[string]any) { h["crit"], h["x"] = []string{"x"}, 1 },
	"expired":         func(_, c map[string]any) { c["exp"] = 1 },
	"a key of its own": func(h, _ map[string]any) {
		h["jwk"] = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"}
	},
	"claims are not an object": nil,
}

// A forged answer to an exchange is a typed error, and the old credential stays.
func TestForgedAnswers(t *testing.T) {
	for name, change := range forgeries {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDeviceWorld(t)
				before := w.doc(t)
				var forged string
				bad, client := w.tamper(exchanges)
				bad.change = func(body []byte) []byte {
					var j map[string]string
					_ = json.Unmarshal(body, &j)
					if forged = j["auth_token"]; change != nil {
						forged = forge(t, forged, change)
					} else {
						forged = forged[:strings.Index(forged, ".")] + ".bnVsbA.AAAA"
					}
					j["auth_token"] = forged
					body, _ = json.Marshal(j)
					return body
				}
				_, err := w.open(t, client).Refresh(t.Context())
				var e *plexauth.Error
				require.ErrorAs(t, err, &e)
				assert.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.Equal(t, before, w.doc(t))
				assert.NotContains(t, err.Error()+fmt.Sprintf("%+v %#v", err, err)+w.log.String(), forged)
				_, err = w.Verify(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// signing changes the answers to exchanges, and signs them by a key that plex.tv
// lists.
func (w *world) signing(t *testing.T, change func(header, claims map[string]any)) func(*plexauth.Options) {
	keys, _ := w.tamper(keysPath)
	keys.change = func([]byte) []byte {
		return []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"}]}`)
	}
	answers := &tampered{RoundTripper: keys, path: exchanges, change: func(body []byte) []byte {
		var j map[string]string
		_ = json.Unmarshal(body, &j)
		j["auth_token"] = forge(t, j["auth_token"], change)
		body, _ = json.Marshal(j)
		return body
	}}
	return withTransport(answers)
}

// G22, G23: a new token that names another account does not replace the old one. A new
// token that names no account does.
func TestRenewedForAnotherAccount(t *testing.T) {
	bob := func(_, c map[string]any) { c["user"] = map[string]any{"id": 999, "uuid": "ffff", "username": "bob"} }
	for name, login := range map[string]func(t *testing.T) *world{
		"a JWT": func(t *testing.T) *world { return newDeviceWorld(t) },
		"a long-lived token": func(t *testing.T) *world {
			w := newWorld(t)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := login(t)
				old := w.credentials(t).AccountToken
				s, err := w.open(t, w.signing(t, bob)).UseDeviceKey(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				require.ErrorContains(t, err, "another account's")
				require.ErrorAs(t, err, new(*plexauth.Error))
				assert.False(t, s.NeedsLogin)
				assert.Equal(t, old, w.credentials(t).AccountToken)
				assert.NotContains(t, w.doc(t), "leased")

				anonymous := func(_, c map[string]any) { delete(c, "user") }
				_, err = w.open(t, w.signing(t, anonymous)).UseDeviceKey(t.Context())
				require.NoError(t, err)
				assert.NotEqual(t, old, w.credentials(t).AccountToken)
			})
		})
	}
}

// G3, G5: a forged token for a PIN is a temporary failure. It is not stored, and the
// login goes on until the true token comes.
func TestForgedApproval(t *testing.T) {
	for name, change := range forgeries {
		if name == "expired" || change == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				bad, client := w.tamper("/api/v2/pins/")
				n := 0
				bad.change = func(body []byte) []byte {
					var j map[string]any
					_ = json.Unmarshal(body, &j)
					if jwt, ok := j["authToken"].(string); ok && n < 5 {
						n++
						j["authToken"] = forge(t, jwt, change)
					}
					body, _ = json.Marshal(j)
					return body
				}
				p := w.open(t, client, deviceKey)
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				s, err := p.Finish(t.Context())
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				assert.False(t, s.Connected)
				assert.NotNil(t, s.Pending)
				assert.NotContains(t, w.doc(t), `"account_token":"e`)
				s, err = p.Wait(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.Equal(t, 5, n, "every forged one was refused")
				_, err = p.Verify(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

// FuzzJWT feeds JWTs and stored keys to a login. Errors are typed, and a saved token
// is one that plex.tv's key has signed for this device.
func FuzzJWT(f *testing.F) {
	corpus.Require(f) // of the year 2000, in which a bubble begins
	plexs := ed25519.NewKeyFromSeed(make([]byte, 32))
	keys := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q}]}`, base64.RawURLEncoding.EncodeToString(plexs.Public().(ed25519.PublicKey)))
	f.Fuzz(func(t *testing.T, header, payload, device []byte) {
		doc := fmt.Appendf(nil, `{"_device":%s}`, device)
		if !json.Valid(doc) || !utf8.Valid(doc) { // a store does not hold such a document
			return
		}
		synctest.Test(t, func(t *testing.T) {
			signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
			jwt := signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(plexs, []byte(signed)))
			store := plexauth.NewMemoryStore()
			put(t, store, string(doc))
			p := openOver(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
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
			}), deviceKey, withStore(store))
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

// A JWT without its key is used until it expires. After that only a new login helps.
func TestJWTWithoutItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDeviceWorld(t)
		b := w.credentials(t)
		put(t, w.store, fmt.Sprintf(`{"client_id":%q,"account_token":%q}`, b.Device.ClientID, b.AccountToken))
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.False(t, s.NeedsLogin)
		assert.NotZero(t, s.ExpiresAt)
		time.Sleep(8 * day)
		s, err = w.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, s.NeedsLogin)
		_, err = w.Token(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenExpired)
		_, err = w.Refresh(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenExpired)
		_, err = w.Transport(nil).RoundTrip(request(t, "GET", "https://plex.tv/api/v2/user", nil))
		require.ErrorIs(t, err, plexauth.ErrTokenExpired)
	})
}
