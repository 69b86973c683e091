package plextest_test

import (
	"encoding/xml"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

func TestAddUserFillsIn(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	assert.Equal(t, "alice@example.com", alice.Email)
	assert.Equal(t, "alice", alice.Title)
	assert.Regexp(t, `^[0-9a-f]{16}$`, alice.UUID)
	assert.Positive(t, alice.ID)
	kid := srv.AddUser(plextest.User{Title: "Kids", Restricted: true, HomeAdmin: alice})
	assert.Empty(t, kid.Username)
	assert.Empty(t, kid.Email)
	assert.Equal(t, "Kids", kid.FriendlyName)
	assert.NotEqual(t, alice.ID, kid.ID)
	assert.NotEqual(t, alice.UUID, kid.UUID)
}

func TestUser(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice", PlexPass: true})
	kid := srv.AddUser(plextest.User{Title: "Kids", Restricted: true, HomeAdmin: alice})
	a := newAPI(srv)

	status, body := a.do(t, "GET", "/api/v2/user", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Contains(t, body, "1001")

	a = a.as(srv.IssueToken(alice, a.clientID))
	status, body = a.do(t, "GET", "/api/v2/user", "")
	require.Equal(t, http.StatusOK, status)
	got := decode[map[string]any](t, body)
	assert.EqualValues(t, alice.ID, got["id"])
	assert.Equal(t, "alice", got["username"])
	assert.Equal(t, a.token, got["authToken"])
	assert.Equal(t, true, got["homeAdmin"])
	assert.EqualValues(t, 2, got["homeSize"])
	assert.Equal(t, []any{"plexpass"}, got["roles"])
	assert.Equal(t, true, got["subscription"].(map[string]any)["active"])
	for _, name := range []string{"adsConsent", "adsConsentSetAt", "adsConsentReminderAt"} {
		assert.Contains(t, got, name)
		assert.Nil(t, got[name], name)
	}

	srv.ChangeUser(alice, func(u *plextest.User) { u.Email = "new@example.com" })
	_, body = a.do(t, "GET", "/api/v2/user", "")
	assert.Equal(t, "new@example.com", decode[map[string]any](t, body)["email"])

	_, body = newAPI(srv).as(srv.IssueToken(kid, a.clientID)).do(t, "GET", "/api/v2/user", "")
	got = decode[map[string]any](t, body)
	assert.Equal(t, "", got["username"])
	assert.Equal(t, true, got["restricted"])
	assert.Equal(t, false, got["homeAdmin"])
	assert.NotContains(t, got, "roles", "free accounts have no roles")
	assert.Empty(t, srv.Violations())
}

func TestUserInXML(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "a&b", PlexPass: true})
	a := newAPI(srv)
	a.accept = "*/*"
	_, body := a.as(srv.IssueToken(alice, a.clientID)).do(t, "GET", "/api/v2/user", "")
	var u struct {
		XMLName      xml.Name `xml:"user"`
		Username     string   `xml:"username,attr"`
		Restricted   string   `xml:"restricted,attr"`
		Subscription struct {
			Active   string `xml:"active,attr"`
			Features []struct {
				ID string `xml:"id,attr"`
			} `xml:"features>feature"`
		} `xml:"subscription"`
	}
	require.NoError(t, xml.Unmarshal([]byte(body), &u))
	assert.Equal(t, "a&b", u.Username)
	assert.Equal(t, "0", u.Restricted)
	assert.Equal(t, "1", u.Subscription.Active)
	assert.Equal(t, "home", u.Subscription.Features[0].ID)
}

func TestPingAndSignOut(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	a := newAPI(srv)
	a = a.as(srv.IssueToken(alice, a.clientID))
	status, body := a.do(t, "GET", "/api/v2/ping", "")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"pong":true}`, body)
	status, body = a.do(t, "DELETE", "/api/v2/users/signout", "")
	assert.Equal(t, http.StatusNoContent, status)
	assert.Empty(t, body)
	assert.Empty(t, srv.Token(alice, a.clientID))
	status, _ = a.do(t, "GET", "/api/v2/ping", "")
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestRevokeEndsAllTokensOfAUser(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice, bob := srv.AddUser(plextest.User{Username: "alice"}), srv.AddUser(plextest.User{Username: "bob"})
	a := newAPI(srv)
	one, two, bobs := srv.IssueToken(alice, "one"), srv.IssueToken(alice, "two"), srv.IssueToken(bob, "one")
	srv.Revoke(alice)
	for token, want := range map[string]int{one: 401, two: 401, bobs: 200} {
		status, _ := a.as(token).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, want, status)
	}
}

func TestUnknownPath(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	status, body := newAPI(srv).do(t, "GET", "/api/v2/nothing/here", "")
	assert.Equal(t, http.StatusNotFound, status)
	assert.Contains(t, body, "1002")
}
