package plexauth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// jwtLife is the life of a Plex JWT that does not say when it began.
	jwtLife = 7 * 24 * time.Hour
	// keysKept is how long plex.tv's public keys are gone by. They rotate.
	keysKept = time.Hour
)

// hasParts reports whether a device's token must be a JWT. What has no parts is
// a long-lived token: whether plex.tv may answer a PIN with a key by one is not
// documented.
func (t secretValue) hasParts() bool { return strings.Contains(t.Secret(), ".") }

// claims are what a Plex JWT says, as far as it matters here.
type claims struct {
	issuer     string
	audience   []string
	thumbprint string // kid of the device key it was made for
	issued     time.Time
	expires    time.Time
	account    user // only the number and the UUID are always there
}

// parseClaims reads the payload of a JWT, each field in any shape.
func parseClaims(payload []byte) (c claims, err error) {
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
		c.audience = append(c.audience, text(v))
	}
	c.issuer, c.thumbprint = text(j.Issuer), text(j.Thumbprint)
	c.issued, c.expires = second(j.Issued), second(j.Expires)
	if c.issued.IsZero() || !c.issued.Before(c.expires) {
		c.issued = c.expires.Add(-jwtLife)
	}
	var whose struct {
		ID           json.RawMessage `json:"id"`
		UUID         json.RawMessage `json:"uuid"`
		Username     json.RawMessage `json:"username"`
		Email        json.RawMessage `json:"email"`
		FriendlyName json.RawMessage `json:"friendly_name"`
	}
	if json.Unmarshal(j.User, &whose) == nil {
		c.account = user{
			ID: integer(whose.ID), UUID: text(whose.UUID), Username: text(whose.Username),
			Email: text(whose.Email), FriendlyName: text(whose.FriendlyName),
		}
	}
	return c, nil
}

// second reads a time in seconds since 1970, zero where there is none.
func second(v json.RawMessage) time.Time {
	const most = 1 << 40
	s, ok := number(v)
	if !ok || s <= 0 || s > most {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}

// readClaims reads a JWT without asking whether it is genuine, ok is false for
// any other token.
func readClaims(t secretValue) (c claims, ok bool) {
	secret := t.Secret()
	if !isJWT(secret) {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(secret, ".")[1])
	if err != nil {
		return c, false
	}
	c, err = parseClaims(payload)
	return c, err == nil
}

// check says what keeps a JWT from being plex.tv's word to this device. Its
// signature and its age are looked at elsewhere.
func (c claims) check(d *device) error {
	switch {
	case c.issuer != "plex.tv":
		return errors.New("the token was not issued by plex.tv")
	case !slices.Contains(c.audience, d.clientID):
		return errors.New("the token is for another device")
	case c.thumbprint != d.kid:
		return errors.New("the token is for another key")
	case c.expires.IsZero():
		return errors.New("the token has no end")
	}
	return nil
}

const opVerify = "verify token"

// notGenuine is the error for an answer with a token that is not what was asked
// for. It says nothing about the token that is stored.
func notGenuine(err error) *failure {
	return &failure{Op: opVerify, where: "plex.tv", StatusCode: http.StatusOK, is: ErrUnavailable, transient: true, Message: err.Error()}
}

func isNotGenuine(err error) bool {
	return failureOf(err).IsNotGenuine()
}

// parseJWT takes a Plex JWT apart: one signature, by EdDSA, and the claims that
// this device's has. Whose signature it is remains to be seen.
func parseJWT(t secretValue, d *device) (*jose.JSONWebSignature, claims, error) {
	jws, err := jose.ParseSignedCompact(t.Secret(), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return nil, claims{}, notGenuine(errors.New("not a JWT that is signed with EdDSA"))
	}
	c, err := parseClaims(jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, claims{}, notGenuine(errors.New("a JWT without claims"))
	}
	if err := c.check(d); err != nil {
		return nil, claims{}, notGenuine(err)
	}
	return jws, c, nil
}

// verify checks that a JWT is plex.tv's own and for this device, whether or not
// it has expired. A key that is not known yet is looked for once more: they
// rotate, and the first one listed is not always the one in use. The error is an
// [*Error], of isNotGenuine where the token is at fault.
func (c *client) verify(ctx context.Context, t secretValue, d *device) (claims, error) {
	jws, claim, err := parseJWT(t, d)
	if err != nil {
		return claims{}, err
	}
	keys, cached, err := c.keys.get(ctx, c, d.clientID, false)
	if err != nil {
		return claims{}, err
	}
	if signedBy(jws, keys) {
		return claim, nil
	}
	if cached {
		if keys, _, err = c.keys.get(ctx, c, d.clientID, true); err != nil {
			return claims{}, err
		}
		if signedBy(jws, keys) {
			return claim, nil
		}
	}
	return claims{}, notGenuine(errors.New("the token is not signed by a key of plex.tv's"))
}

// signedBy tries the key that the JWT names, and all where none has that name.
func signedBy(jws *jose.JSONWebSignature, keys []publicKey) bool {
	named := slices.DeleteFunc(slices.Clone(keys), func(k publicKey) bool { return k.kid != jws.Signatures[0].Header.KeyID })
	if len(named) == 0 {
		named = keys
	}
	return slices.ContainsFunc(named, func(k publicKey) bool {
		_, err := jws.Verify(k.key)
		return err == nil
	})
}

// publicKey is one of those that plex.tv signs with. Its kid is opaque: plex.tv's
// are not thumbprints.
type publicKey struct {
	kid string
	key ed25519.PublicKey
}

// keyset keeps plex.tv's public keys.
type keyset struct {
	mu   sync.Mutex // never held while they are fetched
	keys []publicKey
	at   instant
}

// get returns the keys; cached is false where they were fetched just now.
func (s *keyset) get(ctx context.Context, c *client, clientID string, anew bool) (keys []publicKey, cached bool, err error) {
	s.mu.Lock()
	keys, at := s.keys, s.at
	s.mu.Unlock()
	if !anew && len(keys) > 0 && at.add(keysKept).left() > 0 {
		return keys, true, nil
	}
	err = c.do(ctx, &call{
		op: "read plex.tv's keys", method: http.MethodGet, url: c.clients + "/api/v2/auth/keys", clientID: clientID, refine: noTokenNow,
		decode: func(body []byte) (err error) {
			keys, err = decodeKeys(body)
			return err
		},
	})
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys, s.at = keys, elapsed()
	return keys, false, nil
}

// decodeKeys takes the Ed25519 keys out of a set; others may stand beside them. Of
// a key only what is needed is read, in any shape.
func decodeKeys(body []byte) (keys []publicKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	for _, raw := range set.Keys {
		var k struct {
			Type  laxText `json:"kty"`
			Curve laxText `json:"crv"`
			X     laxText `json:"x"`
			ID    laxText `json:"kid"`
			Use   laxText `json:"use"`
		}
		if json.Unmarshal(raw, &k) != nil || k.Type != "OKP" || k.Curve != "Ed25519" || k.Use == "enc" {
			continue
		}
		if x, err := base64.RawURLEncoding.DecodeString(string(k.X)); err == nil && len(x) == ed25519.PublicKeySize {
			keys = append(keys, publicKey{string(k.ID), x})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key to verify a token with")
	}
	return keys, nil
}
