package choice_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// known is the document of the account 7 with the token "t", with more members.
func known(members string) string { return knownBy("t", members) }

// knownBy is the same with another token.
func knownBy(token, members string) string {
	return fmt.Sprintf(`{"account_token":%q,"username":"alice","_cloud":{"account_id":7,"bound_to":%q,"user":{"id":7,"name":"alice"}}%s}`,
		token, secret.Fingerprint(secret.New(token)), members)
}

// unknown is the document of an account whose number is not known, with more members.
func unknown(members string) string { return `{"account_token":"t"` + members + `}` }

// signedIn is the profile of known.
func signedIn(t *testing.T, members string) *profile.Profile {
	t.Helper()
	return profileOf(t, known(members))
}

// boxAt is the saved server BOX, chosen for an account. It has answered at its address.
func boxAt(account, owner int64) string {
	const at = "https://box.example:32400"
	return fmt.Sprintf(`,"machine_id":"BOX","server_url":%[1]q,"server_url_found":%[1]q,"pms_token":"old","pms_token_server":%[1]q,`+
		`"_server_account":{"account":%[2]d,"url":%[1]q,"machine_id":"BOX","owner":%[3]d}`, at, account, owner)
}

// G14: a server that another account has chosen is removed with its token. A server of
// this account that is missing from the list stays.
func TestMissingServer(t *testing.T) {
	for name, c := range map[string]struct {
		account int64 // that has chosen the server
		left    string
	}{
		"another account's": {8, ""},
		"this account's":    {7, "BOX"},
	} {
		t.Run(name, func(t *testing.T) {
			b := signedIn(t, boxAt(c.account, c.account))
			search := choice.New(b, nil, "", errNone)
			require.ErrorIs(t, search.Target(), errNone)
			if search.Drops() {
				require.NoError(t, search.Save(b))
			}
			assert.Equal(t, c.left, b.SavedServer().MachineID)
			assert.Equal(t, c.left == "", b.ServerToken().IsZero())
		})
	}
}

// G14: the same machine of another owner is another server.
func TestListed(t *testing.T) {
	own, friends := server("BOX", "https://box.example:32400", true), server("BOX", "https://impostor.example:32400", false)
	for name, c := range map[string]struct {
		owner  int64 // of the saved server, 0 if unknown
		offers []plextv.MediaServer
		listed string // its address, "" if it is not listed
	}{
		"the account's own":       {7, []plextv.MediaServer{friends, own}, "https://box.example:32400"},
		"a friend's":              {99, []plextv.MediaServer{own, friends}, "https://impostor.example:32400"},
		"another owner's alone":   {7, []plextv.MediaServer{friends}, ""},
		"owner unknown":           {0, []plextv.MediaServer{friends}, "https://impostor.example:32400"},
		"another machine's alone": {7, []plextv.MediaServer{server("OTHER", "https://box.example:32400", true)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := choice.Listed(signedIn(t, boxAt(7, c.owner)).SavedServer(), c.offers, 7)
			if c.listed == "" {
				assert.Nil(t, s)
				return
			}
			require.NotNil(t, s)
			assert.Equal(t, c.listed, s.Connections[0].URI)
		})
	}
}

// G25: the number by which the server knows the user is 1 for its owner and plex.tv's
// for everyone else. Another program's choice of a user stays with the machine.
func TestNumber(t *testing.T) {
	own, shared := server("BOX", here, true), server("BOX", here, false)
	homeUser := `,"username":"kid","_home_user":{"id":55,"name":"kid","account":7}`
	for name, c := range map[string]struct {
		document string
		server   plextv.MediaServer
		want     string
		user     string // who the profile works for afterwards
	}{
		"the owner":                       {known(""), own, "1", "alice"},
		"the owner, of a shared one":      {known(`,"account_id":7` + isBox), own, "1", "alice"},
		"a friend":                        {known(""), shared, "7", "alice"},
		"the owner's Home user":           {known(homeUser), own, "55", "kid"},
		"one with the owner's number":     {known(`,"account_id":1` + homeUser), own, "55", "kid"},
		"a wrong number of the account":   {known(`,"account_id":1` + isBox), shared, "7", "alice"},
		"another program's user":          {known(`,"account_id":42,"username":"bob"` + isBox), own, "42", "bob"},
		"another program's first server":  {known(`,"account_id":42,"username":"bob"`), own, "42", "bob"},
		"another program's, on a new one": {known(`,"account_id":42,"username":"bob","machine_id":"GONE"`), own, "1", "alice"},
		"another program's mere name":     {known(`,"username":"bob"`), own, "1", "bob"},
		"its name for the owner":          {known(`,"account_id":1,"username":"bob"`), own, "1", "bob"},
		"an unknown account, the owner":   {unknown(""), own, "1", ""},
		"an unknown account, a friend":    {unknown(`,"account_id":1`), shared, "", ""},
		"its user of another program":     {unknown(`,"account_id":42`), shared, "42", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := profileOf(t, c.document)
			search := choice.New(b, []plextv.MediaServer{c.server}, "BOX", errNone)
			require.NoError(t, search.Target())
			_, nothing := search.Found(answer("BOX", here, true))
			require.False(t, nothing)
			require.NoError(t, search.Save(b))
			assert.Equal(t, c.want, b.ServerUserIDText())
			assert.Equal(t, c.user, b.Username())
		})
	}
}

// A server without an identifier is not the saved one, of which none is known.
func TestListedWithoutIdentifiers(t *testing.T) {
	assert.Nil(t, choice.Listed(signedIn(t, "").SavedServer(), []plextv.MediaServer{server("", here, true)}, 7))
}
