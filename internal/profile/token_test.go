package profile_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

func credential(token, clientID string) profile.Credential {
	return profile.Credential{Token: secret.New(token), ClientID: clientID}
}

// A mark counts for the token that it names only.
func TestRejected(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		want error
	}{
		"no token":                {`{}`, fault.ErrNotConnected},
		"no mark":                 {`{"account_token":"TEST_a"}`, nil},
		"this token's mark":       {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`, fault.ErrTokenRejected},
		"white space around it":   {`{"account_token":" TEST_a\n","_rejected":"{fp:TEST_a}"}`, fault.ErrTokenRejected},
		"another token's mark":    {`{"account_token":"TEST_b","_rejected":"{fp:TEST_a}"}`, nil},
		"an empty mark, no token": {`{"account_token":"","_rejected":""}`, fault.ErrNotConnected},
		"a damaged token":         {`{"account_token":"TEST a"}`, fault.ErrNotConnected},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			err := p.CheckToken()
			assert.Equal(t, err != nil && !p.AccountToken().IsZero(), p.TokenIsDead())
			if c.want == nil {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, c.want)
		})
	}
}

// What belonged to the owner before waits for the owner of the new token, and the
// rejected mark of the old token is removed.
func TestSignIn(t *testing.T) {
	const stashed = `"_was":{"cloud_account_id":1,"pms_token_server":"http://box:32400","retired":true,"username":"al","account_id":1,"pms_token":"TEST_a"}`
	for name, c := range map[string]struct {
		doc, want string
		edit      func(*profile.Profile)
	}{
		"the first": {
			`{"x":1.0}`,
			`{"x":1.0,"client_id":"app","account_token":"TEST_b"}`,
			func(p *profile.Profile) { p.SignIn(credential("TEST_b", "app")) },
		},
		"the owner is unknown yet": {
			`{"client_id":"app","account_token":"TEST_a","_rejected":"{fp:TEST_a}","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","account_id":1,"pms_token":"TEST_a","pms_token_server":"http://box:32400","home_pin":"","_pending_pin":{"id":7}}`,
			`{"client_id":"app2","account_token":"TEST_b","username":"","account_id":"","pms_token":"","home_pin":"",` + stashed + `}`,
			func(p *profile.Profile) { p.SignIn(credential("TEST_b", "app2")) },
		},
		"the same owner again": {
			`{"client_id":"app","account_token":"TEST_b","username":"","account_id":"","pms_token":"",` + stashed + `}`,
			`{"client_id":"app","account_token":"TEST_b","username":"al","account_id":1,"pms_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}},"pms_token_server":"http://box:32400"}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "Al"}) },
		},
		"another owner": {
			`{"client_id":"app","account_token":"TEST_b","username":"","account_id":"","pms_token":"",` + stashed + `}`,
			`{"client_id":"app","account_token":"TEST_b","username":"Bo","account_id":"","pms_token":"","_cloud":{"account_id":2,"bound_to":"{fp:TEST_b}","user":{"id":2,"name":"Bo"}}}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 2, Name: "Bo"}) },
		},
		"two logins before the owner is known": {
			`{"client_id":"app","account_token":"TEST_b","username":"x",` + stashed + `}`,
			`{"client_id":"app","account_token":"TEST_c","username":"",` + stashed + `}`,
			func(p *profile.Profile) { p.SignIn(credential("TEST_c", "app")) },
		},
		"nothing is known of an account": {
			`{"username":"al"}`, `{"username":"al","client_id":"app","account_token":"TEST_b"}`,
			func(p *profile.Profile) { p.SignIn(credential("TEST_b", "app")) },
		},
		"the token before is gone": {
			`{"_cloud":{"account_id":1},"username":"al"}`, `{"username":"","client_id":"app","account_token":"TEST_b","_was":{"cloud_account_id":1,"username":"al"}}`,
			func(p *profile.Profile) { p.SignIn(credential("TEST_b", "app")) },
		},
		"what waits cannot be read": {
			`{"client_id":"app","account_token":"TEST_a","username":"al","_was":7}`, `{"client_id":"app","account_token":"TEST_b","username":"","_was":{"username":"al"}}`,
			func(p *profile.Profile) { p.SignIn(credential("TEST_b", "app")) },
		},
		"the same owner again, with more": {
			`{"account_token":"TEST_b","_was":{"cloud_account_id":1,"account_id":"007","pms_token":"TEST_s","home_pin":"1234"}}`,
			`{"account_token":"TEST_b","pms_token":"TEST_s","username":"Al","account_id":"007","home_pin":"1234","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}}}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "Al"}) },
		},
		"the same owner again, of whom more was found out": {
			`{"account_token":"TEST_b","pms_token":"TEST_t","username":"Bo","account_id":2,"home_pin":"1234",` + strings.Replace(stashed, `{"`, `{"home_pin":"9999","`, 1) + `}`,
			`{"account_token":"TEST_b","pms_token":"TEST_t","username":"Bo","account_id":2,"home_pin":"1234","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}}}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "Al"}) },
		},
		"the same owner again, beside an address that was found out": {
			`{"account_token":"TEST_b","pms_token":"","username":"Al","pms_token_server":"http://box:32400","_was":{"cloud_account_id":1,"pms_token":"TEST_s"}}`,
			`{"account_token":"TEST_b","pms_token":"TEST_s","username":"Al","pms_token_server":"http://box:32400","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}}}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "Al"}) },
		},
		"a token works after all": {
			`{"account_token":"TEST_b","_rejected":"{fp:TEST_b}","username":"Al"}`,
			`{"account_token":"TEST_b","username":"Al","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}}}`,
			func(p *profile.Profile) { p.Adopt(profile.Owner{ID: 1, Name: "Al"}) },
		},
		"over a token of which nothing is known": {
			`{"client_id":"app","account_token":"TEST_a","username":"bo","home_pin":"1234"}`,
			`{"client_id":"app","account_token":"TEST_b","username":"Al","home_pin":"","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}}}`,
			func(p *profile.Profile) { p.SignInAs(profile.Owner{ID: 1, Name: "Al"}, credential("TEST_b", "app")) },
		},
		"as the same account, whose token is the server's": {
			`{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","account_id":1,"pms_token":"TEST_a","_pending_pin":{"id":7}}`,
			`{"client_id":"app","account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}},"username":"al","account_id":1,"pms_token":"TEST_b"}`,
			func(p *profile.Profile) { p.SignInAs(profile.Owner{ID: 1, Name: "Al"}, credential("TEST_b", "app")) },
		},
		"as another account": {
			`{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al","account_id":1,"pms_token":"TEST_s","pms_token_server":"http://box:32400","home_pin":"1","_home_user":{"id":7,"name":"al","account":1},"server_url":"http://box:32400"}`,
			`{"client_id":"app","account_token":"TEST_b","_cloud":{"account_id":2,"bound_to":"{fp:TEST_b}","user":{"id":2,"name":"Bo"}},"username":"Bo","account_id":"","pms_token":"","home_pin":"","server_url":"http://box:32400"}`,
			func(p *profile.Profile) { p.SignInAs(profile.Owner{ID: 2, Name: "Bo"}, credential("TEST_b", "app")) },
		},
		"as the account of an unread token": {
			`{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1},"username":"al"}`,
			`{"client_id":"app","account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}","user":{"id":1,"name":"Al"}},"username":"al"}`,
			func(p *profile.Profile) { p.SignInAs(profile.Owner{ID: 1, Name: "Al"}, credential("TEST_b", "app")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, withFingerprints(c.want), edited(t, c.doc, "default", c.edit))
		})
	}
}

// A token replaced by one of the same account keeps its owner, and takes the place of
// the old one at the server too.
func TestReplaceToken(t *testing.T) {
	const doc = `{"account_token":"TEST_a","_rejected":"{fp:TEST_a}","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"pms_token":"TEST_a"}`
	assert.Equal(t,
		withFingerprints(`{"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"},"pms_token":"TEST_b"}`),
		edited(t, doc, "default", func(p *profile.Profile) { p.ReplaceToken(secret.New("TEST_b")) }))
	assert.Equal(t,
		withFingerprints(`{"account_token":"TEST_b","_cloud":{"account_id":1},"pms_token":"TEST_s"}`),
		edited(t, `{"account_token":"TEST_a","_cloud":{"account_id":1},"pms_token":"TEST_s"}`, "default", func(p *profile.Profile) { p.ReplaceToken(secret.New("TEST_b")) }),
		"an owner that was not believed is not carried over")
	const named = `{"account_token":"%[1]s","_cloud":{"account_id":1,"bound_to":"{fp:%[1]s}","user":{"id":1,"name":"Al"}}}`
	assert.Equal(t, withFingerprints(fmt.Sprintf(named, "TEST_b")),
		edited(t, fmt.Sprintf(named, "TEST_a"), "default", func(p *profile.Profile) { p.ReplaceToken(secret.New("TEST_b")) }))
}

// An account that was not certain becomes so by a token that names it.
func TestReplaceTokenByJWT(t *testing.T) {
	p := parse(t, `{"account_token":"TEST_a","_cloud":{"account_id":1}}`).Profile("default")
	p.ReplaceToken(secret.New(jwt(1, time.Now())))
	assert.EqualValues(t, 1, p.AccountID())
}

// The next token of an account goes to the profiles that have the one before, and to no
// others: plex.tv keeps one for each account and client identifier.
func TestPassOn(t *testing.T) {
	const tail = `,"x":1.0}`
	sibling := func(token, clientID, account string) string {
		return `{"account_token":"` + token + `","client_id":"` + clientID + `","_cloud":{"account_id":` + account + `,"bound_to":"{fp:` + token + `}"}` + tail
	}
	const head = `{"client_id":"app","account_token":"TEST_b","instances":{"P":`
	const foreign = `{"account_token":"TEST_a","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"_foreign":"{fp:TEST_a}"}`
	ofDevice := `{"client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},` + device(t, newKey(t, "app"), "TEST_a") + `}`
	for name, c := range map[string]struct{ before, after string }{
		"the same account and identifier": {sibling("TEST_a", "app", "1"), sibling("TEST_b", "app", "1")},
		"another account":                 {sibling("TEST_a", "app", "2"), sibling("TEST_a", "app", "2")},
		"another identifier":              {sibling("TEST_a", "app2", "1"), sibling("TEST_a", "app2", "1")},
		"its token was replaced":          {`{"account_token":"TEST_z","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`, `{"account_token":"TEST_z","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`},
		"a device's":                      {ofDevice, ofDevice},
		"foreign":                         {foreign, foreign},
		"another token of it was foreign": {strings.Replace(foreign, `"_foreign":"{fp:TEST_a}"`, `"_foreign":"{fp:TEST_z}"`, 1), `{"account_token":"TEST_b","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"}}`},
		"its token is gone":               {`{"client_id":"app","_cloud":{"account_id":1},"_foreign":"{fp:TEST_z}"}`, `{"client_id":"app","_cloud":{"account_id":1},"_foreign":"{fp:TEST_z}"}`},
		"it is disconnected":              {`{"account_token":"","client_id":"app","_cloud":{"account_id":1}}`, `{"account_token":"","client_id":"app","_cloud":{"account_id":1}}`},
		"the default profile's identifier": {
			`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`,
			`{"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, head+c.before+`}}`, "default", func(p *profile.Profile) {
				assert.Equal(t, c.before != c.after, p.PassOn(secret.New("TEST_b"), 1, "app"))
			})
			assert.Equal(t, withFingerprints(head+c.after+`}}`), got)
		})
	}
}

// A token goes only to profiles that are certainly of its account.
func TestPassOnOfNoAccount(t *testing.T) {
	p := parse(t, `{"client_id":"app","instances":{"P":{"account_token":"TEST_a"}}}`).Profile("default")
	assert.False(t, p.PassOn(secret.New("TEST_b"), 0, "app"))
	p = parse(t, `{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":2,"bound_to":"{fp:TEST_a}"}}`).Profile("default")
	assert.False(t, p.PassOnToAll(secret.New("TEST_b"), 1, "app"))
}

// An owner that is found out gets the token's successors into the profiles that lost theirs,
// if the token has retired any.
func TestAdoptPassesOn(t *testing.T) {
	const other = `"instances":{"P":{"client_id":"app","account_token":"TEST_p","_cloud":{"account_id":1,"bound_to":"{fp:TEST_p}"}}}}`
	for name, c := range map[string]struct{ doc, want string }{
		"long-lived": {`{"client_id":"app","account_token":"TEST_a",` + other, "TEST_a"},
		"a device's": {`{` + device(t, newKey(t, "app"), "TEST_a") + `,` + other, "TEST_p"},
		"foreign":    {`{"client_id":"app","account_token":"TEST_a","_foreign":"{fp:TEST_a}",` + other, "TEST_p"},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, c.doc)
			d.Profile("default").Adopt(profile.Owner{ID: 1, Name: "Al"})
			assert.Equal(t, c.want, d.Profile("P").AccountToken().Secret())
		})
	}
}

