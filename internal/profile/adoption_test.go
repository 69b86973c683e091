package profile_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// jwtFor makes a Plex JWT for the device with this client identifier.
func jwtFor(clientID string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"EdDSA"}`)) + "." + e([]byte(`{"aud":["plex.tv","`+clientID+`"],"user":{"id":1}}`)) + ".c2ln"
}

// An adopted token is installed with its account and identifier, or the decision is that
// it may not be.
func TestAdoption(t *testing.T) {
	const al = `{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","pms_token":"TEST_a"`
	const alice = `"_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}},"username":"al","pms_token":"TEST_b"`
	pending := `,"_pending_pin":{"id":7,"code":"ABCD"}}`
	theirs := jwtFor("device")
	for name, c := range map[string]struct {
		doc, want string // the same if want is empty
		adoption  func(*profile.Adoption)
		decision  profile.Decision
	}{
		"the first": {
			`{"x":1.0}`, `{"x":1.0,"client_id":"other","account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}},"username":"Al"}`,
			nil, profile.Installed,
		},
		"of the same account, whose token is the server's": {
			al + `}`, `{"client_id":"other","account_token":"TEST_b",` + alice + `}`,
			nil, profile.Installed,
		},
		"a JWT, which is not the server's": {
			al + `}`, `{"client_id":"app","account_token":"` + theirs + `",` + strings.ReplaceAll(strings.ReplaceAll(alice, "{fp:TEST_b}", "{fp:"+theirs+"}"), "TEST_b", "TEST_a") + `,"_foreign":"{fp:` + theirs + `}"}`,
			func(a *profile.Adoption) { a.Token, a.ClientID, a.Foreign = secret.New(theirs), "device", true }, profile.Installed,
		},
		"beside a profile with the default one's identifier": {
			`{"client_id":"app","instances":{"P":{"account_token":"TEST_c"}}}`,
			`{"client_id":"other","instances":{"P":{"account_token":"TEST_c","client_id":"app"}},"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}},"username":"Al"}`,
			nil, profile.Installed,
		},
		"over the pending PIN": {
			al + pending, `{"client_id":"other","account_token":"TEST_b",` + alice + `}`,
			func(a *profile.Adoption) { a.PIN = &profile.PendingPIN{ID: 7} }, profile.Installed,
		},
		"over a PIN that no one has seen": {al + pending, "", nil, profile.Outdated},
		"over another PIN":                {al + pending, "", func(a *profile.Adoption) { a.PIN = &profile.PendingPIN{ID: 8} }, profile.Outdated},
		"over an approved PIN": {
			al + strings.Replace(pending, `"id"`, `"account_token":"TEST_p","id"`, 1), "",
			func(a *profile.Adoption) { a.PIN = &profile.PendingPIN{ID: 7} }, profile.Outdated,
		},
		"over another token than before": {al + `}`, "", func(a *profile.Adoption) { a.Previous = secret.New("TEST_z") }, profile.Outdated},
		"beside another login":           {al + `}`, "", func(a *profile.Adoption) { a.OthersHash++ }, profile.Outdated},
		"of another account":             {al + `}`, "", func(a *profile.Adoption) { a.Account.ID = 2 }, profile.Mismatch},
		"of another account, wanted": {
			al + `}`, `{"client_id":"other","account_token":"TEST_b","_cloud":{"account_id":2,"bound_to":"{fp:TEST_b}","user":{"id":2,"name":"Al"}},"username":"Al","pms_token":"","account_id":"","home_pin":""}`,
			func(a *profile.Adoption) { a.Account.ID, a.SwitchAccount = 2, true }, profile.Installed,
		},
		"that is there already": {
			strings.ReplaceAll(al, "TEST_a", "TEST_b") + `,"_foreign":"{fp:TEST_b}"` + pending, `{"client_id":"other","account_token":"TEST_b",` + alice + pending,
			nil, profile.Installed,
		},
		"that is there already, from elsewhere all the same": {
			strings.ReplaceAll(al, "TEST_a", "TEST_b") + `,"_foreign":"{fp:TEST_b}"}`, `{"client_id":"app","account_token":"TEST_b",` + alice + `,"_foreign":"{fp:TEST_b}"}`,
			func(a *profile.Adoption) { a.Foreign = true }, profile.Installed,
		},
		"that is there already, under its identifier": {
			strings.ReplaceAll(al, "TEST_a", "TEST_b") + `,"_foreign":"{fp:TEST_z}"}`, `{"client_id":"app","account_token":"TEST_b",` + alice + `,"_foreign":"{fp:TEST_z}"}`,
			nil, profile.Installed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := c.want
			if want == "" {
				want = c.doc
			}
			got := edited(t, c.doc, "default", func(p *profile.Profile) {
				a := profile.Adoption{ClientID: "other"}
				a.Token, a.Account = secret.New("TEST_b"), profile.Owner{ID: 1, Name: "Al"}
				a.Previous, a.OthersHash = p.AccountToken(), p.OthersHash()
				if c.adoption != nil {
					c.adoption(&a)
				}
				assert.Equal(t, c.decision, a.Apply(p))
			})
			assert.JSONEq(t, withFingerprints(want), got)
		})
	}
	made := edited(t, `{}`, "P", func(p *profile.Profile) {
		a := profile.Adoption{ClientID: "other", Approval: profile.Approval{Token: secret.New("TEST_b"), OthersHash: p.OthersHash()}}
		assert.Equal(t, profile.Installed, a.Apply(p))
	})
	assert.Equal(t, "TEST_b", parse(t, made).Profile("P").AccountToken().Secret(), "by a profile that did not exist")
}

