package profile

import (
	"fmt"
	"slices"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/secret"
)

// AccountToken returns the token for plex.tv, zero if there is none.
func (s *State) AccountToken() secret.Value { return s.Token.Value.Value }

// Credential is a token and what it is used with.
type Credential struct {
	Token    secret.Value
	ClientID string         // of a long-lived login; "" keeps the profile's
	Device   *devicekey.Key // of a device's token, else nil
	Scopes   []string       // that the device's token was asked for with
	Skew     time.Duration  // of plex.tv's clock when the device's token was made
	Foreign  bool           // not made under ClientID, as far as is known; see [Adoption]
}

// install is the only way for an account token into a profile, and out of it. It forgets
// what was known about the token before. If keepOwner is set, the new token has the same
// owner.
func (p *Profile) install(c Credential, keepOwner bool) {
	owner := p.AccountID()
	if c.ClientID != "" {
		p.setClientID(c.ClientID)
	}
	if c.Device != nil {
		p.bindDevice(c)
	}
	p.Token.set(newToken(c.Token))
	p.RejectedMark, p.ForeignMark = "", ""
	if c.Foreign {
		p.ForeignMark = p.Token.Value.fingerprint
	}
	if keepOwner && owner != 0 && p.AccountID() != owner {
		p.setAccountID(owner)
	}
}

// SignIn stores the token of an approved login whose owner is unknown. What belongs to
// the owner before is stashed until [Profile.Adopt] tells whether it is the same.
func (p *Profile) SignIn(c Credential) {
	p.stashOwner()
	p.install(c, false)
	p.endPending()
}

// SignInAs stores the token of an approved login and its owner a.
func (p *Profile) SignInAs(a Owner, c Credential) {
	switch owner := p.AccountID(); {
	case owner == 0:
		p.stashOwner()
	case owner == a.ID && c.Device == nil && !devicekey.IsJWT(c.Token.Secret()):
		p.replaceServerToken(c.Token)
	}
	p.install(c, false)
	p.endPending()
	p.Adopt(a)
}

// ReplaceToken replaces the profile's token by t, which has the same owner and has
// retired it.
func (p *Profile) ReplaceToken(t secret.Value) {
	p.replaceServerToken(t)
	p.install(Credential{Token: t}, true)
}

// replaceServerToken replaces the server's token by t if the account token serves as it.
// plex.tv may list the account token for one's own server.
func (s *State) replaceServerToken(t secret.Value) {
	if s.ServerToken().Equal(s.AccountToken()) {
		s.Server.Token.set(t)
	}
}

// PassOn gives the long-lived token t of an account to the other profiles whose own it
// has retired. It reports whether there are any.
func (p *Profile) PassOn(t secret.Value, accountID int64, clientID string) (passed bool) {
	for other := range p.othersOf(accountID) {
		if other.sharesToken(accountID, clientID) {
			other.ReplaceToken(t)
			passed = true
		}
	}
	return passed
}

// PassOnToAll does what PassOn does for all profiles that do not have t yet, p among them.
func (p *Profile) PassOnToAll(t secret.Value, accountID int64, clientID string) (passed bool) {
	for _, other := range append(slices.Collect(p.othersOf(accountID)), p) {
		if other.sharesToken(accountID, clientID) && !other.AccountToken().Equal(t) {
			other.ReplaceToken(t)
			passed = true
		}
	}
	return passed
}

// Holders returns the profiles whose account token is t.
func (p *Profile) Holders(t secret.Value) []*Profile {
	hash := hashOfToken(t)
	others := slices.Collect(p.othersThat(func(f *facts) bool { return f.token == hash }))
	return slices.DeleteFunc(append(others, p), func(other *Profile) bool { return !other.AccountToken().Equal(t) })
}

// TokenIsDead reports whether only a new token can help: plex.tv has rejected the stored one,
// or it is damaged, so that no request can carry it.
func (s *State) TokenIsDead() bool {
	t := s.Token.Value
	return s.RejectedMark != "" && s.RejectedMark == t.fingerprint || t.isDamaged()
}

// SetRejected stores that plex.tv has rejected the present token.
func (s *State) SetRejected() { s.RejectedMark = s.Token.Value.fingerprint }

// CheckToken returns an error that says why the profile's token must not be sent. The error
// is [fault.ErrNotConnected] or [fault.ErrTokenRejected].
func (s *State) CheckToken() error {
	switch {
	case s.AccountToken().IsZero():
		return fault.ErrNotConnected
	case s.Token.Value.isDamaged():
		return errDamagedToken
	case s.TokenIsDead():
		return fault.ErrTokenRejected
	}
	return nil
}

