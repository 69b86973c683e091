package plextest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	jwtLife = 7 * 24 * time.Hour

	// jwtLeeway is how far a device's clock may be ahead. plex.tv's own value is
	// not known.
	jwtLeeway = time.Minute
)

var b64 = base64.RawURLEncoding

// A jwk is a device's public key as a client sends it. plex.tv also accepts RSA
// keys; the fake does not.
type jwk struct {
	Kty, Crv, X, Kid, Alg, Use, D string
}

func (j *jwk) UnmarshalJSON(b []byte) error {
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		return err
	}
	text := func(name string) string { s, _ := members[name].(string); return s }
	*j = jwk{text("kty"), text("crv"), text("x"), text("kid"), text("alg"), text("use"), text("d")}
	return nil
}

// key returns the public key in j, or nil if j is not an Ed25519 key with a kid.
func (j *jwk) key() ed25519.PublicKey {
	x, err := b64.DecodeString(j.X)
	if err != nil || len(x) != ed25519.PublicKeySize || j.Kty != "OKP" || j.Crv != "Ed25519" || j.Kid == "" || j.Alg != "" && j.Alg != "EdDSA" {
		return nil
	}
	return x
}

// thumbprint returns the RFC 7638 thumbprint of j, which identifies the key
// regardless of its kid.
func (j *jwk) thumbprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, j.X))
	return b64.EncodeToString(sum[:])
}

// A signingKey is one of the keys with which plex.tv signs JWTs.
type signingKey struct {
	kid  string
	priv ed25519.PrivateKey
}

// newSigningKey returns a new signing key. As at plex.tv its kid is not a
// thumbprint. s.mu must be held.
func (s *Server) newSigningKey() signingKey {
	return signingKey{kid: b64.EncodeToString(s.nextBytes("kid")), priv: ed25519.NewKeyFromSeed(s.nextBytes("signing key"))}
}

// RotateKeys makes plex.tv sign with a new key. auth/keys always lists two keys:
// the previous one, then the one that signs. The oldest key is removed.
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.currentKey()
	s.keys = append(s.keys[1:], s.newSigningKey())
}

// currentKey returns the key that signs. s.mu must be held.
func (s *Server) currentKey() signingKey {
	for len(s.keys) < 2 {
		s.keys = append(s.keys, s.newSigningKey())
	}
	return s.keys[len(s.keys)-1]
}

// deviceClaims are the claims of a device JWT.
type deviceClaims struct {
	Nonce string          `json:"nonce"`
	Scope string          `json:"scope"`
	Aud   json.RawMessage `json:"aud"`
	Iss   string          `json:"iss"`
	Iat   int64           `json:"iat"`
	Exp   int64           `json:"exp"`

	kid string
}

var (
	errBadJWT    = errors.New("the JWT does not verify")
	errBadIssuer = errors.New("the issuer is not the device")
)

// verify checks the form, algorithm, key, signature, audience, issuer and times of
// a device JWT. It does not check the nonce.
func verify(jwt, clientID string, keys map[string]ed25519.PublicKey, now time.Time) (*deviceClaims, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, errBadJWT
	}
	var header struct{ Kid, Alg string }
	var claims deviceClaims
	for i, into := range []any{&header, &claims} {
		text, err := b64.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return nil, errBadJWT
		}
	}
	signature, err := b64.DecodeString(parts[2])
	key := keys[header.Kid]
	if err != nil || header.Alg != "EdDSA" || key == nil || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, errBadJWT
	}
	var audience []string
	if json.Unmarshal(claims.Aud, &audience) != nil {
		var one string
		_ = json.Unmarshal(claims.Aud, &one)
		audience = []string{one}
	}
	if !slices.Contains(audience, "plex.tv") {
		return nil, errBadJWT
	}
	if claims.Iss != clientID {
		return nil, errBadIssuer
	}
	if claims.Exp <= now.Unix() || claims.Iat == 0 || claims.Iat > now.Add(jwtLeeway).Unix() {
		return nil, errBadJWT
	}
	claims.kid = header.Kid
	return &claims, nil
}

// issueJWT returns a new Plex JWT for a device, and ends the device's long-lived
// token. s.mu must be held.
func (s *Server) issueJWT(d *device, claims *deviceClaims) *token {
	u, now, key := d.user, time.Now().Add(s.offset), s.currentKey()
	expires := now.Add(jwtLife)
	user := []field{required("id", u.ID), required("uuid", u.UUID)}
	var friendly any
	if u.FriendlyName != "" {
		friendly = u.FriendlyName
	}
	for _, scope := range []field{
		required("username", u.Username), required("email", u.Email), required("friendly_name", friendly),
		required("restricted", u.Restricted), required("anonymous", false), required("joinedAt", u.JoinedAt.Unix()),
	} {
		if strings.Contains(","+claims.Scope+",", ","+scope.name+",") {
			user = append(user, scope)
		}
	}
	var payload []field
	if claims.Nonce != "" {
		payload = append(payload, required("nonce", claims.Nonce))
	} else { // makes two tokens of the same second differ
		payload = append(payload, required("jti", b64.EncodeToString(s.nextBytes("jti")[:9])))
	}
	payload = append(payload,
		required("thumbprint", claims.kid), required("iss", "plex.tv"), required("aud", []string{"plex.tv", d.clientID}),
		required("iat", now.Unix()), required("exp", expires.Unix()), required("user", object{fields: user}))
	signed := b64.EncodeToString(object{fields: []field{required("kid", key.kid), required("typ", "JWT"), required("alg", "EdDSA")}}.appendJSON(nil, Quirks{})) +
		"." + b64.EncodeToString(object{fields: payload}.appendJSON(nil, Quirks{}))
	value := signed + "." + b64.EncodeToString(ed25519.Sign(key.priv, []byte(signed)))

	for _, t := range s.tokens {
		if (t.kind == accountToken || t.kind == jwtToken && s.quirks.RefreshEndsJWT) && t.user == u && t.clientID == d.clientID { // the cheap question first
			s.endToken(t)
		}
	}
	t := &token{value: value, kind: jwtToken, user: u, clientID: d.clientID, expires: expires}
	s.tokens[value] = t
	return t
}
