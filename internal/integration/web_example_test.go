package integration_test

import (
	"bufio"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// webExample builds and runs examples/web with its fake plex.tv. It returns the address of its
// home page, and the password of its panel.
func webExample(t *testing.T) (home *url.URL, password string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "web")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-o", path, "./examples/web").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.CommandContext(t.Context(), path, "-offline", "-addr", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Press Ctrl-C") {
		if _, at, ok := strings.Cut(lines.Text(), "The app:"); ok {
			home, err = url.Parse(strings.TrimSpace(at))
			require.NoError(t, err)
		}
		if _, word, ok := strings.Cut(lines.Text(), "password "); ok {
			password = word
		}
	}
	require.NotNil(t, home, "the address")
	require.NotEmpty(t, password)
	go func() { // so that the app can go on writing its log
		for lines.Scan() {
		}
	}()
	return home, password
}

// A new user takes both steps of the web example: the first click on each button works.
func TestWebExample(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b *browser) {
		home, password := webExample(t)
		p := b.open(home.String())
		assert.Equal(t, "Not connected yet", p.text(".steps li:first-child .state"))
		assert.True(t, eval[bool](p, one(".locked button")+".disabled"))

		panel := home.JoinPath("plex/")
		panel.User = url.UserPassword("admin", password) // as typed into the browser's own dialog
		p.navigate(panel.String())
		p.navigate(home.String())
		p.click(".steps a")
		p.connect().approve("alice")
		p.state("connected")
		p.until(`document.body.innerText.includes("Living room")`)

		p.click(".back a")
		p.sees(".steps")
		assert.Equal(t, "✓ Connected as alice", p.text(".steps li:first-child .state"))
		p.click(".steps li:last-child button")
		p.approve("bob")
		p.sees(".steps")
		assert.Equal(t, "✓ Hello, bob. You are signed in.", p.text(".steps li:last-child .state"))
		p.calm()
	})
}
