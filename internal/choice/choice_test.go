package choice_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/choice"
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
)

// Parts of what is saved about the server BOX.
const (
	isBox   = `,"machine_id":"BOX"`
	typedAt = `,"server_url":"https://old.example:32400"`
	foundAt = typedAt + `,"server_url_found":"https://old.example:32400"`
	hasPass = `,"pms_token":"old"`
	bound   = hasPass + `,"pms_token_server":"https://old.example:32400"`
	ownedBy = `,"_server_account":{"account":7,"url":"https://old.example:32400","machine_id":"BOX","owner":7}`
)

// tried writes the addresses that are tried, and how.
func tried(all []mediaserver.Candidate) (s []string) {
	for _, c := range all {
		how := ""
		if c.Entered {
			how += " entered"
		}
		if c.Insecure {
			how += " unchecked"
		}
		s = append(s, c.URL+how)
	}
	return s
}

// expected writes the machines that may answer.
func expected(c *choice.Choice) (s []string) {
	for _, id := range []string{"BOX", "OTHER", "SHARED", "STRANGER"} {
		if c.Expected(id) {
			s = append(s, id)
		}
	}
	return s
}

// G25: which server is wanted, and where it is looked for. G14: the same machine of another
// owner is another server.
func TestTarget(t *testing.T) {
	const new = "https://new.example:32400"
	box, other, shared := server("BOX", here, true), server("OTHER", there, true), server("SHARED", theirs, false)
	impostor, inOldPlace := server("BOX", "https://impostor.example:32400", false), server("OTHER", old, true)
	anyone := []string{"BOX", "OTHER", "SHARED", "STRANGER"}
	for name, c := range map[string]struct {
		saved, wanted string
		offers        []plextv.MediaServer
		tried         []string
		expected      []string
	}{
		"the only own server":                    {"", "", []plextv.MediaServer{box, shared}, []string{here}, []string{"BOX"}},
		"the saved server":                       {foundAt + isBox + ownedBy, "", []plextv.MediaServer{other, box}, []string{old, here}, []string{"BOX"}},
		"the saved server, in another's place":   {foundAt + isBox + ownedBy, "", []plextv.MediaServer{inOldPlace, box}, []string{old, here}, []string{"BOX"}},
		"a saved machine":                        {isBox, "", []plextv.MediaServer{other, box}, []string{here}, []string{"BOX"}},
		"a token for the saved address":          {foundAt + isBox + bound, "", []plextv.MediaServer{other, box}, []string{old, here}, []string{"BOX"}},
		"found, but the machine is a guess":      {foundAt + isBox, "", []plextv.MediaServer{other, box}, []string{old}, []string{"BOX", "OTHER"}},
		"a guess that is another's address":      {foundAt + isBox, "", []plextv.MediaServer{inOldPlace, box}, []string{old}, []string{"OTHER"}},
		"a guess at two servers' address":        {foundAt + isBox, "", []plextv.MediaServer{inOldPlace, box, server("SHARED", old, false)}, []string{old}, []string{"BOX", "OTHER", "SHARED"}},
		"another program's choice that is gone":  {isBox, "", []plextv.MediaServer{other}, []string{there}, []string{"OTHER"}},
		"found, without a machine":               {foundAt, "", []plextv.MediaServer{box}, []string{old}, anyone},
		"a typed address":                        {typedAt, "", []plextv.MediaServer{box}, []string{old + " entered"}, anyone},
		"a typed address with a token":           {typedAt + bound, "", []plextv.MediaServer{box}, []string{old + " entered"}, anyone},
		"a typed address and a machine":          {typedAt + isBox, "", []plextv.MediaServer{box}, []string{old + " entered"}, anyone},
		"a typed address with a machine's token": {typedAt + isBox + bound, "", []plextv.MediaServer{box}, []string{old + " entered"}, []string{"BOX"}},
		"typed without a scheme":                 {`,"server_url":"old.example"`, "", nil, []string{"https://old.example:32400 entered", "https://old.example entered", "http://old.example:32400 entered", "http://old.example entered"}, anyone},
		"typed without a port":                   {`,"server_url":"https://old.example"`, "", nil, []string{"https://old.example entered", old + " entered"}, anyone},
		"the same, where it has answered":        {`,"server_url":"https://old.example","pms_token":"old","pms_token_server":"https://old.example"`, "", nil, []string{"https://old.example entered"}, anyone},
		"a chosen machine":                       {foundAt + isBox + ownedBy, "SHARED", []plextv.MediaServer{box, shared}, []string{theirs}, []string{"SHARED"}},
		"the saved machine, chosen again":        {foundAt + isBox + ownedBy, "BOX", []plextv.MediaServer{impostor, box}, []string{here}, []string{"BOX"}},
		"chosen beside a typed address":          {typedAt, "BOX", []plextv.MediaServer{box}, []string{old + " entered", here}, []string{"BOX"}},
		"chosen where it was typed":              {typedAt + isBox + ownedBy, "BOX", []plextv.MediaServer{box}, []string{old + " entered", here}, []string{"BOX"}},
		"chosen, but another one was typed":      {typedAt + isBox, "OTHER", []plextv.MediaServer{other}, []string{there}, []string{"OTHER"}},
		"chosen of another owner":                {typedAt + isBox + ownedBy, "BOX", []plextv.MediaServer{impostor}, []string{"https://impostor.example:32400"}, []string{"BOX"}},
		"a chosen address":                       {foundAt + isBox + ownedBy, new, []plextv.MediaServer{box}, []string{new + " entered"}, anyone},
		"a chosen address, not checked":          {`,"verify_ssl":false`, new, nil, []string{new + " entered unchecked"}, anyone},
		"a typed address, not checked":           {typedAt + `,"verify_ssl":false`, "", nil, []string{old + " entered unchecked"}, anyone},
	} {
		t.Run(name, func(t *testing.T) {
			choice := choice.New(signedIn(t, c.saved), c.offers, c.wanted, errNone)
			require.NoError(t, choice.Target())
			assert.Equal(t, c.tried, tried(choice.Candidates))
			assert.Equal(t, c.expected, expected(choice))
		})
	}
}

