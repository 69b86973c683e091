package profile

import (
	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/secret"
)

// Adoption is a token that another program has got, whose account is known, and what the
// decision on it goes by.
//
// The identifier that the token was made under may be unknown. It is then used with the
// document's own, and is foreign there: it is neither plex.tv's token for this account and
// identifier, nor the successor of one. A JWT is foreign, too, because the document's
// identifier stays that of long-lived tokens.
type Adoption struct {
	Approval             // PIN is the pending one that the adoption supersedes; nil: none
	ClientID      string // to use the token with
	Foreign       bool   // the token was not made under ClientID, as far as is known, or is a JWT
	SwitchAccount bool
}

// AdoptedID returns the identifier to use the token t with, and whether t is foreign:
// what a JWT names, else known, else the document's own, which it makes if there is none.
// fixed is the program's own identifier, or "".
func (p *Profile) AdoptedID(t secret.Value, known, fixed string) (id string, isForeign bool) {
	adopted := newToken(t)
	switch id := adopted.claims.ClientID(); {
	case plain.IsHeaderValue(id):
		return id, true
	case known != "":
		return known, adopted.isJWT
	}
	return p.EnsureClientID(fixed), true
}

// HasLogin reports whether the profile has the login of the token t, with all that an
// adoption under the identifier known, or "", would add.
func (p *Profile) HasLogin(t secret.Value, known string) bool {
	isMissing := known != "" && p.isForeign() && !p.Token.Value.isJWT
	isComplete := p.AccountID() != 0 && p.ClientID() != "" && !isMissing
	return isComplete && p.AccountToken().Equal(t) || p.isOwnDevice(t)
}

// Apply makes the decision on an adoption in p. A token that p has already only gets what
// is missing.
func (a Adoption) Apply(p *Profile) Decision {
	switch {
	case p.AccountToken().Equal(a.Token):
		if p.isForeign() && !a.Foreign {
			p.setClientID(a.ClientID)
			p.ForeignMark = ""
		}
		p.Adopt(a.Account)
		return Installed
	case a.isOutdated(p):
		return Outdated
	case a.IsRefused(p):
		return Mismatch
	}
	p.Create()
	c := Credential{Token: a.Token, ClientID: a.ClientID, Foreign: a.Foreign}
	if newToken(a.Token).claims.ClientID() == a.ClientID { // the identifier of long-lived tokens stays
		c.ClientID = ""
	}
	p.SignInAs(a.Account, c)
	return Installed
}

// IsRefused reports whether the token counts as another account's than the one that is
// linked, and may not replace it.
func (a Adoption) IsRefused(p *Profile) bool { return !a.SwitchAccount && a.isOtherAccount(p) }

// isOutdated reports whether the tokens that the decision goes by have changed, or another
// PIN is pending, or an approved one.
func (a Adoption) isOutdated(p *Profile) bool {
	v := p.Pending()
	return secret.Fingerprint(p.AccountToken()) != secret.Fingerprint(a.Previous) || p.OthersHash() != a.OthersHash ||
		v != nil && (a.PIN == nil || v.ID != a.PIN.ID || !v.Token.IsZero())
}

// isOwnDevice reports whether t is a JWT of the device key that the profile's token is
// renewed with.
func (p *Profile) isOwnDevice(t secret.Value) bool {
	l := p.Lifetime()
	if !l.Renewable() || p.TokenIsDead() {
		return false
	}
	_, _, err := devicekey.ParseJWT(t, l.Device)
	return err == nil
}

// isForeign reports whether the profile's token was not made under its identifier, as far
// as is known.
func (s *State) isForeign() bool {
	return s.ForeignMark != "" && s.ForeignMark == s.Token.Value.fingerprint
}

// Reject stores that plex.tv has rejected the token t, in every profile that has it.
// A foreign token may have been made under the profile's identifier all the same, and been
// retired by the login of another profile: then the profile gets that one's token. isPresent
// reports whether t is still p's token.
func (p *Profile) Reject(t secret.Value) (isPresent bool) {
	for _, holder := range p.Holders(t) {
		if next := holder.successorOf(holder.AccountID(), holder.ClientID(), t); holder.isForeign() && !next.IsZero() {
			holder.ReplaceToken(next)
		} else {
			holder.SetRejected()
		}
	}
	return p.AccountToken().Equal(t)
}
