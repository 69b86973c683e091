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
	if l := p.lifeOf(b); l.Err != nil || l.Renewable() && devicekey.IsJWT(l.Token.Secret()) {
		return p.Refresh(ctx)
	}
	return p.statusNow(ctx, p.ask(ctx, func(t secret.Value, clientID string) error { return p.moveOver(ctx, t, clientID) }))
}

// moveOver registers a key for the device of the long-lived token t, and
// exchanges it for a JWT.
func (s *session) moveOver(ctx context.Context, t secret.Value, clientID string) error {
	for again := true; ; again = false {
		var d *devicekey.Key
		err := s.update(ctx, func(b *profile.Profile) (err error) {
			d, err = b.KeyFor(t, clientID, again)
			return err
		}, t)
		if err != nil || d == nil {
			return err
		}
		err = public(s.client.Register(ctx, d, t))
		taken := isTaken(err) // by an earlier call, or by another device: the exchange tells
		if err != nil && !taken {
			return err
		}
		renewed, err := s.exchange(ctx, d, s.options.Scopes, func() error { return s.bindMoving(ctx, t, d) })
		switch {
		case err == nil:
			return s.endMove(ctx, t, d, renewed)
		case failureOf(err).IsRefusedExchange(): // the long-lived token goes on as before
			err = public(failureOf(err).AboutTheKey())
			unbindErr := s.update(ctx, func(b *profile.Profile) error {
				if b.AccountToken().Equal(t) {
					b.Unbind(d)
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
func (s *session) bindMoving(ctx context.Context, t secret.Value, d *devicekey.Key) error {
	return s.update(ctx, func(b *profile.Profile) error {
		switch {
		case b.AccountToken().Equal(t):
			if err := b.SharedWith(t, d.ClientID); err != nil { // since the key was made
				return err
			}
			b.Bind(t, d, nil, s.client.Clock.Skew())
		case !b.LivesOn(d):
			return profile.ErrOtherLogin
		}
		return nil
	}, t)
}

// endMove saves the JWT that d got in the place of t.
func (s *session) endMove(ctx context.Context, t secret.Value, d *devicekey.Key, jwt secret.Value) error {
	if err := s.saveRenewed(ctx, &profile.Life{Token: t, Device: d}, jwt); err != nil {
		return err
	}
	b, err := s.load(ctx)
	switch {
	case err != nil:
		return err
	case !b.LivesOn(d):
		return profile.ErrOtherLogin
	}
	s.info(ctx, "moved over to a device key")
	return nil
}

// isTaken recognizes plex.tv's word that it does not take a key: mostly since another
// device has it.
func isTaken(err error) bool {
	return failureOf(err).IsTaken()
}

// prove makes sure that an approved token is what it seems: a device's JWT must
// be plex.tv's own, and where it has expired while it was parked, the next one
// takes its place. told is whom a verified token names, nil for any other.
func (s *session) prove(ctx context.Context, v *profile.PendingPIN) (t secret.Value, told *plextv.User, err error) {
	if v.Device == nil || !v.Token.HasParts() {
		return v.Token, nil, nil
	}
	c, err := s.client.Verify(ctx, v.Token, v.Device)
	err = public(err)
	if isNotGenuine(err) { // plex.tv may have a better one at the next look
		return secret.Value{}, nil, errors.Join(err, s.update(ctx, func(b *profile.Profile) error {
			if now := b.Pending(); now != nil && now.Id == v.Id && now.Token.Equal(v.Token) {
				b.Unpark()
			}
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

// exchange gets a Plex JWT for a device, as the client's exchange does. It warns once if
// this machine's clock is wrong.
func (s *session) exchange(ctx context.Context, d *devicekey.Key, scopes []string, before func() error) (secret.Value, error) {
	t, err := s.client.Exchange(ctx, d, scopes, before)
	if skew := s.client.Clock.Skew(); skew.Abs() >= time.Minute && !s.client.Clock.Warned.Swap(true) {
		s.logf(ctx, slog.LevelWarn, "this machine's clock is wrong; using plex.tv's time", slog.Duration("off", skew.Round(time.Second)))
	}
	return t, public(err)
}

func isNotGenuine(err error) bool {
	return failureOf(err).IsNotGenuine()
}
