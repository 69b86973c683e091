package plexauth

import (
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
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
func (b *profile) deviceBlock() *ordered.Object {
	if b.block == nil {
		return nil
	}
	o, err := ordered.Parse(b.block.Get("_device"))
	if err != nil {
		return nil
	}
	return o
}

func (b *profile) bound(device *ordered.Object) bool {
	mark := text(device.Get("bound_to"))
	return mark != "" && mark == fingerprint(b.accountToken())
}

// device returns the profile's device key, nil where there is none.
func (b *profile) device() (*device, error) {
	o := b.deviceBlock()
	if o == nil {
		return nil, nil
	}
	return readDevice(text(o.Get("client_id")), text(o.Get("kid")), newValue(text(o.Get("secret"))))
}

// ensureDevice returns the device key for the next PIN, made and remembered where
// there is none. No other PIN and no other token has the same key or identifier,
// because the device is given to the person who approves a PIN. Those of a dead login are used once more,
// so that the person finds one device in the list. A key that cannot be read is left
// alone until the login has succeeded, because the token beside it may still work.
func (b *profile) ensureDevice() (*device, error) {
	found, err := b.device()
	o := b.deviceBlock()
	bound := o != nil && b.bound(o)
	switch {
	case err != nil:
		id := text(o.Get("client_id"))
		if !usableID(id) || b.awaits(id) {
			id = newClientID()
		}
		return newDevice(id)
	case bound && !b.rejected():
		return newDevice(newClientID())
	case found != nil && b.isFree(found, bound):
		return found, nil
	}
	id := newClientID()
	if kept := b.text("device_client_id"); found == nil && usableID(kept) && kept != b.longLivedID() {
		id = kept
	}
	made, err := newDevice(id)
	if err == nil && !bound {
		b.create()
		b.setDevice(made)
	}
	return made, err
}

// isFree reports whether a stored key may be used for a PIN. One with the identifier
// of long-lived tokens that is not bound is being registered by UseDeviceKey.
func (b *profile) isFree(d *device, bound bool) bool {
	return !b.asked(d.clientID) && (bound || d.clientID != b.longLivedID())
}

// asked reports whether a PIN was made under a device's identifier.
func (b *profile) asked(clientID string) bool {
	if b.awaits(clientID) {
		return true
	}
	o := b.deviceBlock()
	if o == nil || text(o.Get("client_id")) != clientID {
		return false
	}
	asked, _ := truth(o.Get("asked"))
	return asked
}

// awaits reports whether the pending PIN is for a device with this identifier.
func (b *profile) awaits(clientID string) bool {
	v := b.pending()
	return v != nil && v.device != nil && v.clientID == clientID
}

// setAsked notes that a PIN was made with d.
func (b *profile) setAsked(d *device) {
	if o := b.deviceBlock(); o != nil && text(o.Get("client_id")) == d.clientID {
		o.Set("asked", ordered.Bool(true))
		b.set("_device", o.Bytes())
	}
}

// setDevice gives the profile a key that has no token yet.
func (b *profile) setDevice(d *device) {
	o := &ordered.Object{}
	o.Set("client_id", ordered.String(d.clientID))
	o.Set("kid", ordered.String(d.kid))
	o.Set("secret", ordered.String(d.secret.Secret()))
	b.set("_device", o.Bytes())
	b.remove("device_client_id")
}

// keepDeviceID keeps the device's identifier when its key goes, so that the next
// one is the same device's in the person's list.
func (b *profile) keepDeviceID() {
	if o := b.deviceBlock(); o != nil {
		if id := text(o.Get("client_id")); usableID(id) && id != b.longLivedID() && !b.asked(id) {
			b.setText("device_client_id", id)
		}
	}
}

// dropDevice forgets a device that plex.tv has refused before it had a token: the
// next login is another one's.
func (b *profile) dropDevice(clientID string) {
	if o := b.deviceBlock(); o != nil && !b.bound(o) && text(o.Get("client_id")) == clientID {
		b.remove("_device")
	}
}

// bind makes a device's key, identifier and token the profile's, all at once: none
// of them is any use with another's. scopes are those that t was got with.
// successor tells that t is of the account that the token before it was.
func (b *profile) bind(t secretValue, d *device, scopes []string, skew time.Duration, successor bool) {
	if o := b.deviceBlock(); o == nil || text(o.Get("kid")) != d.kid || text(o.Get("client_id")) != d.clientID {
		b.setDevice(d)
	}
	o := b.deviceBlock()
	o.Delete("asked")
	o.Delete("scope")
	o.Delete("clock_skew")
	o.Delete("leased_until_ms")
	o.Set("bound_to", ordered.String(fingerprint(t)))
	if len(scopes) > 0 {
		o.Set("scope", ordered.String(strings.Join(scopes, ",")))
	}
	if skew.Abs() >= time.Minute {
		o.Set("clock_skew", ordered.Int(int64(skew/time.Second)))
	}
	b.set("_device", o.Bytes())
	b.putToken(t, successor)
}

// unbind undoes bind for a long-lived token that plex.tv has not exchanged.
func (b *profile) unbind(d *device) {
	if o := b.deviceBlock(); o != nil && text(o.Get("kid")) == d.kid && o.Delete("bound_to") {
		b.set("_device", o.Bytes())
	}
}

// signInDevice replaces the profile's account token by a device's.
func (b *profile) signInDevice(t secretValue, d *device, scopes []string, skew time.Duration) {
	b.bind(t, d, scopes, skew, false)
	b.endPending()
}

// holds reports whether the profile's token is t, or came from the same approval
// of a PIN that was made then: a device can be given another JWT at each look.
func (b *profile) holds(t secretValue, d *device, made time.Time) bool {
	l := b.life()
	if l.token.Equal(t) {
		return true
	}
	return d != nil && l.renewable() && l.device.kid == d.kid && l.issued.After(made.Add(l.skew))
}

// movedOver reports whether another profile's long-lived login under this
// identifier was moved over to a device key.
func (b *profile) movedOver(clientID string) bool {
	for _, other := range b.others() {
		if l := other.life(); l.renewable() && l.device.clientID == clientID {
			return true
		}
	}
	return false
}

// takesJWT reports whether a media server is known to have accepted the
// account's JWT as its token, at this very address.
func (b *profile) takesJWT(machineID, address string) bool {
	machine, at, ok := strings.Cut(b.text("_jwt_server"), " ")
	return ok && !b.disowned() && machineID != "" && machine == machineID && address != "" && sameServer(at, address)
}

func (b *profile) setTakesJWT(machineID, address string, takes bool) {
	if takes {
		b.setText("_jwt_server", machineID+" "+address)
	} else if b.takesJWT(machineID, address) {
		b.remove("_jwt_server")
	}
}

// leasedUntil is until when a process has the renewing to itself.
func (b *profile) leasedUntil() time.Time {
	if o := b.deviceBlock(); o != nil {
		return time.UnixMilli(integer(o.Get("leased_until_ms")))
	}
	return time.Time{}
}

func (b *profile) setLease(until time.Time) {
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

// life reads how long the account token is good and what renews it.
func (b *profile) life() *life {
	l := &life{token: b.accountToken()}
	if c, ok := readClaims(l.token); ok {
		l.issued, l.expires = c.issued, c.expires
	}
	o := b.deviceBlock()
	if o == nil || !b.bound(o) {
		if isJWT(l.token.Secret()) && b.block.Get("_device") != nil { // its key was here, and is damaged
			if _, err := b.device(); err != nil || o == nil {
				l.err = errDeviceKey
			}
		}
		return l
	}
	l.device, l.err = b.device()
	if scope := text(o.Get("scope")); scope != "" {
		l.scopes = strings.Split(scope, ",")
	}
	l.skew = time.Duration(integer(o.Get("clock_skew"))) * time.Second
	return l
}
