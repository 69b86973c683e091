package profile

import (
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
)

// ErrChanged means that another login or another choice was made in the meantime.
var ErrChanged = errors.New("plexauth: the login or the server was changed in the meantime, nothing was saved: call again")

// SameAccount returns nil if a user in the Home of before's account may be saved in p: the
// login is still the same, or another one of that account. Else the error is
// [fault.ErrNotConnected] or ErrChanged.
func (p *Profile) SameAccount(before *Profile) error {
	account := before.AccountID()
	switch {
	case p.AccountToken().IsZero():
		return fault.ErrNotConnected
	case p.AccountToken().Equal(before.AccountToken()), account != 0 && p.AccountID() == account:
		return nil
	}
	return ErrChanged
}

// HomeUserID returns plex.tv's number of the Home user that this profile works for, 0 for
// the account itself. The choice ends when another program stores another user, or
// another account signs in.
func (p *Profile) HomeUserID() int64 {
	u, account := p.State.HomeUser, p.AccountID()
	if u == nil || account == 0 || u.Account != account || u.Name != p.Username() {
		return 0
	}
	return u.ID
}

// SetHomeUser makes a member of the Home, or the account itself, the user that this
// profile works for. id is plex.tv's number of that user, and owner that of the saved
// server's owner, 0 if unknown. known reports whether the server's number of the user is
// known. Without an owner it is not, unless a member is chosen before any server.
func (p *Profile) SetHomeUser(id int64, title string, owner int64) (known bool) {
	if name := p.AccountName(); name != "" {
		p.setAccountName(name) // User no longer says it
	}
	account := p.AccountID()
	p.User.set(title)
	p.State.HomeUser = nil
	if id != account {
		p.State.HomeUser = &HomeUser{ID: id, Name: title, Account: account}
	}
	if owner == 0 && (id == account || p.State.Server.MachineID.Value != "") {
		p.ForgetServerUserID()
		return false
	}
	p.SetServerUserID(ServerUserIDFor(owner, id))
	return true
}

// ServerUserIDFor returns the number by which a media server knows a user: 1 for the
// server's owner, plex.tv's number for everyone else. owner and user are plex.tv's numbers.
func ServerUserIDFor(owner, user int64) int64 {
	if user != 0 && user == owner {
		return 1
	}
	return user
}

// AccountName returns the display name of the account that is signed in, "" if unknown.
// The stored user may be a Home user instead.
func (p *Profile) AccountName() string {
	if id := p.AccountID(); id != 0 && p.Account.NameOf == id {
		return p.Account.Name
	}
	number, account := p.ServerUserID(), p.ClaimedAccountID()
	if p.HomeUserID() != 0 || account != 0 && number > 1 && number != account {
		return ""
	}
	return p.Username()
}

// setAccountName stores the name of the account beside its number.
func (s *State) setAccountName(name string) {
	if s.Account != nil {
		s.Account.NameOf, s.Account.Name = s.AccountID(), name
	}
}

// WorkForAccount makes the account the user that this profile works for, because the
// media server does not know the user that another program has chosen.
func (p *Profile) WorkForAccount() {
	if name := p.AccountName(); name != "" {
		p.User.set(name)
	}
}

const (
	freePINs         = 3 // wrong ones before the first pause
	firstPINPause    = 30 * time.Second
	maxPINPause      = 15 * time.Minute
	wrongPINsExpiry  = 24 * time.Hour // after the last wrong one
	maxPINPauseSteps = 10             // after which maxPINPause has been reached
)

// Count returns the wrong PINs that still count. A date in the future does not, because
// a clock was set.
func (w WrongPINs) Count(now time.Time) int64 {
	if w.At.After(now) || now.Sub(w.At) > wrongPINsExpiry {
		return 0
	}
	return w.Wrong
}

// Another returns w with one more wrong PIN.
func (w WrongPINs) Another(now time.Time) WrongPINs {
	return WrongPINs{w.UUID, w.Count(now) + 1, now}
}

// Pause returns how long to wait before the PIN may be tried again.
func (w WrongPINs) Pause(now time.Time) time.Duration {
	more := w.Count(now) - freePINs
	if more < 0 {
		return 0
	}
	pause := maxPINPause
	if more < maxPINPauseSteps {
		pause = min(firstPINPause<<more, maxPINPause)
	}
	return max(0, w.At.Add(pause).Sub(now))
}

// wrongPINs returns what is stored about the wrong Home PINs of a user.
func (p *Profile) wrongPINs(uuid string) WrongPINs {
	for _, w := range p.base().WrongPINs {
		if w.UUID == uuid {
			return w
		}
	}
	return WrongPINs{UUID: uuid}
}

// PinPause returns how long to wait before a Home PIN of a user may be tried. The count
// is one for all profiles and replicas.
func (p *Profile) PinPause(uuid string, now time.Time) time.Duration {
	return p.wrongPINs(uuid).Pause(now)
}

// WrongPINsError means that wrong Home PINs were entered, and that the next one has to
// wait.
type WrongPINsError struct{ Wait time.Duration }

// Error names the wait in whole seconds.
func (e WrongPINsError) Error() string {
	return fmt.Sprintf("plexauth: too many wrong PINs, try again in %s", e.Wait.Round(time.Second))
}

// NoteWrongPIN counts a wrong Home PIN of a user.
func (p *Profile) NoteWrongPIN(uuid string, now time.Time) {
	w := p.wrongPINs(uuid).Another(now)
	w.At = time.Unix(w.At.Unix(), 0) // as it is stored
	p.forgetWrongPINs(uuid, now)
	base := p.base()
	base.WrongPINs = append(base.WrongPINs, w)
}

// ForgetWrongPINs ends the count of a user whose PIN was right.
func (p *Profile) ForgetWrongPINs(uuid string) { p.forgetWrongPINs(uuid, time.Now()) }

// forgetWrongPINs drops the count of a user, and those that no longer count.
func (p *Profile) forgetWrongPINs(uuid string, now time.Time) {
	var left []WrongPINs
	for _, w := range p.base().WrongPINs {
		if w.UUID != uuid && w.Count(now) > 0 {
			left = append(left, w)
		}
	}
	p.base().WrongPINs = left
}
