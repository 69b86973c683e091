package plexauth

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
)

// pendingPIN is the stored form of a PIN that waits for its approval.
type pendingPIN struct {
	id            int64
	code          string
	created       time.Time // zero where unknown, as all that CrossWatch does not write
	expires       time.Time
	ends          instant // expires, by the clock as it was when the PIN was read or made
	lifetimeKnown bool    // plex.tv said how long the PIN lives
	clientID      string
	options       PinOptions
	device        *device     // of a login with a device key
	token         secretValue // approved, and parked until its account is known
	before        string      // the fingerprint of the profile's token when it was parked
}

// pending returns the PIN that waits, nil where there is none.
func (b *profile) pending() *pendingPIN {
	if b.block == nil {
		return nil
	}
	o, err := ordered.Parse(b.block.Get("_pending_pin"))
	if err != nil {
		return nil
	}
	v := &pendingPIN{
		id:       integer(o.Get("id")),
		code:     text(o.Get("code")),
		clientID: text(o.Get("client_id")),
		token:    newValue(text(o.Get("account_token"))),
		before:   text(o.Get("replaces")),
	}
	if v.id <= 0 {
		return nil
	}
	if !usableToken(v.token.Secret()) { // absent, or damaged: the next look brings it
		v.token = secretValue{}
	}
	if !usableID(v.clientID) {
		v.clientID = b.longLivedID()
	}
	if secret := newValue(text(o.Get("secret"))); !secret.IsZero() {
		var err error
		if v.device, err = readDevice(v.clientID, text(o.Get("kid")), secret); err != nil {
			return nil // nothing can be made of its approval
		}
	}
	v.options.Strong, _ = truth(o.Get("strong"))
	v.options.ForwardURL = text(o.Get("forward_url"))
	v.options.SwitchAccount, _ = truth(o.Get("switch_account"))
	v.lifetimeKnown, _ = truth(o.Get("lifetime_known"))
	if s := integer(o.Get("created")); s > 0 {
		v.created = time.Unix(s, 0)
		v.expires = v.created.Add(defaultLifetime)
	}
	if ms := integer(o.Get("expires_at_ms")); ms > 0 {
		v.expires = time.UnixMilli(ms)
	}
	if v.expires.IsZero() { // CrossWatch wrote it, and not when
		v.expires = wallClock().Add(defaultLifetime)
	}
	// A date that another clock has written far ahead is not waited for.
	left := min(v.expires.Sub(wallClock()), longestLifetime)
	v.ends, v.expires = elapsed().add(left), wallClock().Add(left)
	return v
}

// lives reports whether there is a PIN that can still bring a token, or has, as far
// as the store tells.
func (v *pendingPIN) lives() bool {
	return v != nil && (!v.token.IsZero() || v.ends.left() > 0)
}

// setPending remembers a new PIN, CrossWatch's three fields first.
func (b *profile) setPending(v *pendingPIN) {
	o := &ordered.Object{}
	o.Set("id", ordered.Int(v.id))
	o.Set("code", ordered.String(v.code))
	o.Set("created", ordered.Int(v.created.Unix()))
	o.Set("client_id", ordered.String(v.clientID))
	o.Set("expires_at_ms", ordered.Int(v.expires.UnixMilli()))
	for _, f := range []struct {
		key string
		on  bool
	}{
		{"lifetime_known", v.lifetimeKnown},
		{"strong", v.options.Strong},
		{"switch_account", v.options.SwitchAccount},
	} {
		if f.on {
			o.Set(f.key, ordered.Bool(true))
		}
	}
	if v.options.ForwardURL != "" {
		o.Set("forward_url", ordered.String(v.options.ForwardURL))
	}
	if v.device != nil {
		o.Set("kid", ordered.String(v.device.kid))
		o.Set("secret", ordered.String(v.device.secret.Secret()))
		b.setAsked(v.device)
	}
	b.set("_pending_pin", o.Bytes())
	b.remove("_refused_pin")
}

// refusePending removes the PIN that waits, approved by another account. Others who
// have seen its token learn from what stays how the login has ended.
func (b *profile) refusePending(id int64) {
	b.dropPending(id)
	b.setText("_refused_pin", pinFingerprint(id))
}

// refused reports whether the last login was that of this PIN, approved by another
// account.
func (b *profile) refused(id int64) bool { return b.text("_refused_pin") == pinFingerprint(id) }

// pinFingerprint names a PIN without its number.
func pinFingerprint(id int64) string { return fingerprint(newValue(strconv.FormatInt(id, 10))) }

// changePending sets one field of the PIN that waits.
func (b *profile) changePending(key string, value json.RawMessage) {
	o, err := ordered.Parse(b.block.Get("_pending_pin"))
	if err != nil {
		return
	}
	o.Set(key, value)
	b.set("_pending_pin", o.Bytes())
}

// dropPending removes the PIN that waits, if it is still this one.
func (b *profile) dropPending(id int64) {
	if v := b.pending(); v != nil && v.id == id {
		b.endPending()
	}
}

func (b *profile) setPendingExpiry(t time.Time) {
	b.changePending("expires_at_ms", ordered.Int(t.UnixMilli()))
}

// park keeps an approved token beside the PIN until its account is known. The
// name is one that CrossWatch encrypts.
func (b *profile) park(t secretValue) {
	b.changePending("account_token", ordered.String(t.Secret()))
	b.changePending("replaces", ordered.String(fingerprint(b.accountToken())))
}

// unpark drops a parked token that turned out to be none.
func (b *profile) unpark() {
	if o, err := ordered.Parse(b.block.Get("_pending_pin")); err == nil && o.Delete("account_token") {
		o.Delete("replaces")
		b.set("_pending_pin", o.Bytes())
	}
}
