package devicekey_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/secret"
)

// The key of RFC 8037, appendix A.
const (
	rfcSeed       = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
	rfcPublic     = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	rfcThumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

// rfcKey returns that key.
func rfcKey(t *testing.T) *devicekey.Key {
	t.Helper()
	k, err := devicekey.Read("client-1", rfcThumbprint, secret.New(rfcSeed))
	require.NoError(t, err)
	return k
}

// G24: the kid is the RFC 7638 thumbprint of the public key, which the registration
// shows. The private key stays here.
func TestRegistration(t *testing.T) {
	body, err := rfcKey(t).Registration(true)
	require.NoError(t, err)
	assert.JSONEq(t, `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"`+rfcPublic+`","kid":"`+rfcThumbprint+`","use":"sig","alg":"EdDSA"},"strong":true}`, string(body))
	body, err = rfcKey(t).Registration(false)
	require.NoError(t, err)
	assert.NotContains(t, string(body), "strong")
	assert.NotContains(t, string(body), rfcSeed)
}

// A new key can be stored and read, and no two are the same.
func TestNew(t *testing.T) {
	k, err := devicekey.New("client-1")
	require.NoError(t, err)
	again, err := devicekey.Read(k.ClientID, k.Kid, k.Secret)
	require.NoError(t, err)
	assert.Equal(t, k.Kid, again.Kid)
	other, err := devicekey.New("client-1")
	require.NoError(t, err)
	assert.NotEqual(t, k.Kid, other.Kid)
	assert.NotContains(t, fmt.Sprintf("%+v", k), k.Secret.Secret())
}

// A damaged key is found before plex.tv sees it.
func TestDamagedKeys(t *testing.T) {
	for name, tc := range map[string]struct{ clientID, kid, seed string }{
		"no seed":               {"client-1", rfcThumbprint, ""},
		"half a seed":           {"client-1", rfcThumbprint, rfcSeed[:21]},
		"a longer seed":         {"client-1", rfcThumbprint, rfcSeed + "AAAA"},
		"another alphabet":      {"client-1", rfcThumbprint, strings.Replace(rfcSeed, "_", "/", 1)},
		"padding":               {"client-1", rfcThumbprint, rfcSeed + "="},
		"bits beyond the seed":  {"client-1", rfcThumbprint, rfcSeed[:42] + "B"},
		"another key's kid":     {"client-1", rfcPublic, rfcSeed},
		"no kid":                {"client-1", "", rfcSeed},
		"no client identifier":  {"", rfcThumbprint, rfcSeed},
		"an unfit client id":    {"a\nb", rfcThumbprint, rfcSeed},
		"one letter is another": {"client-1", rfcThumbprint, "A" + rfcSeed[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := devicekey.Read(tc.clientID, tc.kid, secret.New(tc.seed))
			assert.ErrorIs(t, err, devicekey.ErrUnreadable)
			assert.ErrorIs(t, err, fault.ErrStore)
			assert.ErrorIs(t, err, fault.ErrCorruptConfig)
		})
	}
}

// A key that was not read and has no seed signs nothing.
func TestKeyWithoutASeed(t *testing.T) {
	var k devicekey.Key
	_, err := k.Sign("n-1", nil, time.Now())
	assert.ErrorIs(t, err, devicekey.ErrUnreadable)
	_, err = k.Registration(true)
	assert.ErrorIs(t, err, devicekey.ErrUnreadable)
}

// G24: a device JWT is signed by the key, and says who asks, for what and until when.
func TestSign(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for name, tc := range map[string]struct {
		nonce  string
		scopes []string
		want   map[string]any
	}{
		"for an exchange": {"n-1", []string{"username", "email"}, map[string]any{"aud": "plex.tv", "iss": "client-1", "iat": 1699999970.0, "exp": 1700000270.0, "nonce": "n-1", "scope": "username,email"}},
		"for a poll":      {"", nil, map[string]any{"aud": "plex.tv", "iss": "client-1", "iat": 1699999970.0, "exp": 1700000270.0}},
	} {
		t.Run(name, func(t *testing.T) {
			jwt, err := rfcKey(t).Sign(tc.nonce, tc.scopes, now)
			require.NoError(t, err)
			assert.True(t, devicekey.IsJWT(jwt))
			jws, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.EdDSA})
			require.NoError(t, err)
			assert.Equal(t, rfcThumbprint, jws.Signatures[0].Header.KeyID)
			x, _ := base64.RawURLEncoding.DecodeString(rfcPublic)
			payload, err := jws.Verify(ed25519.PublicKey(x))
			require.NoError(t, err)
			var claims map[string]any
			require.NoError(t, json.Unmarshal(payload, &claims))
			assert.Equal(t, tc.want, claims)
		})
	}
}

