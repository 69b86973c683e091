package plextest_test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

func TestHomeUsers(t *testing.T) {
	h := newHousehold(t)
	type home struct {
		ID    int64
		Name  string
		Users []struct {
			ID               int64
			UUID, Title      string
			Username         *string
			Admin, Protected bool
			Restricted       bool
		}
	}
	for _, u := range []*plextest.User{h.alice, h.kid} {
		status, body := h.a.as(h.srv.IssueToken(u, h.a.clientID)).do(t, "GET", "/api/v2/home/users", "")
		require.Equal(t, http.StatusOK, status)
		got := decode[home](t, body)
		require.Len(t, got.Users, 3, "every member sees the same home")
		assert.Equal(t, "alice's Home", got.Name)
		assert.Equal(t, h.alice.UUID, got.Users[0].UUID)
		assert.True(t, got.Users[0].Admin)
		assert.True(t, got.Users[0].Protected)
		assert.Nil(t, got.Users[1].Username, "null for managed users")
		assert.True(t, got.Users[1].Restricted)
		assert.False(t, got.Users[1].Protected)
	}
	_, body := h.a.as(h.srv.IssueToken(h.bob, h.a.clientID)).do(t, "GET", "/api/v2/home/users", "")
	require.Len(t, decode[home](t, body).Users, 1)

	h.a.accept = "-"
	_, body = h.a.as(h.srv.IssueToken(h.alice, h.a.clientID)).do(t, "GET", "/api/v2/home/users", "")
	var inXML struct {
		XMLName xml.Name `xml:"home"`
		Users   []struct {
			Title string `xml:"title,attr"`
		} `xml:"users>user"`
	}
	require.NoError(t, xml.Unmarshal([]byte(body), &inXML))
	assert.Len(t, inXML.Users, 3)
}

func TestSwitchHomeUser(t *testing.T) {
	h := newHousehold(t)
	to := func(who any, query string) (int, string) {
		return h.a.do(t, "POST", fmt.Sprintf("/api/v2/home/users/%v/switch%s", who, query), "")
	}
	type user struct {
		ID        int64
		AuthToken string
	}
	status, body := to(h.kid.UUID, "")
	require.Equal(t, http.StatusCreated, status)
	got := decode[user](t, body)
	assert.Equal(t, h.kid.ID, got.ID)
	assert.Equal(t, h.srv.Token(h.kid, h.a.clientID), got.AuthToken)
	assert.Equal(t, http.StatusOK, statusOf(h.a.as(got.AuthToken).do(t, "GET", "/api/v2/user", "")))
	assert.Equal(t, http.StatusOK, statusOf(h.a.do(t, "GET", "/api/v2/user", "")), "alice's own token remains valid")

	for _, query := range []string{"", "?pin=", "?pin=0000"} {
		status, body = to(h.carol.UUID, query)
		assert.Equal(t, http.StatusForbidden, status)
		assert.JSONEq(t, `{"errors":[{"code":1041,"message":"A valid PIN is required to perform this action","status":403}]}`, body)
	}
	status, _ = to(h.carol.UUID, "?pin=9876")
	assert.Equal(t, http.StatusCreated, status)

	for _, who := range []any{h.kid.ID, h.bob.UUID, "0000000000000000"} {
		status, body = to(who, "")
		assert.Equal(t, http.StatusNotFound, status)
		assert.Contains(t, body, "1002")
	}
	assert.Empty(t, h.srv.Violations())
	for _, r := range h.srv.Requests() {
		assert.NotContains(t, r.String(), "9876")
	}
}

func TestLegacyCalls(t *testing.T) {
	h := newHousehold(t)
	h.srv.AddMediaServer(h.alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	status, body := h.a.do(t, "GET", "/api/home/users", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, `<User id="`)
	assert.Contains(t, body, `size="3"`)
	status, body = h.a.do(t, "POST", fmt.Sprintf("/api/home/users/%d/switch?pin=9876", h.carol.ID), "")
	assert.Equal(t, http.StatusCreated, status)
	assert.Contains(t, body, `authenticationToken="`+h.srv.Token(h.carol, h.a.clientID)+`"`)
	status, body = h.a.do(t, "POST", fmt.Sprintf("/api/home/users/%d/switch", h.carol.ID), "")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Contains(t, body, "Incorrect PIN")
	status, body = h.a.do(t, "GET", "/api/resources?includeHttps=1", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Regexp(t, `<Device name="Box".* owned="1".*><Connection protocol="https"`, body)
	status, body = h.a.do(t, "GET", "/users/account.json", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, `{"user":{"id":`)
	status, body = h.a.as("nonsense").do(t, "GET", "/users/account", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Contains(t, body, "Invalid authentication token.")
}
