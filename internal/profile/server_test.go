package profile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	box    = "http://box:32400"
	direct = "https://10-0-0-2.0123456789abcdef0123456789abcdef.plex.direct:32400"
)

// A server token is sent to the server that it was made for, and to no other.
func TestServerToken(t *testing.T) {
	account := jwt(1, time.Now())
	for name, c := range map[string]struct{ doc, want string }{
		"for this address":                {`{"server_url":"` + box + `","pms_token":"TEST_s","pms_token_server":"` + box + `/"}`, "TEST_s"},
		"for another address":             {`{"server_url":"` + box + `","pms_token":"TEST_s","pms_token_server":"http://other:32400"}`, ""},
		"no address, not confirmed":       {`{"server_url":"` + box + `","machine_id":"m1","pms_token":"TEST_s"}`, ""},
		"no address, but confirmed":       {`{"server_url":"` + box + `","machine_id":"m1","pms_token":"TEST_s","_server_account":{"url":"` + box + `","machine_id":"m1"}}`, "TEST_s"},
		"confirmed for another machine":   {`{"server_url":"` + box + `","machine_id":"m2","pms_token":"TEST_s","_server_account":{"url":"` + box + `","machine_id":"m1"}}`, ""},
		"damaged":                         {`{"server_url":"` + box + `","pms_token":"TEST s","pms_token_server":"` + box + `"}`, ""},
		"a JWT mistaken for the server's": {`{"server_url":"` + box + `","pms_token":"` + account + `","pms_token_server":"` + box + `"}`, ""},
		"it takes the account's JWT":      {`{"server_url":"` + box + `","machine_id":"m1","account_token":"` + account + `","_jwt_server":"m1 ` + box + `"}`, account},
		"it took it elsewhere":            {`{"server_url":"http://other:32400","machine_id":"m1","account_token":"` + account + `","_jwt_server":"m1 ` + box + `"}`, ""},
		"another machine took it":         {`{"server_url":"` + box + `","machine_id":"m2","account_token":"` + account + `","_jwt_server":"m1 ` + box + `"}`, ""},
		"a long-lived token is not one":   {`{"server_url":"` + box + `","machine_id":"m1","account_token":"TEST_a","_jwt_server":"m1 ` + box + `"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").SavedServer().Token.Secret())
		})
	}
}

// verify_ssl: false counts for one address that a person typed.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		want bool
	}{
		"not stored":                      {`{"server_url":"` + box + `"}`, true},
		"on":                              {`{"server_url":"` + box + `","verify_ssl":true}`, true},
		"not a boolean":                   {`{"server_url":"` + box + `","verify_ssl":"perhaps"}`, true},
		"off, typed":                      {`{"server_url":"` + box + `","verify_ssl":false}`, false},
		"off, in another spelling":        {`{"server_url":"` + box + `","verify_ssl":"0"}`, false},
		"off, found":                      {`{"server_url":"` + box + `","server_url_found":"` + box + `","verify_ssl":false}`, true},
		"off, a plex.direct name":         {`{"server_url":"` + direct + `","verify_ssl":false}`, true},
		"off for this address":            {`{"server_url":"` + box + `","verify_ssl":false,"verify_ssl_server":"` + box + `"}`, false},
		"off for another address":         {`{"server_url":"` + box + `","verify_ssl":false,"verify_ssl_server":"http://other:32400"}`, true},
		"off for another, edited since":   {`{"server_url":"` + box + `","verify_ssl":false,"verify_ssl_server":"http://other:32400","pms_token_server":"http://other:32400"}`, false},
		"off, no address":                 {`{"verify_ssl":false}`, false},
		"off, the profile does not exist": {``, true},
	} {
		t.Run(name, func(t *testing.T) {
			id := "default"
			if c.doc == "" {
				c.doc, id = `{"verify_ssl":false}`, "P"
			}
			assert.Equal(t, c.want, parse(t, c.doc).Profile(id).SavedServer().Verify)
		})
	}
}

// The address for which a person has turned the check off stays the only one.
func TestBindVerify(t *testing.T) {
	const off = `{"server_url":"` + box + `","verify_ssl":false`
	for name, c := range map[string]struct {
		doc, address string
		isTyped      bool
		want         string
	}{
		"another was found":            {off + `}`, "http://other:32400", false, box},
		"another was typed":            {off + `,"verify_ssl_server":"` + box + `"}`, "http://other:32400", true, box},
		"the first is typed":           {`{"verify_ssl":false}`, box, true, box},
		"the first is found":           {`{"verify_ssl":false}`, box, false, ""},
		"a plex.direct name is chosen": {`{"verify_ssl":false}`, direct, true, ""},
		"the check is on":              {`{"verify_ssl":true,"verify_ssl_server":"` + box + `"}`, box, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			before := p.SavedServer()
			p.SetServer(c.address, profile.OwnedServer{MachineID: "m1"})
			p.SetFound(!c.isTyped)
			p.BindVerify(before, c.isTyped)
			assert.Equal(t, c.want, p.State.Server.UnverifiedFor)
		})
	}
}

// Moving to another server forgets what belongs to the one before.
func TestSetServer(t *testing.T) {
	const doc = `{"server_url":"` + box + `","account_id":1,"machine_id":"m1","pms_token":"TEST_s","_server_account":{"account":5,"url":"` + box + `","machine_id":"m1","owner":2},"pms_token_server":"` + box + `"}`
	for name, c := range map[string]struct {
		address string
		server  profile.OwnedServer
		want    string
	}{
		"the same": {box, profile.OwnedServer{MachineID: "m1"}, doc},
		"the same machine, moved, of the same owner": {
			"http://new:32400", profile.OwnedServer{MachineID: "m1", Owner: 2},
			`{"server_url":"http://new:32400","account_id":1,"machine_id":"m1","pms_token":"TEST_s","_server_account":{"account":5,"url":"http://new:32400","machine_id":"m1","owner":2},"pms_token_server":"http://new:32400"}`,
		},
		"the same machine, moved, perhaps of another owner": {
			"http://new:32400", profile.OwnedServer{MachineID: "m1"},
			`{"server_url":"http://new:32400","account_id":1,"machine_id":"m1","pms_token":"","_server_account":{"account":5,"url":"http://new:32400","machine_id":"m1","owner":2}}`,
		},
		"the same machine of another owner": {
			box, profile.OwnedServer{MachineID: "m1", Owner: 3},
			`{"server_url":"` + box + `","account_id":"","machine_id":"m1","pms_token":"","_server_account":{"account":5,"url":"` + box + `","machine_id":"m1","owner":3}}`,
		},
		"another machine": {
			"http://new:32400", profile.OwnedServer{MachineID: "m2", Owned: true},
			`{"server_url":"http://new:32400","account_id":"","machine_id":"m2","pms_token":"","_server_account":{"account":5,"url":"http://new:32400","machine_id":"m2","owner":0}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, edited(t, doc, "default", func(p *profile.Profile) { p.SetServer(c.address, c.server) }))
		})
	}
}

