package profile

import (
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/secret"
)

// StillPending returns the PIN with this number if it is the one that is
// pending. If it is not, somebody was faster: where the profile holds its token t
// already, by another process or by an Update that said otherwise, there is no
// error; else it is [ErrAccountMismatch], [ErrNoPendingPin] or [ErrPinSuperseded].
func (b *Profile) StillPending(id int64, t secret.Value, d *devicekey.Key, created time.Time) (*PendingPIN, error) {
	v := b.Pending()
	switch {
	case v != nil && v.Id == id:
		return v, nil
	case b.holds(t, d, created):
		return nil, nil
	case b.Refused(id):
		return nil, fault.ErrAccountMismatch
	case v == nil:
		return nil, fault.ErrNoPendingPin
	}
	return nil, fault.ErrPinSuperseded
}

// LivesOn reports whether the profile's token is d's.
func (b *Profile) LivesOn(d *devicekey.Key) bool {
	l := b.Life()
	return l.Renewable() && l.Device.Kid == d.Kid
}

// IsTakenFrom returns an error if the key d or the identifier of a new PIN has become
// another login's while plex.tv was asked for that PIN.
func (b *Profile) IsTakenFrom(clientID string, d *devicekey.Key) error {
	v := b.Pending()
	switch {
	case d == nil && b.movedOver(clientID):
		return ErrMovedOver
	case d != nil && v != nil && v.Device != nil && v.ClientID == clientID:
		return ErrKeyShared
	}
	return nil
}

// errMovedOver says that another profile's device key has taken over the identifier of
// a PIN.
var ErrMovedOver = errors.New("plexauth: the login of another profile was moved over to a device key at the same time, start again")

var ErrOtherLogin = errors.New("plexauth: another login was made during the move to a device key, and stands")

// KeyFor returns the key for the device of the long-lived token t, made and
// remembered where there is none; nil where the profile has moved over already. A
// key that is there was made by a call that failed, and may be registered: it is
// taken where reuse allows it.
func (b *Profile) KeyFor(t secret.Value, clientID string, reuse bool) (*devicekey.Key, error) {
	now := b.AccountToken()
	switch {
	case devicekey.IsJWT(now.Secret()) && b.Life().Renewable():
		return nil, nil
	case !now.Equal(t):
		return nil, ErrOtherLogin
	case devicekey.IsJWT(t.Secret()):
		return nil, errors.New("plexauth: the token is a JWT already, and its device key is not here")
	}
	if err := b.SharedWith(t, clientID); err != nil {
		return nil, err
	}
	if d, err := b.device(); reuse && err == nil && d != nil && d.ClientID == clientID {
		return d, nil
	}
	d, err := devicekey.New(clientID)
	if err == nil {
		b.setDevice(d)
	}
	return d, err
}

// SharedWith returns why the long-lived token t must not end: another profile lives
// on it, or is about to get one under clientID. It returns nil if none does.
func (b *Profile) SharedWith(t secret.Value, clientID string) error {
	for _, other := range b.Others() {
		if other.AccountToken().Equal(t) {
			return fmt.Errorf("plexauth: profile %q lives on the same token and would be signed out: disconnect it first", other.Id)
		}
		if v := other.Pending(); v.lives() && v.Device == nil && v.ClientID == clientID { // its token would be the device's
			return fmt.Errorf("plexauth: profile %q has a login pending under the same client identifier: finish or cancel it first", other.Id)
		}
	}
	return nil
}

// MayComeFrom reports whether the profile's token may be what the approval of a PIN
// with the key d brought, rather than the next JWT of a device's earlier login.
func (b *Profile) MayComeFrom(d *devicekey.Key) bool {
	l := b.Life()
	if !l.Renewable() {
		return d == nil
	}
	return d != nil && l.Device.Kid == d.Kid
}

// SignedOutWith are the other profiles that live on the same token.
func (b *Profile) SignedOutWith() (others []*Profile) {
	for _, other := range b.Others() {
		if other.SameCredential(b.CloudID(), b.ClientID()) || other.AccountToken().Equal(b.AccountToken()) {
			others = append(others, other)
		}
	}
	return others
}

// errKeyShared says that another process has made a PIN with the same device key.
var ErrKeyShared = errors.New("plexauth: another login has been begun with the same device key")
