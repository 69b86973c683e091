// Package devicekey has the Ed25519 key of a device, the JWTs that it signs, and the JWTs
// that plex.tv gives it. It makes no request. Plex documents device keys at
// https://developer.plex.tv/pms/ (section "JWT Authentication").
package devicekey

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// issuedBefore is how far in the past a device JWT is issued: clocks are read in
	// whole seconds, and two are never quite the same.
	issuedBefore = 30 * time.Second
	// deviceJWTLife bounds how long a device JWT may be used. Each is used at once.
	deviceJWTLife = 5 * time.Minute
)

// ErrUnreadable is the error for a stored key that cannot be used. It matches
// [fault.ErrStore] and [fault.ErrCorruptConfig].
var ErrUnreadable = fmt.Errorf("%w: %w: the device key cannot be read; sign in again", fault.ErrStore, fault.ErrCorruptConfig)

// Key is an Ed25519 key and the client identifier that it belongs to. It gets the Plex
// JWTs of that device, one after the other. A Key is not changed once it is made, and is
// safe for concurrent use.
type Key struct {
	ClientID string
	Kid      string       // thumbprint of the public key (RFC 7638); plex.tv takes any kid, and calls it "thumbprint" itself
	Secret   secret.Value // the key's seed in base64url, the "d" of a JWK (RFC 8037)
}

// New makes a key for a client identifier.
func New(clientID string) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	k := &Key{ClientID: clientID, Secret: secret.New(base64.RawURLEncoding.EncodeToString(seed))}
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	k.Kid = public.KeyID
	return k, nil
}

// Read returns a key that was stored. It returns [ErrUnreadable] if seed is damaged or
// kid is another key's: plex.tv must not see such a key.
func Read(clientID, kid string, seed secret.Value) (*Key, error) {
	k := &Key{ClientID: clientID, Kid: kid, Secret: seed}
	public, err := k.public()
	if err != nil || !plain.IsHeaderValue(clientID) || kid != public.KeyID {
		return nil, ErrUnreadable
	}
	return k, nil
}

// private returns the private key.
func (k *Key) private() (ed25519.PrivateKey, error) {
	seed, err := base64.RawURLEncoding.Strict().DecodeString(k.Secret.Secret())
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, ErrUnreadable
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// public returns the public key as plex.tv wants it.
func (k *Key) public() (*jose.JSONWebKey, error) {
	private, err := k.private()
	if err != nil {
		return nil, err
	}
	public := &jose.JSONWebKey{Key: private.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return public, nil
}

// Registration returns the body that makes the key known to plex.tv: of POST auth/jwk,
// and of POST pins, where strong asks for a long code.
func (k *Key) Registration(strong bool) ([]byte, error) {
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		JWK    *jose.JSONWebKey `json:"jwk"`
		Strong bool             `json:"strong,omitempty"`
	}{public, strong})
}

// Sign returns a device JWT, by which the device proves that it is the one that asks.
// now is plex.tv's time. nonce is plex.tv's, or empty to poll a PIN. scopes are the
// claims to ask for.
func (k *Key) Sign(nonce string, scopes []string, now time.Time) (string, error) {
	private, err := k.private()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: k.Kid}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	issued := now.Add(-issuedBefore)
	payload, err := json.Marshal(struct {
		Audience string `json:"aud"`
		Issuer   string `json:"iss"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
		Nonce    string `json:"nonce,omitempty"`
		Scope    string `json:"scope,omitempty"`
	}{"plex.tv", k.ClientID, issued.Unix(), issued.Add(deviceJWTLife).Unix(), nonce, strings.Join(scopes, ",")})
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	return jws.CompactSerialize()
}

// CheckScopes returns an error if a scope would become two scopes or none. It accepts
// any name: plex.tv decides which ones it knows.
func CheckScopes(scopes []string) error {
	for _, s := range scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '"' || r >= 0x7f }) {
			return fmt.Errorf("plexauth: scope %q must be one word, such as username", s)
		}
	}
	return nil
}
