package main

import (
	"unicode/utf8"

	"rsc.io/qr"

	"github.com/plexauth/plexauth"
)

// line is a line on a terminal.
type line struct {
	text   string // what can be read
	styled string // the same with escape sequences
}

// plainLine returns a line without style.
func plainLine(text string) line { return line{text, text} }

// layout returns what to show of a pending login on a terminal: link and code, and above
// them the QR code if everything fits into the window together with a line below it. The
// code comes last, so that a window that gets smaller loses it last.
func layout(pin *plexauth.Pin, ink ink, window windowSize) []line {
	scan := "Scan or open " + pin.URL()
	before, after := "or enter ", " at "+pin.VerificationURI()
	enter := line{before + pin.Code + after, before + ink.bold(pin.Code) + after}

	room := window.rows - rowsOf(scan, window.cols) - rowsOf(enter.text, window.cols) - 1
	picture := pictureOf(pin.URL(), ink, windowSize{window.cols, room})
	if picture == nil {
		return []line{plainLine("Open " + pin.URL()), enter}
	}
	text := []line{plainLine(scan), enter}
	if room-len(picture) >= 2 {
		picture = append([]line{{}}, picture...)
		picture = append(picture, line{})
	}
	return append(picture, text...)
}

// pictureOf returns the lines of a link's QR code, nil if it does not fit into a window. It
// needs colours: in those of the terminal a QR code is right only if these are dark on
// light.
func pictureOf(link string, ink ink, window windowSize) (picture []line) {
	if ink == noInk {
		return nil
	}
	code, err := qr.Encode(link, qr.L)
	if err != nil {
		return nil
	}
	for _, text := range fitQR(code, window) {
		picture = append(picture, line{text, ink.blackOnWhite(text)})
	}
	return picture
}

// rowsOf returns how many rows of a window a text takes.
func rowsOf(text string, cols int) int {
	return max(1, (utf8.RuneCountInString(text)+cols-1)/cols)
}
