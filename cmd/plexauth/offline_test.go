package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// temporaryDir returns the directory of this test for the program's temporary files.
func temporaryDir(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, dir)
	}
	return dir
}

// offline runs "login -offline" with its temporary files in dir.
func offline(t *testing.T, ctx context.Context, in string, args ...string) (r result, dir string) {
	t.Helper()
	dir = temporaryDir(t)
	var out, err bytes.Buffer
	p := &program{stdin: strings.NewReader(in), stdout: &out, stderr: &err}
	status := p.run(ctx, append([]string{"login", "-offline"}, args...))
	return result{out.String(), err.String(), status}, dir
}

// A reader without an account sees a whole login: a fake person approves it.
func TestOffline(t *testing.T) {
	r, dir := offline(t, t.Context(), "2\n")
	require.Equal(t, 0, r.status, r)
	assert.Regexp(t, `Open http://127\.0\.0\.1:\d+/link/\?pin=\w{4}\n`, r.out)
	assert.Regexp(t, `Media server Attic at http://127\.0\.0\.1:\d+\n`, r.out)
	assert.Contains(t, r.out, "run this again without -offline.\n")
	assert.NotContains(t, r.out+r.err, "FAKE_", "a token")
	assert.Empty(t, r.err)
	saved := regexp.MustCompile(`Signed in as alice\.\nSaved in (\S+)\n`).FindStringSubmatch(r.out)
	require.NotNil(t, saved, r.out)
	assert.True(t, strings.HasPrefix(saved[1], dir), saved[1])
	assert.FileExists(t, saved[1])

	// In a file of one's own, the next run begins with a new fake.
	again, _ := offline(t, t.Context(), "1\n", "-config", saved[1])
	assert.Equal(t, 0, again.status, again)
	assert.Contains(t, again.out, "Media server ")
}

// A real login in the file is not replaced by a fake one.
func TestOfflineKeepsARealLogin(t *testing.T) {
	config := filepath.Join(t.TempDir(), "plexauth.json")
	before := `{"plex":{"client_id":"000102030405060708090a0b","account_token":"TEST_token"}}`
	require.NoError(t, os.WriteFile(config, []byte(before), 0o600))
	r, _ := offline(t, t.Context(), "", "-config", config)
	assert.Equal(t, 1, r.status)
	assert.Contains(t, r.err, "holds a real login")
	after, err := os.ReadFile(config)
	require.NoError(t, err)
	assert.Equal(t, before, string(after))
}

// Stopping it leaves no file behind.
func TestOfflineInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	r, dir := offline(t, ctx, "")
	assert.Equal(t, 130, r.status, r)
	assert.Contains(t, r.err, "Stopped.")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// stopAt is an output that calls stop once text was written to it.
type stopAt struct {
	bytes.Buffer
	text string
	stop func()
}

func (s *stopAt) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.stop()
	}
	return n, err
}

// Stopped at the question for the media server, it says that the login has ended too.
func TestOfflineInterruptedAtTheQuestion(t *testing.T) {
	dir := temporaryDir(t)
	ctx, stop := context.WithCancel(t.Context())
	in, keyboard := io.Pipe()
	defer keyboard.Close()
	out, err := &stopAt{text: "Enter 1, 2", stop: stop}, new(bytes.Buffer)
	p := &program{stdin: in, stdout: out, stderr: err}
	assert.Equal(t, 130, p.run(ctx, []string{"login", "-offline"}), out)
	assert.Equal(t, "Stopped.\nThe fake plex.tv has ended, and the login with it.\n", err.String())
	left, readErr := os.ReadDir(dir)
	require.NoError(t, readErr)
	assert.Empty(t, left)
}
