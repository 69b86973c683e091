package plextest_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

// row has the attributes that clients read from an element of a list.
type row struct {
	ID                int64  `xml:"id,attr"`
	Title             string `xml:"title,attr"`
	Username          string `xml:"username,attr"`
	Home              int    `xml:"home,attr"`
	Restricted        int    `xml:"restricted,attr"`
	Name              string `xml:"name,attr"`
	Product           string `xml:"product,attr"`
	ClientIdentifier  string `xml:"clientIdentifier,attr"`
	MachineIdentifier string `xml:"machineIdentifier,attr"`
	Token             string `xml:"token,attr"`
	AccessToken       string `xml:"accessToken,attr"`
	UserID            int64  `xml:"userID,attr"`
	CreatedAt         string `xml:"createdAt,attr"`
	LastSeenAt        string `xml:"lastSeenAt,attr"`
	URI               string `xml:"uri,attr"`
	Key               string `xml:"key,attr"`
	Rows              []row  `xml:",any"`
}

type rows struct {
	XMLName xml.Name
	Size    *int  `xml:"size,attr"`
	Rows    []row `xml:",any"`
}

// list requests a list as other clients do, and checks its size attributes.
func (a *api) list(t *testing.T, path string) []row {
	t.Helper()
	a.accept = "*/*"
	status, body := a.do(t, "GET", path, "")
	require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
	var l rows
	require.NoError(t, xml.Unmarshal([]byte(body), &l), body)
	assert.Equal(t, "MediaContainer", l.XMLName.Local)
	if l.Size != nil {
		assert.Len(t, l.Rows, *l.Size)
	}
	return l.Rows
}

func column[T any](rows []row, of func(row) T) (all []T) {
	for _, r := range rows {
		all = append(all, of(r))
	}
	return all
}

// TestFriends checks that the list has the members of the Plex Home and all users
// with a share, each with the servers that they may use.
func TestFriends(t *testing.T) {
	plex := plextest.NewServer()
	defer plex.Close()
	alice, bob := plex.AddUser(plextest.User{Username: "alice"}), plex.AddUser(plextest.User{Username: "bob"})
	plex.AddUser(plextest.User{Title: "Kids", Restricted: true, HomeAdmin: alice})
	carol := plex.AddUser(plextest.User{Username: "carol"})
	plex.AddUser(plextest.User{Username: "eve"})
	box := plex.AddMediaServer(alice, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{bob}})
	plex.AddMediaServer(alice, plextest.MediaServer{Name: "Cabin", SharedWith: []*plextest.User{bob, carol}})
	plex.AddMediaServer(bob, plextest.MediaServer{Name: "Bob's", SharedWith: []*plextest.User{alice}})
	plex.AddMediaServer(alice, plextest.MediaServer{Name: "TV", Provides: "client,player"})

	client := newAPI(plex).as(plex.IssueToken(alice, "test-client-0001"))
	for _, path := range []string{"/api/users", "/api/users/", "/pms/friends/all"} {
		users := client.list(t, path)
		assert.Equal(t, []string{"bob", "Kids", "carol"}, column(users, func(r row) string { return r.Title }))
		assert.Equal(t, []int{0, 1, 0}, column(users, func(r row) int { return r.Home }))
		assert.Equal(t, []int{0, 1, 0}, column(users, func(r row) int { return r.Restricted }))
		assert.Equal(t, bob.ID, users[0].ID)
		assert.Equal(t, "bob", users[0].Username)
		assert.Equal(t, []string{"Box", "Cabin"}, column(users[0].Rows, func(r row) string { return r.Name }))
		assert.Equal(t, []string{"Cabin"}, column(users[2].Rows, func(r row) string { return r.Name }))
		assert.Equal(t, box.MachineID, users[0].Rows[0].MachineIdentifier)
		assert.Regexp(t, `^\d{9,}$`, users[0].Rows[0].LastSeenAt)
	}
	assert.Equal(t, []string{"alice"}, column(newAPI(plex).as(plex.IssueToken(bob, "test-client-0001")).list(t, "/api/users"), func(r row) string { return r.Title }))

	shares := client.list(t, "/api/servers/"+box.MachineID+"/shared_servers")
	assert.Equal(t, bob.ID, shares[0].UserID)
	assert.Empty(t, shares[0].AccessToken)
	assert.Equal(t, "1", shares[0].Rows[0].Key)
	one := client.list(t, fmt.Sprintf("/api/servers/%s/shared_servers/%d", box.MachineID, client.list(t, "/api/users")[0].Rows[0].ID))
	assert.Equal(t, bob.ID, one[0].UserID)
	assert.Len(t, one, 1)

	servers := client.list(t, "/api/servers")
	assert.Equal(t, []string{"Box", "Cabin"}, column(servers, func(r row) string { return r.Name }))
	assert.Equal(t, plex.ServerToken(alice, box), servers[0].AccessToken)
	assert.Equal(t, "Films", client.list(t, "/api/servers/"+box.MachineID)[0].Rows[0].Title)
	assert.Empty(t, client.list(t, "/api/invites/requested"))
	assert.Empty(t, client.list(t, "/api/invites/requests/"))

	for path, want := range map[string]int{
		"/api/servers/none": 404, "/api/servers/none/shared_servers": 404, "/api/servers/" + box.MachineID + "/shared_servers/1": 404, "/api/v2/user/webhooks": 403,
	} {
		status, _ := client.do(t, "GET", path, "")
		assert.Equal(t, want, status, path)
	}
	for _, path := range []string{"/api/users", "/pms/friends/all", "/devices.xml", "/devices.json", "/api/servers", "/api/servers/" + box.MachineID, "/api/invites/requests"} {
		status, _ := newAPI(plex).as("FAKE_tok-unknown-0000").do(t, "GET", path, "")
		assert.Equal(t, http.StatusUnauthorized, status, path)
	}
}

