package profile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/profile"
)

// A stored account counts for the token that it was read with.
func TestOwnerOfToken(t *testing.T) {
	jwtOf1, jwtOf2 := jwt(1, time.Now()), jwt(2, time.Now())
	for name, c := range map[string]struct {
		doc             string
		cloud, claimed  int64
		disowned, links bool
		username        string
	}{
		"nothing stored":               {`{}`, 0, 0, false, false, ""},
		"bound to this token":          {`{"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al"}`, 1, 1, false, true, "al"},
		"bound to another token":       {`{"account_token":"TEST_b","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al"}`, 0, 0, true, true, ""},
		"CrossWatch's":                 {`{"account_token":"TEST_a","_cloud":{"account_id":1},"username":"al"}`, 0, 1, false, true, "al"},
		"CrossWatch's, rejected":       {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}","_cloud":{"account_id":1}}`, 1, 1, false, true, ""},
		"CrossWatch's, damaged token":  {`{"account_token":"TEST a","_cloud":{"account_id":1}}`, 1, 1, false, true, ""},
		"bound elsewhere, rejected":    {`{"account_token":"TEST_b","_rejected":"{fp:TEST_b}","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"}}`, 0, 0, true, false, ""},
		"the token is gone":            {`{"_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"},"username":"al"}`, 1, 1, false, true, "al"},
		"a JWT names the account":      {fmt.Sprintf(`{"account_token":%q,"_cloud":{"account_id":1}}`, jwtOf1), 1, 1, false, true, ""},
		"a JWT names another":          {fmt.Sprintf(`{"account_token":%q,"_cloud":{"account_id":1},"username":"al"}`, jwtOf2), 0, 0, true, true, ""},
		"no number":                    {`{"account_token":"TEST_a","_cloud":{"account_id":"x"},"username":"al"}`, 0, 0, false, true, "al"},
		"a number in another spelling": {`{"_cloud":{"account_id":"12.0"}}`, 12, 12, false, true, ""},
		"rejected, no account":         {`{"account_token":"TEST_a","_rejected":"{fp:TEST_a}"}`, 0, 0, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, c.doc).Profile("default")
			assert.Equal(t, c.cloud, p.AccountID(), "AccountID")
			assert.Equal(t, c.claimed, p.ClaimedAccountID(), "ClaimedAccountID")
			assert.Equal(t, c.disowned, p.Disowned(), "Disowned")
			assert.Equal(t, c.links, p.Linked(), "Linked")
			assert.Equal(t, c.username, p.Username(), "Username")
		})
	}
}

// A number decides whether an account was meant. Without one, its username or e-mail
// address does, but not its display name.
func TestOwnerMatches(t *testing.T) {
	a := profile.Owner{ID: 1, Name: "Al", Username: "al_1", Email: "al@example.com"}
	for _, c := range []struct {
		id       int64
		username string
		want     bool
	}{
		{1, "", true}, {1, "other", true}, {2, "al_1", false},
		{0, "AL_1", true}, {0, "AL@example.com", true}, {0, "Al", false}, {0, "", false},
	} {
		assert.Equal(t, c.want, a.Matches(c.id, c.username), "%d %q", c.id, c.username)
	}
	assert.False(t, profile.Owner{ID: 1}.Matches(0, ""), "no name is no match")
}

// The name of the account is known until a Home user's takes its place.
func TestAccountName(t *testing.T) {
	const bound = `"account_token":"TEST_a","_cloud":{"account_id":1,"bound_to":"{fp:TEST_a}"`
	for name, c := range map[string]struct{ doc, want string }{
		"stored beside the number":       {`{` + bound + `,"user":{"id":1,"name":"al"}},"username":"kid"}`, "al"},
		"of another account":             {`{` + bound + `,"user":{"id":2,"name":"bo"}},"username":"al"}`, "al"},
		"the username":                   {`{` + bound + `},"username":"al"}`, "al"},
		"the server's number is a user":  {`{` + bound + `},"username":"kid","account_id":7}`, ""},
		"the server's number is theirs":  {`{` + bound + `},"username":"al","account_id":1}`, "al"},
		"the server's number is its own": {strings.ReplaceAll(`{`+bound+`},"username":"al","account_id":1}`, `"_cloud":{"account_id":1,`, `"_cloud":{"account_id":12,`), "al"},
		"the server is a friend's":       {`{"account_token":"TEST_a","_cloud":{"account_id":12,"bound_to":"{fp:TEST_a}"},"username":"al","account_id":12}`, "al"},
		"the account is unknown":         {`{"account_token":"TEST_a","username":"al","account_id":7}`, "al"},
		"a Home user":                    {`{` + bound + `},"username":"kid","_home_user":{"id":7,"name":"kid","account":1}}`, ""},
		"a Home user of another account": {`{` + bound + `},"username":"al","_home_user":{"id":7,"name":"al","account":2}}`, "al"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("default").AccountName())
		})
	}
}