// A token for an exchange, which ends it, does not become the server's.
func TestSignInAsOfDevice(t *testing.T) {
	const doc = `{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"pms_token":"TEST_a"}`
	p := parse(t, doc).Profile("default")
	p.SignInAs(profile.Owner{ID: 1, Name: "Al"}, profile.Credential{Token: secret.New("TEST_b"), Device: newKey(t, "dev")})
	assert.Equal(t, "TEST_a", p.ServerToken().Secret())
}

// A rule finds other profiles with the same token, and those that plex.tv keeps one with.
func TestOthersSharingToken(t *testing.T) {
	const others = `"instances":{` +
		`"same":{"account_token":"TEST_a","client_id":"own"},` +
		`"sibling":{"account_token":"TEST_s","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_s}"}},` +
		`"E":{},"same:80":{"account_token":"TEST_a"},` +
		`"own":{"account_token":"TEST_o","client_id":"own","_cloud":{"account_id":1,"bound_to":"{fp:TEST_o}"}},` +
		`"other":{"account_token":"TEST_t","client_id":"app","_cloud":{"account_id":2,"bound_to":"{fp:TEST_t}"}}}`
	const login = `{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},`
	for name, c := range map[string]struct {
		doc, id string
		want    []string
	}{
		"no token":          {`{"client_id":"app","_cloud":{"account_id":1},` + others, "", nil},
		"another profile's": {login + others, "same", []string{"default"}},
		"of an account":     {login + others, "", []string{"same", "sibling"}},
		"foreign":           {login + `"_foreign":"{fp:TEST_a}",` + others, "", []string{"same"}},
		"of an unknown one": {`{"client_id":"app","account_token":"TEST_a",` + others, "", []string{"same"}},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			for _, p := range parse(t, c.doc+`}`).Profile(cmp.Or(c.id, "default")).OthersSharingToken() {
				ids = append(ids, p.ID)
			}
			assert.Equal(t, c.want, ids)
		})
	}
}

