package devicekey

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// IsJWT reports whether a token is a JWT: three parts, of which the first is a JSON
// object.
func IsJWT(token string) bool {
	header, rest, _ := strings.Cut(token, ".")
	if strings.Count(rest, ".") != 1 {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(header)
	return err == nil && len(b) > 0 && b[0] == '{'
}

// MayBeJWT reports whether t, the token of a login with a device key, must be checked as a
// JWT. A token without dots is a long-lived one: Plex does not document whether plex.tv may
// answer such a login with one.
func MayBeJWT(t secret.Value) bool { return strings.Contains(t.Secret(), ".") }

// ParseJWT reads a Plex JWT for the device of k: it has one signature, by EdDSA, and
// claims that are for this device. It does not verify the signature; see [SignedBy].
func ParseJWT(t secret.Value, k *Key) (*jose.JSONWebSignature, Claims, error) {
	jws, err := jose.ParseSignedCompact(t.Secret(), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, Claims{}, errors.New("not a JWT that is signed with EdDSA")
	}
	c, err := parseClaims(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, Claims{}, errors.New("a JWT without claims")
	}
	if err := c.check(k); err != nil {
		return nil, Claims{}, err
	}
	return jws, c, nil
}

// SignedBy reports whether one of keys has signed jws. It tries those with the kid that
// the JWT names, and all if there is none.
func SignedBy(jws *jose.JSONWebSignature, keys []PublicKey) bool {
	named := slices.DeleteFunc(slices.Clone(keys), func(k PublicKey) bool { return k.kid != jws.Signatures[0].Header.KeyID })
	if len(named) == 0 {
		named = keys
	}
	return slices.ContainsFunc(named, func(k PublicKey) bool {
		_, err := jws.Verify(k.key)
		return err == nil
	})
}

// PublicKey is one of the keys with which plex.tv signs. Its kid is opaque: plex.tv's
// are not thumbprints.
type PublicKey struct {
	kid string
	key ed25519.PublicKey
}

// DecodeKeys returns the Ed25519 keys in a set (RFC 8037), as GET /api/v2/auth/keys
// answers. Other keys may be among them. Only what is needed of a key is read, in any
// shape. It is an error if there is no Ed25519 key.
func DecodeKeys(body []byte) (keys []PublicKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	for _, raw := range set.Keys {
		var j struct {
			Type  lax.String `json:"kty"`
			Curve lax.String `json:"crv"`
			X     lax.String `json:"x"`
			ID    lax.String `json:"kid"`
			Use   lax.String `json:"use"`
		}
		_ = json.Unmarshal(raw, &j) // anything but an object has no type
		if j.Type != "OKP" || j.Curve != "Ed25519" || j.Use == "enc" {
			continue
		}
		if x, err := base64.RawURLEncoding.DecodeString(string(j.X)); err == nil && len(x) == ed25519.PublicKeySize {
			keys = append(keys, PublicKey{string(j.ID), x})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key to verify a token with")
	}
	return keys, nil
}
