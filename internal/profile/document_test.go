package profile_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// parse parses a document in which {fp:x} stands for the fingerprint of the token x.
func parse(t *testing.T, doc string) *profile.Document {
	t.Helper()
	s, err := profile.Parse([]byte(withFingerprints(doc)))
	require.NoError(t, err)
	return s.Document()
}

var fingerprints = regexp.MustCompile(`\{fp:([^}]*)\}`)

func withFingerprints(doc string) string {
	return fingerprints.ReplaceAllStringFunc(doc, func(s string) string {
		return secret.Fingerprint(secret.New(fingerprints.FindStringSubmatch(s)[1]))
	})
}

// edited applies an edit to a profile of doc and returns the document.
func edited(t *testing.T, doc, id string, edit func(*profile.Profile)) string {
	t.Helper()
	d := parse(t, doc)
	edit(d.Profile(id))
	changed, got := d.Changed(), encoded(d)
	assert.Equal(t, got != withFingerprints(doc), changed, "Changed")
	assert.Equal(t, got, encoded(d), "encoded twice")
	return got
}

// jwt makes a Plex JWT of an account, with a signature that is not genuine. It lives for a week.
func jwt(account int64, issued time.Time) string {
	e := base64.RawURLEncoding.EncodeToString
	payload := fmt.Sprintf(`{"iat":%d,"exp":%d,"user":{"id":%d}}`, issued.Unix(), issued.Add(7*24*time.Hour).Unix(), account)
	return e([]byte(`{"alg":"EdDSA"}`)) + "." + e([]byte(payload)) + ".c2ln"
}

// readAll calls every method that only reads.
func readAll(p *profile.Profile) {
	p.Username()
	p.AccountName()
	p.ServerUserID()
	p.Pending()
	p.SavedServer()
	p.Lifetime()
	p.OthersHash()
	p.PanelPause(time.Now())
	p.UnidentifiedTokens("app")
	p.OthersSharingToken()
	p.WouldRetire("app")
	p.PinPause("uuid", time.Now())
}

// A document that was only read is returned byte for byte, whatever it says.
func TestReadingChangesNothing(t *testing.T) {
	for name, doc := range map[string]string{
		"empty":           `{}`,
		"other programs'": `{"timeout":10.0,"big":12345678901234567890,"text":"<&>\u00e9","list":[1, 2]}`,
		"spelled numbers": `{"account_id":12.0,"username":7,"_cloud":{"account_id":"12"},"_pending_pin":{"id":7e0,"created":"100"}}`,
		"white space":     `{"account_token":" TEST_a ","client_id":"app ","server_url":" http://box:32400 "}`,
		"duplicates":      `{"account_token":"TEST_a","username":"a","account_token":"TEST_b"}`,
		"nulls":           `{"account_token":null,"_cloud":null,"_device":null,"_pending_pin":null,"_was":null,"_home_pin_tries":null}`,
		"words":           `{"_cloud":"x","_device":"x","_pending_pin":"x","_was":"x","_home_user":"x","_server_account":"x","_home_pin_tries":"x"}`,
		"lists":           `{"account_token":["a"],"client_id":[],"server_url":[1],"_rejected":[],"_jwt_server":[],"_server_certificate":[]}`,
		"half":            `{"_device":{"kid":1},"_pending_pin":{"id":"x","account_token":" "},"_home_pin_tries":{"u":7},"_cloud":{"user":[]}}`,
		"strange notes":   `{"_jwt_server":"m1","_server_certificate":"abc","verify_ssl":"perhaps","_cancelled_pin":-5,"_server_account":7}`,
		"odd profiles":    `{"instances":{"P":7,"Q":null,"E":{},"R":{"account_token":["a"],"x":1.0}}}`,
		"no profiles":     `{"instances":[1]}`,
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, doc)
			for _, id := range []string{"default", "P", "R", "none"} {
				readAll(d.Profile(id))
			}
			assert.False(t, d.Changed())
			assert.Equal(t, doc, encoded(d))
		})
	}
}