// A choice that another account made goes with its credentials; a typed address stays.
func TestForgetServer(t *testing.T) {
	const more = `"account_id":1,"machine_id":"m1","pms_token":"TEST_s","_server_account":1,"pms_token_server":"` + box + `","_server_certificate":"h m1 ` + box + `","_jwt_server":"m1 ` + box + `","x":1.0}`
	const left = `"account_id":"","machine_id":"","pms_token":"","x":1.0}`
	forget := func(p *profile.Profile) { p.ForgetServer() }
	assert.Equal(t, `{"server_url":"`+box+`",`+left, edited(t, `{"server_url":"`+box+`",`+more, "default", forget), "typed")
	assert.Equal(t, `{"server_url":"",`+left, edited(t, `{"server_url":"`+box+`","server_url_found":"`+box+`",`+more, "default", forget), "found")
}

// The hash of a plex.direct certificate counts for one machine at one address.
func TestServerCertificate(t *testing.T) {
	doc := edited(t, `{"server_url":"`+box+`","machine_id":"m1"}`, "default", func(p *profile.Profile) { p.SetServerCertificate("hash") })
	assert.Equal(t, `{"server_url":"`+box+`","machine_id":"m1","_server_certificate":"hash m1 `+box+`"}`, doc)
	assert.Equal(t, "hash", parse(t, doc).Profile("default").SavedServer().Certificate)
	p := parse(t, doc).Profile("default")
	p.SetMachine("m2")
	assert.Empty(t, p.SavedServer().Certificate)
	assert.Equal(t, `{"server_url":"`+box+`","machine_id":"m1"}`, edited(t, doc, "default", func(p *profile.Profile) { p.SetServerCertificate("") }))
	// A note that would read as one of another machine is not made.
	doc = `{"server_url":"` + box + `","machine_id":"m 1"}`
	assert.Equal(t, doc, edited(t, doc, "default", func(p *profile.Profile) {
		p.SetServerCertificate("hash")
		p.SetTakesJWT("m 1", box, true)
	}))
}

// The server's number of the user is kept as it is spelled, also if it is not a number.
func TestAccountNumber(t *testing.T) {
	for doc, want := range map[string]int64{
		`{}`: 0, `{"account_id":1}`: 1, `{"account_id":"7"}`: 7, `{"account_id":7.0}`: 7, `{"account_id":"x"}`: 0, `{"account_id":null}`: 0,
	} {
		p := parse(t, doc).Profile("default")
		assert.Equal(t, want, p.ServerUserID(), doc)
		p.SetServerUserID(want)
		p.SetServerToken(secret.New("TEST_s"))
		assert.Equal(t, want, p.ServerUserID(), doc)
	}
	assert.Equal(t, "x", parse(t, `{"account_id":"x"}`).Profile("default").ServerUserIDText())
	assert.Equal(t, `{"account_id":"7"}`, edited(t, `{"account_id":"7"}`, "default", func(p *profile.Profile) { p.SetServerUserID(7) }), "it says so already")
}
