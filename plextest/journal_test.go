package plextest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/canary"
	"github.com/plexauth/plexauth/plextest"
)

func TestJournalTellsAllButSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		alice := srv.AddUser(plextest.User{Username: "alice"})
		a := newAPI(srv)
		p := a.createPin(t)
		require.NoError(t, srv.Approve(p.Code, alice))
		token := srv.Token(alice, a.clientID)
		time.Sleep(time.Second)
		a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d?code=%s&deviceJWT=abc", p.ID, p.Code), "")
		a.as(token).do(t, "GET", "/api/v2/user", "")
		srv.Revoke(alice)
		a.as(token).do(t, "GET", "https://clients.plex.tv/api/v2/user?X-Plex-Token="+token, "")
		srv.Inject(plextest.Fault{Reset: true})
		_, err := a.client.Do(a.as("stranger's token").new(t, "GET", "/api/v2/ping", ""))
		require.Error(t, err)

		var lines []string
		for _, r := range srv.Requests() {
			lines = append(lines, r.String())
		}
		all := strings.Join(lines, "\n")
		assert.Equal(t, `00:00:00.000 POST plex.tv/api/v2/pins 201
00:00:01.000 GET plex.tv/api/v2/pins/{id}?code=`+p.Code+`&deviceJWT=REDACTED 422/1008
00:00:01.000 GET plex.tv/api/v2/user [account alice] 200
00:00:01.000 GET clients.plex.tv/api/v2/user?X-Plex-Token=REDACTED [account alice (ended)] 401/1001
00:00:01.000 GET plex.tv/api/v2/ping [unknown] broken`, all)
		c := canary.New()
		c.Add("token", token)
		c.Add("PIN id", fmt.Sprint(p.ID))
		c.Add("token", "stranger's token")
		all += canary.Forms(srv.Requests()) + canary.Forms(srv.Requests()[3]) + canary.Forms(srv.Violations())
		assert.Empty(t, c.Search().In(all, true))
		first := srv.Requests()[0]
		assert.Equal(t, "Test App", first.Header.Get("X-Plex-Product"))
		assert.Equal(t, http.StatusCreated, first.Status)
	})
}

func TestViolations(t *testing.T) {
	const look = "GET plex.tv/api/v2/pins/{id}: "
	for name, test := range map[string]struct {
		do   func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User)
		want []string
	}{
		"Accept": {func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			for _, accept := range []string{"-", "application/json, text/plain, */*", "application/JSON"} {
				a.accept = accept
				a.do(t, "POST", "/api/v2/pins", "")
			}
		}, []string{"POST plex.tv/api/v2/pins: Accept is not exactly application/json (3 times)"}},
		"header text": {func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			r := a.new(t, "POST", "/api/v2/pins", "")
			r.Header.Set("X-Plex-Device-Name", "caf\xe9")
			a.send(t, r)
		}, []string{"POST plex.tv/api/v2/pins: X-Plex-Device-Name is not UTF-8"}},
		"token in URL": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			a.do(t, "GET", "/api/v2/user?X-Plex-Token="+srv.IssueToken(alice, a.clientID), "")
		}, []string{"GET plex.tv/api/v2/user: a token is in the URL"}},
		"token in path": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			a.do(t, "GET", "/api/v2/"+srv.IssueToken(alice, a.clientID), "")
		}, []string{"GET plex.tv/api/v2/REDACTED: a secret is in the URL"}},
		"token in body": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			a.do(t, "POST", "/api/v2/pins", `{"token":"`+srv.IssueToken(alice, a.clientID)+`"}`)
		}, []string{"POST plex.tv/api/v2/pins: a secret is in a body that must not contain it"}},
		"fast polling": {func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			p := a.createPin(t)
			for range 3 {
				a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
				time.Sleep(900 * time.Millisecond)
			}
		}, []string{look + "a PIN is polled more than once a second (2 times)"}},
		"parallel polling": {func(t *testing.T, srv *plextest.Server, a *api, _ *plextest.User) {
			p := a.createPin(t)
			srv.Inject(plextest.Fault{Delay: 3 * time.Second})
			go a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
			time.Sleep(2 * time.Second)
			a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
			time.Sleep(2 * time.Second)
		}, []string{look + "a PIN is polled twice at the same time"}},
		"polling the dead": {func(t *testing.T, srv *plextest.Server, a *api, _ *plextest.User) {
			p := a.createPin(t)
			require.NoError(t, srv.Expire(p.Code))
			for range 2 {
				a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
				time.Sleep(time.Second)
			}
		}, []string{look + "a PIN is polled after it was answered with 404/1020"}},
		"polling after a fault 1020": {func(t *testing.T, srv *plextest.Server, a *api, _ *plextest.User) {
			p := a.createPin(t)
			srv.Inject(plextest.Fault{Code: 1020})
			for range 2 {
				a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
				time.Sleep(time.Second)
			}
		}, []string{look + "a PIN is polled after it was answered with 404/1020"}},
		"dead token": {func(t *testing.T, _ *plextest.Server, a *api, _ *plextest.User) {
			for range 2 {
				a.as("whatever").do(t, "GET", "/api/v2/user", "")
			}
		}, []string{"GET plex.tv/api/v2/user: a token is used again after plex.tv rejected it"}},
		"token rejected by a fault": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			srv.Inject(plextest.Fault{Code: 1001})
			a = a.as(srv.IssueToken(alice, a.clientID))
			for range 2 {
				a.do(t, "GET", "/api/v2/user", "")
			}
		}, []string{"GET plex.tv/api/v2/user: a token is used again after plex.tv rejected it"}},
		"other identifier": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			a.as(srv.IssueToken(alice, "tv")).do(t, "GET", "/api/v2/user", "")
		}, []string{"GET plex.tv/api/v2/user: a token is used with another client identifier than it was made for"}},
		"foreign host": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			for _, url := range []string{"https://example.com/steal", "http://plex.tv/api/v2/user", "https://plex.tv:8443/", "https://plex.tv.example.com/"} {
				_, err := a.client.Do(a.as(srv.IssueToken(alice, a.clientID)).new(t, "GET", url, ""))
				require.ErrorContains(t, err, "has no such host")
				_, err = a.client.Do(a.new(t, "GET", url, ""))
				require.Error(t, err, "a request without a token is refused, too")
			}
		}, []string{
			"GET example.com/steal: a token is sent to a host that is not plex.tv's",
			"GET plex.tv/api/v2/user: a token is sent to a host that is not plex.tv's",
			"GET plex.tv:8443/: a token is sent to a host that is not plex.tv's",
			"GET plex.tv.example.com/: a token is sent to a host that is not plex.tv's",
		}},
		"app.plex.tv": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			a.as(srv.IssueToken(alice, a.clientID)).do(t, "GET", "https://app.plex.tv/auth", "")
		}, []string{"GET app.plex.tv/auth: a token is sent to app.plex.tv"}},
		"token behind a redirect": {func(t *testing.T, srv *plextest.Server, a *api, alice *plextest.User) {
			srv.Inject(plextest.Fault{Redirect: "https://evil.example.com/"})
			_, err := a.client.Do(a.as(srv.IssueToken(alice, a.clientID)).new(t, "GET", "/api/v2/user", ""))
			require.Error(t, err)
		}, []string{"GET evil.example.com/: a token is sent to a host that is not plex.tv's"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := plextest.NewServer()
				defer srv.Close()
				test.do(t, srv, newAPI(srv), srv.AddUser(plextest.User{Username: "alice"}))
				assert.Equal(t, test.want, srv.Violations())
			})
		})
	}
}
