package profile_test

import (
	"strings"
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
		"another address, but confirmed":  {`{"server_url":"` + box + `","machine_id":"m1","pms_token":"TEST_s","pms_token_server":"http://other:32400","_server_account":{"url":"` + box + `","machine_id":"m1"}}`, ""},
		"confirmed at another address":    {`{"server_url":"` + box + `","machine_id":"m1","pms_token":"TEST_s","_server_account":{"url":"http://other:32400","machine_id":"m1"}}`, ""},
		"confirmed for no machine":        {`{"server_url":"` + box + `","pms_token":"TEST_s","_server_account":{"url":"` + box + `"}}`, ""},
		"its own before the account's":    {`{"server_url":"` + box + `","machine_id":"m1","pms_token":"TEST_s","pms_token_server":"` + box + `","account_token":"` + account + `","_jwt_server":"m1 ` + box + `"}`, "TEST_s"},
		"the account's JWT is damaged":    {`{"server_url":"` + box + `","machine_id":"m1","account_token":"` + account + ` x","_jwt_server":"m1 ` + box + `"}`, ""},
		"the JWT of another account":      {`{"server_url":"` + box + `","machine_id":"m1","account_token":"` + account + `","_cloud":{"account_id":2},"_jwt_server":"m1 ` + box + `"}`, ""},
		"a note of no machine":            {`{"server_url":"` + box + `","account_token":"` + account + `","_jwt_server":" ` + box + `"}`, ""},
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
		"on, no address":                  {`{"verify_ssl":true}`, true},
		"off for an address that is gone": {`{"verify_ssl":false,"verify_ssl_server":"` + box + `"}`, false},
		"off, what is typed is no URL":    {`{"server_url":"::","verify_ssl":false}`, false},
		"off for it, spelled otherwise":   {`{"server_url":"` + box + `/","verify_ssl":false,"verify_ssl_server":"BOX:32400"}`, false},
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
		"the one before was found":     {strings.Replace(off, `,"v`, `,"server_url_found":"`+box+`","v`, 1) + `}`, "http://other:32400", true, "http://other:32400"},
		"the one before was direct":    {`{"server_url":"` + direct + `","server_url_found":"","verify_ssl":false}`, box, true, box},
		"the check is on":              {`{"verify_ssl":true,"verify_ssl_server":"` + box + `"}`, box, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			stored := edited(t, c.doc, "default", func(p *profile.Profile) {
				before := p.SavedServer()
				p.SetServer(c.address, profile.OwnedServer{MachineID: "m1"})
				p.SetFound(!c.isTyped)
				p.BindVerify(before, c.isTyped)
			})
			assert.Equal(t, c.want, parse(t, stored).Profile("default").State.Server.UnverifiedFor)
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
		"the same machine, moved, the account's own": {
			"http://new:32400", profile.OwnedServer{MachineID: "m1", Owned: true},
			`{"server_url":"http://new:32400","account_id":1,"machine_id":"m1","pms_token":"TEST_s","_server_account":{"account":5,"url":"http://new:32400","machine_id":"m1","owner":2},"pms_token_server":"http://new:32400"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, edited(t, doc, "default", func(p *profile.Profile) { p.SetServer(c.address, c.server) }))
		})
	}
}

// A server about which less is known is not taken for another one. A token goes along only if
// it is certainly for the server.
func TestSetServerOfWhichLittleIsKnown(t *testing.T) {
	const moved, other = "http://new:32400", "http://other:32400"
	account := jwt(1, time.Now())
	head := `{"server_url":"` + box + `","account_id":1,"account_token":"` + account + `",`
	const machine, confirmed = `"machine_id":"m1"`, `,"_server_account":{"url":"` + box + `","machine_id":"m1"}`
	const bound, unbound = `,"pms_token":"TEST_s","pms_token_server":"` + box + `"`, `,"pms_token":"TEST_s"`
	for name, c := range map[string]struct {
		doc, address          string
		server                profile.OwnedServer
		token, tokenAt, jwtAt string
		number                int64 // of the user; 0: forgotten
	}{
		"no machine before":                         {head + `"x":1` + bound, box, profile.OwnedServer{MachineID: "m1"}, "TEST_s", box, "", 1},
		"no owner before":                           {head + machine + confirmed + bound, box, profile.OwnedServer{MachineID: "m1", Owner: 3}, "TEST_s", box, "", 1},
		"no owner before, and moved":                {head + machine + confirmed + bound, moved, profile.OwnedServer{MachineID: "m1", Owner: 3}, "", "", "", 1},
		"no owner at all, and moved":                {head + machine + confirmed + bound, moved, profile.OwnedServer{MachineID: "m1"}, "", "", "", 1},
		"moved, its own, the token has no address":  {head + machine + confirmed + unbound, moved, profile.OwnedServer{MachineID: "m1", Owned: true}, "TEST_s", "", "", 1},
		"moved, its token is for another address":   {head + machine + confirmed + strings.Replace(bound, box, other, 1), moved, profile.OwnedServer{MachineID: "m1"}, "TEST_s", other, "", 1},
		"its token is for another address":          {head + machine + confirmed + strings.Replace(bound, box, other, 1), box, profile.OwnedServer{MachineID: "m1"}, "TEST_s", other, "", 1},
		"its own takes JWTs, moved":                 {head + machine + `,"_jwt_server":"m1 ` + box + `"`, moved, profile.OwnedServer{MachineID: "m1", Owned: true}, "", "", moved, 1},
		"it takes JWTs, moved":                      {head + machine + `,"_jwt_server":"m1 ` + box + `"`, moved, profile.OwnedServer{MachineID: "m1"}, "", "", box, 1},
		"its own does not take JWTs, moved":         {head + machine, moved, profile.OwnedServer{MachineID: "m1", Owned: true}, "", "", "", 1},
		"another machine, which took JWTs there":    {head + machine + `,"_jwt_server":"m2 ` + box + `"`, moved, profile.OwnedServer{MachineID: "m2", Owned: true}, "", "", box, 0},
		"another machine, whose address took a JWT": {head + machine + `,"_jwt_server":"m1 ` + box + `"`, moved, profile.OwnedServer{MachineID: "m2", Owned: true}, "", "", box, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, c.doc+`}`, "default", func(p *profile.Profile) { p.SetServer(c.address, c.server) })
			p := parse(t, got).Profile("default")
			assert.Equal(t, c.token, p.ServerToken().Secret())
			assert.Equal(t, c.tokenAt, p.State.Server.TokenServer)
			assert.Equal(t, c.number, p.ServerUserID())
			if c.jwtAt == "" {
				assert.Nil(t, p.State.Server.TakesJWT)
			} else {
				assert.Equal(t, c.jwtAt, p.State.Server.TakesJWT.URL)
			}
		})
	}
	same := edited(t, `{"server_url":"HTTP://box:32400/"}`, "default", func(p *profile.Profile) { p.SetServer(box, profile.OwnedServer{MachineID: "m1"}) })
	assert.Equal(t, "HTTP://box:32400/", parse(t, same).Profile("default").SavedServer().URL, "the spelling stays")
}

// A found address may be replaced; a typed one, and one that another program has edited, stays.
func TestFoundServer(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		want bool
	}{
		"none":                         {`{}`, false},
		"typed":                        {`{"server_url":"` + box + `"}`, false},
		"found":                        {`{"server_url":"` + box + `","server_url_found":"` + box + `/"}`, true},
		"found, and its token is gone": {`{"server_url":"` + box + `","server_url_found":"` + box + `","pms_token_server":"` + box + `"}`, true},
		"another was found":            {`{"server_url":"` + box + `","server_url_found":"http://other:32400"}`, false},
		"a plex.direct name":           {`{"server_url":"` + direct + `"}`, true},
		"a plex.direct name, typed":    {`{"server_url":"` + direct + `","server_url_found":""}`, false},
		"a plex.direct name, edited":   {`{"server_url":"` + direct + `","pms_token_server":"` + box + `"}`, false},
		"found, and edited elsewhere":  {`{"server_url":"` + box + `","server_url_found":"` + box + `","_server_account":{"url":"http://other:32400"}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := parse(t, c.doc).Profile("default").SavedServer()
			assert.Equal(t, c.want, s.Found)
			assert.False(t, s.Bound, "there is no token")
		})
	}
	for address, want := range map[string][2]string{box: {`,"server_url_found":"` + box + `"`, ``}, direct: {`,"server_url_found":"` + direct + `"`, `,"server_url_found":""`}} {
		for i, found := range []bool{true, false} {
			doc := edited(t, `{"server_url":"`+address+`","server_url_found":"x"}`, "default", func(p *profile.Profile) { p.SetFound(found) })
			assert.Equal(t, `{"server_url":"`+address+`"`+want[i]+`}`, doc)
		}
	}
}