// A value that was not understood survives an edit, unless the edit replaces or removes
// it.
func TestDamagedValues(t *testing.T) {
	reject := func(p *profile.Profile) { p.SetRejected() }
	adopt := func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "alice"}) }
	for name, c := range map[string]struct {
		doc, want string
		edit      func(*profile.Profile)
	}{
		"kept": {
			`{"account_token":"TEST_a","_cloud":"x","_device":7,"_pending_pin":[],"_was":7,"_jwt_server":"m1","username":[]}`,
			`{"account_token":"TEST_a","_cloud":"x","_device":7,"_pending_pin":[],"_was":7,"_jwt_server":"m1","username":[],"_rejected":"{fp:TEST_a}"}`, reject,
		},
		"replaced": {
			`{"account_token":"TEST_a","_cloud":"x","username":[1]}`,
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"alice"}},"username":"alice"}`, adopt,
		},
		"removed, since it may hold a secret": {
			`{"account_token":"TEST_a","_device":"x","_pending_pin":"x","_was":"x","x":1.0}`,
			`{"account_token":"","pms_token":"","x":1.0,"username":"","account_id":"","home_pin":""}`, func(p *profile.Profile) { p.Disconnect() },
		},
		"a device key that cannot be read beside a new PIN": {
			`{"account_token":"TEST_a","_device":{"client_id":"dev","kid":"k","secret":"half"}}`,
			`{"account_token":"TEST_a","_device":{"client_id":"dev","kid":"k","secret":"half"}}`,
			func(p *profile.Profile) { _, _ = p.EnsureDevice() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, withFingerprints(c.want), edited(t, c.doc, "default", c.edit))
		})
	}
}

// Members that other programs or later versions have put into our objects survive.
func TestForeignMembers(t *testing.T) {
	key := newKey(t, "dev")
	adopt := func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "al"}) }
	for name, c := range map[string]struct {
		doc, want string
		edit      func(*profile.Profile)
	}{
		"beside a blank code": {
			`{"x":1.0}`, `{"x":1.0,"_pending_pin":{"id":8,"client_id":"app"}}`,
			func(p *profile.Profile) { p.SetPending(&profile.PendingPIN{ID: 8, Code: " ", ClientID: "app"}) },
		},
		"in the PIN": {
			`{"_pending_pin":{"id":7,"code":"ABCD","new":1.0,"created":"100"}}`,
			`{"_pending_pin":{"id":7,"code":"ABCD","new":1.0,"created":"100","account_token":"TEST_a"}}`,
			func(p *profile.Profile) { p.Park(7, secret.New("TEST_a")) },
		},
		"not in the next PIN": {
			`{"_pending_pin":{"id":7,"new":1.0},"x":1}`,
			`{"_pending_pin":{"id":8,"created":100,"client_id":"app","expires_at_ms":200000},"x":1}`,
			func(p *profile.Profile) {
				p.SetPending(&profile.PendingPIN{ID: 8, Created: time.Unix(100, 0), Expires: time.Unix(200, 0), ClientID: "app"})
			},
		},
		"of the account": {
			`{"account_token":"TEST_a","_cloud":{"new":[1.0],"account_id":1}}`,
			`{"account_token":"TEST_a","_cloud":{"new":[1.0],"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al"}},"username":"al"}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "al"}) },
		},
		"of the device": {
			`{"account_token":"TEST_a","_device":{"client_id":"dev","new":1.0,"leased_until_ms":5}}`,
			`{"account_token":"TEST_a","_device":{"client_id":"dev","new":1.0}}`,
			func(p *profile.Profile) { p.EndLease(secret.New("TEST_a"), nil) },
		},
		"of another user's wrong PINs": {
			`{"_home_pin_tries":{"u1":{"wrong":2,"at":1000,"new":1.0}}}`,
			`{"_home_pin_tries":{"u1":{"wrong":2,"at":1000,"new":1.0},"u2":{"wrong":1,"at":1001}}}`,
			func(p *profile.Profile) { p.NoteWrongPIN("u2", time.Unix(1001, 0)) },
		},
		"not of a user's wrong PINs that are counted": {
			`{"_home_pin_tries":{"u1":{"wrong":2,"at":1000,"new":1.0}}}`,
			`{"_home_pin_tries":{"u1":{"wrong":3,"at":1001}}}`,
			func(p *profile.Profile) { p.NoteWrongPIN("u1", time.Unix(1001, 0)) },
		},
		"of an account without a number": {
			`{"account_token":"TEST_a","_cloud":{"new":1.0},"username":"al"}`,
			`{"account_token":"TEST_a","_cloud":{"new":1.0,"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al"}},"username":"al"}`, adopt,
		},
		"not of another account": {
			`{"account_token":"TEST_a","_cloud":{"new":1.0,"account_id":2},"username":""}`,
			`{"account_token":"TEST_a","pms_token":"","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al"}},"username":"al","account_id":"","home_pin":""}`, adopt,
		},
		"not of another account's name": {
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":2,"name":"al","new":1.0}},"username":"al"}`,
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al"}},"username":"al"}`, adopt,
		},
		"not of a name that has changed": {
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"bo","new":1.0}},"username":"al"}`,
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al"}},"username":"al"}`, adopt,
		},
		"of a name that has not": {
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al","new":1.0}},"username":"al"}`,
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}","user":{"id":1,"name":"al","new":1.0}},"username":"al"}`, adopt,
		},
		"beside a name of an account that is not certain": {
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"new":1.0},"username":"al","account_id":1}`,
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"new":1.0},"username":"kid","account_id":7,"_home_user":{"id":7,"name":"kid","account":0}}`,
			func(p *profile.Profile) { p.SetHomeUser(7, "kid", 2) },
		},
		"not of a name beside an account that is not certain": {
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"new":1.0,"user":{"id":2,"name":"bo"}},"username":"al"}`,
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"new":1.0},"username":"kid","account_id":7,"_home_user":{"id":7,"name":"kid","account":0}}`,
			func(p *profile.Profile) { p.SetHomeUser(7, "kid", 2) },
		},
		"not of the device before": {
			`{"client_id":"app","_device":{"client_id":"dev","kid":"k","new":1.0}}`,
			`{"client_id":"app","_device":{"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `","bound_to":"{fp:TEST_a}"},"account_token":"TEST_a"}`,
			func(p *profile.Profile) {
				p.SignIn(profile.Credential{Token: secret.New("TEST_a"), Device: key})
			},
		},
		"not of the device with another identifier": {
			`{"client_id":"app","_device":{"client_id":"other","kid":"` + key.Kid + `","new":1.0}}`,
			`{"client_id":"app","_device":{"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `","bound_to":"{fp:TEST_a}"},"account_token":"TEST_a"}`,
			func(p *profile.Profile) {
				p.SignIn(profile.Credential{Token: secret.New("TEST_a"), Device: key})
			},
		},
		"of the device, whose notes end": {
			`{"device_client_id":"old","account_token":"TEST_a","_device":{"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `","new":1.0,"asked":true,"clock_skew":60,"leased_until_ms":5000}}`,
			`{"device_client_id":"old","account_token":"TEST_a","_device":{"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `","new":1.0,"bound_to":"{fp:TEST_a}"}}`,
			func(p *profile.Profile) { require.NoError(t, p.BindMoving(secret.New("TEST_a"), key, 59*time.Second)) },
		},
		"of the device that a PIN is made with": {
			`{"_device":{"client_id":"dev","kid":"k","new":1.0}}`,
			`{"_device":{"client_id":"dev","kid":"k","new":1.0,"asked":true},"_pending_pin":{"id":8,"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"}}`,
			func(p *profile.Profile) { p.SetPending(&profile.PendingPIN{ID: 8, ClientID: "dev", Device: key}) },
		},
		"of another device than the PIN's": {
			`{"_device":{"client_id":"other","kid":"k","new":1.0}}`,
			`{"_device":{"client_id":"other","kid":"k","new":1.0},"_pending_pin":{"id":8,"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"}}`,
			func(p *profile.Profile) { p.SetPending(&profile.PendingPIN{ID: 8, ClientID: "dev", Device: key}) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, withFingerprints(c.want), edited(t, c.doc, "default", c.edit))
		})
	}
}

