package profile

import (
	"slices"

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
	p.RefusedPIN, p.Device, p.State.Server.Known = "", nil, nil
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
// the token of profiles that stay signed in.
func (p *Profile) SignOut(approved Approval) (gone []Revocation) {
	takeParked := func(of *Profile) {
		if v := of.Pending(); v != nil && !v.Token.IsZero() {
			gone = append(gone, Revocation{v.Token, v.ClientID, v.Device})
		}
	}
	v := p.Pending()
	isOtherAccount := v != nil && approved.Account.ID != 0 && approved.Token.Equal(v.Token) && !p.SharesToken(approved.Account.ID, v.ClientID)
	if !isOtherAccount || v.Device != nil || !p.PassOn(approved.Token, approved.Account.ID, v.ClientID) {
		takeParked(p)
	}
	if t := p.AccountToken(); !t.IsZero() && !p.Rejected() {
		gone = append(gone, Revocation{t, p.ClientID(), p.Lifetime().Device})
	}
	for _, other := range p.OthersSharingToken() {
		takeParked(other)
		other.Disconnect()
	}
	p.Disconnect()
	return gone
}

// OthersSharingToken returns the other profiles that use the same token.
func (p *Profile) OthersSharingToken() (others []*Profile) {
	account, token := p.AccountID(), hashOfToken(p.AccountToken())
	for other := range p.othersThat(func(f *facts) bool { return f.account == account || f.token == token }) {
		if other.SharesToken(p.AccountID(), p.ClientID()) || other.AccountToken().Equal(p.AccountToken()) {
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