// The hash of the other profiles' tokens tells whether one of them has another token.
func TestOthersHash(t *testing.T) {
	const doc = `{"account_token":"TEST_a","instances":{"P":{"account_token":"TEST_p"},"Q":{"account_token":"TEST_q"}}}`
	hash := func(doc string) uint64 { return parse(t, doc).Profile("P").OthersHash() }
	before := hash(doc)
	for name, c := range map[string]struct {
		from, to string
		same     bool
	}{
		"its own token":             {"TEST_p", "TEST_z", true},
		"the default profile's":     {"TEST_a", "TEST_z", false},
		"another's":                 {"TEST_q", "TEST_z", false},
		"another was removed":       {`,"Q":{"account_token":"TEST_q"}`, ``, false},
		"something else":            {`"TEST_q"`, `"TEST_q","x":1`, true},
		"what is no profile":        {`"Q":`, `"E":{},"Q:80":{"account_token":"TEST_n"},"Q":`, true},
		"what another one replaces": {`"Q":`, `"Q":{"account_token":"TEST_z"},"Q":`, true},
	} {
		assert.Equal(t, c.same, hash(strings.Replace(doc, c.from, c.to, 1)) == before, name)
	}
	d := parse(t, doc)
	d.Profile("Q").ReplaceToken(secret.New("TEST_z"))
	assert.Equal(t, hash(encoded(d)), d.Profile("P").OthersHash(), "an edit counts at once")
}

