package profile

import (
	"strconv"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// DefaultLifetime is the life of a PIN if plex.tv's answer does not say.
	DefaultLifetime = 15 * time.Minute
	// maxStoredLifetime bounds how long a stored PIN is waited for, whatever date
	// another clock has written.
	maxStoredLifetime = time.Hour
	// StartPause is the pause between the PINs that a panel has made.
	StartPause = 10 * time.Second
)

// PendingPIN is a PIN that waits for its approval.
type PendingPIN struct {
	ID            int64
	Code          string
	Created       time.Time // zero if unknown
	Expires       time.Time
	Ends          elapsed.Instant // Expires, by the clock as it was when the PIN was read or made
	LifetimeKnown bool            // plex.tv said how long the PIN lives
	ClientID      string
	Options       PinOptions
	Device        *devicekey.Key // of a login with a device key
	Token         secret.Value   // approved, and parked until its owner is known
	Replaces      string         // fingerprint of the profile's token when Token was parked
}

// PinOptions holds the options of a login that are stored with its PIN.
type PinOptions struct {
	Strong        bool
	ForwardURL    string
	SwitchAccount bool
}

// Pending returns the PIN that waits, also one that has expired. It is nil if there is
// none, or if its device key cannot be read, because its approval could not be used.
func (p *Profile) Pending() *PendingPIN {
	l := p.StoredPIN
	if l == nil || l.ID <= 0 {
		return nil
	}
	v := &PendingPIN{
		ID: l.ID, Code: l.Code, Created: l.Created, Expires: l.Expires, LifetimeKnown: l.LifetimeKnown,
		ClientID: l.ClientID, Options: l.Options, Token: l.Token, Replaces: l.Replaces,
	}
	if !secret.UsableToken(v.Token.Secret()) { // missing, or damaged: the next poll brings it
		v.Token = secret.Value{}
	}
	if !plain.IsHeaderValue(v.ClientID) {
		v.ClientID = p.longLivedID()
	}
	if !l.Seed.IsZero() {
		var err error
		if v.Device, err = devicekey.Read(v.ClientID, l.Kid, l.Seed); err != nil {
			return nil
		}
	}
	now := elapsed.Wall()
	switch {
	case !v.Expires.IsZero():
	case !v.Created.IsZero():
		v.Expires = v.Created.Add(DefaultLifetime)
	default: // CrossWatch wrote it, without a date
		v.Expires = now.Add(DefaultLifetime)
	}
	left := min(v.Expires.Sub(now), maxStoredLifetime)
	v.Ends, v.Expires = elapsed.Now().Add(left), now.Add(left)
	return v
}

// lives reports whether the PIN can still bring a token, or has brought one.
func (v *PendingPIN) lives() bool {
	return v != nil && (!v.Token.IsZero() || v.Ends.Left() > 0)
}

// SetPending stores a new PIN.
func (p *Profile) SetPending(v *PendingPIN) {
	l := &StoredPIN{
		ID: v.ID, Code: v.Code, Created: v.Created, Expires: v.Expires, LifetimeKnown: v.LifetimeKnown,
		ClientID: v.ClientID, Options: v.Options,
	}
	if v.Device != nil {
		l.Kid, l.Seed = v.Device.Kid, v.Device.Secret
		p.setAsked(v.Device)
	}
	p.StoredPIN, p.RefusedPIN = l, ""
}

// stillPending returns the PIN id if it is pending. If it is not, another process or
// caller was faster. The PIN is nil then, without an error if the profile holds its
// token t already, else with [fault.ErrAccountMismatch], [fault.ErrNoPendingPin] or
// [fault.ErrPinSuperseded].
func (p *Profile) stillPending(id int64, t secret.Value, k *devicekey.Key, created time.Time) (*PendingPIN, error) {
	v := p.Pending()
	switch {
	case v != nil && v.ID == id:
		return v, nil
	case p.holds(t, k, created):
		return nil, nil
	case p.Refused(id):
		return nil, fault.ErrAccountMismatch
	case v == nil:
		return nil, fault.ErrNoPendingPin
	}
	return nil, fault.ErrPinSuperseded
}

// SetPendingExpiry stores when the pending PIN expires, if it is id.
func (p *Profile) SetPendingExpiry(id int64, t time.Time) {
	if v := p.Pending(); v != nil && v.ID == id {
		p.StoredPIN.Expires = t
	}
}

