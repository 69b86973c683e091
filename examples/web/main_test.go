package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/examples/internal/programtest"
	"github.com/plexauth/plexauth/plextest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// An unexpected argument is an error, because flags after it would be ignored.
func TestArguments(t *testing.T) {
	output, code := programtest.Run(t, nil, "foo", "-offline")
	assert.Equal(t, 2, code)
	assert.Contains(t, output, `unexpected argument "foo"`)
}

// world is the app with a fake plex.tv.
type world struct {
	t    *testing.T
	plex *plextest.Server
	app  *httptest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &world{t: t, plex: plextest.NewServer()}
	h, err := newApp(ctx, plexauth.Options{Product: "My App", HTTPClient: w.plex.Client(), Logger: slog.New(slog.DiscardHandler)}, "TEST_password")
	require.NoError(t, err)
	w.app = httptest.NewServer(h)
	t.Cleanup(func() {
		stop()
		w.app.Close()
		assert.Empty(t, w.plex.Violations())
		w.plex.Close()
	})
	return w
}

// panel sends a request of the panel's page, and returns the answer.
func (w *world) panel(method, path, password, body string) (status int, answer string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.app.URL+"/plex/"+path, strings.NewReader(body))
	require.NoError(w.t, err)
	r.SetBasicAuth("admin", password)
	resp, err := w.app.Client().Do(r)
	require.NoError(w.t, err)
	return resp.StatusCode, text(w.t, resp)
}

// connect connects the app as u in the panel.
func (w *world) connect(u *plextest.User) {
	w.t.Helper()
	status, _ := w.panel("POST", "start", "TEST_password", "")
	require.Equal(w.t, http.StatusOK, status)
	require.NoError(w.t, w.plex.Approve(w.plex.PendingCodes()[0], u))
	for state := (struct{ Connected, Finding bool }{}); !state.Connected || state.Finding; {
		_, answer := w.panel("GET", "status?wait=20", "TEST_password", "")
		require.NoError(w.t, json.Unmarshal([]byte(answer), &state))
	}
}

// visitor is a visitor's browser.
type visitor struct {
	*http.Client
	w *world
}

