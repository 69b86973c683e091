package plexauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// backdate is how far in the past a device JWT is issued: clocks are read
	// at full seconds and are never quite right.
	backdate = 30 * time.Second
	// deviceJWTLife is how long one may be used. We use each at once.
	deviceJWTLife = 5 * time.Minute
)

// UseDeviceKey moves the profile's long-lived login over to a device key,
// without asking the person again. Afterwards the profile has a JWT.
//
// plex.tv ends the long-lived token by that: every program that has a copy of it
// is signed out, and media servers may refuse what takes its place. The way back
// is a new login. To have both, leave this profile alone and sign in under
// another one with [Options].DeviceKey. See docs/device-keys.md.
//
// The key takes over the token's client identifier, and other profiles of the
// store get another one for their next login. Where another profile lives on the
// same token, or is about to get one under the identifier, nothing is done and the
// error says so.
//
// If it fails on the way, calling it again goes on from there. If only plex.tv's
// last answer was lost, the old token may have ended by then: whatever asks for a
// token next goes on, too. With a device key already it is [PlexAuth.Refresh].
// Its errors are those of [PlexAuth.Account] and of Refresh.
func (p *PlexAuth) UseDeviceKey(ctx context.Context) (Status, error) {
	leave, err := p.logins.starting.Enter(ctx, p.instance)
	if err != nil {
		return p.statusNow(ctx, fmt.Errorf("plexauth: %w", err))
	}
	defer leave()
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	if l := p.lifeOf(b); l.err != nil || l.renewable() && isJWT(l.token.Secret()) {
		return p.Refresh(ctx)
	}
	return p.statusNow(ctx, p.ask(ctx, func(t secretValue, clientID string) error { return p.moveOver(ctx, t, clientID) }))
}

// moveOver registers a key for the device of the long-lived token t, and
// exchanges it for a JWT.
func (p *PlexAuth) moveOver(ctx context.Context, t secretValue, clientID string) error {
	for again := true; ; again = false {
		var d *device
		err := p.update(ctx, func(b *profile) (err error) {
			d, err = b.keyFor(t, clientID, again)
			return err
		}, t)
		if err != nil || d == nil {
			return err
		}
		err = public(p.client.register(ctx, d, t))
		taken := isTaken(err) // by an earlier call, or by another device: the exchange tells
		if err != nil && !taken {
			return err
		}
		renewed, err := p.exchange(ctx, d, p.options.Scopes, func() error { return p.bindMoving(ctx, t, d) })
		switch {
		case err == nil:
			return p.endMove(ctx, t, d, renewed)
		case failureOf(err).IsRefusedExchange(): // the long-lived token goes on as before
			err = public(failureOf(err).aboutTheKey())
			unbindErr := p.update(ctx, func(b *profile) error {
				if b.accountToken().Equal(t) {
					b.unbind(d)
				}
				return nil
			}, t)
			if unbindErr != nil {
				return errors.Join(err, unbindErr)
			}
			if taken && again && isTaken(err) { // another device's: one new key
				continue
			}
		}
		return err
	}
}

// bindMoving binds the long-lived token t to d, before the request that ends it: if
// only the answer is lost, the key renews what it can.
func (p *PlexAuth) bindMoving(ctx context.Context, t secretValue, d *device) error {
	return p.update(ctx, func(b *profile) error {
		switch {
		case b.accountToken().Equal(t):
			if err := b.sharedWith(t, d.clientID); err != nil { // since the key was made
				return err
			}
			b.bind(t, d, nil, p.client.clock.skew(), true)
		case !b.livesOn(d):
			return errOtherLogin
		}
		return nil
	}, t)
}

// endMove saves the JWT that d got in the place of t.
func (p *PlexAuth) endMove(ctx context.Context, t secretValue, d *device, jwt secretValue) error {
	if err := p.saveRenewed(ctx, &life{token: t, device: d}, jwt); err != nil {
		return err
	}
	b, err := p.load(ctx)
	switch {
	case err != nil:
		return err
	case !b.livesOn(d):
		return errOtherLogin
	}
	p.info(ctx, "moved over to a device key")
	return nil
}

// livesOn reports whether the profile's token is d's.
func (b *profile) livesOn(d *device) bool {
	l := b.life()
	return l.renewable() && l.device.kid == d.kid
}

// isTakenFrom returns an error if the key or the identifier of pin has become another
// login's while plex.tv was asked for pin.
func (b *profile) isTakenFrom(pin *Pin) error {
	v := b.pending()
	switch {
	case pin.device == nil && b.movedOver(pin.clientID):
		return errMovedOver
	case pin.device != nil && v != nil && v.device != nil && v.clientID == pin.clientID:
		return errKeyShared
	}
	return nil
}

// errMovedOver says that another profile's device key has taken over the identifier of
// a PIN.
var errMovedOver = errors.New("plexauth: the login of another profile was moved over to a device key at the same time, start again")

var errOtherLogin = errors.New("plexauth: another login was made during the move to a device key, and stands")

// keyFor returns the key for the device of the long-lived token t, made and
// remembered where there is none; nil where the profile has moved over already. A
// key that is there was made by a call that failed, and may be registered: it is
// taken where reuse allows it.
func (b *profile) keyFor(t secretValue, clientID string, reuse bool) (*device, error) {
	now := b.accountToken()
	switch {
	case isJWT(now.Secret()) && b.life().renewable():
		return nil, nil
	case !now.Equal(t):
		return nil, errOtherLogin
	case isJWT(t.Secret()):
		return nil, errors.New("plexauth: the token is a JWT already, and its device key is not here")
	}
	if err := b.sharedWith(t, clientID); err != nil {
		return nil, err
	}
	if d, err := b.device(); reuse && err == nil && d != nil && d.clientID == clientID {
		return d, nil
	}
	d, err := newDevice(clientID)
	if err == nil {
		b.setDevice(d)
	}
	return d, err
}