// A token whose owner is unknown is one that the next login may end.
func TestUnidentifiedTokens(t *testing.T) {
	const others = `"instances":{"P":{"account_token":"TEST_p","client_id":"app"},"Q":{"account_token":"TEST_q","client_id":"own"},"none":{"x":1}}`
	for name, c := range map[string]struct {
		doc  string
		want []string
	}{
		"its own":               {`{"client_id":"app","account_token":"TEST_a",` + others, []string{"default", "P"}},
		"its own, under own":    {`{"client_id":"mine","account_token":"TEST_a",` + others, []string{"default", "P"}},
		"none of its own":       {`{"client_id":"app",` + others, []string{"P"}},
		"its own is known":      {`{"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},` + others, []string{"P"}},
		"its own is dead":       {`{"client_id":"app","account_token":"TEST_a","_rejected":"{fp:TEST_a}",` + others, []string{"P"}},
		"without an identifier": {`{"account_token":"TEST_a",` + others, []string{"P"}},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			for _, u := range parse(t, c.doc+`}`).Profile("default").UnidentifiedTokens("app") {
				ids = append(ids, u.Instance)
			}
			assert.Equal(t, c.want, ids)
		})
	}
}

// An approval ends a token that is in use under its identifier.
func TestWouldRetire(t *testing.T) {
	key := newKey(t, "app")
	byKey := `{"_pending_pin":{"id":7,"client_id":"app","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"}}`
	for name, c := range map[string]struct {
		doc  string
		want bool
	}{
		"no login":                    {`{"client_id":"app"}`, false},
		"its own login":               {`{"client_id":"own","account_token":"TEST_a"}`, true},
		"another's":                   {`{"instances":{"P":{"client_id":"app","account_token":"TEST_p"}}}`, true},
		"another's, elsewhere":        {`{"instances":{"P":{"client_id":"own","account_token":"TEST_p"}}}`, false},
		"another's, of a device":      {`{"instances":{"P":{` + device(t, key, "TEST_p") + `}}}`, false},
		"another is disconnected":     {`{"instances":{"P":{"client_id":"app","account_token":""}}}`, false},
		"another's PIN":               {`{"instances":{"P":{"_pending_pin":{"id":7,"client_id":"app"}}}}`, true},
		"another's PIN, elsewhere":    {`{"instances":{"P":{"_pending_pin":{"id":7,"client_id":"own"}}}}`, false},
		"another's PIN, of a device":  {`{"instances":{"P":` + byKey + `}}`, false},
		"another's PIN is damaged":    {`{"instances":{"P":{"_pending_pin":[7]}}}`, false},
		"the PIN of one disconnected": {`{"instances":{"P":{"client_id":"app","account_token":"","_pending_pin":{"id":7,"client_id":"own"}}}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").WouldRetire("app"))
		})
	}
	p := parse(t, `{"client_id":"app","account_token":"TEST_a","instances":{"P":{"x":1},"Q":{"client_id":"app","account_token":"TEST_q"}}}`).Profile("P")
	assert.True(t, p.WouldRetire("app"), "the default profile's, and another's")
}

// Disconnecting removes every credential. The server's address and the identifiers stay.
func TestDisconnect(t *testing.T) {
	const doc = `{"server_url":"http://box:32400","client_id":"app","account_id":1,"machine_id":"m1","username":"al","account_token":"TEST_a","pms_token":"TEST_s","home_pin":"1","verify_ssl":false,"_cloud":{"account_id":1},"_rejected":"x","_was":{"username":"al"},"_home_user":{"id":7},"_server_account":{"account":1},"pms_token_server":"http://box:32400","_jwt_server":"m1 http://box:32400","_pending_pin":{"id":7},"_refused_pin":"y","_device":{"client_id":"dev","kid":"k","secret":"s"},"x":1.0}`
	assert.Equal(t,
		`{"server_url":"http://box:32400","client_id":"app","account_id":"","machine_id":"m1","username":"","account_token":"","pms_token":"","home_pin":"","verify_ssl":false,"x":1.0,"device_client_id":"dev"}`,
		edited(t, doc, "default", func(p *profile.Profile) { p.Disconnect() }))
	assert.Equal(t, `{"x":1}`, edited(t, `{"x":1}`, "P", func(p *profile.Profile) { p.Disconnect() }), "a profile that does not exist")
	assert.Equal(t, `{"instances":{"P":{}}}`, edited(t, `{"instances":{"P":{}}}`, "P", func(p *profile.Profile) { p.Disconnect() }), "nor does an empty one")
	for name, device := range map[string]string{
		"a PIN was made with it":     `{"client_id":"dev","kid":"k","secret":"s","asked":true}`,
		"it is that of the tokens":   `{"client_id":"app","kid":"k","secret":"s"}`,
		"it cannot be an identifier": `{"client_id":"a\nb","kid":"k","secret":"s"}`,
		"nothing can be read of it":  `7`,
		"its identifier is missing":  `{"kid":"k","secret":"s"}`,
	} {
		got := edited(t, `{"client_id":"app","_device":`+device+`}`, "default", func(p *profile.Profile) { p.Disconnect() })
		assert.NotContains(t, got, "device_client_id", name)
	}
}

// G23: signing out revokes the profile's token and one that is parked, unless that one has
// retired the token of a profile that stays signed in: then this one gets it.
func TestSignOutOfProfiles(t *testing.T) {
	key := newKey(t, "app")
	const parked = `"_pending_pin":{"id":7,"client_id":"app","account_token":"TEST_p"}`
	const sibling = `"instances":{"P":{"account_token":"TEST_s","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_s}"}}}`
	const of1 = `"client_id":"app","account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}`
	byKey := `"_pending_pin":{"id":7,"client_id":"app","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `","account_token":"TEST_p"}`
	for name, c := range map[string]struct {
		doc, id  string
		approved string // the parked token, as plex.tv has said that it is account 1's
		gone     []string
		left     string // the token of the profile P
	}{
		"a login":                        {`{"client_id":"app","account_token":"TEST_a"}`, "default", "", []string{"TEST_a app"}, ""},
		"a rejected one":                 {`{"client_id":"app","account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`, "default", "", nil, ""},
		"none":                           {`{"client_id":"app"}`, "default", "", nil, ""},
		"without an identifier":          {`{"account_token":"TEST_a"}`, "default", "", []string{"TEST_a fixed"}, ""},
		"with one of its own":            {`{"instances":{"Q":{"client_id":"own","account_token":"TEST_a"}}}`, "Q", "", []string{"TEST_a own"}, ""},
		"a parked token, no one's":       {`{"client_id":"app","account_token":"TEST_a",` + parked + `,` + sibling + `}`, "default", "", []string{"TEST_p app", "TEST_a app"}, "TEST_s"},
		"a parked token, another's":      {`{"client_id":"app","account_token":"TEST_a",` + parked + `,` + sibling + `}`, "default", "TEST_p", []string{"TEST_a app"}, "TEST_p"},
		"another token was parked":       {`{"client_id":"app","account_token":"TEST_a",` + parked + `,` + sibling + `}`, "default", "TEST_z", []string{"TEST_p app", "TEST_a app"}, "TEST_s"},
		"a device's, which retires none": {`{"client_id":"app","account_token":"TEST_a",` + byKey + `,` + sibling + `}`, "default", "TEST_p", []string{"TEST_p app", "TEST_a app"}, "TEST_s"},
		"no token is parked any more":    {`{"client_id":"app","account_token":"TEST_a",` + sibling + `}`, "default", "TEST_p", []string{"TEST_a app"}, "TEST_s"},
		"a PIN that no one has approved": {`{"client_id":"app","account_token":"TEST_a","_pending_pin":{"id":7}}`, "default", "", []string{"TEST_a app"}, ""},
		"of an account, with others":     {`{` + of1 + `,` + parked + `,` + sibling + `}`, "default", "TEST_p", []string{"TEST_p app", "TEST_a app"}, ""},
		"another's is parked":            {`{` + of1 + `,` + strings.Replace(sibling, `{"P":{`, `{"P":{`+parked+`,`, 1) + `}`, "default", "", []string{"TEST_a app", "TEST_p app"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, c.doc)
			p := d.Profile(c.id)
			a := profile.Approval{Token: secret.New(c.approved)}
			if c.approved != "" {
				a.Account.ID = 1
			}
			if name == "a parked token, no one's" {
				a.Token = secret.New("TEST_p")
			}
			var gone []string
			for _, r := range p.SignOut(a, "fixed") {
				gone = append(gone, r.Token.Secret()+" "+r.ClientID)
			}
			assert.Equal(t, c.gone, gone)
			assert.True(t, p.AccountToken().IsZero())
			assert.Nil(t, p.Pending())
			assert.Equal(t, c.left, d.Profile("P").AccountToken().Secret())
			if c.id != "default" {
				assert.Empty(t, d.Profile("default").State.ClientID, "it needs none")
			}
		})
	}
}

