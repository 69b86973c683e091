package devicekey

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// jwtLife is the life of a Plex JWT that does not say when it began.
	jwtLife = 7 * 24 * time.Hour
)

// Claims are what a Plex JWT says, as far as it matters here.
type Claims struct {
	issuer     string
	audience   []string
	thumbprint string // kid of the device key it was made for
	Issued     time.Time
	Expires    time.Time
	Account    ClaimedAccount
}

// ClaimedAccount is whom a JWT names. Only the number and the UUID are always there.
type ClaimedAccount struct {
	Id                                  int64
	Uuid, Username, Email, FriendlyName string
}

// parseClaims reads the payload of a JWT, each field in any shape.
func parseClaims(payload []byte) (c Claims, err error) {
	var j struct {
		Issuer     json.RawMessage `json:"iss"`
		Audience   json.RawMessage `json:"aud"`
		Thumbprint json.RawMessage `json:"thumbprint"`
		Issued     json.RawMessage `json:"iat"`
		Expires    json.RawMessage `json:"exp"`
		User       json.RawMessage `json:"user"`
	}
	if err := json.Unmarshal(payload, &j); err != nil {
		return c, err
	}
	var list []json.RawMessage
	if json.Unmarshal(j.Audience, &list) != nil {
		list = []json.RawMessage{j.Audience}
	}
	for _, v := range list {
		c.audience = append(c.audience, lax.Text(v))
	}
	c.issuer, c.thumbprint = lax.Text(j.Issuer), lax.Text(j.Thumbprint)
	c.Issued, c.Expires = second(j.Issued), second(j.Expires)
	if c.Issued.IsZero() || !c.Issued.Before(c.Expires) {
		c.Issued = c.Expires.Add(-jwtLife)
	}
	var whose struct {
		ID           json.RawMessage `json:"id"`
		UUID         json.RawMessage `json:"uuid"`
		Username     json.RawMessage `json:"username"`
		Email        json.RawMessage `json:"email"`
		FriendlyName json.RawMessage `json:"friendly_name"`
	}
	if json.Unmarshal(j.User, &whose) == nil {
		c.Account = ClaimedAccount{lax.Int(whose.ID), lax.Text(whose.UUID), lax.Text(whose.Username), lax.Text(whose.Email), lax.Text(whose.FriendlyName)}
	}
	return c, nil
}

// second reads a time in seconds since 1970, zero where there is none.
func second(v json.RawMessage) time.Time {
	const most = 1 << 40
	s, ok := lax.Number(v)
	if !ok || s <= 0 || s > most {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}

// ReadClaims reads a JWT without asking whether it is genuine, ok is false for
// any other token.
func ReadClaims(t secret.Value) (c Claims, ok bool) {
	raw := t.Secret()
	if !IsJWT(raw) {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		return c, false
	}
	c, err = parseClaims(payload)
	return c, err == nil
}

// check says what keeps a JWT from being plex.tv's word to this device. Its
// signature and its age are looked at elsewhere.
func (c Claims) check(d *Key) error {
	switch {
	case c.issuer != "plex.tv":
		return errors.New("the token was not issued by plex.tv")
	case !slices.Contains(c.audience, d.ClientID):
		return errors.New("the token is for another device")
	case c.thumbprint != d.Kid:
		return errors.New("the token is for another key")
	case c.Expires.IsZero():
		return errors.New("the token has no end")
	}
	return nil
}

// ParseJWT takes a Plex JWT apart: one signature, by EdDSA, and the claims that
// this device's has. Whose signature it is remains to be seen.
func ParseJWT(t secret.Value, d *Key) (*jose.JSONWebSignature, Claims, error) {
	jws, err := jose.ParseSignedCompact(t.Secret(), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, Claims{}, errors.New("not a JWT that is signed with EdDSA")
	}
	c, err := parseClaims(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, Claims{}, errors.New("a JWT without claims")
	}
	if err := c.check(d); err != nil {
		return nil, Claims{}, err
	}
	return jws, c, nil
}

// SignedBy tries the key that the JWT names, and all where none has that name.
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

// PublicKey is one of those that plex.tv signs with. Its kid is opaque: plex.tv's
// are not thumbprints.
type PublicKey struct {
	kid string
	key ed25519.PublicKey
}

// DecodeKeys takes the Ed25519 keys out of a set; others may stand beside them. Of
// a key only what is needed is read, in any shape.
func DecodeKeys(body []byte) (keys []PublicKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	for _, raw := range set.Keys {
		var k struct {
			Type  lax.String `json:"kty"`
			Curve lax.String `json:"crv"`
			X     lax.String `json:"x"`
			ID    lax.String `json:"kid"`
			Use   lax.String `json:"use"`
		}
		if json.Unmarshal(raw, &k) != nil || k.Type != "OKP" || k.Curve != "Ed25519" || k.Use == "enc" {
			continue
		}
		if x, err := base64.RawURLEncoding.DecodeString(string(k.X)); err == nil && len(x) == ed25519.PublicKeySize {
			keys = append(keys, PublicKey{string(k.ID), x})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key to verify a token with")
	}
	return keys, nil
}

// IsJWT reports whether a token is a JWT: three parts, of which the first is
// a JSON object.
func IsJWT(s string) bool {
	header, rest, _ := strings.Cut(s, ".")
	if strings.Count(rest, ".") != 1 {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(header)
	return err == nil && len(b) > 0 && b[0] == '{'
}
