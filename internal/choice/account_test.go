package choice_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// signedIn is a profile of the account 7, with more members.
func signedIn(t *testing.T, members string) *profile.Profile {
	t.Helper()
	token := secret.New("t")
	return profileOf(t, fmt.Sprintf(`{"account_token":"t","username":"alice","_cloud":{"account_id":7,"bound_to":%q}%s}`, secret.Fingerprint(token), members))
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

// missingWith returns what is missing once BOX, which plex.tv lists as s, has answered.
func missingWith(t *testing.T, b *profile.Profile, s plextv.MediaServer) []choice.Missing {
	t.Helper()
	search := choice.New(b, []plextv.MediaServer{s}, "BOX", errNone)
	require.NoError(t, search.Target())
	missing, nothing := search.Found(answer("BOX", s.Connections[0].URI, true))
	require.False(t, nothing)
	require.NoError(t, search.Save(b))
	return missing
}

// G14: without a token for the server the error says why, and no other token is saved.
func TestNoServerToken(t *testing.T) {
	for name, c := range map[string]struct {
		onlyJWT bool
	}{
		"plex.tv gives none":               {false},
		"plex.tv gives a device key's JWT": {true},
	} {
		t.Run(name, func(t *testing.T) {
			s := server("BOX", "https://box.example:32400", true)
			s.Token, s.OnlyJWT = secret.Value{}, c.onlyJWT
			b := signedIn(t, "")
			missing := missingWith(t, b, s)
			require.Len(t, missing, 1)
			require.ErrorIs(t, missing[0].Err, fault.ErrServerToken)
			if c.onlyJWT {
				assert.ErrorIs(t, missing[0].Err, choice.ErrNeedsLongLived)
			} else {
				assert.NotErrorIs(t, missing[0].Err, choice.ErrNeedsLongLived)
			}
			assert.Equal(t, "https://box.example:32400", b.SavedServer().URL)
			assert.True(t, b.ServerToken().IsZero())
		})
	}
}

// G25: the number by which the server knows the user is 1 for its owner and plex.tv's
// for everyone else. Another program's choice of a user stays with the machine.
func TestNumber(t *testing.T) {
	own, shared := server("BOX", "https://box.example:32400", true), server("BOX", "https://box.example:32400", false)
	homeUser := `,"username":"kid","_home_user":{"id":55,"name":"kid","account":7}`
	for name, c := range map[string]struct {
		members string
		server  plextv.MediaServer
		want    string
	}{
		"the owner":                       {"", own, "1"},
		"a friend":                        {"", shared, "7"},
		"the owner's Home user":           {homeUser, own, "55"},
		"a wrong number of the account":   {`,"account_id":1` + boxAt(7, 99), shared, "7"},
		"another program's user":          {`,"account_id":42` + boxAt(7, 7), own, "42"},
		"another program's, on a new one": {`,"account_id":42,"machine_id":"GONE"`, own, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := signedIn(t, c.members)
			missingWith(t, b, c.server)
			assert.Equal(t, c.want, b.ServerUserIDText())
		})
	}
}