// A scope is one word.
func TestCheckScopes(t *testing.T) {
	assert.NoError(t, devicekey.CheckScopes(nil))
	assert.NoError(t, devicekey.CheckScopes([]string{"username", "friendly_name"}))
	for _, s := range []string{"", "a b", "a,b", `a"b`, "a\n", "a\x7f", "ä"} {
		assert.Error(t, devicekey.CheckScopes([]string{"username", s}), "%q", s)
	}
}

// part returns text as a part of a JWT.
func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// unsigned returns a token with these claims and something in the place of a signature.
func unsigned(claims string) secret.Value {
	return secret.New(part(`{"alg":"EdDSA"}`) + "." + part(claims) + "." + part("x"))
}

// Only three parts of which the first is a JSON object are a JWT.
func TestIsJWT(t *testing.T) {
	for token, want := range map[string]bool{
		unsigned(`{}`).Secret():         true,
		part(`{`) + "..":                true,
		part(`[`) + ".x.y":              false,
		part(`{`) + ".x":                false,
		part(`{`) + ".x.y.z":            false,
		"abcdefghijklmnopqrst":          false,
		"":                              false,
		"..":                            false,
		"not base64!.x.y":               false,
		part(`{"a`) + "!.x.y":           false,
		"aaaa.bbbb-cccc_dddd.eeee.ffff": false,
	} {
		assert.Equal(t, want, devicekey.IsJWT(token), token)
	}
	assert.True(t, devicekey.MayBeJWT(secret.New("a.b")))
	assert.False(t, devicekey.MayBeJWT(secret.New("abcdef")))
}

// G4: claims are read in any shape.
func TestReadClaims(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	for name, tc := range map[string]struct {
		claims string
		want   devicekey.Claims // without what only ParseJWT looks at
	}{
		"whole": {`{"iat":1000,"exp":2000,"user":{"id":7,"uuid":"ab","username":"alice","email":"a@example.com","friendly_name":"A"}}`,
			devicekey.Claims{Issued: at(1000), Expires: at(2000), Account: devicekey.ClaimedAccount{ID: 7, UUID: "ab", Username: "alice", Email: "a@example.com", FriendlyName: "A"}}},
		"drifted": {`{"iat":"1000","exp":"2000.9","user":{"id":"7","username":5,"email":null}}`,
			devicekey.Claims{Issued: at(1000), Expires: at(2000), Account: devicekey.ClaimedAccount{ID: 7, Username: "5"}}},
		"no beginning":      {`{"exp":1000000}`, devicekey.Claims{Issued: at(1000000 - 7*24*3600), Expires: at(1000000)}},
		"begins at its end": {`{"iat":1000000,"exp":1000000}`, devicekey.Claims{Issued: at(1000000 - 7*24*3600), Expires: at(1000000)}},
		"another user":      {`{"iat":1000,"exp":2000,"user":"alice"}`, devicekey.Claims{Issued: at(1000), Expires: at(2000)}},
	} {
		t.Run(name, func(t *testing.T) {
			c, ok := devicekey.ReadClaims(unsigned(tc.claims))
			require.True(t, ok)
			assert.Equal(t, tc.want.Account, c.Account)
			assert.Equal(t, tc.want.Issued, c.Issued)
			assert.Equal(t, tc.want.Expires, c.Expires)
		})
	}
	const year36812 = 1 << 40
	c, ok := devicekey.ReadClaims(unsigned(fmt.Sprintf(`{"exp":%d}`, year36812)))
	assert.True(t, ok)
	assert.Equal(t, at(year36812), c.Expires)
	for _, exp := range []string{`0`, `-5`, `"soon"`, `"NaN"`, `1e300`, `null`} {
		c, ok := devicekey.ReadClaims(unsigned(`{"exp":` + exp + `}`))
		assert.True(t, ok && c.Expires.IsZero(), exp)
	}
	for _, token := range []string{"", "abc", part(`{}`) + ".!.x", part(`{}`) + "." + part(`{"exp":1}`) + "!.x", part(`{}`) + "." + part(`[]`) + ".x"} {
		_, ok := devicekey.ReadClaims(secret.New(token))
		assert.False(t, ok, token)
	}
}

// The audience names the device, and plex.tv beside it.
func TestClientIDOfClaims(t *testing.T) {
	for audience, want := range map[string]string{
		`["plex.tv","client-1"]`: "client-1", `["client-1","plex.tv"]`: "client-1", `"client-1"`: "client-1", `["plex.tv"]`: "", `[]`: "",
	} {
		c, ok := devicekey.ReadClaims(unsigned(`{"aud":` + audience + `}`))
		assert.True(t, ok)
		assert.Equal(t, want, c.ClientID(), audience)
	}
}

