package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestStops(t *testing.T) { programtest.Stops(t) }

// An unexpected argument is an error, because flags after it would be ignored.
func TestArguments(t *testing.T) {
	output, code := programtest.Run(t, nil, "foo", "-offline")
	assert.Equal(t, 2, code)
	assert.Contains(t, output, `unexpected argument "foo"`)
}

var (
	link = regexp.MustCompile(`Open (http://\S+/link/)\?pin=(\w+)`)
	user = regexp.MustCompile(`name="user" value="(\w+)"`)
)

// approve approves a code on the fake's link page, as a person would.
func approve(t *testing.T, page, code string) {
	resp, err := http.Get(page)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp, err = http.PostForm(page, url.Values{"code": {code}, "user": {user.FindStringSubmatch(string(body))[1]}})
	require.NoError(t, err)
	assert.NoError(t, resp.Body.Close())
}

// A person opens the link, approves the code and chooses a server. The second run
// signs in at a new fake.
func TestOffline(t *testing.T) {
	config := filepath.Join(t.TempDir(), "plexauth.json")
	for again := range 2 {
		out, w := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			err := run(t.Context(), strings.NewReader("5\n2\n"), w, config, true, false)
			w.Close()
			ended <- err
		}()
		var printed strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			printed.WriteString(lines.Text() + "\n")
			if m := link.FindStringSubmatch(lines.Text()); m != nil {
				approve(t, m[1], m[2])
			}
		}
		require.NoError(t, <-ended)
		assert.Contains(t, printed.String(), "Signed in as alice. Saved to "+config)
		assert.True(t, again > 0 || strings.Contains(printed.String(), "Which media server?"), printed.String())
		assert.Regexp(t, `Media server \w{8} at http://127\.0\.0\.1:\d+\nThe server knows this account as number 1\.`, printed.String())
		assert.Regexp(t, `\* http://127\.0\.0\.1:\d+ +\S+ +answers`, printed.String())
		assert.NotContains(t, printed.String(), "FAKE_", "a token")
		countdown := regexp.MustCompile(`\r(  Waiting .*?)\r`).FindStringSubmatch(printed.String())
		require.NotNil(t, countdown, printed.String())
		assert.Less(t, len(countdown[1]), 30, "the line fits a narrow terminal")
	}
}

// A real login in the file is not replaced by a fake one.
func TestOfflineKeepsARealLogin(t *testing.T) {
	config := filepath.Join(t.TempDir(), "plexauth.json")
	before := `{"plex":{"client_id":"000102030405060708090a0b","account_token":"TEST_token"}}`
	require.NoError(t, os.WriteFile(config, []byte(before), 0o600))
	assert.ErrorContains(t, run(t.Context(), nil, io.Discard, config, true, false), "holds a real login")
	after, err := os.ReadFile(config)
	require.NoError(t, err)
	assert.Equal(t, before, string(after))
}

// ask ends its line if the input or the program ends before an answer.
func TestAskEndsItsLine(t *testing.T) {
	servers := []plexauth.Server{{Name: "Attic"}}
	var out strings.Builder
	server, err := ask(t.Context(), strings.NewReader(""), &out, servers)
	assert.NoError(t, err)
	assert.Nil(t, server)
	assert.Contains(t, out.String(), "later: \nNot chosen.")

	out.Reset()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	in, w := io.Pipe()
	defer w.Close()
	_, err = ask(ctx, in, &out, servers)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Regexp(t, `later: \n$`, out.String())
}

// Other people choose the names of servers, and a terminal interprets control
// characters in them.
func TestNamesOnTheTerminal(t *testing.T) {
	const name = "Box\x1b[2J\u009b2J\u202egnp"
	var out strings.Builder
	server, err := ask(t.Context(), strings.NewReader("1\n"), &out, []plexauth.Server{{Name: name, Owner: name}})
	require.NoError(t, err)
	assert.Equal(t, name, server.Name)
	assert.Contains(t, out.String(), "  1  Box[2J2Jgnp of Box[2J2Jgnp\n")
	assert.NotContains(t, out.String(), "\x1b")
}
