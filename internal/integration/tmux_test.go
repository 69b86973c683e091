package integration_test

import (
	"image"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/stretchr/testify/require"
)

// tmux is a shell in a window of tmux, which shows what a person would see.
type tmux struct {
	t      *testing.T
	env    []string
	socket string
	raw    string // the file with everything that was written to the window
}

// newTmux opens a window of that size with a shell in dir. env has variables for the shell.
func newTmux(t *testing.T, dir, size string, env ...string) *tmux {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		missing(t, "tmux")
	}
	w := &tmux{t, append(env, "PS1=$ ", "COLORTERM=", "TMUX="), filepath.Join(t.TempDir(), "tmux"), filepath.Join(t.TempDir(), "raw")}
	config := filepath.Join(t.TempDir(), "tmux.conf")
	require.NoError(t, os.WriteFile(config, []byte("set -g default-terminal tmux-256color\nset -g status off\n"), 0o600))
	cols, rows, _ := strings.Cut(size, "x")
	w.tmux("-u", "-f", config, "new-session", "-d", "-x", cols, "-y", rows, "-c", dir, "bash", "--norc", "--noprofile")
	t.Cleanup(func() { w.tmux("kill-server") })
	w.tmux("pipe-pane", "-O", "cat >>"+w.raw)
	w.until("the shell has its prompt", func(screen string) bool { return strings.HasSuffix(screen, "$") })
	return w
}

// tmux runs a command of tmux, and returns what it prints.
func (w *tmux) tmux(args ...string) string {
	w.t.Helper()
	c := exec.Command("tmux", append([]string{"-S", w.socket}, args...)...)
	c.Env = append(os.Environ(), w.env...)
	out, err := c.CombinedOutput()
	require.NoError(w.t, err, "%v: %s", args, out)
	return string(out)
}

// enter types a line.
func (w *tmux) enter(line string) {
	w.t.Helper()
	w.tmux("send-keys", "-l", line)
	w.tmux("send-keys", "Enter")
}

// resize gives the window another size.
func (w *tmux) resize(size string) {
	w.t.Helper()
	cols, rows, _ := strings.Cut(size, "x")
	w.tmux("resize-window", "-x", cols, "-y", rows)
}

// screen returns what the window shows, without the empty lines at its end.
func (w *tmux) screen() string {
	w.t.Helper()
	return strings.TrimRight(w.tmux("capture-pane", "-p"), "\n ")
}

// until waits until the window shows what ok wants.
func (w *tmux) until(what string, ok func(screen string) bool) {
	w.t.Helper()
	defer w.logIfFailed()
	eventually(w.t, what, func() bool { return ok(w.screen()) })
}

// logIfFailed logs what the window shows if the test has failed.
func (w *tmux) logIfFailed() {
	if w.t.Failed() {
		w.t.Log("the window shows:\n" + w.screen())
	}
}

// shows waits until the window shows a text.
func (w *tmux) shows(text string) {
	w.t.Helper()
	w.until("the window shows "+text, func(screen string) bool { return strings.Contains(screen, text) })
}

// theme is how a terminal shows what has no colour.
type theme struct{ ink, paper uint8 }

var themes = map[string]theme{"dark": {ink: 220, paper: 20}, "light": {ink: 30, paper: 250}}

// qrCode returns the text of the QR code that the window shows, "" if no scanner reads one.
func (w *tmux) qrCode(th theme) string {
	w.t.Helper()
	const side = 6 // of a square, in pixels
	lines := strings.Split(w.tmux("capture-pane", "-p", "-e", "-N"), "\n")
	picture := image.NewGray(image.Rect(0, 0, 200*side, 2*len(lines)*side))
	for i := range picture.Pix {
		picture.Pix[i] = th.paper
	}
	square := func(col, row int, c uint8) {
		for y := row * side; y < (row+1)*side; y++ {
			for x := col * side; x < (col+1)*side; x++ {
				picture.SetGray(x, y, color.Gray{Y: c})
			}
		}
	}
	ink, paper := th.ink, th.paper
	for row, line := range lines {
		col := 0
		for _, part := range regexp.MustCompile(`\x1b\[[\d;]*m|.`).FindAllString(line, -1) {
			if strings.HasPrefix(part, "\x1b") {
				ink, paper = th.colors(part, ink, paper)
				continue
			}
			top, bottom := paper, paper
			if part == "█" || part == "▀" {
				top = ink
			}
			if part == "█" || part == "▄" {
				bottom = ink
			}
			square(col, 2*row, top)
			square(col, 2*row+1, bottom)
			col++
		}
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	require.NoError(w.t, err)
	code, err := qrcode.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		return ""
	}
	return code.GetText()
}

// colors returns the colours after an escape sequence.
func (th theme) colors(sequence string, ink, paper uint8) (uint8, uint8) {
	codes := strings.Split(strings.Trim(sequence, "\x1b[m"), ";")
	for i := 0; i < len(codes); i++ {
		switch n, _ := strconv.Atoi(codes[i]); {
		case n == 0:
			ink, paper = th.ink, th.paper
		case n == 30:
			ink = 0
		case n == 39:
			ink = th.ink
		case n == 47:
			paper = 170
		case n == 107:
			paper = 255
		case n == 49:
			paper = th.paper
		case n == 38 && i+2 < len(codes):
			ink, i = fixedColor(codes[i+2]), i+2
		case n == 48 && i+2 < len(codes):
			paper, i = fixedColor(codes[i+2]), i+2
		}
	}
	return ink, paper
}

// fixedColor returns the brightness of one of the 256 colours, of which only two are known
// here.
func fixedColor(code string) uint8 {
	return map[string]uint8{"231": 255, "232": 8}[code]
}
