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

	// jwtLeeway is how far a device's clock may be ahead. plex.tv's own
	// figure is not known.
	jwtLeeway = time.Minute
)

var b64 = base64.RawURLEncoding

// A jwk is a device's public key as it is sent. Plex.tv takes RSA as well;
// the fake does not.
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

// key is the public key in j, or nil if it is not an Ed25519 key with a kid.
func (j *jwk) key() ed25519.PublicKey {
	x, err := b64.DecodeString(j.X)
	if err != nil || len(x) != ed25519.PublicKeySize || j.Kty != "OKP" || j.Crv != "Ed25519" || j.Kid == "" || j.Alg != "" && j.Alg != "EdDSA" {
		return nil
	}
	return x
}

// thumbprint is RFC 7638's, which tells keys apart whatever their kid.
func (j *jwk) thumbprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, j.X))
	return b64.EncodeToString(sum[:])
}

// A signingKey is one of plex.tv's own.
type signingKey struct {
	kid  string
	priv ed25519.PrivateKey
}

// newSigningKey makes one. Its kid is no thumbprint, as with the real ones.
// s.mu is held.
func (s *Server) newSigningKey() signingKey {
	return signingKey{kid: b64.EncodeToString(s.next("kid")), priv: ed25519.NewKeyFromSeed(s.next("signing key"))}
}

// RotateKeys makes plex.tv sign with a new key from now on. There are always
// two in auth/keys, the one that signs second; the older of the two goes.
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signing()
	s.keys = append(s.keys[1:], s.newSigningKey())
}

// signing is the key that signs. s.mu is held.
func (s *Server) signing() signingKey {
	for len(s.keys) < 2 {
		s.keys = append(s.keys, s.newSigningKey())
	}
	return s.keys[len(s.keys)-1]
}

// A deviceClaims is what a device says about itself in a device JWT.
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

// verify checks a device JWT: form, algorithm, key, signature, audience,
// issuer and times. Its nonce is the caller's to check.
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

// issueJWT makes the Plex JWT of a device, and ends the device's long-lived
// token. s.mu is held.
func (s *Server) issueJWT(d *device, claims *deviceClaims) *token {
	u, now, key := d.user, time.Now().Add(s.offset), s.signing()
	expires := now.Add(jwtLife)
	user := []field{is("id", u.ID), is("uuid", u.UUID)}
	var friendly any
	if u.FriendlyName != "" {
		friendly = u.FriendlyName
	}
	for _, scope := range []field{
		is("username", u.Username), is("email", u.Email), is("friendly_name", friendly),
		is("restricted", u.Restricted), is("anonymous", false), is("joinedAt", u.JoinedAt.Unix()),
	} {
		if strings.Contains(","+claims.Scope+",", ","+scope.name+",") {
			user = append(user, scope)
		}
	}
	var payload []field
	if claims.Nonce != "" {
		payload = append(payload, is("nonce", claims.Nonce))
	} else { // no two tokens are alike, also within a second
		payload = append(payload, is("jti", b64.EncodeToString(s.next("jti")[:9])))
	}
	payload = append(payload,
		is("thumbprint", claims.kid), is("iss", "plex.tv"), is("aud", []string{"plex.tv", d.clientID}),
		is("iat", now.Unix()), is("exp", expires.Unix()), is("user", object{fields: user}))
	signed := b64.EncodeToString(object{fields: []field{is("kid", key.kid), is("typ", "JWT"), is("alg", "EdDSA")}}.appendJSON(nil, Quirks{})) +
		"." + b64.EncodeToString(object{fields: payload}.appendJSON(nil, Quirks{}))
	value := signed + "." + b64.EncodeToString(ed25519.Sign(key.priv, []byte(signed)))

	for _, t := range s.tokens {
		if t.user == u && t.clientID == d.clientID && (t.kind == accountToken || t.kind == jwtToken && s.quirks.RefreshEndsJWT) {
			s.kill(t)
		}
	}
	t := &token{value: value, kind: jwtToken, user: u, clientID: d.clientID, expires: expires}
	s.tokens[value] = t
	return t
}

// expired reports whether a JWT has ended. s.mu is held.
func (s *Server) expired(t *token) bool {
	return !t.expires.IsZero() && !time.Now().Add(s.offset).Before(t.expires)
}