// TestDevices checks that the list has the user's servers, players and clients. A
// client that is removed loses its token.
func TestDevices(t *testing.T) {
	plex := plextest.NewServer()
	defer plex.Close()
	alice, bob := plex.AddUser(plextest.User{Username: "alice"}), plex.AddUser(plextest.User{Username: "bob"})
	box := plex.AddMediaServer(alice, plextest.MediaServer{Name: "Box", SharedWith: []*plextest.User{bob}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}, {Address: "192.168.1.6", Unlisted: true}}})
	other := newAPI(plex).from("test-client-0002")
	code := other.createPin(t).Code
	require.NoError(t, plex.Approve(code, alice))
	plex.IssueToken(bob, "test-client-0003")
	client := newAPI(plex).as(plex.IssueToken(alice, "test-client-0001"))

	devices := client.list(t, "/devices.xml")
	assert.Equal(t, []string{box.MachineID, "test-client-0001", "test-client-0002"}, column(devices, func(r row) string { return r.ClientIdentifier }))
	assert.Equal(t, []string{"Box", "test-client-0001", "Test App"}, column(devices, func(r row) string { return r.Name }))
	assert.Equal(t, []string{"", client.token, ""}, column(devices, func(r row) string { return r.Token }), "the list does not show the tokens of other clients")
	assert.Len(t, devices[0].Rows, 1)
	assert.Contains(t, devices[0].Rows[0].URI, "192-168-1-5")
	for _, d := range devices {
		for _, at := range []string{d.CreatedAt, d.LastSeenAt} {
			_, err := strconv.ParseInt(at, 10, 64)
			assert.NoError(t, err)
		}
	}

	status, body := client.do(t, "GET", "/devices.json", "")
	require.Equal(t, http.StatusOK, status, body)
	var listed []struct {
		ID               int64
		Name             string
		ClientIdentifier string
		Token            string
		CreatedAt        time.Time
		Connections      []struct{ URI string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &listed), body)
	require.Len(t, listed, len(devices))
	for i, d := range listed {
		assert.Equal(t, []any{devices[i].ID, devices[i].Name, devices[i].ClientIdentifier, devices[i].Token}, []any{d.ID, d.Name, d.ClientIdentifier, d.Token})
		assert.False(t, d.CreatedAt.IsZero())
		assert.Len(t, d.Connections, len(devices[i].Rows))
	}

	status, _ = client.do(t, "DELETE", "/devices/1.xml", "")
	assert.Equal(t, http.StatusNotFound, status)
	status, _ = client.do(t, "DELETE", fmt.Sprintf("/devices/%d.xml", devices[2].ID), "")
	assert.Equal(t, http.StatusOK, status)
	assert.Empty(t, plex.Token(alice, "test-client-0002"))
	assert.Len(t, client.list(t, "/devices.xml"), 2)
	assert.NotEmpty(t, plex.Token(bob, "test-client-0003"))
}

