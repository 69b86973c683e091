package profile

import (
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

// deviceBlock holds the profile's device key:
//
//	"_device": {"client_id": …, "kid": …, "secret": …, "scope": …, "bound_to": …}
//
// The device's token itself stands in account_token, where CrossWatch and
// Settings look for it; bound_to tells by a hash that the token there is the
// device's. So a token that somebody else writes is never taken for one that
// the key renews, nor sent with the device's identifier. "secret" is a name that
// CrossWatch encrypts.
func (b *Profile) deviceBlock() *ordered.Object {
	if b.block == nil {
		return nil
	}
	o, err := ordered.Parse(b.block.Get("_device"))
	if err != nil {
		return nil
	}
	return o
}

func (b *Profile) bound(device *ordered.Object) bool {
	mark := lax.Text(device.Get("bound_to"))
	return mark != "" && mark == secret.Fingerprint(b.AccountToken())
}

// device returns the profile's device key, nil where there is none.
func (b *Profile) device() (*devicekey.Key, error) {
	o := b.deviceBlock()
	if o == nil {
		return nil, nil
	}
	return devicekey.Read(lax.Text(o.Get("client_id")), lax.Text(o.Get("kid")), secret.New(lax.Text(o.Get("secret"))))
}

// EnsureDevice returns the device key for the next PIN, made and remembered where
// there is none. No other PIN and no other token has the same key or identifier,
// because the device is given to the person who approves a PIN. Those of a dead login are used once more,
// so that the person finds one device in the list. A key that cannot be read is left
// alone until the login has succeeded, because the token beside it may still work.
func (b *Profile) EnsureDevice() (*devicekey.Key, error) {
	found, err := b.device()
	o := b.deviceBlock()
	bound := o != nil && b.bound(o)
	switch {
	case err != nil:
		id := lax.Text(o.Get("client_id"))
		if !plain.IsHeader(id) || b.awaits(id) {
			id = NewClientID()
		}
		return devicekey.New(id)
	case bound && !b.Rejected():
		return devicekey.New(NewClientID())
	case found != nil && b.isFree(found, bound):
		return found, nil
	}
	id := NewClientID()
	if kept := b.text("device_client_id"); found == nil && plain.IsHeader(kept) && kept != b.longLivedID() {
		id = kept
	}
	made, err := devicekey.New(id)
	if err == nil && !bound {
		b.Create()
		b.setDevice(made)
	}
	return made, err
}

// isFree reports whether a stored key may be used for a PIN. One with the identifier
// of long-lived tokens that is not bound is being registered by UseDeviceKey.
func (b *Profile) isFree(d *devicekey.Key, bound bool) bool {
	return !b.asked(d.ClientID) && (bound || d.ClientID != b.longLivedID())
}

// asked reports whether a PIN was made under a device's identifier.
func (b *Profile) asked(clientID string) bool {
	if b.awaits(clientID) {
		return true
	}
	o := b.deviceBlock()
	if o == nil || lax.Text(o.Get("client_id")) != clientID {
		return false
	}
	asked, _ := lax.Bool(o.Get("asked"))
	return asked
}

// awaits reports whether the pending PIN is for a device with this identifier.
func (b *Profile) awaits(clientID string) bool {
	v := b.Pending()
	return v != nil && v.Device != nil && v.ClientID == clientID
}

// setAsked notes that a PIN was made with d.
func (b *Profile) setAsked(d *devicekey.Key) {
	if o := b.deviceBlock(); o != nil && lax.Text(o.Get("client_id")) == d.ClientID {
		o.Set("asked", ordered.Bool(true))
		b.set("_device", o.Bytes())
	}
}

// setDevice gives the profile a key that has no token yet.
func (b *Profile) setDevice(d *devicekey.Key) {
	o := &ordered.Object{}
	o.Set("client_id", ordered.String(d.ClientID))
	o.Set("kid", ordered.String(d.Kid))
	o.Set("secret", ordered.String(d.Secret.Secret()))
	b.set("_device", o.Bytes())
	b.remove("device_client_id")
}

// keepDeviceID keeps the device's identifier when its key goes, so that the next
// one is the same device's in the person's list.
func (b *Profile) keepDeviceID() {
	if o := b.deviceBlock(); o != nil {
		if id := lax.Text(o.Get("client_id")); plain.IsHeader(id) && id != b.longLivedID() && !b.asked(id) {
			b.setText("device_client_id", id)
		}
	}
}

// DropDevice forgets a device that plex.tv has refused before it had a token: the
// next login is another one's.
func (b *Profile) DropDevice(clientID string) {
	if o := b.deviceBlock(); o != nil && !b.bound(o) && lax.Text(o.Get("client_id")) == clientID {
		b.remove("_device")
	}
}

// Bind makes a device's key, identifier and token the profile's, all at once: none
// of them is any use with another's. scopes are those that t was got with.
// successor tells that t is of the account that the token before it was.
func (b *Profile) Bind(t secret.Value, d *devicekey.Key, scopes []string, skew time.Duration, successor bool) {
	if o := b.deviceBlock(); o == nil || lax.Text(o.Get("kid")) != d.Kid || lax.Text(o.Get("client_id")) != d.ClientID {
		b.setDevice(d)
	}
	o := b.deviceBlock()
	o.Delete("asked")
	o.Delete("scope")
	o.Delete("clock_skew")
	o.Delete("leased_until_ms")
	o.Set("bound_to", ordered.String(secret.Fingerprint(t)))
	if len(scopes) > 0 {
		o.Set("scope", ordered.String(strings.Join(scopes, ",")))
	}
	if skew.Abs() >= time.Minute {
		o.Set("clock_skew", ordered.Int(int64(skew/time.Second)))
	}
	b.set("_device", o.Bytes())
	b.putToken(t, successor)
}

// Unbind undoes bind for a long-lived token that plex.tv has not exchanged.
func (b *Profile) Unbind(d *devicekey.Key) {
	if o := b.deviceBlock(); o != nil && lax.Text(o.Get("kid")) == d.Kid && o.Delete("bound_to") {
		b.set("_device", o.Bytes())
	}
}

// SignInDevice replaces the profile's account token by a device's.
func (b *Profile) SignInDevice(t secret.Value, d *devicekey.Key, scopes []string, skew time.Duration) {
	b.Bind(t, d, scopes, skew, false)
	b.endPending()
}

// holds reports whether the profile's token is t, or came from the same approval
// of a PIN that was made then: a device can be given another JWT at each look.
func (b *Profile) holds(t secret.Value, d *devicekey.Key, made time.Time) bool {
	l := b.Life()
	if l.Token.Equal(t) {
		return true
	}
	return d != nil && l.Renewable() && l.Device.Kid == d.Kid && l.issued.After(made.Add(l.Skew))
}

// movedOver reports whether another profile's long-lived login under this
// identifier was moved over to a device key.
func (b *Profile) movedOver(clientID string) bool {
	for _, other := range b.Others() {
		if l := other.Life(); l.Renewable() && l.Device.ClientID == clientID {
			return true
		}
	}
	return false
}

// takesJWT reports whether a media server is known to have accepted the
// account's JWT as its token, at this very address.
func (b *Profile) takesJWT(machineID, address string) bool {
	machine, at, ok := strings.Cut(b.text("_jwt_server"), " ")
	return ok && !b.Disowned() && machineID != "" && machine == machineID && address != "" && netaddr.SameServer(at, address)
}

func (b *Profile) SetTakesJWT(machineID, address string, takes bool) {
	if takes {
		b.setText("_jwt_server", machineID+" "+address)
	} else if b.takesJWT(machineID, address) {
		b.remove("_jwt_server")
	}
}

// LeasedUntil is until when a process has the renewing to itself.
func (b *Profile) LeasedUntil() time.Time {
	if o := b.deviceBlock(); o != nil {
		return time.UnixMilli(lax.Int(o.Get("leased_until_ms")))
	}
	return time.Time{}
}

func (b *Profile) SetLease(until time.Time) {
	o := b.deviceBlock()
	if o == nil {
		return
	}
	o.Delete("leased_until_ms")
	if !until.IsZero() {
		o.Set("leased_until_ms", ordered.Int(until.UnixMilli()))
	}
	b.set("_device", o.Bytes())
}

// Life reads how long the account token is good and what renews it.
func (b *Profile) Life() *Life {
	l := &Life{Token: b.AccountToken()}
	if c, ok := devicekey.ReadClaims(l.Token); ok {
		l.issued, l.Expires = c.Issued, c.Expires
	}
	o := b.deviceBlock()
	if o == nil || !b.bound(o) {
		if devicekey.IsJWT(l.Token.Secret()) && b.block.Get("_device") != nil { // its key was here, and is damaged
			if _, err := b.device(); err != nil || o == nil {
				l.Err = devicekey.ErrUnreadable
			}
		}
		return l
	}
	l.Device, l.Err = b.device()
	if scope := lax.Text(o.Get("scope")); scope != "" {
		l.Scopes = strings.Split(scope, ",")
	}
	l.Skew = time.Duration(lax.Int(o.Get("clock_skew"))) * time.Second
	return l
}