func (w *world) visitor() visitor {
	jar, _ := cookiejar.New(nil)
	return visitor{w: w, Client: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "app.plex.tv" {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// home returns the home page.
func (v visitor) home() string {
	v.w.t.Helper()
	resp, err := v.Get(v.w.app.URL)
	require.NoError(v.w.t, err)
	assert.Equal(v.w.t, http.StatusOK, resp.StatusCode)
	assert.Equal(v.w.t, "no-store", resp.Header.Get("Cache-Control"), "the browser's back button shows the present state")
	return text(v.w.t, resp)
}

// press sends the form of the home page that posts to action, and returns the response.
func (v visitor) press(action string) *http.Response {
	v.w.t.Helper()
	require.Contains(v.w.t, v.home(), `<form method="post" action="`+action+`">`)
	resp, err := v.PostForm(v.w.app.URL+"/"+action, nil)
	require.NoError(v.w.t, err)
	return resp
}

// signIn presses "Sign in with Plex", approves as u, and returns the page that follows.
func (v visitor) signIn(u *plextest.User) string {
	v.w.t.Helper()
	resp := v.press("signin/start")
	resp.Body.Close()
	_, query, _ := strings.Cut(resp.Header.Get("Location"), "#?")
	q, err := url.ParseQuery(query)
	require.NoError(v.w.t, err)
	require.NoError(v.w.t, v.w.plex.Approve(q.Get("code"), u))
	resp, err = v.PostForm(v.w.app.URL+"/signin/finish", nil)
	require.NoError(v.w.t, err)
	return text(v.w.t, resp)
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// The operator connects the app, and then one of two visitors may sign in. The home page
// offers the second step only after the first.
func TestApp(t *testing.T) {
	w := newWorld(t)
	alice := w.plex.AddUser(plextest.User{Username: "alice"})
	bob := w.plex.AddUser(plextest.User{Username: "bob"})
	eve := w.plex.AddUser(plextest.User{Username: "eve"})
	w.plex.AddMediaServer(alice, plextest.MediaServer{SharedWith: []*plextest.User{bob}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})

	page := w.visitor().home()
	assert.Contains(t, page, "Not connected yet")
	assert.Contains(t, page, "Not available yet")
	assert.NotContains(t, page, "<form", "no button that would fail")
	assert.NotContains(t, page, "alice", "this is not the fake plex.tv of -offline")
	assert.NotContains(t, page, "TEST_password")

	w.connect(alice)
	page = w.visitor().home()
	assert.Contains(t, page, "Connected as alice")
	assert.NotContains(t, page, "Not available yet")

	v := w.visitor()
	assert.Contains(t, v.signIn(bob), "Hello, bob")
	assert.NotContains(t, w.visitor().home(), "bob", "another browser is not signed in")
	assert.NotContains(t, text(t, v.press("signout")), "bob")
	assert.Contains(t, v.home(), "Sign in with Plex")
	assert.Contains(t, w.visitor().signIn(eve), "No access")
}

// The panel is for the operator alone, and its page leads back to the app.
func TestPanel(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"", "status", "panel.js"} {
		status, _ := w.panel("GET", path, "wrong", "")
		assert.Equal(t, http.StatusUnauthorized, status, path)
		status, answer := w.panel("GET", path, "TEST_password", "")
		assert.Equal(t, http.StatusOK, status, path)
		if path == "" {
			assert.Contains(t, answer, plexauth.HTML())
			assert.Contains(t, answer, `src="panel.js"`)
			assert.Contains(t, answer, `href="../"`)
		}
	}
}

// The home page says what is missing for the second step: a media server, or a new login
// of the app.
func TestNotReady(t *testing.T) {
	w := newWorld(t)
	alice := w.plex.AddUser(plextest.User{Username: "alice"})
	box := w.plex.AddMediaServer(alice, plextest.MediaServer{Name: "Box", Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	w.plex.AddMediaServer(alice, plextest.MediaServer{Name: "Other"})
	w.connect(alice)
	page := w.visitor().home()
	assert.Contains(t, page, "Connected as alice, but the media server is still missing")
	assert.Contains(t, page, "Not available yet")

	status, answer := w.panel("POST", "server", "TEST_password", fmt.Sprintf(`{"machine_id": %q}`, box.MachineID))
	require.Equal(t, http.StatusOK, status, answer)
	assert.NotContains(t, w.visitor().home(), "Not available yet")

	w.plex.Revoke(alice)
	status, answer = w.panel("POST", "probe", "TEST_password", "{}")
	require.Equal(t, http.StatusOK, status, answer)
	page = w.visitor().home()
	assert.Contains(t, page, "Plex has ended the login of the app")
	assert.Contains(t, page, "Not available yet")
}

// lockedText is a text that goroutines write to, the panel's too.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// brokenStore cannot be read.
type brokenStore struct{ *plexauth.MemoryStore }

func (brokenStore) Load(context.Context, string) (json.RawMessage, error) {
	return nil, errors.New("no space on TEST_disk")
}

// The home page does not take a store that fails for an app that is not connected, and
// shows visitors no details of it.
func TestStoreFails(t *testing.T) {
	var log lockedText
	h, err := newApp(t.Context(), plexauth.Options{Product: "My App", Store: brokenStore{plexauth.NewMemoryStore()}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, "")
	require.NoError(t, err)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	assert.Equal(t, http.StatusInternalServerError, rec.Code)
	assert.NotContains(t, rec.Body.String(), "TEST_disk")
	assert.Contains(t, log.String(), "TEST_disk")
}

// run prints all addresses and ends with its context.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, in, "127.0.0.1:0", "", true) }()
	var printed strings.Builder
	for b := make([]byte, 1000); !strings.Contains(printed.String(), "The fake plex.tv"); {
		n, err := out.Read(b)
		require.NoError(t, err)
		printed.Write(b[:n])
	}
	assert.Contains(t, printed.String(), "password")

	go func() { _, _ = io.Copy(io.Discard, out) }() // until the pipe is closed
	defer out.Close()

	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(printed.String())
	home, err := http.Get("http://" + address)
	require.NoError(t, err)
	assert.Contains(t, text(t, home), "choose alice", "a person who tries it out knows whom to choose")

	// run answers a request in flight before it returns.
	visitor, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer visitor.Close()
	fmt.Fprintf(visitor, "POST /signin/start HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", address)
	answer := bufio.NewReader(visitor)
	line, err := answer.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue", "the request has reached the handler")
	stop()
	for err == nil { // until the listener is closed
		var late net.Conn
		if late, err = net.Dial("tcp", address); err == nil {
			late.Close()
		}
	}
	select {
	case <-done:
		require.Fail(t, "the app ended before it answered a visitor")
	case <-time.After(100 * time.Millisecond):
	}
	fmt.Fprint(visitor, "return=%2F")
	_, err = answer.ReadString('\n') // the line that ends the interim answer
	require.NoError(t, err)
	line, err = answer.ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, line, "303 See Other")
	visitor.Close()
	assert.NoError(t, <-done)
}

func TestAddressTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	assert.ErrorContains(t, run(t.Context(), io.Discard, taken.Addr().String(), "", true), "choose another address with -addr")
}

func TestBaseURL(t *testing.T) {
	for at, want := range map[string]string{
		"127.0.0.1:8080":   "http://127.0.0.1:8080",
		"192.168.1.5:8080": "http://192.168.1.5:8080",
		"[::1]:8080":       "http://[::1]:8080",
		"0.0.0.0:8080":     "http://127.0.0.1:8080",
		"[::]:8080":        "http://127.0.0.1:8080",
	} {
		assert.Equal(t, want, baseURL(*net.TCPAddrFromAddrPort(netip.MustParseAddrPort(at))), at)
	}
}