// A date counts as missing if it is invalid, or if JSON cannot hold it.
func TestDates(t *testing.T) {
	const last = 253_402_214_400 // the last day of the year 9999
	for stored, want := range map[int64]int64{-1: 0, 0: 0, 1: 1, last: last, last + 1: 0} {
		p := parse(t, fmt.Sprintf(`{"_checked":%d,"_pending_pin":{"id":7,"expires_at_ms":%d}}`, stored, stored*1000)).Profile("default")
		for _, got := range []time.Time{p.Checked, p.StoredPIN.Expires} {
			assert.Equal(t, want == 0, got.IsZero(), stored)
			if want != 0 {
				assert.Equal(t, want, got.Unix())
			}
		}
	}
	assert.True(t, parse(t, fmt.Sprintf(`{"_pending_pin":{"id":7,"expires_at_ms":%d}}`, last*1000+1)).Profile("default").StoredPIN.Expires.IsZero())
}

// New members stand where CrossWatch writes them, and a new profile has every credential.
func TestPlaces(t *testing.T) {
	assert.Equal(t,
		`{"instances":{"P":{"server_url":"","account_token":"","pms_token":"","machine_id":"","username":"","account_id":"","home_pin":""}}}`,
		edited(t, `{}`, "P", func(p *profile.Profile) { p.Create() }))
	assert.Contains(t, edited(t, `{}`, "P", func(p *profile.Profile) {
		p.Create()
		p.NotePanelPIN(time.Unix(1000, 0))
	}), `"_cancelled_pin":1000`, "it exists from then on")
	for id, doc := range map[string]string{"default": `{}`, "P": `{"instances":{"P":{"x":1}}}`} {
		assert.Equal(t, doc, edited(t, doc, id, func(p *profile.Profile) { p.Create() }), "it exists")
	}
	d := (*profile.Stored)(nil).Document()
	for n := range 9 {
		d.Profile(fmt.Sprint("P", 8-n)).Create()
	}
	made, _ := d.Stored()
	assert.Equal(t, []string{"default", "P0", "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"}, made.Document().IDs())
	assert.Equal(t,
		`{"server_url":"http://box:32400","client_id":"app","account_id":7,"username":"al","machine_id":"m1","account_token":"TEST_a","pms_token":"TEST_s","x":1}`,
		dropNotes(edited(t, `{"client_id":"app","account_token":"TEST_a","x":1}`, "default", func(p *profile.Profile) {
			p.Adopt(profile.Owner{ID: 1, Name: "al"})
			p.SetServer("http://box:32400", profile.OwnedServer{MachineID: "m1"})
			p.SetServerToken(secret.New("TEST_s"))
			p.SetServerUserID(7)
		})))
}