// A store that has failed may have removed a login all the same: then nothing has its token.
func TestIsSignedOut(t *testing.T) {
	gone := []profile.Revocation{{Token: secret.New("TEST_a")}, {Token: secret.New("TEST_b")}}
	for name, c := range map[string]struct {
		doc  string
		gone []profile.Revocation
		want bool
	}{
		"gone":                     {`{}`, gone, true},
		"there was nothing":        {`{}`, nil, false},
		"another login":            {`{"account_token":"TEST_c"}`, gone, false},
		"a new PIN":                {`{"_pending_pin":{"id":7}}`, gone, false},
		"another profile has it":   {`{"instances":{"P":{"account_token":"TEST_b"}}}`, gone, false},
		"it is parked with one":    {`{"instances":{"P":{"account_token":"TEST_c","_pending_pin":{"id":7,"account_token":"TEST_b"}}}}`, gone, false},
		"another has other ones":   {`{"instances":{"P":{"account_token":"TEST_c","_pending_pin":{"id":7,"account_token":"TEST_d"}}}}`, gone, true},
		"another's PIN is damaged": {`{"instances":{"P":{"account_token":"TEST_c","_pending_pin":[7]}}}`, gone, true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").IsSignedOut(c.gone))
		})
	}
}

// A device's token stands in account_token. The key says by a fingerprint that it is its
// own.
func TestDeviceToken(t *testing.T) {
	key, err := devicekey.New("dev")
	require.NoError(t, err)
	now := time.Now()
	first, next := jwt(1, now.Add(-6*24*time.Hour)), jwt(1, now)
	c := profile.Credential{Token: secret.New(first), Device: key, Scopes: []string{"a", "b"}, Skew: 2 * time.Minute}
	doc := edited(t, `{"client_id":"app"}`, "default", func(p *profile.Profile) {
		p.SignInAs(profile.Owner{ID: 1, Name: "Al"}, c)
	})
	p := parse(t, doc).Profile("default")
	l := p.Lifetime()
	assert.Equal(t, "dev", p.ClientID())
	assert.True(t, p.UsesKey(key))
	assert.Equal(t, []string{"a", "b"}, l.Scopes)
	assert.Equal(t, 2*time.Minute, l.Skew)
	assert.True(t, profile.Past(l.RenewAt(), now), "six of its seven days are over")
	assert.False(t, profile.Past(l.UnusableAt(), now))

	renewed := edited(t, doc, "default", func(p *profile.Profile) {
		require.NoError(t, p.Renew(p.Lifetime(), profile.Credential{Token: secret.New(next), Device: key}))
	})
	assert.Contains(t, renewed, withFingerprints(`"_cloud":{"account_id":1,"bound_to":"{fp:`+first+`}"`), "a JWT says itself whose it is")
	p = parse(t, renewed).Profile("default")
	assert.EqualValues(t, 1, p.AccountID())
	assert.Empty(t, p.Lifetime().Scopes)
	assert.False(t, profile.Past(p.Lifetime().RenewAt(), now))

	written := edited(t, renewed, "default", func(p *profile.Profile) { p.SignIn(credential("TEST_b", "app")) })
	p = parse(t, written).Profile("default")
	assert.Equal(t, "app", p.ClientID(), "a long-lived token is not the key's")
	assert.False(t, p.Lifetime().Renewable())
}

