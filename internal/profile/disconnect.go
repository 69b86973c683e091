package profile

import (
	"slices"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/secret"
)

// Disconnect removes the credentials, what belongs to their owner, the device key and
// the pending PIN.
func (p *Profile) Disconnect() {
	if !p.exists() {
		return
	}
	p.install(Credential{}, false)
	p.forgetOwner()
	p.keepDeviceID()
	p.endPending()
	p.RefusedPIN, p.Checked, p.Device, p.State.Server.Known = "", time.Time{}, nil, nil
}

// Revocation is a token to revoke at plex.tv, the identifier that it was made under, and its
// key.
type Revocation struct {
	Token    secret.Value
	ClientID string
	Device   *devicekey.Key // nil for a long-lived token
}

// SignOut removes the credentials of the profile, and of every other one with the same
// token. It returns what to revoke. The token of approved is not revoked if it replaces
// the token of profiles that stay signed in. A token that another program has written without
// an identifier gets one: fixed, which is the program's own, or a new one if that is "".
func (p *Profile) SignOut(approved Approval, fixed string) (gone []Revocation) {
	if isPassedOn := p.passOnApproved(approved); !isPassedOn {
		gone = p.parked()
	}
	if t := p.AccountToken(); !t.IsZero() && !p.TokenIsDead() {
		if p.ClientID() == "" {
			p.EnsureClientID(fixed)
		}
		gone = append(gone, Revocation{t, p.ClientID(), p.Lifetime().Device})
	}
	for _, other := range p.OthersSharingToken() {
		gone = append(gone, other.parked()...)
		other.Disconnect()
	}
	p.Disconnect()
	return gone
}

// passOnApproved gives the token of a, if it is parked with the pending PIN, to the profiles
// whose own token it has retired and which stay signed in. It reports whether there are any.
func (p *Profile) passOnApproved(a Approval) bool {
	v := p.Pending()
	switch {
	case v == nil || a.Account.ID == 0 || !a.Token.Equal(v.Token):
		return false // the token's account is unknown
	case p.sharesToken(a.Account.ID, v.ClientID):
		return false // the profiles with the retired token are signed out as well
	case v.Device != nil:
		return false // a device's token retires none
	}
	return p.PassOn(a.Token, a.Account.ID, v.ClientID)
}

// parked returns how to revoke the token that is parked with the pending PIN, if there is one.
func (p *Profile) parked() []Revocation {
	v := p.Pending()
	if v == nil || v.Token.IsZero() {
		return nil
	}
	return []Revocation{{v.Token, v.ClientID, v.Device}}
}

// OthersSharingToken returns the other profiles that use the same token.
func (p *Profile) OthersSharingToken() (others []*Profile) {
	if p.AccountToken().IsZero() { // another program may have removed it, and left the account
		return nil
	}
	account, token := p.AccountID(), hashOfToken(p.AccountToken())
	for other := range p.othersThat(func(f *facts) bool { return f.account == account || f.token == token }) {
		if !p.isForeign() && other.sharesToken(p.AccountID(), p.ClientID()) || other.AccountToken().Equal(p.AccountToken()) {
			others = append(others, other)
		}
	}
	return others
}

// IsSignedOut reports whether the profile has no login, and no other profile has a token
// of gone. It is false if gone is empty.
func (p *Profile) IsSignedOut(gone []Revocation) bool {
	if len(gone) == 0 || !p.AccountToken().IsZero() || p.Pending() != nil {
		return false
	}
	mayHold := func(f *facts) bool {
		return f.isPending || slices.ContainsFunc(gone, func(c Revocation) bool { return f.token == hashOfToken(c.Token) })
	}
	for other := range p.othersThat(mayHold) {
		v := other.Pending()
		for _, c := range gone {
			if other.AccountToken().Equal(c.Token) || v != nil && v.Token.Equal(c.Token) {
				return false
			}
		}
	}
	return true
}

// forgetOwner forgets whose the token is, with all that belongs to that account. The
// choice of the server stays.
func (s *State) forgetOwner() {
	s.clearOwner()
	s.Account, s.Stash, s.HomeUser = nil, nil, nil
	s.Server.TokenServer, s.Server.TakesJWT = "", nil
}

// clearOwner empties the fields that belong to the account.
func (s *State) clearOwner() {
	s.User.set("")
	s.ServerUserID.set("")
	s.Server.Token.set(secret.Value{})
	s.HomePIN.set(secret.Value{})
}
