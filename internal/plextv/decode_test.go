package plextv_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
)

// G4: fields that drifted, and fields that are new, break nothing.
func TestReadAccount(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want plextv.User
	}{
		"whole": {`{"id":7,"uuid":"ab","username":"alice","title":"Alice","email":"alice@example.com","friendlyName":"A","thumb":"https://plex.tv/a","home":true,"homeAdmin":true,"guest":false,"restricted":false,"protected":true,"subscription":{"active":true},"new":{}}`,
			plextv.User{ID: 7, UUID: "ab", Username: "alice", Title: "Alice", Email: "alice@example.com", FriendlyName: "A", Thumb: "https://plex.tv/a", Home: true, HomeAdmin: true, Protected: true, PlexPass: true}},
		"a subscription of more fields": {`{"id":7,"subscription":{"status":"Active","active":true,"trial":false}}`, plextv.User{ID: 7, PlexPass: true}},
		"drifted": {`{"id":"7","username":5,"title":null,"home":1,"homeAdmin":"true","subscription":[]}`,
			plextv.User{ID: 7, Username: "5", Home: true, HomeAdmin: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(reply{status: 200, body: tc.body})
			u, err := c.ReadAccount(t.Context(), token, clientID, true)
			require.NoError(t, err)
			assert.Equal(t, tc.want, *u)
		})
	}
}

// A managed user has no username.
func TestDisplayName(t *testing.T) {
	assert.Equal(t, "u", (&plextv.User{Username: "u", Title: "t", FriendlyName: "f"}).DisplayName())
	assert.Equal(t, "t", (&plextv.User{Title: "t", FriendlyName: "f"}).DisplayName())
	assert.Equal(t, "f", (&plextv.User{FriendlyName: "f"}).DisplayName())
}

// A Home user who cannot be switched to is left out.
func TestHomeUsers(t *testing.T) {
	c, _ := answering(reply{status: 200, body: `{"users":[
		{"id":"1","uuid":"a","title":"Alice","admin":1,"protected":"1"},
		{"id":2,"uuid":"b","friendlyName":"Bob","restricted":true},
		{"id":3,"title":"no uuid"},
		{"uuid":"c","title":"no number"}]}`})
	users, err := c.HomeUsers(t.Context(), token, clientID)
	require.NoError(t, err)
	assert.Equal(t, []plextv.HomeUser{
		{ID: 1, UUID: "a", Title: "Alice", Admin: true, Protected: true},
		{ID: 2, UUID: "b", Title: "Bob", Restricted: true},
	}, users)
	for _, body := range []string{`{}`, `{"users":null}`, `[]`, `{"users":[`} {
		c, _ := answering(reply{status: 200, body: body})
		_, err := c.HomeUsers(t.Context(), token, clientID)
		assert.Error(t, err, body)
	}
}

func TestFindHomeUser(t *testing.T) {
	users := []plextv.HomeUser{{ID: 1, UUID: "a"}, {ID: 2, UUID: "b"}}
	u, err := plextv.FindHomeUser(users, "b")
	require.NoError(t, err)
	assert.Equal(t, users[1], u)
	_, err = plextv.FindHomeUser(users, "c")
	assert.ErrorIs(t, err, plextv.ErrNoSuchUser)
}

// G13: a Home PIN travels in the URL of a switch, and no error shows it.
func TestHomePINOfASwitch(t *testing.T) {
	query := ""
	c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		query = r.URL.RawQuery
		return nil, errors.New("no route to " + r.URL.String())
	})}})
	_, _, err := c.SwitchUser(t.Context(), token, clientID, plextv.HomeUser{UUID: "u1"}, "12 3+4")
	assert.Equal(t, "pin=12%203%2B4", query)
	assert.NotContains(t, err.Error(), "12%203")
	_, _, err = c.SwitchUser(t.Context(), token, clientID, plextv.HomeUser{UUID: "u1"}, "")
	assert.Error(t, err)
	assert.Empty(t, query)
}

