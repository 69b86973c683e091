package choice_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

var errNone = errors.New("choose one")

func profileOf(t *testing.T, document string) *profile.Profile {
	t.Helper()
	stored, err := profile.Parse([]byte(document))
	require.NoError(t, err)
	return stored.Document().Profile(profile.DefaultInstance)
}

// server is a media server with one address; the account 7 may own it.
func server(machineID, address string, owned bool) plextv.MediaServer {
	s := plextv.MediaServer{Name: machineID, MachineID: machineID, Owned: owned, Token: secret.New("token-of-" + machineID), Connections: []plextv.Connection{{URI: address, Port: 32400}}}
	if !owned {
		s.OwnerID = 99
	}
	return s
}

// What was saved before: nothing, or the server BOX with an address that plexauth has
// found.
const (
	nothing = `{"account_token":"t"}`
	found   = `{"account_token":"t","machine_id":"BOX","server_url":"https://old.example:32400","server_url_found":"https://old.example:32400","_server_account":{"account":7,"url":"https://old.example:32400","machine_id":"BOX","owner":7}}`
	typed   = `{"account_token":"t","server_url":"http://typed.example:32400"}`
)

// G25: which server is wanted, and where it is looked for.
func TestTarget(t *testing.T) {
	box, other, shared := server("BOX", "https://box.example:32400", true), server("OTHER", "https://other.example:32400", true), server("SHARED", "https://shared.example:32400", false)
	for name, c := range map[string]struct {
		saved, wanted string
		offers        []plextv.MediaServer
		first         string // the first address that is tried
		expects       string // the machine that may answer there; "": any
		err           error
	}{
		"the only own server":         {nothing, "", []plextv.MediaServer{box, shared}, "https://box.example:32400", "BOX", nil},
		"two own servers":             {nothing, "", []plextv.MediaServer{box, other}, "", "", errNone},
		"no own server":               {nothing, "", []plextv.MediaServer{shared}, "", "", errNone},
		"the saved server":            {found, "", []plextv.MediaServer{other, box}, "https://old.example:32400", "BOX", nil},
		"the saved one is not listed": {found, "", []plextv.MediaServer{other}, "", "", errNone},
		"a typed address":             {typed, "", []plextv.MediaServer{box}, "http://typed.example:32400", "", nil},
		"a chosen machine":            {found, "SHARED", []plextv.MediaServer{box, shared}, "https://shared.example:32400", "SHARED", nil},
		"a chosen address":            {found, "http://new.example:32400", []plextv.MediaServer{box}, "http://new.example:32400", "", nil},
		"nonsense":                    {found, "http://", []plextv.MediaServer{box}, "", "", mediaserver.ErrNoAddress},
	} {
		t.Run(name, func(t *testing.T) {
			choice := choice.New(profileOf(t, c.saved), c.offers, c.wanted, errNone)
			err := choice.Target()
			if c.err != nil {
				assert.ErrorIs(t, err, c.err)
				assert.False(t, choice.Drops())
				return
			}
			require.NoError(t, err)
			require.NotEmpty(t, choice.Candidates)
			assert.Equal(t, c.first, choice.Candidates[0].URL)
			assert.Equal(t, c.expects == "", choice.Expected("STRANGER"))
			assert.True(t, choice.Expected(c.expects))
		})
	}
}

// answer is what a probe finds if a machine answers at an address.
func answer(machineID, address string, expected bool) []mediaserver.Address {
	return []mediaserver.Address{{URL: address, MachineID: machineID, OK: expected}}
}

// G25: an address is saved only if the right server has answered there.
func TestFoundAndSave(t *testing.T) {
	box, shared := server("BOX", "https://box.example:32400", true), server("SHARED", "https://shared.example:32400", false)
	offers := []plextv.MediaServer{box, shared}
	for name, c := range map[string]struct {
		saved, wanted string
		answers       []mediaserver.Address
		url           string // saved afterwards
		missing       error
	}{
		"the server answers":           {nothing, "", answer("BOX", "https://box.example:32400", true), "https://box.example:32400", nil},
		"nothing answers":              {nothing, "", nil, "", fault.ErrUnavailable},
		"it has moved":                 {found, "", answer("BOX", "https://box.example:32400", true), "https://box.example:32400", nil},
		"another one is there":         {found, "", answer("STRANGER", "https://old.example:32400", false), "https://old.example:32400", choice.ErrAnotherServer},
		"the chosen one answers":       {found, "SHARED", answer("SHARED", "https://shared.example:32400", true), "https://shared.example:32400", nil},
		"the chosen one does not":      {found, "SHARED", nil, "https://old.example:32400", fault.ErrUnavailable},
		"a stranger at a typed one":    {nothing, "http://new.example", answer("STRANGER", "http://new.example", true), "", fault.ErrServerToken},
		"one's own at a typed address": {nothing, "http://new.example", answer("BOX", "http://new.example", true), "http://new.example", nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := profileOf(t, c.saved)
			choice := choice.New(b, offers, c.wanted, errNone)
			require.NoError(t, choice.Target())
			missing, nothing := choice.Found(c.answers)
			if c.missing == nil {
				assert.Empty(t, missing)
			} else {
				require.NotEmpty(t, missing)
				assert.ErrorIs(t, missing[0].Err, c.missing)
			}
			if !nothing {
				require.NoError(t, choice.Save(b))
			}
			assert.Equal(t, c.url, b.SavedServer().URL)
			if c.missing == nil {
				assert.True(t, b.ServerToken().Equal(choice.Server.Token))
			}
		})
	}
}

// G22: a login or a choice that was made in the meantime is not overwritten.
func TestSaveAfterAChange(t *testing.T) {
	for name, now := range map[string]string{
		"another login":   `{"account_token":"u"}`,
		"another address": `{"account_token":"t","server_url":"http://typed.example:32400"}`,
		"another machine": `{"account_token":"t","machine_id":"OTHER"}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := choice.New(profileOf(t, nothing), []plextv.MediaServer{server("BOX", "https://box.example:32400", true)}, "", errNone)
			require.NoError(t, c.Target())
			_, nothing := c.Found(answer("BOX", "https://box.example:32400", true))
			require.False(t, nothing)
			assert.ErrorIs(t, c.Save(profileOf(t, now)), profile.ErrChanged)
		})
	}
}
