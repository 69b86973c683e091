package plextest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

func TestLoginOverASocket(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	a := newAPI(srv)
	a.client, a.base = &http.Client{Transport: &http.Transport{}}, srv.URL()
	defer a.client.CloseIdleConnections()
	assert.Equal(t, srv.URL(), a.base, "a second call of URL starts no second listener")

	p := a.createPin(t)
	assert.Equal(t, a.base+"/api/v2/pins/qr/"+p.Code, p.QR)
	require.NoError(t, srv.Approve(p.Code, alice))
	_, body := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
	got := decode[pin](t, body)
	require.NotNil(t, got.AuthToken)
	status, _ := a.as(*got.AuthToken).do(t, "GET", "/api/v2/user", "")
	assert.Equal(t, http.StatusOK, status)

	// The in-process client also reaches the fake under its loopback URL.
	inside := newAPI(srv)
	inside.base = a.base
	assert.Equal(t, http.StatusOK, statusOf(inside.as(*got.AuthToken).do(t, "GET", "/api/v2/ping", "")))
	assert.Empty(t, srv.Violations())
}

func TestHandlerInAServerOfOnesOwn(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	own := httptest.NewServer(srv.Handler())
	defer own.Close()
	a := newAPI(srv)
	a.client, a.base = own.Client(), own.URL
	a.createPin(t)
	assert.Len(t, srv.PendingCodes(), 1)
}

func TestHostsPlayTheirParts(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	for url, want := range map[string]int{
		"https://plex.tv/link":                  200,
		"https://plex.tv/pin/":                  200,
		"https://plex.tv/auth":                  404,
		"https://app.plex.tv/auth":              200,
		"https://app.plex.tv/link":              404,
		"https://app.plex.tv/api/v2/user":       404,
		"https://clients.plex.tv/api/v2/pins/1": 400,
	} {
		resp, err := srv.Client().Get(url)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode, url)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		alice := srv.AddUser(plextest.User{Username: "alice"})
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				a := newAPI(srv).from(fmt.Sprintf("client-%d", i))
				p := a.createPin(t)
				assert.NoError(t, srv.Approve(p.Code, alice))
				_, body := a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d", p.ID), "")
				assert.NotNil(t, decode[pin](t, body).AuthToken)
			})
		}
		all.Wait()
		assert.Empty(t, srv.Violations())
	})
}

// G9: Close ends all goroutines of the fake.
func TestCloseLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	srv := plextest.NewServer()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	box := srv.AddMediaServer(alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5"}, {Address: "192.168.1.6", BlackHole: true}}})
	client := &http.Client{Transport: srv.Transport()}
	for _, url := range []string{srv.URL() + "/link", "https://plex.tv/link", box.Connections[0].URI + "/identity", "http://192.168.1.5:32400/identity"} {
		resp, err := client.Get(url)
		readPage(t, resp, err)
	}
	client.Timeout = 10 * time.Millisecond
	_, err := client.Get(box.Connections[1].URI + "/identity")
	require.Error(t, err)
	srv.Inject(plextest.Fault{Hang: true})
	_, err = client.Get("https://clients.plex.tv/api/v2/ping")
	require.Error(t, err)
	srv.Close()
	_, err = client.Get("https://app.plex.tv/auth")
	assert.Error(t, err)
	client.CloseIdleConnections()
	for range 6000 { // the client's goroutines need a moment to end, and a busy machine more
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}

func TestLinkPage(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	client := srv.Client()
	resp, err := client.Get("https://plex.tv/link")
	_, body := readPage(t, resp, err)
	assert.Contains(t, body, "no users yet")

	alice := srv.AddUser(plextest.User{Username: "alice"})
	bob := srv.AddUser(plextest.User{Username: "bob"})
	a := newAPI(srv)
	p := a.createPin(t)
	resp, err = client.Get("https://plex.tv/link/?pin=" + p.Code)
	status, body := readPage(t, resp, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "fake plex.tv")
	assert.Contains(t, body, `name="code" value="`+p.Code+`"`)
	assert.Contains(t, body, "alice@example.com")
	assert.NotContains(t, resp.Header.Get("Content-Security-Policy"), "unsafe")

	post := func(code string, u *plextest.User) (int, string) {
		form := url.Values{"code": {code}}
		if u != nil {
			form.Set("user", u.UUID)
		}
		resp, err := client.PostForm("https://plex.tv/link", form)
		return readPage(t, resp, err)
	}
	status, body = post("QQQQ", alice)
	assert.Equal(t, http.StatusUnprocessableEntity, status)
	assert.Contains(t, body, "not valid")
	status, body = post(p.Code, nil)
	assert.Equal(t, http.StatusUnprocessableEntity, status)
	assert.Contains(t, body, "Choose a user")
	_, strong := a.do(t, "POST", "/api/v2/pins?strong=true", "")
	status, _ = post(decode[pin](t, strong).Code, alice)
	assert.Equal(t, http.StatusUnprocessableEntity, status, "the link page refuses strong codes")

	status, body = post(" "+strings.ToLower(p.Code)+" ", bob)
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "Test App is now signed in as bob")
	assert.NotEmpty(t, srv.Token(bob, a.clientID))
	assert.Empty(t, srv.Violations(), "a browser is not an API client")
}

func TestAuthPage(t *testing.T) {
	srv := plextest.NewServer()
	defer srv.Close()
	alice := srv.AddUser(plextest.User{Username: "alice"})
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := newAPI(srv)
	strong := func() string {
		_, body := a.do(t, "POST", "/api/v2/pins?strong=true", "")
		return decode[pin](t, body).Code
	}
	post := func(code, clientID, forward string) (*http.Response, string) {
		resp, err := client.PostForm("https://app.plex.tv/auth", url.Values{"code": {code}, "clientID": {clientID}, "forwardUrl": {forward}, "user": {alice.UUID}})
		_, body := readPage(t, resp, err)
		return resp, body
	}
	resp, err := client.Get("https://app.plex.tv/auth")
	_, body := readPage(t, resp, err)
	assert.Contains(t, body, `<script src="/auth.js" defer></script>`)
	resp, err = client.Get("https://app.plex.tv/auth.js")
	_, body = readPage(t, resp, err)
	assert.Contains(t, body, "location.hash")

	for _, test := range [][3]string{
		{"nosuchcode", a.clientID, ""},
		{strong(), "someone else", ""},
		{a.createPin(t).Code, a.clientID, ""},
		{strong(), a.clientID, "not a url"},
	} {
		resp, body := post(test[0], test[1], test[2])
		assert.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode)
		assert.Contains(t, body, `role="alert"`)
	}
	resp, _ = post(strong(), a.clientID, "https://my.example.com/back?state=1")
	assert.Equal(t, http.StatusSeeOther, resp.StatusCode)
	assert.Equal(t, "https://my.example.com/back?state=1", resp.Header.Get("Location"))
	assert.NotEmpty(t, srv.Token(alice, a.clientID))
	resp, body = post(strong(), a.clientID, "")
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Contains(t, body, "You can close this page")
}