// plex.tv's word on a Home PIN is not one on the token, and says which of the two is the case.
func TestHomePINIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		reply reply
		isPIN bool
	}{
		"a code":                  {reply{status: 403, body: plexError("1041", "x")}, true},
		"another code":            {reply{status: 400, body: plexError("1038", "x")}, true},
		"words of older parts":    {reply{status: 401, body: plexError("0", "Incorrect PIN")}, true},
		"words with 403":          {reply{status: 403, body: plexError("0", "A valid pin is required")}, true},
		"words with another code": {reply{status: 401, body: plexError("1001", "Incorrect PIN")}, false},
		"words with 400":          {reply{status: 400, body: plexError("0", "Incorrect PIN")}, false},
		"other words":             {reply{status: 401, body: plexError("0", "Unauthorized")}, false},
	} {
		for call, says := range map[string]string{"switch": "is wrong", "switch without PIN": "is missing"} {
			c, _ := answering(tc.reply)
			err := calls[call](t.Context(), c, t)
			require.Error(t, err, name)
			assert.Equal(t, tc.isPIN, errors.Is(err, fault.ErrHomePin), "%s: %v", name, err)
			if tc.isPIN {
				assert.ErrorContains(t, err, says, name)
				assert.False(t, plextv.FailureIn(err).Temporary, name)
			}
		}
	}
}

// A user whose number is not known is the one with the UUID.
func TestSwitchUserByUUID(t *testing.T) {
	c, _ := answering(reply{status: 201, body: `{"id":9,"uuid":"u1","authToken":"tok-9"}`})
	got, account, err := c.SwitchUser(t.Context(), token, clientID, plextv.HomeUser{UUID: "u1"}, "")
	require.NoError(t, err)
	assert.Equal(t, "tok-9", got.Secret())
	assert.EqualValues(t, 9, account)
}

// A switch brings a token of the user who was asked for, or fails.
func TestSwitchUser(t *testing.T) {
	for name, tc := range map[string]struct {
		body    string
		account int64
		fails   string
	}{
		"the user":               {`{"id":"9","uuid":"u1","authToken":" tok-9 "}`, 9, ""},
		"no number":              {`{"authToken":"tok-9"}`, 0, ""},
		"another user":           {`{"id":9,"uuid":"u2","authToken":"tok-9"}`, 0, "another user"},
		"another number":         {`{"id":8,"uuid":"u1","authToken":"tok-9"}`, 0, "another user"},
		"the user's number is 0": {`{"id":0,"uuid":"u1","authToken":"tok-9"}`, 0, ""},
		"no token":               {`{"id":9,"uuid":"u1"}`, 0, "no token"},
		"broken":                 {`{"id":9,"authToken":"tok`, 0, "not the JSON"},
		"no JSON":                {page, 0, "HTML"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(reply{status: 201, body: tc.body})
			got, account, err := c.SwitchUser(t.Context(), token, clientID, plextv.HomeUser{ID: 9, UUID: "u1"}, "")
			if tc.fails != "" {
				assert.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "tok-9", got.Secret())
			assert.Equal(t, tc.account, account)
		})
	}
}

// The account's own servers come first, then those of its Home. Other devices are left out,
// and a JWT does not serve as a server's token.
func TestReadServers(t *testing.T) {
	c, _ := answering(reply{status: 200, body: `[
		{"name":"Friend","clientIdentifier":"m3","provides":"server","ownerId":"8","sourceTitle":"Bob","accessToken":"tok-3"},
		{"name":"Player","clientIdentifier":"p1","provides":"client,player"},
		{"name":"Home","clientIdentifier":"m2","provides":"client, server","home":1,"accessToken":"eyJhbGciOiJFZERTQSJ9.e30.x"},
		{"name":"Own","clientIdentifier":"m1","provides":"server","owned":"1","accessToken":" tok-1 ","httpsRequired":true,"connections":[
			{"uri":"https://a.example:32400/","address":"10.0.0.1","port":"32400","local":1},
			{"address":"10.0.0.2"}]},
		{"name":"No identifier","provides":"server"},
		{"name":"Damaged","clientIdentifier":"m4","provides":"server","ownerId":9,"accessToken":"tok 4"},
		5]`})
	servers, err := c.ReadServers(t.Context(), token, clientID)
	require.NoError(t, err)
	var names, tokens []string
	for _, s := range servers {
		names, tokens = append(names, s.Name), append(tokens, s.Token.Secret())
		assert.NotNil(t, s.Connections)
	}
	assert.Equal(t, []string{"Own", "Home", "Friend", "Damaged"}, names)
	assert.Equal(t, []string{"tok-1", "", "tok-3", ""}, tokens)
	assert.Equal(t, []plextv.Connection{{URI: "https://a.example:32400", Address: "10.0.0.1", Port: 32400, Local: true}}, servers[0].Connections)
	assert.True(t, servers[0].HTTPSRequired && servers[1].OnlyJWT && !servers[2].OnlyJWT)
	assert.EqualValues(t, 7, servers[0].OwnedBy(7))
	assert.EqualValues(t, 8, servers[2].OwnedBy(7))
	assert.Zero(t, (*plextv.MediaServer)(nil).OwnedBy(7), "no server has no owner")
}

