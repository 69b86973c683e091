package sqlstore_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// docs/web.md shows the code that the example runs.
func TestWebPageShowsTheExample(t *testing.T) {
	page, err := os.ReadFile("../docs/web.md")
	require.NoError(t, err)
	example, err := os.ReadFile("example_links_test.go")
	require.NoError(t, err)
	_, shown, _ := strings.Cut(string(example), "// links connects")
	shown, _, ok := strings.Cut("// links connects"+shown, "\n// A web app in which")
	require.True(t, ok)
	assert.True(t, strings.Contains(string(page), "```go\n"+strings.TrimSpace(shown)+"\n```"), "copy the code into the page")
}

// G26: nothing is left of a person who is removed but an empty row with their name. The others
// keep what they have.
func TestPersonIsRemoved(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	plex := plextest.NewServer()
	defer plex.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client()})
	require.NoError(t, err)
	app := &links{auth, s, func(*http.Request) string { return "" }}
	tokens := map[string]string{}
	signIn := func(id string) {
		person := auth.Namespace("plex/" + id)
		pin, err := person.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, plex.Approve(pin.Code, plex.AddUser(plextest.User{Username: "user" + id})))
		_, err = person.Finish(t.Context())
		require.NoError(t, err)
		settings, err := person.Settings(t.Context())
		require.NoError(t, err)
		tokens[id] = settings.AccountToken.Secret()
	}
	signIn("1")
	signIn("2")

	require.NoError(t, app.remove(t.Context(), "1"))
	left := fmt.Sprint(f.row("plex/1"))
	for _, secret := range []string{tokens["1"], "user1", "client_id"} {
		assert.NotContains(t, left, secret)
	}
	assert.Nil(t, f.row("plex/1").document)
	requireListed(t, []string{"plex/2"}, s, "plex/")
	status, err := auth.Namespace("plex/1").Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, plexauth.Status{Label: "Plex", Instance: "default"}, status)
	_, err = auth.Namespace("plex/1").Token(t.Context())
	require.ErrorIs(t, err, plexauth.ErrNotConnected)
	status, err = auth.Namespace("plex/2").Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, status.Connected)
	signIn("1") // as a new person

	// While plex.tv is down the document goes all the same, and the error says that the token stays.
	plex.Inject(plextest.Fault{Status: http.StatusBadGateway, Times: -1})
	require.ErrorIs(t, app.remove(t.Context(), "2"), plexauth.ErrUnavailable)
	assert.Nil(t, f.row("plex/2").document)
}

// One damaged document does not hide the people behind it, and the error names it.
func TestNeedLoginBesideADamagedDocument(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	plex := plextest.NewServer()
	defer plex.Close()
	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client()})
	require.NoError(t, err)
	app := &links{auth, s, func(*http.Request) string { return "" }}
	for i := range 5 {
		person := auth.Namespace(fmt.Sprint("plex/", i))
		_, err := person.Adopt(t.Context(), plexauth.NewToken(plex.IssueToken(plex.AddUser(plextest.User{}), fmt.Sprint("device", i))), plexauth.AdoptOptions{ClientID: fmt.Sprint("device", i)})
		require.NoError(t, err)
		plex.RevokeDevice(fmt.Sprint("device", i))
		_, err = person.Verify(t.Context())
		require.ErrorIs(t, err, plexauth.ErrTokenRejected)
	}
	for name, text := range map[string]string{"plex/1": `{"account_token":`, "plex/3": `[]`} {
		r := f.row(name)
		r.document = text
		f.rows[name] = r
	}
	ids, err := app.needLogin(t.Context())
	assert.Equal(t, []string{"0", "2", "4"}, ids)
	require.ErrorIs(t, err, plexauth.ErrCorruptConfig)
	assert.ErrorContains(t, err, `"plex/1"`)
	assert.ErrorContains(t, err, `"plex/3"`)

	reads := 0
	f.fault = func(string) (before, after error) {
		if reads++; reads > 2 { // the list, and the first person
			return errors.New("unable to open database file"), nil
		}
		return nil, nil
	}
	ids, err = app.needLogin(t.Context())
	require.ErrorContains(t, err, "cannot be opened")
	assert.Equal(t, []string{"0"}, ids)
	assert.Equal(t, 3, reads, "a database that is down is not asked about each person")
}