// An adopted token is used with the identifier that is known to be its own, else with the
// document's.
func TestAdoptedID(t *testing.T) {
	for name, c := range map[string]struct {
		doc, token, known, want string
		isForeign               bool
	}{
		"known":                        {`{"client_id":"app"}`, "TEST_b", "other", "other", false},
		"unknown":                      {`{"client_id":"app"}`, "TEST_b", "", "app", true},
		"a JWT":                        {`{"client_id":"app"}`, jwtFor("device"), "", "device", true},
		"a JWT says another":           {`{"client_id":"app"}`, jwtFor("device"), "other", "device", true},
		"a JWT that names no good one": {`{"client_id":"app"}`, jwtFor(" "), "other", "other", true},
	} {
		t.Run(name, func(t *testing.T) {
			id, isForeign := parse(t, c.doc).Profile("default").AdoptedID(secret.New(c.token), c.known, "")
			assert.Equal(t, c.want, id)
			assert.Equal(t, c.isForeign, isForeign)
		})
	}
}

// A rejected token is marked wherever it is. A foreign one is replaced by the token that
// another profile has under the same identifier.
func TestReject(t *testing.T) {
	const doc = `{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"instances":{` +
		`"P":{"client_id":"app","account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"}},` +
		`"Q":{"account_token":"TEST_a"}}`
	got := edited(t, doc+`}`, "default", func(p *profile.Profile) { assert.True(t, p.Reject(secret.New("TEST_a"))) })
	assert.JSONEq(t, withFingerprints(strings.Replace(doc, `"TEST_a"}}`, `"TEST_a","_rejected":"{fp:TEST_a}"}}`, 1)+`,"_rejected":"{fp:TEST_a}"}`), got)
	got = edited(t, doc+`,"_foreign":"{fp:TEST_a}"}`, "default", func(p *profile.Profile) { assert.False(t, p.Reject(secret.New("TEST_a"))) })
	assert.Contains(t, got, `{"client_id":"app","account_token":"TEST_b"`)
	assert.NotContains(t, got, "_foreign")
	alone := strings.Replace(doc, `"account_id":1`, `"account_id":2`, 1) + `,"_foreign":"{fp:TEST_a}"}`
	got = edited(t, alone, "default", func(p *profile.Profile) { assert.True(t, p.Reject(secret.New("TEST_a"))) })
	assert.True(t, parse(t, got).Profile("default").TokenIsDead(), "no other profile is of its account")
}

// A login that is there with its account and identifier need not be adopted again.
func TestHasLogin(t *testing.T) {
	key := newKey(t, "dev")
	e := base64.RawURLEncoding.EncodeToString
	ofKey := e([]byte(`{"alg":"EdDSA"}`)) + "." + e([]byte(`{"iss":"plex.tv","aud":["plex.tv","dev"],"thumbprint":"`+key.Kid+`","exp":4000000000}`)) + ".c2ln"
	login := func(token, more string) string {
		return `{"client_id":"app","account_token":"` + token + `","_cloud":{"account_id":1,"bound_to":"{fp:` + token + `}"}` + more + `}`
	}
	jwt := jwtFor("device")
	for name, c := range map[string]struct {
		doc, token, known string
		want              bool
	}{
		"complete":                          {login("TEST_a", ""), "TEST_a", "", true},
		"its identifier is known":           {login("TEST_a", ""), "TEST_a", "app", true},
		"foreign, and still is":             {login("TEST_a", `,"_foreign":"{fp:TEST_a}"`), "TEST_a", "", true},
		"foreign, its identifier is known":  {login("TEST_a", `,"_foreign":"{fp:TEST_a}"`), "TEST_a", "app", false},
		"a foreign JWT names it":            {login(jwt, `,"_foreign":"{fp:`+jwt+`}"`), jwt, "device", true},
		"without an account":                {`{"client_id":"app","account_token":"TEST_a"}`, "TEST_a", "", false},
		"without an identifier":             {strings.Replace(login("TEST_a", ""), `"client_id":"app",`, "", 1), "TEST_a", "", false},
		"another token":                     {login("TEST_a", ""), "TEST_b", "", false},
		"another JWT of its device":         {`{` + device(t, key, "TEST_a") + `}`, ofKey, "", true},
		"of its device, which was rejected": {`{"_rejected":"{fp:TEST_a}",` + device(t, key, "TEST_a") + `}`, ofKey, "", false},
		"of a device whose key is unused":   {`{` + device(t, key, "") + `,"account_token":"TEST_a"}`, ofKey, "", false},
		"of another device":                 {`{` + device(t, newKey(t, "dev"), "TEST_a") + `}`, ofKey, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").HasLogin(secret.New(c.token), c.known))
		})
	}
}