// sharedWith returns why the long-lived token t must not end: another profile lives
// on it, or is about to get one under clientID. It returns nil if none does.
func (b *profile) sharedWith(t secretValue, clientID string) error {
	for _, other := range b.others() {
		if other.accountToken().Equal(t) {
			return fmt.Errorf("plexauth: profile %q lives on the same token and would be signed out: disconnect it first", other.id)
		}
		if v := other.pending(); v.lives() && v.device == nil && v.clientID == clientID { // its token would be the device's
			return fmt.Errorf("plexauth: profile %q has a login pending under the same client identifier: finish or cancel it first", other.id)
		}
	}
	return nil
}

// register makes a device key known for the device that a long-lived token
// belongs to.
func (c *client) register(ctx context.Context, d *device, t secretValue) error {
	body, err := d.registration(false)
	if err != nil {
		return err
	}
	return c.do(ctx, &call{
		op: "register device key", method: http.MethodPost, url: c.clients + "/api/v2/auth/jwk",
		clientID: d.clientID, token: t, account: true, body: body, decode: confirmed,
	})
}

// device is a key and the client identifier that it belongs to. The token of a
// device is a JWT of seven days, and the key gets the next one.
type device struct {
	clientID string
	kid      string      // RFC 7638 thumbprint of the public key: plex.tv takes any kid, and calls it "thumbprint" itself
	secret   secretValue // the key's seed in base64url, as a JWK's "d"
}

// errDeviceKey says that a stored key is no use. It comes as an
// [ErrCorruptConfig].
var errDeviceKey = fmt.Errorf("%w: %w: the device key cannot be read; sign in again", ErrStore, ErrCorruptConfig)

// newDevice makes a key for a client identifier.
func newDevice(clientID string) (*device, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	d := &device{clientID: clientID, secret: newValue(base64.RawURLEncoding.EncodeToString(seed))}
	key, err := d.jwk()
	if err != nil {
		return nil, err
	}
	d.kid = key.KeyID
	return d, nil
}

// readDevice checks what was stored: a key of half its length, or another
// key's kid, must be found before plex.tv is bothered with it.
func readDevice(clientID, kid string, secret secretValue) (*device, error) {
	d := &device{clientID: clientID, kid: kid, secret: secret}
	key, err := d.jwk()
	if err != nil || !usableID(clientID) || kid != key.KeyID {
		return nil, errDeviceKey
	}
	return d, nil
}

// private is the key itself.
func (d *device) private() (ed25519.PrivateKey, error) {
	seed, err := base64.RawURLEncoding.Strict().DecodeString(d.secret.Secret())
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errDeviceKey
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// jwk is the public key as plex.tv wants it.
func (d *device) jwk() (*jose.JSONWebKey, error) {
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

// registration is the body that makes the key known: of POST auth/jwk, and of
// POST pins.
func (d *device) registration(strong bool) ([]byte, error) {
	key, err := d.jwk()
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		JWK    *jose.JSONWebKey `json:"jwk"`
		Strong bool             `json:"strong,omitempty"`
	}{key, strong})
}

// sign makes a device JWT: the device's word that it is asking. now is by
// plex.tv's clock; nonce may be empty where a PIN is looked at.
func (d *device) sign(nonce string, scopes []string, now time.Time) (string, error) {
	private, err := d.private()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: private, KeyID: d.kid}},
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
	}{"plex.tv", d.clientID, issued.Unix(), issued.Add(deviceJWTLife).Unix(), nonce, strings.Join(scopes, ",")})
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("plexauth: %w", err)
	}
	return jws.CompactSerialize()
}

// isTaken recognizes plex.tv's word that it does not take a key: mostly since another
// device has it.
func isTaken(err error) bool {
	return failureOf(err).IsTaken()
}

// checkScopes refuses what would become two scopes or none. Which names plex.tv
// knows is its own business.
func checkScopes(scopes []string) error {
	for _, s := range scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == ',' || r == '"' || r >= 0x7f }) {
			return fmt.Errorf("plexauth: scope %q must be one word, such as username", s)
		}
	}
	return nil
}

// prove makes sure that an approved token is what it seems: a device's JWT must
// be plex.tv's own, and where it has expired while it was parked, the next one
// takes its place. told is whom a verified token names, nil for any other.
func (p *PlexAuth) prove(ctx context.Context, v *pendingPIN) (t secretValue, told *user, err error) {
	if v.device == nil || !v.token.hasParts() {
		return v.token, nil, nil
	}
	c, err := p.client.verify(ctx, v.token, v.device)
	err = public(err)
	if isNotGenuine(err) { // plex.tv may have a better one at the next look
		return secretValue{}, nil, errors.Join(err, p.update(ctx, func(b *profile) error {
			if now := b.pending(); now != nil && now.id == v.id && now.token.Equal(v.token) {
				b.unpark()
			}
			return nil
		}, v.token))
	}
	if err != nil {
		return secretValue{}, nil, err
	}
	t = v.token
	if past(c.expires, p.client.clock.now()) {
		if t, err = p.exchange(ctx, v.device, p.options.Scopes, nil); err != nil {
			return secretValue{}, nil, err
		}
		c, _ = readClaims(t)
	}
	return t, &c.account, nil
}