// G24: a JWT counts only if plex.tv has issued it for this device and this key.
func TestParseJWT(t *testing.T) {
	k := rfcKey(t)
	claims := func(iss, aud, thumbprint, exp string) string {
		return fmt.Sprintf(`{"iss":%q,"aud":%s,"thumbprint":%q%s}`, iss, aud, thumbprint, exp)
	}
	const end = `,"exp":2000`
	for name, tc := range map[string]struct {
		token secret.Value
		says  string // "": it counts
	}{
		"for this device":      {unsigned(claims("plex.tv", `["plex.tv","client-1"]`, rfcThumbprint, end)), ""},
		"one audience":         {unsigned(claims("plex.tv", `"client-1"`, rfcThumbprint, end)), ""},
		"another issuer":       {unsigned(claims("evil.example", `["client-1"]`, rfcThumbprint, end)), "was not issued by plex.tv"},
		"another device":       {unsigned(claims("plex.tv", `["client-2"]`, rfcThumbprint, end)), "for another device"},
		"another key":          {unsigned(claims("plex.tv", `["client-1"]`, "other", end)), "for another key"},
		"no end":               {unsigned(claims("plex.tv", `["client-1"]`, rfcThumbprint, "")), "does not expire"},
		"no claims":            {unsigned(`[]`), "without claims"},
		"no JWT":               {secret.New("abc"), "not a JWT that is signed with EdDSA"},
		"signed with nothing":  {secret.New(part(`{"alg":"none"}`) + "." + part(`{}`) + "."), "not a JWT that is signed with EdDSA"},
		"signed with a secret": {secret.New(part(`{"alg":"HS256"}`) + "." + part(`{}`) + "." + part("x")), "not a JWT that is signed with EdDSA"},
	} {
		t.Run(name, func(t *testing.T) {
			jws, c, err := devicekey.ParseJWT(tc.token, k)
			if tc.says == "" {
				require.NoError(t, err)
				assert.NotNil(t, jws)
				assert.Equal(t, time.Unix(2000, 0), c.Expires)
				return
			}
			assert.ErrorContains(t, err, tc.says)
		})
	}
}

// keySet returns a set with the key of RFC 8037 under kid, and others.
func keySet(t *testing.T, kid string) []devicekey.PublicKey {
	t.Helper()
	other, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	keys, err := devicekey.DecodeKeys([]byte(fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":%q,"kid":"other"},{"kty":"RSA"},5,{"kty":"OKP","crv":"Ed25519","x":%q,"kid":%q}]}`,
		base64.RawURLEncoding.EncodeToString(other), rfcPublic, kid)))
	require.NoError(t, err)
	require.Len(t, keys, 2)
	return keys
}

// G24: a signature is by the key that the JWT names, or by any if it names an unknown
// one. A key under another name does not count.
func TestSignedBy(t *testing.T) {
	k := rfcKey(t)
	jwt, err := k.Sign("n-1", nil, time.Now()) // a JWT that this key has signed, under its thumbprint
	require.NoError(t, err)
	jws, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	assert.True(t, devicekey.SignedBy(jws, keySet(t, rfcThumbprint)), "by its name")
	assert.True(t, devicekey.SignedBy(jws, keySet(t, "k1")), "by another name, which the JWT does not name")
	assert.False(t, devicekey.SignedBy(jws, keySet(t, rfcThumbprint)[:1]), "by another key")
	assert.False(t, devicekey.SignedBy(jws, nil))

	decoy, err := devicekey.DecodeKeys([]byte(fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":%q,"kid":%q}]}`, base64.RawURLEncoding.EncodeToString(make([]byte, 32)), rfcThumbprint)))
	require.NoError(t, err)
	assert.False(t, devicekey.SignedBy(jws, append(decoy, keySet(t, "k1")...)), "the name is another key's")

	forged := strings.Split(jwt, ".")
	forged[1] = part(`{"nonce":"n-2"}`)
	jws, err = jose.ParseSignedCompact(strings.Join(forged, "."), []jose.SignatureAlgorithm{jose.EdDSA})
	require.NoError(t, err)
	assert.False(t, devicekey.SignedBy(jws, keySet(t, rfcThumbprint)), "other claims")
}

// A set without a usable key is an error.
func TestDecodeKeys(t *testing.T) {
	key := func(members string) string { return `{"keys":[{"x":"` + rfcPublic + `"` + members + `}]}` }
	for body, ok := range map[string]bool{
		key(`,"kty":"OKP","crv":"Ed25519"`):                 true,
		key(`,"kty":"OKP","crv":"Ed25519","kid":5`):         true,
		key(`,"kty":"OKP","crv":"Ed25519","use":"sig"`):     true,
		key(`,"kty":"OKP","crv":"Ed25519","use":"enc"`):     false,
		key(`,"kty":"OKP","crv":"X25519"`):                  false,
		key(`,"kty":"EC","crv":"Ed25519"`):                  false,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`: false,
		`{"keys":[]}`: false,
		`{}`:          false,
		`[]`:          false,
		`x`:           false,
	} {
		_, err := devicekey.DecodeKeys([]byte(body))
		assert.Equal(t, ok, err == nil, body)
	}
	_, err := devicekey.DecodeKeys([]byte(`<html>`))
	assert.ErrorContains(t, err, "invalid character '<'", "not that a key is missing")
}
