package profile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

var (
	// ErrMovedOver says that another profile's device key has taken over the identifier
	// of a new PIN.
	ErrMovedOver = errors.New("plexauth: the login of another profile was moved over to a device key at the same time, start again")
	// ErrKeyShared says that another process has made a PIN with the same device key.
	ErrKeyShared = errors.New("plexauth: another login has been begun with the same device key")
	// ErrOtherLogin says that the token to move over to a device key was replaced.
	ErrOtherLogin = errors.New("plexauth: another login was made during the move to a device key, and was kept")
)

// Key returns the key, nil if d is nil. The error is [devicekey.ErrUnreadable].
func (d *Device) Key() (*devicekey.Key, error) {
	if d == nil {
		return nil, nil
	}
	if !d.isParsed {
		d.key, d.err = devicekey.Read(d.ClientID, d.Kid, d.Seed)
		d.isParsed = true
	}
	return d.key, d.err
}

// isDamaged reports whether something is stored that is not a key.
func (d *Device) isDamaged() bool {
	if d == nil || d.isUnreadable {
		return d != nil
	}
	_, err := d.Key()
	return err != nil
}

// device returns the stored device, nil if there is none or it is not an object.
func (s *State) device() *Device {
	if s.Device == nil || s.Device.isUnreadable {
		return nil
	}
	return s.Device
}

// boundDevice returns the device that the present token belongs to, or nil.
func (s *State) boundDevice() *Device {
	d := s.device()
	if d == nil || d.BoundTo == "" || d.BoundTo != s.Token.Value.fingerprint {
		return nil
	}
	return d
}

// EnsureDevice returns the device key for the next PIN. It makes and stores one if there
// is none. No other PIN and no token that works has the same key or identifier, because
// the person who approves a PIN gets the device. A rejected login's key is used once
// more, so that the person finds one device in the list. A key that cannot be read stays
// until the login has succeeded, because the token beside it may still work.
func (p *Profile) EnsureDevice() (*devicekey.Key, error) {
	d, isBound := p.device(), p.boundDevice() != nil
	found, err := d.Key()
	switch {
	case err != nil:
		id := d.ClientID
		if !plain.IsHeaderValue(id) || p.awaits(id) {
			id = NewClientID()
		}
		return devicekey.New(id)
	case isBound && !p.TokenIsDead():
		return devicekey.New(NewClientID())
	case found != nil && p.isFree(found, isBound):
		return found, nil
	}
	id := NewClientID()
	if kept := p.DeviceClientID; found == nil && plain.IsHeaderValue(kept) && kept != p.longLivedID() {
		id = kept
	}
	made, err := devicekey.New(id)
	if err == nil && !isBound {
		p.Create()
		p.setDevice(made)
	}
	return made, err
}

// isFree reports whether a stored key may be used for a PIN. An unbound key with the
// identifier of long-lived tokens is being registered by UseDeviceKey.
func (p *Profile) isFree(k *devicekey.Key, isBound bool) bool {
	return !p.wasAsked(k.ClientID) && (isBound || k.ClientID != p.longLivedID())
}

// wasAsked reports whether a PIN was made under a device's identifier.
func (p *Profile) wasAsked(clientID string) bool {
	d := p.device()
	return p.awaits(clientID) || d != nil && d.ClientID == clientID && d.Asked
}

// awaits reports whether the pending PIN is for a device with this identifier.
func (p *Profile) awaits(clientID string) bool {
	v := p.Pending()
	return v != nil && v.Device != nil && v.ClientID == clientID
}

// setAsked stores that a PIN was made with k.
func (s *State) setAsked(k *devicekey.Key) {
	if d := s.device(); d != nil && d.ClientID == k.ClientID {
		d.Asked = true
	}
}

// setDevice stores a key that has no token yet.
func (s *State) setDevice(k *devicekey.Key) {
	s.Device = &Device{ClientID: k.ClientID, Kid: k.Kid, Seed: k.Secret}
	s.DeviceClientID = ""
}

// keepDeviceID keeps the device's identifier when its key is removed, so that the next
// key is the same device's in the person's list.
func (p *Profile) keepDeviceID() {
	if d := p.device(); d != nil && plain.IsHeaderValue(d.ClientID) && d.ClientID != p.longLivedID() && !p.wasAsked(d.ClientID) {
		p.DeviceClientID = d.ClientID
	}
}

// DropDevice removes a device that plex.tv has refused before it had a token. The next
// login makes another one.
func (s *State) DropDevice(clientID string) {
	if d := s.device(); d != nil && s.boundDevice() == nil && d.ClientID == clientID {
		s.Device = nil
	}
}