// Park parks the token t of an approval with the PIN id, unless one is parked already. It
// returns the PIN as it is then, nil if it is not pending any more.
func (p *Profile) Park(id int64, t secret.Value) *PendingPIN {
	v := p.Pending()
	if v == nil || v.ID != id {
		return nil
	}
	if v.Token.IsZero() {
		p.park(t)
	}
	return p.Pending()
}

// park stores an approved token beside the pending PIN until its owner is known.
func (s *State) park(t secret.Value) {
	if s.StoredPIN != nil {
		s.StoredPIN.Token, s.StoredPIN.Replaces = t, s.Token.Value.fingerprint
	}
}

// Unpark drops the parked token of v, which turned out not to be genuine. The PIN stays.
func (p *Profile) Unpark(v *PendingPIN) {
	if p.isParked(v) {
		p.StoredPIN.Token, p.StoredPIN.Replaces = secret.Value{}, ""
	}
}

// DropParked removes the pending PIN if the token of v is still parked with it, and
// reports whether it was.
func (p *Profile) DropParked(v *PendingPIN) bool {
	parked := p.isParked(v)
	if parked {
		p.endPending()
	}
	return parked
}

// DropRejected removes the PIN of v, whose parked token plex.tv has rejected, and returns
// how its login has ended: with the error rejected, with [fault.ErrAccountMismatch] if
// another process has refused the token as another account's and revoked it, with
// [fault.ErrPinSuperseded] if another PIN has replaced v, or with nil if a later login has
// brought the profile its next token.
func (p *Profile) DropRejected(v *PendingPIN, rejected error) error {
	now, refused := p.Token.Value.fingerprint, p.Refused(v.ID)
	p.DropPending(v.ID)
	switch {
	case v.Replaces != "" && now != "" && now != v.Replaces && !p.TokenIsDead():
		return nil
	case refused:
		return fault.ErrAccountMismatch
	case p.Pending() != nil:
		return fault.ErrPinSuperseded
	}
	return rejected
}

// isParked reports whether the pending PIN is v, with the same token.
func (p *Profile) isParked(v *PendingPIN) bool {
	now := p.Pending()
	return now != nil && now.ID == v.ID && now.Token.Equal(v.Token)
}

// DropPending removes the pending PIN if it is id.
func (p *Profile) DropPending(id int64) {
	if v := p.Pending(); v != nil && v.ID == id {
		p.endPending()
	}
}

// CancelPending removes the pending PIN if it is v. It reports false, and changes nothing, if
// v is not pending any more, or if a token is parked with it that v does not have yet.
func (p *Profile) CancelPending(v *PendingPIN) bool {
	now := p.Pending()
	if now == nil || now.ID != v.ID || v.Token.IsZero() && !now.Token.IsZero() {
		return false
	}
	p.endPending()
	return true
}

// RefusePending removes the pending PIN, which another account has approved. It leaves a
// note for other processes that have seen the PIN's token.
func (p *Profile) RefusePending(id int64) {
	p.DropPending(id)
	p.RefusedPIN = pinFingerprint(id)
}

// Refused reports whether the last login was that of this PIN, approved by another
// account.
func (s *State) Refused(id int64) bool { return s.RefusedPIN == pinFingerprint(id) }

// pinFingerprint names a PIN without its number.
func pinFingerprint(id int64) string {
	return secret.Fingerprint(secret.New(strconv.FormatInt(id, 10)))
}

// endPending removes the pending PIN, however its login ended, and the date of the
// panel's last PIN once that delays no start any more.
func (s *State) endPending() {
	if time.Since(s.PanelPIN) >= StartPause {
		s.PanelPIN = time.Time{}
	}
	s.StoredPIN = nil
}

// NotePanelPIN stores when the panel had a PIN made. It stays for [StartPause] however the
// login ends, so that all replicas limit how often a panel starts one (G12).
func (p *Profile) NotePanelPIN(made time.Time) {
	if p.exists() {
		p.PanelPIN = made
	}
}

// PanelPause returns how long a panel has to wait before it has another PIN made, as far
// as the profile shows the PINs of all processes.
func (p *Profile) PanelPause(now time.Time) time.Duration {
	last := p.PanelPIN
	if v := p.Pending(); v != nil && v.Created.After(last) {
		last = v.Created
	}
	pause := last.Add(StartPause).Sub(now)
	if pause > 2*StartPause { // a clock was set
		return 0
	}
	return max(0, min(pause, StartPause)) // a replica's clock may be ahead
}
