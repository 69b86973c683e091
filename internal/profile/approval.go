package profile

import (
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/secret"
)

// Ownership is what is known of the login that an approved token would replace.
type Ownership int

// The states of an Ownership.
const (
	OwnerUnasked Ownership = iota // plex.tv was not asked, or did not answer
	OwnerKnown                    // it is stored now
	TokenDead                     // plex.tv does not accept the token any more
	OwnerRefused                  // plex.tv refuses to tell
)

// Approval is a parked token whose account is known, and what the decision on it goes by.
type Approval struct {
	PIN      *PendingPIN
	Token    secret.Value // the PIN's, or the JWT after it
	Account  Owner
	Over     secret.Value // the profile's own token when the account was read
	Siblings uint64       // a hash of the other profiles' tokens then
	Current  Ownership    // of Over
}

// Decision is what became of an Approval.
type Decision int

// The results of [Approval.Apply].
const (
	SettledElsewhere Decision = iota // by another process
	Outdated                         // no decision: the tokens that it goes by have changed
	Mismatch                         // dropped, as another account's
	Inherited                        // dropped as well, but passed to other profiles of that account
	Installed                        // the token is the profile's
)

// Revocation is a token to revoke at plex.tv, the identifier that it was made under, and its
// key.
type Revocation struct {
	Token    secret.Value
	ClientID string
	Device   *devicekey.Key // nil for a long-lived token
}

// Apply makes the decision on an approval in b. scopes are those that a device's token was
// requested with, and skew is how far plex.tv's clock is ahead. replaced is the
// device whose place the login has taken, nil if there is none. The error is that of StillPending.
func (a Approval) Apply(b *Profile, scopes []string, skew time.Duration) (d Decision, replaced *Revocation, err error) {
	v := a.PIN
	now, err := b.StillPending(v.ID, a.Token, v.Device, v.Created)
	switch {
	case now == nil:
		return SettledElsewhere, nil, err
	case secret.Fingerprint(b.AccountToken()) != secret.Fingerprint(a.Over), v.Device == nil && b.Siblings() != a.Siblings:
		return Outdated, nil, nil
	case !now.Options.SwitchAccount && a.isOtherAccount(b):
		b.RefusePending(v.ID)
		if v.Device == nil && b.PassOn(a.Token, a.Account.ID, v.ClientID) {
			return Inherited, nil, nil
		}
		return Mismatch, nil, nil
	}
	c := Credential{Token: a.Token, ClientID: v.ClientID}
	if v.Device != nil {
		c = Credential{Token: a.Token, Device: v.Device, Scopes: scopes, Skew: skew}
		same, old := b.CloudID() == a.Account.ID, b.Lifetime()
		if same && !b.Rejected() && old.Renewable() && old.Device.ClientID != v.ClientID {
			replaced = &Revocation{old.Token, old.Device.ClientID, old.Device}
		}
	}
	b.SignInAs(a.Account, c)
	return Installed, replaced, nil
}

// isOtherAccount reports whether the approval counts as another account's than the one that
// is linked. If plex.tv does not tell whose the current login is, the stored number and
// name decide, and what cannot be known is another's.
func (a Approval) isOtherAccount(b *Profile) bool {
	linked := b.CloudID()
	switch {
	case linked != 0:
	case a.Current == OwnerRefused:
		return !a.Account.WasMeant(b.ClaimedID(), b.Username())
	case a.Current == TokenDead:
		linked = b.ClaimedID()
	}
	return linked != 0 && linked != a.Account.ID
}

// SignOut removes the credentials of the profile, and of every other one with the same
// token. It returns what to revoke. The token of approved is not revoked if it replaces
// the token of profiles that stay signed in.
func (b *Profile) SignOut(approved Approval) (gone []Revocation) {
	parked := func(b *Profile) {
		if v := b.Pending(); v != nil && !v.Token.IsZero() {
			gone = append(gone, Revocation{v.Token, v.ClientID, v.Device})
		}
	}
	v := b.Pending()
	isOtherAccount := v != nil && approved.Account.ID != 0 && approved.Token.Equal(v.Token) && !b.SharesToken(approved.Account.ID, v.ClientID)
	if !isOtherAccount || v.Device != nil || !b.PassOn(approved.Token, approved.Account.ID, v.ClientID) {
		parked(b)
	}
	if t := b.AccountToken(); !t.IsZero() && !b.Rejected() {
		gone = append(gone, Revocation{t, b.ClientID(), b.Lifetime().Device})
	}
	for _, other := range b.SignedOutWith() {
		parked(other)
		other.Disconnect()
	}
	b.Disconnect()
	return gone
}

// IsSignedOut reports whether the profile has no login, and no other profile has a token
// of gone. It is false if gone is empty.
func (b *Profile) IsSignedOut(gone []Revocation) bool {
	if len(gone) == 0 || !b.AccountToken().IsZero() || b.Pending() != nil {
		return false
	}
	for _, other := range b.Others() {
		v := other.Pending()
		for _, c := range gone {
			if other.AccountToken().Equal(c.Token) || v != nil && v.Token.Equal(c.Token) {
				return false
			}
		}
	}
	return true
}