var errDamagedToken = fmt.Errorf("%w: the stored token is damaged and no request can carry it", fault.ErrNotConnected)

// sharesToken reports whether the profile's token is the one that plex.tv keeps for
// this account and client identifier. A device's token is not, nor one that was made
// elsewhere under another identifier.
func (p *Profile) sharesToken(accountID int64, clientID string) bool {
	if p.Lifetime().Renewable() || p.isForeign() {
		return false
	}
	return accountID != 0 && p.AccountID() == accountID && p.ClientID() == clientID && !p.AccountToken().IsZero()
}

// successorOf returns the token that another profile has for the account and identifier,
// zero if none has one. A token that is t, or that plex.tv has rejected, does not count.
func (p *Profile) successorOf(accountID int64, clientID string, t secret.Value) secret.Value {
	for other := range p.othersOf(accountID) {
		if next := other.AccountToken(); other.sharesToken(accountID, clientID) && !next.Equal(t) && !other.TokenIsDead() {
			return next
		}
	}
	return secret.Value{}
}

// ReplaceRetired replaces t by the token of the account a under clientID that has retired
// it. ok is false if no profile has that one, and true if p has another token than t.
func (p *Profile) ReplaceRetired(t secret.Value, a Owner, clientID string) (ok bool) {
	if !p.AccountToken().Equal(t) {
		return true
	}
	next := p.successorOf(a.ID, clientID, t)
	if next.IsZero() {
		return false
	}
	p.ReplaceToken(next)
	p.Adopt(a)
	return true
}

// OthersHash returns a hash of the other profiles' tokens. It changes when one of them
// gets another token. Its values in two processes differ.
func (p *Profile) OthersHash() uint64 {
	var sum uint64 // of one hash for each profile, so that an edit of one profile needs no other
	// The default profile, and those that were decoded and may have been edited.
	for other := range p.othersThat(func(*facts) bool { return false }) {
		sum += hashOfLogin(other.ID, other.AccountToken())
	}
	// The rest, as they are stored.
	for i, b := range p.blocks {
		if b.id != p.ID && !slices.Contains(p.decoded, i) && p.isProfile(i) {
			sum += b.facts().login
		}
	}
	return sum
}

// UnidentifiedToken is a stored token whose owner is unknown: the account could not be
// read, or another program has written the token.
type UnidentifiedToken struct {
	Instance string
	Token    secret.Value
	ClientID string
}

// UnidentifiedTokens returns the tokens with an unknown owner that a new login under
// clientID replaces, in this profile or at plex.tv.
func (p *Profile) UnidentifiedTokens(clientID string) (unknown []UnidentifiedToken) {
	others := slices.Collect(p.othersThat(func(f *facts) bool { return f.token != 0 && f.account == 0 }))
	for _, other := range append([]*Profile{p}, others...) {
		u := UnidentifiedToken{other.ID, other.AccountToken(), other.ClientID()}
		if !u.Token.IsZero() && u.ClientID != "" && other.AccountID() == 0 && !other.TokenIsDead() && (other == p || u.ClientID == clientID) {
			unknown = append(unknown, u)
		}
	}
	return unknown
}

// UnidentifiedOthers returns the tokens of UnidentifiedTokens that other profiles have, and
// that a new one under clientID has retired. An older version or another program may have
// left them. Only profiles with a stored account number count.
func (p *Profile) UnidentifiedOthers(clientID string) []UnidentifiedToken {
	return slices.DeleteFunc(p.UnidentifiedTokens(clientID), func(u UnidentifiedToken) bool {
		return u.Instance == p.ID || p.Document.Profile(u.Instance).ClaimedAccountID() == 0
	})
}

// MayHaveRetired reports whether the approval of the PIN v has brought a token by which
// another profile may have lost its own. v may be nil.
func (p *Profile) MayHaveRetired(v *PendingPIN) bool {
	return v != nil && !v.Token.IsZero() && v.Device == nil && slices.ContainsFunc(p.others(), func(other *Profile) bool {
		return !other.AccountToken().IsZero() && other.ClientID() == v.ClientID
	})
}

// WouldRetire reports whether an approval under clientID would end a token in use: the
// profile's own, or a long-lived one that another profile has under clientID. A PIN that is
// pending there counts as well, because it may have been approved.
func (p *Profile) WouldRetire(clientID string) bool {
	if !p.AccountToken().IsZero() {
		return true
	}
	for other := range p.othersThat(func(f *facts) bool { return f.token != 0 || f.isPending }) {
		if !other.AccountToken().IsZero() && !other.Lifetime().Renewable() && other.ClientID() == clientID {
			return true
		}
		if v := other.Pending(); v != nil && v.Device == nil && v.ClientID == clientID {
			return true
		}
	}
	return false
}
