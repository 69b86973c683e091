package profile

import (
	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/secret"
)

// StartOptions says what kind of PIN a Start wants.
type StartOptions struct {
	ClientID  string // the program's own identifier for long-lived logins, or ""
	DeviceKey bool   // the login is to have a device key, and with it an identifier of its own
	PIN       PinOptions
	// Lasts reports whether a PIN lives long enough to be shown again.
	Lasts func(*PendingPIN) bool
}

// StartInputs is what a Start begins with.
type StartInputs struct {
	Pending  *PendingPIN         // nil: none
	Reusable bool                // Pending is as good as a new PIN
	Token    secret.Value        // of the profile
	ClientID string              // for the next PIN
	Key      *devicekey.Key      // for the next PIN; nil for a long-lived login
	Unknown  []UnidentifiedToken // logins that the next one may end, and whose account is not known
}

// PrepareStart returns the inputs of a Start. Unless the pending PIN can be used again, it
// makes the identifier and the key of the next one. The error is that of the key.
func (p *Profile) PrepareStart(o StartOptions) (in StartInputs, err error) {
	in = StartInputs{Pending: p.Pending(), Token: p.AccountToken()}
	if !o.DeviceKey {
		in.ClientID = p.EnsureClientID(o.ClientID)
	}
	in.Reusable = in.Pending.Suits(in.ClientID, o.DeviceKey, o.PIN) && o.Lasts(in.Pending)
	switch {
	case o.DeviceKey && in.Reusable:
		in.ClientID = in.Pending.ClientID
	case o.DeviceKey:
		if in.Key, err = p.EnsureDevice(); err != nil {
			return StartInputs{}, err
		}
		in.ClientID = in.Key.ClientID
	}
	in.Unknown = p.UnidentifiedTokens(in.ClientID)
	return in, nil
}

// Suits reports whether v is of the same kind as a new PIN for clientID or, with byKey,
// for a device key, which has an identifier of its own. An approved PIN is not, nor is
// one that cannot be shown. v may be nil.
func (v *PendingPIN) Suits(clientID string, byKey bool, o PinOptions) bool {
	if v == nil || !v.Token.IsZero() || v.Code == "" || v.Created.IsZero() || v.Options != o {
		return false
	}
	return (v.Device != nil) == byKey && (byKey || v.ClientID == clientID)
}

// Propose makes the new PIN v the pending one, in the place of replaced, which may be nil,
// and returns v. If another caller or process was faster, it changes nothing and returns
// the PIN that is pending, or replaced if that has been approved. The error is
// [ErrMovedOver] or [ErrKeyShared].
func (p *Profile) Propose(v, replaced *PendingPIN) (*PendingPIN, error) {
	if now := p.Pending(); now != nil && (!now.Token.IsZero() || replaced == nil || now.ID != replaced.ID) {
		return now, nil
	}
	if err := p.checkNotTaken(v.ClientID, v.Device); err != nil {
		return nil, err
	}
	p.Create()
	p.SetPending(v)
	return v, nil
}
