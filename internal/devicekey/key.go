// Package devicekey has the Ed25519 key of a device, the JWTs that it signs, and the JWTs
// that plex.tv gives it. It makes no request.
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
	// backdate is how far in the past a device JWT is issued: clocks are read
	// at full seconds and are never quite right.
	backdate = 30 * time.Second
	// deviceJWTLife is how long one may be used. We use each at once.
	deviceJWTLife = 5 * time.Minute
)

// Key is a key and the client identifier that it belongs to. The token of a
// device is a JWT of seven days, and the key gets the next one.
type Key struct {
	ClientID string
	Kid      string       // RFC 7638 thumbprint of the public key: plex.tv takes any kid, and calls it "thumbprint" itself
	Secret   secret.Value // the key's seed in base64url, as a JWK's "d"
}

// errDeviceKey says that a stored key is no use. It comes as an
// [ErrCorruptConfig].
var ErrUnreadable = fmt.Errorf("%w: %w: the device key cannot be read; sign in again", fault.ErrStore, fault.ErrCorruptConfig)

// New makes a key for a client identifier.
func New(clientID string) (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	d := &Key{ClientID: clientID, Secret: secret.New(base64.RawURLEncoding.EncodeToString(seed))}
	key, err := d.jwk()
	if err != nil {
		return nil, err
	}
	d.Kid = key.KeyID
	return d, nil
}

// Read checks what was stored: a key of half its length, or another
// key's kid, must be found before plex.tv is bothered with it.
func Read(clientID, kid string, seed secret.Value) (*Key, error) {
	d := &Key{ClientID: clientID, Kid: kid, Secret: seed}
	key, err := d.jwk()
	if err != nil || !plain.IsHeader(clientID) || kid != key.KeyID {
		return nil, ErrUnreadable
	}
	return d, nil
}

// private is the key itself.
func (d *Key) private() (ed25519.PrivateKey, error) {
	seed, err := base64.RawURLEncoding.Strict().DecodeString(d.Secret.Secret())
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, ErrUnreadable
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// jwk is the public key as plex.tv wants it.
func (d *Key) jwk() (*jose.JSONWebKey, error) {
	private, err := d.private()
	if err != nil {
		return nil, err
	}
	key := &jose.JSONWebKey{Key: private.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return key, nil
}

// Registration is the body that makes the key known: of POST auth/jwk, and of
// POST pins.
func (d *Key) Registration(strong bool) ([]byte, error) {
	key, err := d.jwk()
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		JWK    *jose.JSONWebKey `json:"jwk"`
		Strong bool             `json:"strong,omitempty"`
	}{key, strong})
}

// Sign makes a device JWT: the device's word that it is asking. now is by
// plex.tv's clock; nonce may be empty where a PIN is looked at.
func (d *Key) Sign(nonce string, scopes []string, now time.Time) (string, error) {
	private, err := d.private()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: d.Kid}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	issued := now.Add(-backdate)
	payload, err := json.Marshal(struct {
		Audience string `json:"aud"`
		Issuer   string `json:"iss"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
		Nonce    string `json:"nonce,omitempty"`
		Scope    string `json:"scope,omitempty"`
	}{"plex.tv", d.ClientID, issued.Unix(), issued.Add(deviceJWTLife).Unix(), nonce, strings.Join(scopes, ",")})
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	return jws.CompactSerialize()
}

// CheckScopes refuses what would become two scopes or none. Which names plex.tv
// knows is its own business.
func CheckScopes(scopes []string) error {
	for _, s := range scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '"' || r >= 0x7f }) {
			return fmt.Errorf("plexauth: scope %q must be one word, such as username", s)
		}
	}
	return nil
}