// An answer that is no JSON is told from JSON without what was asked for.
func TestBrokenAnswers(t *testing.T) {
	for name, read := range map[string]func(*plextv.Client) error{
		"servers": func(c *plextv.Client) error { _, err := c.ReadServers(t.Context(), token, clientID); return err },
		"users":   func(c *plextv.Client) error { _, err := c.HomeUsers(t.Context(), token, clientID); return err },
	} {
		for body, says := range map[string]string{`[{"name":`: "not the JSON that was asked for", `null`: "no list where"} {
			c, _ := answering(reply{status: 200, body: body})
			assert.ErrorContains(t, read(c), says, "%s: %s", name, body)
		}
	}
}

// A media server's own answers are told from those of a proxy before it.
func TestServerStates(t *testing.T) {
	const own = `<Response code="503" title="Maintenance" status="starting"/>`
	for status, want := range map[int]struct{ own, foreign plextv.ServerState }{
		400: {plextv.ServerFailing, plextv.ServerUnknown},
		404: {plextv.ServerFailing, plextv.ServerUnknown},
		500: {plextv.ServerFailing, plextv.ServerUnknown},
		501: {plextv.ServerFailing, plextv.ServerUnknown},
		502: {plextv.ServerFailing, plextv.ServerBehindProxy},
		503: {plextv.ServerStarting, plextv.ServerBehindProxy},
		504: {plextv.ServerFailing, plextv.ServerBehindProxy},
		505: {plextv.ServerFailing, plextv.ServerUnknown},
		519: {plextv.ServerFailing, plextv.ServerUnknown},
		520: {plextv.ServerFailing, plextv.ServerBehindProxy},
		530: {plextv.ServerFailing, plextv.ServerBehindProxy},
		531: {plextv.ServerFailing, plextv.ServerUnknown},
	} {
		state := func(r reply) plextv.ServerState {
			r.status = status
			c, _ := answering(r)
			f := plextv.FailureIn(calls["server"](t.Context(), c, t))
			require.NotNil(t, f, status)
			return f.State
		}
		assert.Equal(t, want.own, state(reply{body: own}), "%d", status)
		assert.Equal(t, want.own, state(reply{header: http.Header{"X-Plex-Protocol": {"1.0"}}}), "%d", status)
		assert.Equal(t, want.own, state(reply{body: own, header: http.Header{"Server": {"nginx"}}}), "%d", status)
		assert.Equal(t, want.foreign, state(reply{header: http.Header{"Server": {"nginx"}}}), "%d", status)
	}
}

// A sign-out is confirmed by an empty answer or by JSON, but not by an error with status 200.
func TestRevokeIsConfirmed(t *testing.T) {
	for body, ok := range map[string]bool{
		"": true, " \n": true, `{}`: true, `true`: true, page: false, `{"a":`: false, `{"errors":[{"code":1,"message":"no"}]}`: false,
	} {
		c, _ := answering(reply{status: 200, body: body})
		assert.Equal(t, ok, c.Revoke(t.Context(), token, clientID) == nil, body)
	}
}

// Anything but a list is not an answer, but an empty list is one.
func TestReadServersAnswer(t *testing.T) {
	for body, ok := range map[string]bool{`[]`: true, `null`: false, `{}`: false, page: false, ``: false} {
		c, _ := answering(reply{status: 200, body: body})
		_, err := c.ReadServers(t.Context(), token, clientID)
		assert.Equal(t, ok, err == nil, body)
	}
}
