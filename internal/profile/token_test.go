package profile_test

import (
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
			err := parse(t, c.doc).Profile("default").CheckToken()
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
}

// The next token of an account goes to the profiles that have the one before, and to no
// others: plex.tv keeps one for each account and client identifier.
func TestPassOn(t *testing.T) {
	const tail = `,"x":1.0}`
	sibling := func(token, clientID, account string) string {
		return `{"account_token":"` + token + `","client_id":"` + clientID + `","_cloud":{"account_id":` + account + `,"bound_to":"{fp:` + token + `}"}` + tail
	}
	const head = `{"client_id":"app","account_token":"TEST_b","instances":{"P":`
	for name, c := range map[string]struct{ before, after string }{
		"the same account and identifier": {sibling("TEST_a", "app", "1"), sibling("TEST_b", "app", "1")},
		"another account":                 {sibling("TEST_a", "app", "2"), sibling("TEST_a", "app", "2")},
		"another identifier":              {sibling("TEST_a", "app2", "1"), sibling("TEST_a", "app2", "1")},
		"its token was replaced":          {`{"account_token":"TEST_z","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`, `{"account_token":"TEST_z","client_id":"app","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`},
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

// Disconnecting removes every credential. The server's address and the identifiers stay.
func TestDisconnect(t *testing.T) {
	const doc = `{"server_url":"http://box:32400","client_id":"app","account_id":1,"machine_id":"m1","username":"al","account_token":"TEST_a","pms_token":"TEST_s","home_pin":"1","verify_ssl":false,"_cloud":{"account_id":1},"_rejected":"x","_was":{"username":"al"},"_home_user":{"id":7},"_server_account":{"account":1},"pms_token_server":"http://box:32400","_jwt_server":"m1 http://box:32400","_pending_pin":{"id":7},"_refused_pin":"y","_device":{"client_id":"dev","kid":"k","secret":"s"},"x":1.0}`
	assert.Equal(t,
		`{"server_url":"http://box:32400","client_id":"app","account_id":"","machine_id":"m1","username":"","account_token":"","pms_token":"","home_pin":"","verify_ssl":false,"x":1.0,"device_client_id":"dev"}`,
		edited(t, doc, "default", func(p *profile.Profile) { p.Disconnect() }))
	assert.Equal(t, `{"x":1}`, edited(t, `{"x":1}`, "P", func(p *profile.Profile) { p.Disconnect() }), "a profile that does not exist")
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
		"long-lived":                    {"TEST_a", "", false},
		"long-lived beside damage":      {"TEST_a", `,"_device":"x"`, false},
		"a JWT":                         {jwt(1, now), "", false},
		"a JWT that is over":            {jwt(1, now.Add(-8*24*time.Hour)), "", true},
		"a JWT and a damaged device":    {jwt(1, now), `,"_device":null`, true},
		"a JWT and half a device":       {jwt(1, now), `,"_device":{"client_id":"dev"}`, true},
		"a JWT and its device, damaged": {jwt(1, now), `,"_device":{"client_id":"dev","kid":"k","secret":"s","bound_to":"{fp:` + jwt(1, now) + `}"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := parse(t, `{"account_token":"`+c.token+`"`+c.device+`}`).Profile("default").Lifetime()
			assert.Equal(t, c.want, l.NeedsLogin(now), "%v", l.Err)
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
		"it follows":           {`{"account_token":"TEST_a"` + sibling, "TEST_b", true},
		"of another account":   {`{"account_token":"TEST_a"` + others, "TEST_a", false},
		"there is no other":    {`{"account_token":"TEST_a","client_id":"app"}`, "TEST_a", false},
		"both have it":         {`{"account_token":"TEST_a"` + strings.ReplaceAll(sibling, "TEST_b", "TEST_a"), "TEST_a", false},
		"it is rejected too":   {`{"account_token":"TEST_a"` + strings.Replace(sibling, `"P":{`, `"P":{"_rejected":"{fp:TEST_b}",`, 1), "TEST_a", false},
		"it has a new one now": {`{"account_token":"TEST_c","client_id":"app"}`, "TEST_c", true},
		"it is signed out":     {`{"client_id":"app"}`, "", true},
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
