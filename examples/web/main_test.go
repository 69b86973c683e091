package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
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

// The operator connects the app, and then one of two visitors may sign in.
func TestApp(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	fake := plextest.NewServer()
	defer fake.Close()
	alice := fake.AddUser(plextest.User{Username: "alice"})
	bob := fake.AddUser(plextest.User{Username: "bob"})
	eve := fake.AddUser(plextest.User{Username: "eve"})
	fake.AddMediaServer(alice, plextest.MediaServer{SharedWith: []*plextest.User{bob}, Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	h, err := newApp(ctx, plexauth.Options{Product: "My App", HTTPClient: fake.Client()}, "TEST_password")
	require.NoError(t, err)
	app := httptest.NewServer(h)
	defer app.Close()

	panel := func(method, path, password string) (status int, state struct {
		Connected, Finding bool
		Settings           plexauth.Settings
	}) {
		r, err := http.NewRequestWithContext(ctx, method, app.URL+"/plex/"+path, nil)
		require.NoError(t, err)
		r.SetBasicAuth("admin", password)
		resp, err := app.Client().Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&state))
		}
		return resp.StatusCode, state
	}
	status, _ := panel("GET", "status", "wrong")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, _ = panel("POST", "start", "TEST_password")
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, fake.Approve(fake.PendingCodes()[0], alice))
	_, state := panel("GET", "status?wait=20", "TEST_password")
	require.True(t, state.Connected)
	for state.Settings.MachineID == "" {
		_, state = panel("GET", "status", "TEST_password")
	}

	visit := func(u *plextest.User) string {
		jar, _ := cookiejar.New(nil)
		browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Host == "app.plex.tv" {
				return http.ErrUseLastResponse
			}
			return nil
		}}
		resp, err := browser.PostForm(app.URL+"/signin/start", nil)
		require.NoError(t, err)
		resp.Body.Close()
		_, query, _ := strings.Cut(resp.Header.Get("Location"), "#?")
		q, err := url.ParseQuery(query)
		require.NoError(t, err)
		require.NoError(t, fake.Approve(q.Get("code"), u))
		resp, err = browser.PostForm(app.URL+"/signin/finish", nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	assert.Contains(t, visit(bob), "Hello, bob")
	assert.Contains(t, visit(eve), "No access")
	assert.Empty(t, fake.Violations())
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

	// run answers a request in flight before it returns.
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(printed.String())
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