// G25: no server is chosen where there is more than one, or none. The saved server stays
// if plex.tv does not list it, unless another program has named a machine without a token.
func TestNoTarget(t *testing.T) {
	box, other, shared := server("BOX", "https://box.example:32400", true), server("OTHER", "https://other.example:32400", true), server("SHARED", "https://shared.example:32400", false)
	friends := strings.Replace(ownedBy, `"owner":7`, `"owner":99`, 1)
	for name, c := range map[string]struct {
		document, wanted string
		offers           []plextv.MediaServer
		err              error
		notShared        bool
	}{
		"two own servers":                     {known(""), "", []plextv.MediaServer{box, other}, errNone, false},
		"no own server":                       {known(""), "", []plextv.MediaServer{shared}, errNone, false},
		"the own one is not listed":           {known(foundAt + isBox + ownedBy), "", []plextv.MediaServer{other}, errNone, false},
		"a friend's is not listed":            {known(foundAt + isBox + friends), "", []plextv.MediaServer{other}, errNone, true},
		"one with a token is not listed":      {known(isBox + hasPass), "", []plextv.MediaServer{other}, errNone, true},
		"nor is the account known":            {unknown(isBox + hasPass), "", []plextv.MediaServer{other}, errNone, true},
		"another's, perhaps":                  {unknown(foundAt + isBox + ownedBy), "", []plextv.MediaServer{other}, errNone, true},
		"a saved text that is no address":     {known(`,"server_url":"http://"`), "", []plextv.MediaServer{box}, mediaserver.ErrNoAddress, false},
		"even one with a token":               {known(`,"server_url":"//old.example","pms_token":"old","pms_token_server":"//old.example"`), "", nil, mediaserver.ErrNoAddress, false},
		"a chosen text that is no address":    {known(foundAt + isBox + ownedBy), "http://", []plextv.MediaServer{box}, mediaserver.ErrNoAddress, false},
		"a chosen machine that is not listed": {known(""), "my box", []plextv.MediaServer{box}, errNone, false},
	} {
		t.Run(name, func(t *testing.T) {
			search := choice.New(profileOf(t, c.document), c.offers, c.wanted, errNone)
			err := search.Target()
			require.ErrorIs(t, err, c.err)
			assert.Equal(t, c.notShared, errors.Is(err, choice.ErrNotShared))
			assert.False(t, search.Drops())
		})
	}
}

// The machine is looked for if the saved address may not be its own, and no server of the
// account answers there.
func TestFallback(t *testing.T) {
	box, other := server("BOX", "https://box.example:32400", true), server("OTHER", "https://other.example:32400", true)
	search := choice.New(signedIn(t, foundAt+isBox), []plextv.MediaServer{other, box}, "", errNone)
	require.NoError(t, search.Target())
	require.True(t, search.Fallback())
	assert.Equal(t, []string{"https://box.example:32400"}, tried(search.Candidates))
	assert.Equal(t, []string{"BOX"}, expected(search))

	search = choice.New(signedIn(t, foundAt+isBox+ownedBy), []plextv.MediaServer{other, box}, "", errNone)
	require.NoError(t, search.Target())
	assert.False(t, search.Fallback(), "they belong together")
}

// answer is what a probe finds if a machine answers at an address.
func answer(machineID, address string, expected bool) []mediaserver.Address {
	return []mediaserver.Address{{URL: address, MachineID: machineID, OK: expected}}
}

// G22: a login or a choice that was made in the meantime is not overwritten.
func TestSaveAfterAChange(t *testing.T) {
	for name, c := range map[string]struct {
		before, now string
		answers     []mediaserver.Address
	}{
		"another login":       {nothing, `{"account_token":"u"}`, answer("BOX", here, true)},
		"another account":     {known(""), strings.Replace(knownBy("u", ""), `"account_id":7`, `"account_id":8`, 1), answer("BOX", here, true)},
		"another address":     {nothing, `{"account_token":"t","server_url":"https://typed.example:32400"}`, answer("BOX", here, true)},
		"an address, box off": {nothing, `{"account_token":"t","server_url":"https://typed.example:32400"}`, nil},
		"another machine":     {nothing, `{"account_token":"t","machine_id":"OTHER"}`, answer("BOX", here, true)},
	} {
		t.Run(name, func(t *testing.T) {
			search := choice.New(profileOf(t, c.before), []plextv.MediaServer{server("BOX", here, true)}, "", errNone)
			require.NoError(t, search.Target())
			_, nothing := search.Found(c.answers)
			require.False(t, nothing)
			b := profileOf(t, c.now)
			require.ErrorIs(t, search.Save(b), profile.ErrChanged)
			stored, _ := b.Stored()
			assert.JSONEq(t, c.now, string(stored.Bytes()))
		})
	}
}
