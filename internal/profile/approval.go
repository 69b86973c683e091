package profile

import (
	"time"

	"github.com/plexauth/plexauth/internal/secret"
)

// Saved says where [Profile.Approve] has saved a token.
type Saved int

// The results of [Profile.Approve].
const (
	SavedBefore  Saved = iota // another process has, with its account
	SavedParked               // with its PIN, until its account is known
	SavedAsToken              // as the profile's token, whose account is not known yet
)

// Approve saves the token t of an approval of the PIN v. A token that needs no check is the
// profile's at once. The token of a device key is parked first, since it may not be genuine.
// So is one that would replace a linked account, unless the PIN is for a switch of accounts
// ([PinOptions]). If v is not pending any more, and the profile does not have its token, the
// error is [fault.ErrAccountMismatch], [fault.ErrNoPendingPin] or [fault.ErrPinSuperseded].
func (p *Profile) Approve(v *PendingPIN, t secret.Value) (Saved, error) {
	now, err := p.stillPending(v.ID, t, v.Device, v.Created)
	switch {
	case err != nil:
		return SavedBefore, err
	case now == nil && p.AccountToken().Equal(t) && p.TokenIsDead(): // plex.tv has rejected it already
		return SavedBefore, p.CheckToken()
	case now == nil && p.AccountID() != 0:
		return SavedBefore, nil
	case now == nil:
		return SavedAsToken, nil
	case p.Linked() && !now.Options.SwitchAccount, now.Device != nil:
		p.park(t)
		return SavedParked, nil
	}
	p.SignIn(Credential{Token: t, ClientID: v.ClientID})
	return SavedAsToken, nil
}

// Ownership is what is known about the owner of the token that an approved one would
// replace.
type Ownership int

// The states of an Ownership.
const (
	OwnerUnasked Ownership = iota // plex.tv was not asked, or did not answer
	OwnerKnown                    // it is stored now
	TokenDead                     // plex.tv does not accept the token any more
	OwnerRefused                  // plex.tv refuses to tell
)

// Approval is a parked token whose account is known, with what the decision on it depends
// on.
type Approval struct {
	PIN     *PendingPIN
	Token   secret.Value // the PIN's, or the JWT after it
	Account Owner
	// Previous is the profile's own token when the account was read.
	Previous      secret.Value
	PreviousOwner Ownership
	OthersHash    uint64 // [Profile.OthersHash] at that time
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

// Apply decides on an approval of a login of p. scopes are those that a device's token was
// requested with, and skew is how far plex.tv's clock is ahead. replaced is the device
// whose place the login has taken, nil if there is none. The error is as for
// [Profile.Approve].
func (a Approval) Apply(p *Profile, scopes []string, skew time.Duration) (d Decision, replaced *Revocation, err error) {
	v := a.PIN
	now, err := p.stillPending(v.ID, a.Token, v.Device, v.Created)
	switch {
	case now == nil:
		return SettledElsewhere, nil, err
	case secret.Fingerprint(p.AccountToken()) != secret.Fingerprint(a.Previous), v.Device == nil && p.OthersHash() != a.OthersHash:
		return Outdated, nil, nil
	case !now.Options.SwitchAccount && a.isOtherAccount(p):
		p.RefusePending(v.ID)
		if v.Device == nil && p.PassOn(a.Token, a.Account.ID, v.ClientID) {
			return Inherited, nil, nil
		}
		return Mismatch, nil, nil
	}
	c := Credential{Token: a.Token, ClientID: v.ClientID}
	if v.Device != nil {
		c = Credential{Token: a.Token, Device: v.Device, Scopes: scopes, Skew: skew}
		same, old := p.AccountID() == a.Account.ID, p.Lifetime()
		if same && !p.TokenIsDead() && old.Renewable() && old.Device.ClientID != v.ClientID {
			replaced = &Revocation{old.Token, old.Device.ClientID, old.Device}
		}
	}
	p.SignInAs(a.Account, c)
	return Installed, replaced, nil
}

// isOtherAccount reports whether the approval counts as another account's than the one that
// is linked. If plex.tv refuses to tell whose the previous token is, the stored number or
// name must match. If that token is dead, a stored number must match.
func (a Approval) isOtherAccount(p *Profile) bool {
	linked := p.AccountID()
	switch {
	case linked != 0:
	case a.PreviousOwner == OwnerRefused:
		return !a.Account.Matches(p.ClaimedAccountID(), p.Username())
	case a.PreviousOwner == TokenDead:
		linked = p.ClaimedAccountID()
	}
	return linked != 0 && linked != a.Account.ID
}
