package profile_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
)

// The choice of a Home user ends with another account or another name.
func TestHomeUser(t *testing.T) {
	const kid = `"_home_user":{"id":7,"name":"kid","account":1}`
	for name, c := range map[string]struct {
		doc  string
		want int64
	}{
		"chosen":                       {`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"kid",` + kid + `}`, 7},
		"another program's user":       {`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al",` + kid + `}`, 0},
		"another account":              {`{"account_token":"TEST_a","_cloud":{"account_id":2,"bound_to":"{fp:TEST_a}"},"username":"kid",` + kid + `}`, 0},
		"no account at all":            {`{"account_token":"TEST_a","username":"kid","_home_user":{"id":7,"name":"kid","account":0}}`, 0},
		"another token, owner unknown": {`{"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"kid",` + kid + `}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").HomeUserID())
		})
	}
}

// The account's name and the server's number of the user are kept with the choice.
func TestSetHomeUser(t *testing.T) {
	const doc = `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","account_id":1,"machine_id":"m1"}`
	const named = `"_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al"}}`
	const ofKid = `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"kid","_home_user":{"id":7,"name":"kid","account":1}}`
	for name, c := range map[string]struct {
		doc, want string
		known     bool
		edit      func(*profile.Profile) bool
	}{
		"another member": {
			ofKid, `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"boy","_home_user":{"id":8,"name":"boy","account":1},"account_id":8}`,
			true, func(p *profile.Profile) bool { return p.SetHomeUser(8, "boy", 0) },
		},
		"the account again, before any server": {
			ofKid, `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","account_id":""}`,
			false, func(p *profile.Profile) bool { return p.SetHomeUser(1, "al", 0) },
		},
		"of an account that is not stored": {
			`{"account_token":"TEST_a","username":"al"}`, `{"account_token":"TEST_a","username":"kid","_home_user":{"id":7,"name":"kid","account":0},"account_id":7}`,
			true, func(p *profile.Profile) bool { return p.SetHomeUser(7, "kid", 2) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, c.doc, "default", func(p *profile.Profile) { assert.Equal(t, c.known, c.edit(p)) })
			assert.JSONEq(t, withFingerprints(c.want), got)
		})
	}
	for name, c := range map[string]struct {
		id, owner int64
		title     string
		known     bool
		want      string
	}{
		"a member, the owner known":   {7, 1, "kid", true, `{"account_token":"TEST_a",` + named + `,"username":"kid","account_id":7,"machine_id":"m1","_home_user":{"id":7,"name":"kid","account":1}}`},
		"a member, the owner unknown": {7, 0, "kid", false, `{"account_token":"TEST_a",` + named + `,"username":"kid","account_id":"","machine_id":"m1","_home_user":{"id":7,"name":"kid","account":1}}`},
		"the account, the owner":      {1, 1, "al", true, `{"account_token":"TEST_a",` + named + `,"username":"al","account_id":1,"machine_id":"m1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, doc, "default", func(p *profile.Profile) {
				assert.Equal(t, c.known, p.SetHomeUser(c.id, c.title, c.owner))
			})
			assert.Equal(t, withFingerprints(c.want), got)
		})
	}
}

// A media server knows its owner as 1, and everyone else by plex.tv's number.
func TestServerUserIDFor(t *testing.T) {
	assert.EqualValues(t, 1, profile.ServerUserIDFor(5, 5))
	assert.EqualValues(t, 7, profile.ServerUserIDFor(5, 7))
	assert.EqualValues(t, 0, profile.ServerUserIDFor(0, 0), "who it is, is not known")
}

// Three wrong Home PINs are free; then each pause is twice as long, up to 15 minutes.
func TestPINPauses(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	d := parse(t, `{"instances":{"P":{"x":1}}}`)
	p := d.Profile("P")
	for i, want := range []time.Duration{0, 0, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		p.NoteWrongPIN("u", now)
		assert.Equal(t, want, p.PinPause("u", now), "after %d", i+1)
		assert.Equal(t, want, d.Profile("default").PinPause("u", now), "in another profile")
	}
	assert.Equal(t, `{"instances":{"P":{"x":1}},"_home_pin_tries":{"u":{"wrong":9,"at":1000000}}}`, encoded(d))
	assert.Zero(t, p.PinPause("other", now))
	assert.Equal(t, 5*time.Minute, p.PinPause("u", now.Add(10*time.Minute)))
	assert.Zero(t, p.PinPause("u", now.Add(25*time.Hour)), "a day later")
	assert.Zero(t, p.PinPause("u", now.Add(-time.Hour)), "a clock was set back")

	w := profile.WrongPINs{UUID: "u", Wrong: 40, At: now}
	assert.Equal(t, 15*time.Minute, w.Pause(now))
	assert.EqualValues(t, 40, w.Count(now.Add(24*time.Hour)))
	assert.Zero(t, w.Count(now.Add(24*time.Hour+1)))

	p.NoteWrongPIN("v", now.Add(25*time.Hour))
	assert.Equal(t, `{"instances":{"P":{"x":1}},"_home_pin_tries":{"v":{"wrong":1,"at":1090000}}}`, encoded(d), "old counts go")
	now = time.Unix(1_000_000, 600_000_000)
	for range 3 {
		p.NoteWrongPIN("w", now)
	}
	assert.Equal(t, parse(t, encoded(d)).Profile("P").PinPause("w", now), p.PinPause("w", now), "as it is stored, in whole seconds")
	p.ForgetWrongPINs("w")
	p.ForgetWrongPINs("v")
	assert.Equal(t, `{"instances":{"P":{"x":1}}}`, encoded(d))
}

// G23: a user is saved in a login of the account in whose Home it is, and in no other.
func TestSameAccount(t *testing.T) {
	const (
		of1       = `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`
		of1Again  = `{"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"}}`
		of2       = `{"account_token":"TEST_b","_cloud":{"account_id":2,"bound_to":"{fp:TEST_b}"}}`
		ofUnknown = `{"account_token":"TEST_a"}`
		unbound   = `{"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`
	)
	for name, c := range map[string]struct {
		before, now string
		want        error
	}{
		"the same login":                  {of1, of1, nil},
		"another login of the account":    {of1, of1Again, nil},
		"another account":                 {of1, of2, profile.ErrChanged},
		"a token whose owner is unknown":  {of1, unbound, profile.ErrChanged},
		"the account was never known":     {ofUnknown, of1, nil},
		"and another token came":          {ofUnknown, of1Again, profile.ErrChanged},
		"two tokens of unknown accounts":  {ofUnknown, `{"account_token":"TEST_b"}`, profile.ErrChanged},
		"signed out":                      {of1, `{"_cloud":{"account_id":1}}`, fault.ErrNotConnected},
		"signed out, and never signed in": {`{}`, `{}`, fault.ErrNotConnected},
	} {
		t.Run(name, func(t *testing.T) {
			before, now := parse(t, c.before).Profile("default"), parse(t, c.now).Profile("default")
			assert.ErrorIs(t, now.SameAccount(before), c.want)
		})
	}
}

// The account takes the place of a user that the media server does not know, if its name is
// known.
func TestWorkForAccount(t *testing.T) {
	const doc = `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"%s},"username":"kid","_home_user":{"id":7,"name":"kid","account":1}}`
	for user, want := range map[string]string{`,"user":{"id":1,"name":"al"}`: "al", ``: "kid"} {
		p := parse(t, fmt.Sprintf(doc, user)).Profile("default")
		p.WorkForAccount()
		assert.Equal(t, want, p.Username())
	}
}
