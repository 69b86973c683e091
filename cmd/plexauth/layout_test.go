package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// In every window the login and the countdown fit together, with the code in the last line
// above the countdown. A QR code is whole or not there, and 60 by 20 has one.
func TestLayout(t *testing.T) {
	w := newWorld(t)
	auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: w.plex.Client()})
	require.NoError(t, err)
	pin, err := auth.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	for cols := 20; cols <= 100; cols++ {
		for rows := 6; rows <= 40; rows++ {
			window := windowSize{cols, rows}
			lines := layout(pin, fixedInk, window)
			height, picture := 1, 0
			for _, l := range lines {
				height += rowsOf(l.text, cols)
				if strings.Contains(l.styled, "48;5;231") {
					picture++
					assert.Less(t, len([]rune(l.text)), cols)
				}
			}
			require.LessOrEqual(t, height, rows, window)
			assert.Contains(t, lines[len(lines)-1].text, pin.Code)
			assert.Contains(t, []int{0, 15, 16, 17}, picture, "of 29, 31 or 33 rows of squares at %v", window)
			if cols >= 60 && rows >= 20 {
				assert.Equal(t, 17, picture, window)
			}
		}
	}
	for _, l := range layout(pin, noInk, windowSize{80, 24}) {
		assert.Equal(t, l.text, l.styled)
		assert.NotContains(t, l.text, "▀")
	}
}

// The environment says which colours a terminal has.
func TestInk(t *testing.T) {
	for env, want := range map[string]ink{
		"TERM=xterm-256color":            fixedInk,
		"TERM=xterm COLORTERM=truecolor": fixedInk,
		"WT_SESSION=1":                   fixedInk,
		"TERM=linux":                     basicInk,
		"TERM=xterm-256color NO_COLOR=1": noInk,
		"TERM=xterm-256color NO_COLOR=":  fixedInk,
	} {
		assert.Equal(t, want, inkOf(func(name string) string {
			for _, e := range strings.Fields(env) {
				if value, ok := strings.CutPrefix(e, name+"="); ok {
					return value
				}
			}
			return ""
		}), env)
	}
}
