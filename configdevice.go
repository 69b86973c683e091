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
	return readDevice(text(o.Get("client_id")), text(o.Get("kid")), NewToken(text(o.Get("secret"))))
}

// ensureDevice returns the device key for the next login, made and remembered
// where there is none. The key of a login that works is not used for it, nor its
// identifier: whoever approves the PIN would get the device. One that cannot be
// read is left alone until that login has succeeded: the token beside it may
// still work.
func (b *profile) ensureDevice() (*device, error) {
	if v := b.pending(); v != nil && v.device != nil && v.token.IsZero() && time.Now().Before(v.expires) {
		return v.device, nil
	}
	found, err := b.device()
	o := b.deviceBlock()
	works := found != nil && b.bound(o) && !b.rejected()
	if found != nil && !works && (b.bound(o) || found.clientID != b.longLivedID()) {
		return found, nil
	}
	var id string
	switch {
	case err != nil:
		id = text(o.Get("client_id"))
	case !works:
		id = b.text("device_client_id")
	}
	if !usableID(id) || err == nil && id == b.longLivedID() {
		id = newClientID()
	}
	made, makeErr := newDevice(id)
	if makeErr == nil && err == nil && !works {
		b.create()
		b.setDevice(made)
	}
	return made, makeErr
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
		if id := text(o.Get("client_id")); usableID(id) && id != b.longLivedID() {
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
func (b *profile) bind(t Token, d *device, scopes []string, skew time.Duration, successor bool) {
	if o := b.deviceBlock(); o == nil || text(o.Get("kid")) != d.kid || text(o.Get("client_id")) != d.clientID {
		b.setDevice(d)
	}
	o := b.deviceBlock()
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
func (b *profile) signInDevice(t Token, d *device, scopes []string, skew time.Duration) {
	b.bind(t, d, scopes, skew, false)
	b.endPending()
}

// holds reports whether the profile's token is t, or came from the same approval
// of a PIN that was made then: a device can be given another JWT at each look.
func (b *profile) holds(t Token, d *device, made time.Time) bool {
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
