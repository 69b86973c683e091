package profile

import (
	"time"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
)

// HomeUser returns plex.tv's number of the Home user that this profile works for,
// 0 if that is the account itself. It is noted in "_home_user" with the name and
// the account that it was chosen under, so that another program's choice, or
// another login, ends it.
func (b *Profile) HomeUser() int64 {
	if b.block == nil {
		return 0
	}
	o, err := ordered.Parse(b.block.Get("_home_user"))
	if err != nil || b.CloudID() == 0 || lax.Int(o.Get("account")) != b.CloudID() || lax.Text(o.Get("name")) != b.Username() {
		return 0
	}
	return lax.Int(o.Get("id"))
}

// SetHomeUser makes a member of the Home, or the account itself, the user that this
// profile works for. owner is plex.tv's number of the saved server's owner, 0 where
// unknown; then the server's number of the user is not known yet, and known is false.
func (b *Profile) SetHomeUser(id int64, title string, owner int64) (known bool) {
	if name := b.AccountName(); name != "" {
		b.setAccountName(name) // which username tells no more from here on
	}
	b.setText("username", title)
	b.remove("_home_user")
	if id != b.CloudID() {
		o := &ordered.Object{}
		o.Set("id", ordered.Int(id))
		o.Set("name", ordered.String(title))
		o.Set("account", ordered.Int(b.CloudID()))
		b.set("_home_user", o.Bytes())
	}
	if owner == 0 && (id == b.CloudID() || b.Server().MachineID != "") {
		b.ForgetAccountNumber()
		return false
	}
	b.SetAccountNumber(NumberOn(owner, id))
	return true
}

// NumberOn returns the number by which a media server knows a user: 1 for its
// owner, plex.tv's number for everybody else.
func NumberOn(owner, user int64) int64 {
	if user != 0 && user == owner {
		return 1
	}
	return user
}

// AccountName returns the name of the account that is signed in, "" where it is
// not known. The stored username may be that of a Home user.
func (b *Profile) AccountName() string {
	if b.block == nil {
		return ""
	}
	if cloud, err := ordered.Parse(b.block.Get("_cloud")); err == nil {
		if o, err := ordered.Parse(cloud.Get("user")); err == nil && b.CloudID() != 0 && lax.Int(o.Get("id")) == b.CloudID() {
			return lax.Text(o.Get("name"))
		}
	}
	number, account := b.AccountNumber(), b.ClaimedID()
	if b.HomeUser() != 0 || account != 0 && number > 1 && number != account {
		return ""
	}
	return b.Username()
}

// setAccountName notes the name of the linked account, beside its number.
func (b *Profile) setAccountName(name string) {
	cloud, err := ordered.Parse(b.block.Get("_cloud"))
	if err != nil {
		return
	}
	o := &ordered.Object{}
	o.Set("id", ordered.Int(b.CloudID()))
	o.Set("name", ordered.String(name))
	cloud.Set("user", o.Bytes())
	b.set("_cloud", cloud.Bytes())
}

// WorkForAccount makes the account the user that this profile works for, where
// another program's choice of a user does not count for the server.
func (b *Profile) WorkForAccount() {
	if name := b.AccountName(); name != "" {
		b.setText("username", name)
	}
}

// wrongPINs returns how many wrong Home PINs of a user were given in a row, and
// when the last one was. They stand in the default profile, for all profiles and
// replicas:
//
//	"_home_pin_tries": {"<uuid>": {"wrong": …, "at": …}}
func (b *Profile) wrongPINs(uuid string, now time.Time) (wrong int64, at time.Time) {
	tries, err := ordered.Parse(b.document.Profile(DefaultInstance).block.Get("_home_pin_tries"))
	if err != nil {
		return 0, at
	}
	return readTries(tries, uuid, now)
}

func readTries(tries *ordered.Object, uuid string, now time.Time) (wrong int64, at time.Time) {
	o, err := ordered.Parse(tries.Get(uuid))
	if err != nil {
		return 0, at
	}
	at = time.Unix(lax.Int(o.Get("at")), 0)
	if at.After(now) || now.Sub(at) > pinsForgotten { // a clock was set, or it is long ago
		return 0, at
	}
	return lax.Int(o.Get("wrong")), at
}

// PinPause returns how long no Home PIN of a user may be tried.
func (b *Profile) PinPause(uuid string, now time.Time) time.Duration {
	wrong, at := b.wrongPINs(uuid, now)
	if wrong < freePINs {
		return 0
	}
	pause := longestPause
	if more := wrong - freePINs; more < 10 {
		pause = min(firstPINPause<<more, longestPause)
	}
	return max(0, at.Add(pause).Sub(now))
}

// NoteWrongPIN counts a wrong Home PIN of a user.
func (b *Profile) NoteWrongPIN(uuid string, now time.Time) {
	wrong, _ := b.wrongPINs(uuid, now)
	o := &ordered.Object{}
	o.Set("wrong", ordered.Int(wrong+1))
	o.Set("at", ordered.Int(now.Unix()))
	b.setWrongPINs(uuid, o, now)
}

// ForgetWrongPINs ends the count of a user whose PIN was right.
func (b *Profile) ForgetWrongPINs(uuid string) { b.setWrongPINs(uuid, nil, time.Now()) }

// setWrongPINs replaces what is noted of a user, and drops what is long ago.
func (b *Profile) setWrongPINs(uuid string, o *ordered.Object, now time.Time) {
	base := b.document.Profile(DefaultInstance)
	before, _ := ordered.Parse(base.block.Get("_home_pin_tries"))
	tries := &ordered.Object{}
	if before != nil {
		for _, m := range before.Members() {
			if wrong, _ := readTries(before, m.Key, now); wrong > 0 && m.Key != uuid {
				tries.Set(m.Key, m.Value)
			}
		}
	}
	if o != nil {
		tries.Set(uuid, o.Bytes())
	}
	if len(tries.Members()) == 0 {
		base.remove("_home_pin_tries")
		return
	}
	base.set("_home_pin_tries", tries.Bytes())
}

const (
	freePINs      = 3 // wrong ones before the first pause
	firstPINPause = 30 * time.Second
	longestPause  = 15 * time.Minute
	pinsForgotten = 24 * time.Hour // after the last wrong one
)
