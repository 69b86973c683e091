package profile

import (
	"strings"

	"github.com/plexauth/plexauth/internal/secret"
)

// Owner is an account of plex.tv.
type Owner struct {
	ID                    int64
	Name, Username, Email string // Name is for display
}

// Matches reports whether o is the account with this number. If id is 0, as other
// programs leave it, the username decides: a name for display is not unique.
func (o Owner) Matches(id int64, username string) bool {
	if id != 0 {
		return id == o.ID
	}
	return username != "" && (strings.EqualFold(username, o.Username) || strings.EqualFold(username, o.Email))
}

// Username returns the name of the user that the profile works for, "" if it is not
// known for the present token.
func (p *Profile) Username() string {
	if p.Disowned() {
		return ""
	}
	return p.User.Value
}

// storedOwner returns plex.tv's number of an account as it is stored, and the
// fingerprint of the token that it was read with.
func (s *State) storedOwner() (id int64, boundTo string) {
	if s.Account == nil {
		return 0, ""
	}
	return s.Account.ID, s.Account.BoundTo
}

// AccountID returns plex.tv's number of the account that owns the token, 0 if unknown.
//
// The number is trusted only for the token it was read with, or for a JWT that names the
// same account. CrossWatch and older versions store it without the token; then it has
// to be read again. It still counts if that is not possible, because the token is gone
// or rejected.
func (s *State) AccountID() int64 {
	id, boundTo := s.storedOwner()
	t := s.Token.Value
	if id == 0 || t.IsZero() || boundTo == t.fingerprint {
		return id
	}
	if named := t.claims.Account.ID; named != 0 {
		if named != id {
			return 0
		}
		return id
	}
	if boundTo == "" && s.TokenIsDead() {
		return id
	}
	return 0
}

// ClaimedAccountID returns the stored number of the account, also if it is not certain that
// it owns the present token. It is 0 if it owns another one.
func (s *State) ClaimedAccountID() int64 {
	if s.Disowned() {
		return 0
	}
	id, _ := s.storedOwner()
	return id
}

// Disowned reports whether the stored account owns another token than the present one,
// because another program has replaced the token.
func (s *State) Disowned() bool {
	id, boundTo := s.storedOwner()
	if id == 0 || s.AccountID() != 0 {
		return false
	}
	return boundTo != "" || s.Token.Value.claims.Account.ID != 0
}

// setAccountID stores who owns the present token.
func (s *State) setAccountID(id int64) {
	if s.Account == nil {
		s.Account = &Account{}
	}
	s.Account.ID, s.Account.BoundTo = id, s.Token.Value.fingerprint
}

// Linked reports whether the profile has a token that works, as far as known, or an
// account that owned one.
func (s *State) Linked() bool {
	return s.AccountID() != 0 || !s.AccountToken().IsZero() && !s.TokenIsDead()
}

// stashOwner moves the owner's fields into the stash before a token is stored whose owner
// is unknown. An earlier stash stays, because the owner of its token is still unknown.
func (s *State) stashOwner() {
	account, _ := s.storedOwner()
	if s.AccountToken().IsZero() && account == 0 {
		return
	}
	stash := &Stash{
		Account:      account,
		User:         take(&s.User),
		ServerUserID: take(&s.ServerUserID),
		SameToken:    s.ServerToken().Equal(s.AccountToken()),
		ServerToken:  takeSecret(&s.Server.Token),
		TokenServer:  s.Server.TokenServer,
		HomePIN:      takeSecret(&s.HomePIN),
	}
	if s.Stash == nil || s.Stash.isUnreadable {
		s.Stash = stash
	}
	s.Account, s.Server.TokenServer, s.Server.TakesJWT = nil, "", nil
}

// take empties a field and returns its value.
func take(f *Field[string]) string {
	value := f.Value
	f.Value = ""
	return value
}

func takeSecret(f *Field[secret.Value]) secret.Value {
	value := f.Value
	f.Value = secret.Value{}
	return value
}

// restoreOwner restores the owner's fields from the stash, except those that were found out
// since.
func (s *State) restoreOwner(stash *Stash) {
	restore(&s.User, stash.User)
	restore(&s.ServerUserID, stash.ServerUserID)
	if !stash.ServerToken.IsZero() && s.ServerToken().IsZero() {
		t := stash.ServerToken
		if stash.SameToken { // the new account token takes over both uses
			t = s.AccountToken()
		}
		s.Server.Token.set(t)
		if stash.TokenServer != "" {
			s.Server.TokenServer = stash.TokenServer
		}
	}
	if !stash.HomePIN.IsZero() && s.HomePIN.Value.IsZero() {
		s.HomePIN.set(stash.HomePIN)
	}
}

func restore(f *Field[string], value string) {
	if value != "" && f.Value == "" {
		f.set(value)
	}
}

// Adopt stores a as the owner of the profile's token. It gives a long-lived token to
// the other profiles of that account and client identifier, whose own it has retired.
func (p *Profile) Adopt(a Owner) {
	if id, _ := p.storedOwner(); id != 0 && id != a.ID {
		p.forgetOwner()
	}
	if stash := p.Stash; stash != nil && a.Matches(stash.Account, stash.User) {
		p.restoreOwner(stash)
	}
	p.Stash = nil
	if p.User.Value == "" {
		p.User.set(a.Name)
	}
	p.setAccountID(a.ID)
	p.setAccountName(a.Name)
	p.RejectedMark = ""
	if p.Lifetime().Renewable() || p.isForeign() { // it retires no token under the profile's identifier
		return
	}
	p.PassOn(p.AccountToken(), a.ID, p.ClientID())
}
