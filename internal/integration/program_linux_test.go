package integration_test

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// terminalProgram is cmd/plexauth beside a fake plex.tv, to which all its requests go.
type terminalProgram struct {
	t    *testing.T
	dir  string
	plex string   // the fake's URL
	env  []string // with which the program finds it
}

func newTerminalProgram(t *testing.T) *terminalProgram {
	t.Helper()
	p := &terminalProgram{t: t, dir: t.TempDir()}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-o", p.dir+"/", "./cmd/plexauth", "./cmd/fakeplex").CombinedOutput()
	require.NoError(t, err, string(out))
	ca := filepath.Join(p.dir, "ca.pem")
	fake := exec.CommandContext(t.Context(), filepath.Join(p.dir, "fakeplex"), "-q", "-ca", ca)
	output, err := fake.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, fake.Start())
	t.Cleanup(func() { _ = fake.Wait() })
	lines := bufio.NewScanner(output)
	require.True(t, lines.Scan())
	p.plex = lines.Text()
	p.env = []string{"PATH=" + p.dir + ":" + os.Getenv("PATH"), "HTTPS_PROXY=" + p.plex, "NO_PROXY=", "no_proxy=", "SSL_CERT_FILE=" + ca}
	return p
}

// window opens a terminal of that size.
func (p *terminalProgram) window(size string) *tmux { return newTmux(p.t, p.dir, size, p.env...) }

// approve approves a code as a person does in a browser.
func (p *terminalProgram) approve(code string) {
	p.t.Helper()
	resp, err := http.Get(p.plex + "/link")
	require.NoError(p.t, err)
	page, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	alice := regexp.MustCompile(`name="user" value="(\w+)"`).FindSubmatch(page)
	require.NotNil(p.t, alice, string(page))
	resp, err = http.PostForm(p.plex+"/link", url.Values{"code": {code}, "user": {string(alice[1])}})
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
}

// loginOnScreen is what a screen shows of a login, with its broken lines joined.
var loginOnScreen = regexp.MustCompile(`pen https://plex\.tv/link/\?pin=(\w{4})or enter (\w{4}) at https://plex\.tv/pinWaiting for your`)

// code waits until the window shows the whole login, and returns its code.
func (p *terminalProgram) code(w *tmux) (code string) {
	p.t.Helper()
	w.until("link, code and countdown are on the screen", func(screen string) bool {
		m := loginOnScreen.FindStringSubmatch(strings.ReplaceAll(screen, "\n", ""))
		if m == nil || m[1] != m[2] {
			return false
		}
		code = m[1]
		return true
	})
	return code
}

// The code is on the screen in every window, and the QR code wherever it fits. A scanner
// reads it on dark and on light terminals, also after the window has got another size.
func TestProgramInWindows(t *testing.T) {
	p := newTerminalProgram(t)
	sizes := []struct {
		size string
		qr   bool
	}{{"80x24", true}, {"60x20", true}, {"50x12", false}, {"100x30", true}, {"30x24", true}, {"28x24", false}, {"34x18", false}, {"80x24", true}}
	w := p.window(sizes[0].size)
	w.enter("clear; plexauth login -config c.json")
	code := p.code(w)
	for _, s := range sizes {
		w.resize(s.size)
		if s.qr {
			for name, th := range themes {
				eventually(t, "a scanner reads the QR code at "+s.size+" on a "+name+" terminal", func() bool {
					return w.qrCode(th) == "https://plex.tv/link/?pin="+code
				})
			}
		} else {
			w.until("the QR code is gone at "+s.size, func(screen string) bool { return strings.Contains(screen, "Open https:") })
		}
		assert.Equal(t, code, p.code(w), s.size)
	}
	p.approve(code)
	w.shows("Signed in as alice.")
	w.shows("Media server at http://127.0.0.1:")
}

// A new window of any size shows the same.
func TestProgramStartsInAWindow(t *testing.T) {
	p := newTerminalProgram(t)
	for size, prefix := range map[string]string{"60x20": "", "80x24": "", "81x25": "TERM=screen ", "40x10": ""} { // screen has the basic colours alone
		w := p.window(size)
		w.enter(prefix + "plexauth login -config c.json")
		code := p.code(w)
		if size != "40x10" {
			assert.Equal(t, "https://plex.tv/link/?pin="+code, w.qrCode(themes["dark"]), size)
			assert.Equal(t, "https://plex.tv/link/?pin="+code, w.qrCode(themes["light"]), size)
		}
	}
}

// Ctrl-C leaves the terminal as it was, and the next run goes on with the same code.
func TestProgramInterrupted(t *testing.T) {
	p := newTerminalProgram(t)
	w := p.window("80x24")
	w.enter("stty -a >before; plexauth login -config c.json; echo status $?; stty -a >after; echo wrote $?")
	code := p.code(w)
	w.tmux("send-keys", "C-c")
	w.shows("status 130")
	w.shows("To go on with it:\nplexauth login -config c.json")
	assert.NotContains(t, w.screen(), "Waiting for", "the countdown is gone")
	assert.Equal(t, "1", strings.TrimSpace(w.tmux("display-message", "-p", "#{cursor_flag}")), "the cursor is shown")
	assert.Equal(t, "0", strings.TrimSpace(w.tmux("display-message", "-p", "#{alternate_on}")))
	w.shows("wrote 0")
	before, err := os.ReadFile(filepath.Join(p.dir, "before"))
	require.NoError(t, err)
	after, err := os.ReadFile(filepath.Join(p.dir, "after"))
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after), "the modes of the terminal")

	w.enter("clear; plexauth login -config c.json")
	assert.Equal(t, code, p.code(w))
	p.approve(code)
	w.shows("Signed in as alice.")
	w.enter("clear; plexauth token -config c.json | wc -lc; plexauth token -config c.json 2>&1 >/dev/null | wc -c")
	w.until("one line was printed, and no error", func(screen string) bool { return regexp.MustCompile(`(?m)^ +1 +\d\d\n0$`).MatchString(screen) })
}

// Without colours the terminal gets none, a dumb one gets no escape sequence at all, and
// anything but a terminal gets plain lines.
func TestProgramWithoutColors(t *testing.T) {
	p := newTerminalProgram(t)
	for prefix, row := range map[string]struct{ has, hasNot string }{
		"NO_COLOR=1 ": {"\x1b[K", "m"},
		"TERM=dumb ":  {"Waiting for your approval until", ""},
	} {
		w := p.window("80x24")
		w.enter(prefix + "plexauth login -config c.json")
		p.code(w)
		w.tmux("send-keys", "C-c")
		w.shows("Stopped.")
		var raw string
		eventually(t, "what the window shows is in the file", func() bool {
			b, err := os.ReadFile(w.raw)
			require.NoError(t, err)
			_, raw, _ = strings.Cut(string(b), "c.json")
			var ok bool
			raw, _, ok = strings.Cut(raw, "Stopped.")
			return ok
		})
		raw = strings.ReplaceAll(raw, "\x1b[?2004l", "") // the shell's
		assert.Contains(t, raw, row.has)
		assert.NotRegexp(t, `\x1b\[[\d;]*`+row.hasNot, raw, prefix)
		assert.NotContains(t, w.screen(), "▀")
	}
	w := p.window("80x24")
	w.enter("plexauth login -config c.json | cat -v")
	w.shows("Waiting for your approval until")
	assert.NotContains(t, w.screen(), "^")
}