// dropNotes removes the members at the end of doc that only plexauth reads.
func dropNotes(doc string) string {
	return regexp.MustCompile(`(,"(_\w+|pms_token_server)":("[^"]*"|\{[^{}]*(\{[^{}]*\})?[^{}]*\}))+\}$`).ReplaceAllString(doc, "}")
}

func TestIDs(t *testing.T) {
	d := parse(t, `{"instances":{"P":{"x":1},"default":{"x":1},"E":{},"n":null," Q ":{"x":1},"R:8080":{"x":1}}}`)
	assert.Equal(t, []string{"default", "P"}, d.IDs())
	d.Profile("E").Create()
	d.Profile("R:8080").Create()
	assert.Equal(t, []string{"default", "P", "E"}, d.IDs())
	assert.True(t, d.Profile("none").Absent())
	assert.False(t, d.Profile("P").Absent())
	for id, want := range map[string]string{"": "default", " Default ": "default", "P": "P", "P:32400": "P", ":32400": ":32400"} {
		assert.Equal(t, want, profile.NormalizeInstance(id), "%q", id)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, doc := range []string{`[]`, `7`, `{`, `{"a":}`, ` `, `{"instances":`, `{"instances":{"P":{}`, `{"instances":{"P":{},`, `{"a":1`, `{"a":1;"instances":{}}`, `{"a":1}"instances":{}}`} {
		_, err := profile.Parse([]byte(doc))
		assert.Error(t, err, doc)
	}
	s, err := profile.Parse(nil)
	require.NoError(t, err)
	assert.Nil(t, s)
	assert.Nil(t, s.Bytes())
	assert.Equal(t, []string{"default"}, s.Document().IDs())
}

// encoded returns the text of a document.
func encoded(d *profile.Document) string {
	s, _ := d.Stored()
	return string(s.Bytes())
}