// A note about the server is read again as it was stored.
func TestServerNotes(t *testing.T) {
	doc := edited(t, `{"server_url":"`+box+`/","machine_id":"m1","_server_account":{"account":1,"url":"`+box+`","machine_id":"m1","owner":2}}`, "default", func(p *profile.Profile) {
		p.SetServerAccount(5)
		p.SetServerToken(secret.New("TEST_s"))
	})
	p := parse(t, doc).Profile("default")
	assert.Equal(t, box, p.State.Server.TokenServer)
	s := p.SavedServer()
	assert.Equal(t, []any{int64(5), int64(2), true, true}, []any{s.Account, s.Owner, s.Confirmed, s.Bound})

	const note = `{"_jwt_server":"m1 ` + box + `"}`
	assert.Equal(t, note, edited(t, `{}`, "default", func(p *profile.Profile) { p.SetTakesJWT("m1", box, true) }))
	assert.Equal(t, note, edited(t, `{"_jwt_server":"m2 `+box+`"}`, "default", func(p *profile.Profile) { p.SetTakesJWT("m1", box, true) }))
	assert.Equal(t, note, edited(t, note, "default", func(p *profile.Profile) { p.SetTakesJWT("m2", box, false) }))
	assert.Equal(t, `{}`, edited(t, note, "default", func(p *profile.Profile) { p.SetTakesJWT("m1", box+"/", false) }))
}

// verify_ssl: false, which counts for one address, does not count while the check is on.
func TestUnverified(t *testing.T) {
	off := parse(t, `{"server_url":"`+box+`","verify_ssl":false}`).Profile("default").SavedServer()
	assert.True(t, off.Unverified(box+"/"))
	assert.False(t, off.Unverified("http://other:32400"))
	assert.False(t, off.Unverified(direct))
	assert.True(t, parse(t, `{"verify_ssl":false}`).Profile("default").SavedServer().Unverified(box), "it is meant for the next one")
	assert.False(t, parse(t, `{"verify_ssl":false}`).Profile("default").SavedServer().Unverified(direct))
	assert.False(t, parse(t, `{"server_url":"`+box+`"}`).Profile("default").SavedServer().Unverified(box))
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
	renewed := edited(t, doc, "default", func(p *profile.Profile) { p.SetServerCertificate("next") })
	assert.Equal(t, "next", parse(t, renewed).Profile("default").SavedServer().Certificate)
	moved := strings.Replace(doc, box, "http://other:32400", 1)
	assert.Empty(t, parse(t, moved).Profile("default").SavedServer().Certificate)
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