// bindDevice stores the device of the credential's token.
func (s *State) bindDevice(c Credential) {
	if d := s.device(); d == nil || d.Kid != c.Device.Kid || d.ClientID != c.Device.ClientID {
		s.setDevice(c.Device)
	}
	d := s.Device
	d.Asked, d.LeasedUntil, d.Skew = false, time.Time{}, 0
	d.BoundTo, d.Scope = secret.Fingerprint(c.Token), strings.Join(c.Scopes, ",")
	if c.Skew.Abs() >= time.Minute {
		d.Skew = c.Skew
	}
}

// BindMoving binds the long-lived token t to the key k before the request that ends t. If
// only the answer is lost, the key can get a new token. It does nothing if k has the
// profile already. The error is [ErrOtherLogin], or says which other profile needs t.
func (p *Profile) BindMoving(t secret.Value, k *devicekey.Key, skew time.Duration) error {
	switch {
	case p.AccountToken().Equal(t):
		if err := p.checkUnshared(t, k.ClientID); err != nil { // since the key was made
			return err
		}
		p.install(Credential{Token: t, Device: k, Skew: skew}, true)
	case !p.UsesKey(k):
		return ErrOtherLogin
	}
	return nil
}

// UnbindMoving undoes BindMoving after plex.tv has refused to exchange the token t.
func (s *State) UnbindMoving(t secret.Value, k *devicekey.Key) {
	if d := s.device(); s.AccountToken().Equal(t) && d != nil && d.Kid == k.Kid {
		d.BoundTo = ""
	}
}

// holds reports whether the profile's token is t, or came from the same approval of a
// PIN that was made then: a device gets another JWT at each poll.
func (p *Profile) holds(t secret.Value, k *devicekey.Key, made time.Time) bool {
	l := p.Lifetime()
	if l.Token.Equal(t) {
		return true
	}
	return k != nil && l.Renewable() && l.Device.Kid == k.Kid && l.issued.After(made.Add(l.Skew))
}

// UsesKey reports whether the profile's token is one of the device key k.
func (p *Profile) UsesKey(k *devicekey.Key) bool {
	l := p.Lifetime()
	return l.Renewable() && l.Device.Kid == k.Kid
}

// HasTokenOf reports whether the profile has another token than before, and one that the
// approval of a PIN with the key k may have brought, rather than an earlier login.
func (p *Profile) HasTokenOf(k *devicekey.Key, before secret.Value) bool {
	switch t := p.AccountToken(); {
	case t.IsZero() || t.Equal(before):
		return false
	case k == nil:
		return !p.Lifetime().Renewable()
	}
	return p.UsesKey(k)
}

// KeyFor returns the key for the device of the long-lived token t. It makes and stores
// one if there is none. It returns nil if the profile has moved over already. A key that
// is stored was made by a call that failed, and may be registered; it is used if reuse
// is set.
func (p *Profile) KeyFor(t secret.Value, clientID string, reuse bool) (*devicekey.Key, error) {
	switch {
	case p.Token.Value.isJWT && p.Lifetime().Renewable():
		return nil, nil
	case !p.AccountToken().Equal(t):
		return nil, ErrOtherLogin
	case p.Token.Value.isJWT:
		return nil, errors.New("plexauth: the token is a JWT already, and its device key is missing")
	case p.isForeign():
		return nil, errors.New("plexauth: the token was adopted without its client identifier, which a device key needs: adopt it again with the identifier, or sign in")
	}
	if err := p.checkUnshared(t, clientID); err != nil {
		return nil, err
	}
	if k, err := p.device().Key(); reuse && err == nil && k != nil && k.ClientID == clientID {
		return k, nil
	}
	k, err := devicekey.New(clientID)
	if err == nil {
		p.setDevice(k)
	}
	return k, err
}

// checkUnshared returns an error if the long-lived token t must not end, because another
// profile uses it, or is about to get one under clientID.
func (p *Profile) checkUnshared(t secret.Value, clientID string) error {
	hash := hashOfToken(t)
	for other := range p.othersThat(func(f *facts) bool { return f.token == hash || f.isPending }) {
		if other.AccountToken().Equal(t) {
			return fmt.Errorf("plexauth: profile %q uses the same token and would be signed out: disconnect it first", other.ID)
		}
		if v := other.Pending(); v.lives() && v.Device == nil && v.ClientID == clientID { // its token would be the device's
			return fmt.Errorf("plexauth: profile %q has a login pending under the same client identifier: finish or cancel it first", other.ID)
		}
	}
	return nil
}

// checkNotTaken returns an error if another login has taken the key k or the identifier of
// a new PIN while the PIN was being made.
func (p *Profile) checkNotTaken(clientID string, k *devicekey.Key) error {
	switch {
	case k == nil && p.isMovedOver(clientID):
		return ErrMovedOver
	case k != nil && p.awaits(clientID):
		return ErrKeyShared
	}
	return nil
}
