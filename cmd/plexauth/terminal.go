package main

import (
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// terminal is the terminal that the program writes to. It obeys escape sequences.
type terminal struct {
	file *os.File
	ink  ink
}

// ink is how colours are named on a terminal.
type ink int

const (
	noInk    ink = iota // there are no colours
	basicInk            // the terminal's own palette
	fixedInk            // the 256 colours, which a theme does not change
)

// findTerminal returns the terminal behind out, nil if out is not a terminal or does not
// obey escape sequences.
func findTerminal(out io.Writer, env func(string) string) *terminal {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || isDumb(env) || !obeysEscapes(f) {
		return nil
	}
	return &terminal{f, inkOf(env)}
}

// isDumb reports whether the environment names a terminal without escape sequences.
func isDumb(env func(string) string) bool {
	name := env("TERM")
	return name == "dumb" || name == "" && runtime.GOOS != "windows"
}

// inkOf returns the colours that the environment allows.
func inkOf(env func(string) string) ink {
	switch {
	case env("NO_COLOR") != "": // https://no-color.org
		return noInk
	case env("COLORTERM") != "", strings.Contains(env("TERM"), "256color"), env("WT_SESSION") != "":
		return fixedInk
	}
	return basicInk
}

// size returns the size of the terminal in characters, 80x24 if it does not say.
func (t *terminal) size() (size windowSize) {
	cols, rows, err := term.GetSize(int(t.file.Fd()))
	if err != nil || cols <= 0 || rows <= 0 {
		return windowSize{80, 24}
	}
	return windowSize{cols, rows}
}

// windowSize is the size of a terminal in characters.
type windowSize struct{ cols, rows int }

// bold returns text in bold.
func (i ink) bold(text string) string {
	if i == noInk {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// blackOnWhite returns text in black on white, on a dark and on a light terminal. A theme
// may give the basic colours other shades, and swap black and white, but not the others.
func (i ink) blackOnWhite(text string) string {
	colors := "30;47;107" // light grey, and white where the terminal has it
	if i == fixedInk {
		colors = "38;5;232;48;5;231"
	}
	return "\x1b[" + colors + "m" + text + "\x1b[0m"
}
