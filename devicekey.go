package plexauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// UseDeviceKey moves the profile's long-lived login to a device key, without asking
// the person again. The profile then has a JWT.
//
// plex.tv ends the long-lived token by that. Every program that has a copy of it is
// signed out, and media servers may refuse the JWT. The way back is a new login. To
// have both, leave this profile alone and sign in to another one with
// [Options].DeviceKey. See docs/device-keys.md.
//
// The key takes over the token's client identifier, and other profiles of the store
// get another one for their next login. If another profile has the same token, or is
// about to get one under the identifier, UseDeviceKey does nothing and returns an
// error that says so.
//
// If it fails on the way, another call continues from there. If only plex.tv's last
// answer was lost, the old token may have ended by then: the next call that needs a
// token continues, too. If the profile has a device key already, UseDeviceKey does
// what [PlexAuth.Refresh] does. Its errors are those of [PlexAuth.Account] and of
// Refresh.
func (p *PlexAuth) UseDeviceKey(ctx context.Context) (Status, error) {
	e := p.hold()
	defer e.Release()
	leave, err := e.Known.starting.Enter(ctx)
	if err != nil {
		return p.statusNow(ctx, fmt.Errorf("plexauth: %w", err))
	}
	defer leave()
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	if l := p.lifeOf(b); l.Err != nil || l.Renewable() && devicekey.IsJWT(l.Token.Secret()) {
		return p.Refresh(ctx)
	}
	return p.statusNow(ctx, p.ask(ctx, func(t secret.Value, clientID string) error {
		otherDevice, err := p.moveToKey(ctx, t, clientID, true)
		if otherDevice {
			_, err = p.moveToKey(ctx, t, clientID, false)
		}
		return err
	}))
}

// moveToKey registers a key for the device of the long-lived token t, and exchanges it
// for a JWT. reuse takes a stored key; otherwise it makes a new one. otherDevice
// reports that it failed because another device has the key.
func (s *session) moveToKey(ctx context.Context, t secret.Value, clientID string, reuse bool) (otherDevice bool, err error) {
	var key *devicekey.Key
	err = s.update(ctx, func(b *profile.Profile) (err error) {
		key, err = b.KeyFor(t, clientID, reuse)
		return err
	}, t)
	if err != nil || key == nil {
		return false, err
	}
	err = public(s.client.Register(ctx, key, t))
	taken := isTaken(err) // by an earlier call or by another device: the exchange shows which
	if err != nil && !taken {
		return false, err
	}
	jwt, err := s.exchange(ctx, key, s.options.Scopes, func() error {
		return s.update(ctx, func(b *profile.Profile) error { return b.BindMoving(t, key, s.client.Clock.Skew()) }, t)
	})
	switch {
	case err == nil:
		return false, s.endMove(ctx, t, key, jwt)
	case !plextv.FailureIn(err).IsExchangeRefused():
		return false, err
	}
	// The long-lived token stays valid.
	unbindErr := s.update(ctx, func(b *profile.Profile) error {
		b.UnbindMoving(t, key)
		return nil
	}, t)
	return taken && isTaken(err) && unbindErr == nil, joined(err, unbindErr)
}

// endMove replaces t by the JWT of d.
func (s *session) endMove(ctx context.Context, t secret.Value, d *devicekey.Key, jwt secret.Value) error {
	if err := s.saveRenewed(ctx, &profile.Lifetime{Token: t, Device: d}, jwt); err != nil {
		return err
	}
	b, err := s.load(ctx)
	switch {
	case err != nil:
		return err
	case !b.UsesKey(d):
		return profile.ErrOtherLogin
	}
	s.info(ctx, "moved over to a device key")
	return nil
}

// isTaken reports whether plex.tv has refused a key, usually because another device has it.
func isTaken(err error) bool {
	return plextv.FailureIn(err).IsKeyRefused()
}

// prove checks an approved token. A device's JWT must be plex.tv's own; if it has
// expired while it waited, prove gets the next one. told is the account that a verified
// JWT names, nil for any other token.
func (s *session) prove(ctx context.Context, v *profile.PendingPIN) (t secret.Value, told *plextv.User, err error) {
	if v.Device == nil || !devicekey.MayBeJWT(v.Token) {
		return v.Token, nil, nil
	}
	c, err := s.client.Verify(ctx, v.Token, v.Device)
	err = public(err)
	if isNotGenuine(err) { // plex.tv may have a better one at the next look
		return secret.Value{}, nil, errors.Join(err, s.update(ctx, func(b *profile.Profile) error {
			b.Unpark(v)
			return nil
		}, v.Token))
	}
	if err != nil {
		return secret.Value{}, nil, err
	}
	t = v.Token
	if profile.Past(c.Expires, s.client.Clock.Now()) {
		if t, err = s.exchange(ctx, v.Device, s.options.Scopes, nil); err != nil {
			return secret.Value{}, nil, err
		}
		c, _ = devicekey.ReadClaims(t)
	}
	return t, claimedUser(c.Account), nil
}

// exchange gets a Plex JWT for a device. before is called before the request that ends
// an older token. A wrong clock of this machine is logged once.
func (s *session) exchange(ctx context.Context, d *devicekey.Key, scopes []string, before func() error) (secret.Value, error) {
	t, err := s.client.Exchange(ctx, d, scopes, before)
	if skew := s.client.Clock.Skew(); skew.Abs() >= time.Minute && !s.client.Clock.Warned.Swap(true) {
		s.logf(ctx, slog.LevelWarn, "this machine's clock is wrong; using plex.tv's time", slog.Duration("off", skew.Round(time.Second)))
	}
	return t, public(err)
}

// isNotGenuine reports whether plex.tv has answered with a JWT that is not its own.
func isNotGenuine(err error) bool {
	return plextv.FailureIn(err).IsNotGenuine()
}