// plex.tv's XML has three forms of dates, and clients parse all of them.
func TestDatesInXML(t *testing.T) {
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice", PlexPass: true})
	plex.AddMediaServer(alice, plextest.MediaServer{})
	client := newAPI(plex).as(plex.IssueToken(alice, "test-client-0001"))
	client.accept = "-"
	const rfc3339, seconds, spaced = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, `\d{9,}`, `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`
	for _, c := range []struct{ method, path, attribute, form string }{
		{"GET", "/api/v2/resources", "createdAt", rfc3339},
		{"GET", "/api/v2/resources", "lastSeenAt", rfc3339},
		{"GET", "/api/resources", "createdAt", seconds},
		{"GET", "/pms/resources.xml", "lastSeenAt", seconds},
		{"POST", "/api/v2/pins", "createdAt", spaced},
		{"POST", "/api/v2/pins", "expiresAt", spaced},
		{"GET", "/api/v2/user", "subscribedAt", spaced},
		{"GET", "/api/v2/user", "joinedAt", seconds},
	} {
		_, body := client.do(t, c.method, c.path, "")
		assert.Regexp(t, " "+c.attribute+`="`+c.form+`"`, body, c.path)
	}
}

// A media server refuses its list of accounts to users who do not own it, in all
// ways that real servers were seen to use.
func TestAccountsRefusal(t *testing.T) {
	plex := plextest.NewServer()
	defer plex.Close()
	alice, bob := plex.AddUser(plextest.User{Username: "alice"}), plex.AddUser(plextest.User{Username: "bob"})
	box := plex.AddMediaServer(alice, plextest.MediaServer{SharedWith: []*plextest.User{bob}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	for _, status := range []int{0, 401, 403, 404} {
		for _, header := range []bool{false, true} {
			plex.ChangeMediaServer(box, func(m *plextest.MediaServer) { m.AccountsRefusal, m.PlexHeader = status, header })
			ask := func(token, path string) *http.Response {
				client := newAPI(plex).as(token)
				resp, _ := client.send(t, client.new(t, "GET", "http://192.168.1.5:32400"+path, ""))
				assert.Equal(t, header, resp.Header.Get("X-Plex-Protocol") == "1.0")
				return resp
			}
			want := status
			if want == 0 {
				want = 401
			}
			assert.Equal(t, want, ask(plex.ServerToken(bob, box), "/accounts").StatusCode)
			assert.Equal(t, http.StatusOK, ask(plex.ServerToken(bob, box), "/").StatusCode)
			assert.Equal(t, http.StatusOK, ask(plex.ServerToken(alice, box), "/accounts").StatusCode)
			assert.Equal(t, http.StatusUnauthorized, ask("FAKE_tok-unknown-0000", "/accounts").StatusCode)
			assert.Equal(t, http.StatusOK, ask("", "/identity").StatusCode)
		}
	}
}
