package profile

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

// PendingPIN is the stored form of a PIN that waits for its approval.
type PendingPIN struct {
	Id            int64
	Code          string
	Created       time.Time // zero where unknown, as all that CrossWatch does not write
	Expires       time.Time
	Ends          elapsed.Instant // expires, by the clock as it was when the PIN was read or made
	LifetimeKnown bool            // plex.tv said how long the PIN lives
	ClientID      string
	Options       PinOptions
	Device        *devicekey.Key // of a login with a device key
	Token         secret.Value   // approved, and parked until its account is known
	Before        string         // the fingerprint of the profile's token when it was parked
}

// PinOptions is a [PinOptions] as it is stored.
type PinOptions struct {
	Strong        bool
	ForwardURL    string
	SwitchAccount bool
}

// longestStored bounds how long a stored PIN is waited for, whatever date another
// clock has written.
const longestStored = time.Hour

// Pending returns the PIN that waits, nil where there is none.
func (b *Profile) Pending() *PendingPIN {
	if b.block == nil {
		return nil
	}
	o, err := ordered.Parse(b.block.Get("_pending_pin"))
	if err != nil {
		return nil
	}
	v := &PendingPIN{
		Id:       lax.Int(o.Get("id")),
		Code:     lax.Text(o.Get("code")),
		ClientID: lax.Text(o.Get("client_id")),
		Token:    secret.New(lax.Text(o.Get("account_token"))),
		Before:   lax.Text(o.Get("replaces")),
	}
	if v.Id <= 0 {
		return nil
	}
	if !secret.UsableToken(v.Token.Secret()) { // absent, or damaged: the next look brings it
		v.Token = secret.Value{}
	}
	if !plain.IsHeader(v.ClientID) {
		v.ClientID = b.longLivedID()
	}
	if seed := secret.New(lax.Text(o.Get("secret"))); !seed.IsZero() {
		var err error
		if v.Device, err = devicekey.Read(v.ClientID, lax.Text(o.Get("kid")), seed); err != nil {
			return nil // nothing can be made of its approval
		}
	}
	v.Options.Strong, _ = lax.Bool(o.Get("strong"))
	v.Options.ForwardURL = lax.Text(o.Get("forward_url"))
	v.Options.SwitchAccount, _ = lax.Bool(o.Get("switch_account"))
	v.LifetimeKnown, _ = lax.Bool(o.Get("lifetime_known"))
	if s := lax.Int(o.Get("created")); s > 0 {
		v.Created = time.Unix(s, 0)
		v.Expires = v.Created.Add(DefaultLifetime)
	}
	if ms := lax.Int(o.Get("expires_at_ms")); ms > 0 {
		v.Expires = time.UnixMilli(ms)
	}
	if v.Expires.IsZero() { // CrossWatch wrote it, and not when
		v.Expires = elapsed.Wall().Add(DefaultLifetime)
	}
	// A date that another clock has written far ahead is not waited for.
	left := min(v.Expires.Sub(elapsed.Wall()), longestStored)
	v.Ends, v.Expires = elapsed.Now().Add(left), elapsed.Wall().Add(left)
	return v
}

// lives reports whether there is a PIN that can still bring a token, or has, as far
// as the store tells.
func (v *PendingPIN) lives() bool {
	return v != nil && (!v.Token.IsZero() || v.Ends.Left() > 0)
}