// A JWT whose key is damaged needs a new login; one without a key only when it is over.
func TestNeedsLogin(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		token, device string
		want          bool
	}{
		"long-lived":                     {"TEST_a", "", false},
		"long-lived beside damage":       {"TEST_a", `,"_device":"x"`, false},
		"a JWT":                          {jwt(1, now), "", false},
		"a JWT that is over":             {jwt(1, now.Add(-8*24*time.Hour)), "", true},
		"a JWT and a damaged device":     {jwt(1, now), `,"_device":null`, true},
		"a JWT and half a device":        {jwt(1, now), `,"_device":{"client_id":"dev"}`, true},
		"a JWT beside a key without one": {jwt(1, now), `,` + device(t, newKey(t, "dev"), ""), false},
		"a JWT and its device, damaged":  {jwt(1, now), `,"_device":{"client_id":"dev","kid":"k","secret":"s","bound_to":"{fp:` + jwt(1, now) + `}"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := parse(t, `{"account_token":"`+c.token+`"`+c.device+`}`).Profile("default").Lifetime()
			assert.Equal(t, c.want, l.NeedsLogin(now), "%v", l.Err)
		})
	}
}

// A token's own dates say when it is renewed, and until when it is used.
func TestLifetime(t *testing.T) {
	issued := time.Unix(1_700_000_000, 0)
	const life = 7 * 24 * time.Hour
	token := jwt(1, issued)
	over := issued.Add(2 * life)
	for name, c := range map[string]struct {
		doc               string
		isRenewed, isOver bool
		renewAt, unusable time.Time
	}{
		"long-lived":                  {`{"account_token":"TEST_a"}`, false, false, time.Time{}, time.Time{}},
		"long-lived, moving to a key": {`{` + device(t, newKey(t, "dev"), "TEST_a") + `}`, true, false, time.Unix(0, 0), time.Time{}},
		"a device's JWT":              {`{` + device(t, newKey(t, "dev"), token) + `}`, true, false, issued.Add(life * 3 / 4), issued.Add(life - time.Minute)},
		"a JWT that does not say":     {`{"account_token":"` + jwtFor("dev") + `"}`, false, false, time.Time{}, time.Time{}},
		"a JWT that no key can renew": {`{"account_token":"` + token + `"}`, false, true, time.Time{}, issued.Add(life - time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			l := parse(t, c.doc).Profile("default").Lifetime()
			assert.Equal(t, c.isRenewed, l.Renewable())
			assert.Equal(t, c.isOver, l.NeedsLogin(over))
			assert.True(t, c.unusable.Equal(l.UnusableAt()), l.UnusableAt())
			assert.WithinDuration(t, c.renewAt, l.RenewAt(), life/20)
		})
	}
}

// A token that a switch of users has made goes to all profiles whose own it has retired.
func TestPassOnToAll(t *testing.T) {
	const lives = `{"account_token":"TEST_%","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_%}"}`
	with := func(own, other string) string {
		return strings.ReplaceAll(lives, "%", own) + `,"instances":{"P":` + strings.ReplaceAll(lives, "%", other) + `}}}`
	}
	for name, c := range map[string]struct{ before, after string }{
		"its own and another's": {with("a", "a"), with("b", "b")},
		"one has it already":    {with("b", "a"), with("b", "b")},
		"both have it already":  {with("b", "b"), with("b", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, c.before, "default", func(p *profile.Profile) {
				assert.Equal(t, c.before != c.after, p.PassOnToAll(secret.New("TEST_b"), 1, "app"))
				assert.Len(t, p.Holders(secret.New("TEST_b")), 2)
				assert.Empty(t, p.Holders(secret.New("TEST_a")))
			})
			assert.Equal(t, withFingerprints(c.after), got)
		})
	}
	none := parse(t, `{"instances":{"P":{}}}`).Profile("P")
	assert.False(t, none.PassOnToAll(secret.New("TEST_b"), 1, "app"))
	assert.Empty(t, none.Holders(secret.Value{}), "no token is held by no profile")
}

// A profile whose token another profile's login has retired follows that login.
func TestReplaceRetired(t *testing.T) {
	const sibling = `,"client_id":"app","instances":{"P":{"account_token":"TEST_b","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_b}"}}}}`
	const others = `,"client_id":"app","instances":{"P":{"account_token":"TEST_b","client_id":"app","_cloud":{"account_id":2,"bound_to":"{fp:TEST_b}"}}}}`
	for name, c := range map[string]struct {
		before, token string
		ok            bool
	}{
		"it follows":            {`{"account_token":"TEST_a"` + sibling, "TEST_b", true},
		"of another account":    {`{"account_token":"TEST_a"` + others, "TEST_a", false},
		"there is no other":     {`{"account_token":"TEST_a","client_id":"app"}`, "TEST_a", false},
		"both have it":          {`{"account_token":"TEST_a"` + strings.ReplaceAll(sibling, "TEST_b", "TEST_a"), "TEST_a", false},
		"it is rejected too":    {`{"account_token":"TEST_a"` + strings.Replace(sibling, `"P":{`, `"P":{"_rejected":"{fp:TEST_b}",`, 1), "TEST_a", false},
		"of another identifier": {`{"account_token":"TEST_a"` + strings.Replace(sibling, `"TEST_b","client_id":"app"`, `"TEST_b","client_id":"own"`, 1), "TEST_a", false},
		"it has a new one now":  {`{"account_token":"TEST_c","client_id":"app"}`, "TEST_c", true},
		"it is signed out":      {`{"client_id":"app"}`, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.before).Profile("default")
			assert.Equal(t, c.ok, p.ReplaceRetired(secret.New("TEST_a"), profile.Owner{ID: 1, Name: "Al"}, "app"))
			assert.Equal(t, c.token, p.AccountToken().Secret())
			if c.token == "TEST_b" {
				assert.EqualValues(t, 1, p.AccountID(), "the owner is known by that")
			}
		})
	}
}