// SetPending remembers a new PIN, CrossWatch's three fields first.
func (b *Profile) SetPending(v *PendingPIN) {
	o := &ordered.Object{}
	o.Set("id", ordered.Int(v.Id))
	o.Set("code", ordered.String(v.Code))
	o.Set("created", ordered.Int(v.Created.Unix()))
	o.Set("client_id", ordered.String(v.ClientID))
	o.Set("expires_at_ms", ordered.Int(v.Expires.UnixMilli()))
	for _, f := range []struct {
		key string
		on  bool
	}{
		{"lifetime_known", v.LifetimeKnown},
		{"strong", v.Options.Strong},
		{"switch_account", v.Options.SwitchAccount},
	} {
		if f.on {
			o.Set(f.key, ordered.Bool(true))
		}
	}
	if v.Options.ForwardURL != "" {
		o.Set("forward_url", ordered.String(v.Options.ForwardURL))
	}
	if v.Device != nil {
		o.Set("kid", ordered.String(v.Device.Kid))
		o.Set("secret", ordered.String(v.Device.Secret.Secret()))
		b.setAsked(v.Device)
	}
	b.set("_pending_pin", o.Bytes())
	b.remove("_refused_pin")
}

// RefusePending removes the PIN that waits, approved by another account. Others who
// have seen its token learn from what stays how the login has ended.
func (b *Profile) RefusePending(id int64) {
	b.DropPending(id)
	b.setText("_refused_pin", pinFingerprint(id))
}

// Refused reports whether the last login was that of this PIN, approved by another
// account.
func (b *Profile) Refused(id int64) bool { return b.text("_refused_pin") == pinFingerprint(id) }

// pinFingerprint names a PIN without its number.
func pinFingerprint(id int64) string {
	return secret.Fingerprint(secret.New(strconv.FormatInt(id, 10)))
}

// changePending sets one field of the PIN that waits.
func (b *Profile) changePending(key string, value json.RawMessage) {
	o, err := ordered.Parse(b.block.Get("_pending_pin"))
	if err != nil {
		return
	}
	o.Set(key, value)
	b.set("_pending_pin", o.Bytes())
}

// DropPending removes the PIN that waits, if it is still this one.
func (b *Profile) DropPending(id int64) {
	if v := b.Pending(); v != nil && v.Id == id {
		b.endPending()
	}
}

func (b *Profile) SetPendingExpiry(t time.Time) {
	b.changePending("expires_at_ms", ordered.Int(t.UnixMilli()))
}

// Park keeps an approved token beside the PIN until its account is known. The
// name is one that CrossWatch encrypts.
func (b *Profile) Park(t secret.Value) {
	b.changePending("account_token", ordered.String(t.Secret()))
	b.changePending("replaces", ordered.String(secret.Fingerprint(b.AccountToken())))
}

// Unpark drops a parked token that turned out to be none.
func (b *Profile) Unpark() {
	if o, err := ordered.Parse(b.block.Get("_pending_pin")); err == nil && o.Delete("account_token") {
		o.Delete("replaces")
		b.set("_pending_pin", o.Bytes())
	}
}

const (
	DefaultLifetime = 15 * time.Minute // of a PIN whose answer names none
)

// panelPIN is the field with the date of the PIN that a panel had made last. Its
// name dates from when only a cancelled login left one.
const panelPIN = "_cancelled_pin"

// NotePanelPIN keeps the date of a PIN that the panel had made. It stays however
// the login ends, so that all replicas keep the pace of starts (G12).
func (b *Profile) NotePanelPIN(made time.Time) {
	if b.exists() {
		b.set(panelPIN, ordered.Int(made.Unix()))
	}
}

// endPending removes the PIN that waits, however its login ended, and with it a
// date that paces no start any more.
func (b *Profile) endPending() {
	if time.Since(b.panelPIN()) >= StartPause {
		b.remove(panelPIN)
	}
	b.remove("_pending_pin")
}

// panelPIN returns the date that notePanelPIN keeps, or zero.
func (b *Profile) panelPIN() time.Time {
	if b.block == nil {
		return time.Time{}
	}
	if s := lax.Int(b.block.Get(panelPIN)); s > 0 {
		return time.Unix(s, 0)
	}
	return time.Time{}
}

// LastPIN returns when the last PIN was made that the store knows of.
func (b *Profile) LastPIN() time.Time {
	made := b.panelPIN()
	if v := b.Pending(); v != nil && v.Created.After(made) {
		return v.Created
	}
	return made
}

const StartPause = 10 * time.Second // between the PINs that the web starts
