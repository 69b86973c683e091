package main

import (
	"strings"

	"rsc.io/qr"
)

// A scanner needs a white margin, of four squares by the standard. Two are enough for most.
const widestMargin, narrowestMargin = 4, 2

// qrLines returns a QR code with a margin as lines of text, to be shown in black on white.
// Each line shows two rows of squares.
func qrLines(code *qr.Code, margin int) []string {
	var lines []string
	for y := -margin; y < code.Size+margin; y += 2 {
		var b strings.Builder
		for x := -margin; x < code.Size+margin; x++ {
			switch top, bottom := code.Black(x, y), code.Black(x, y+1); { // false outside the code
			case top && bottom:
				b.WriteRune('█')
			case top:
				b.WriteRune('▀')
			case bottom:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		lines = append(lines, b.String())
	}
	return lines
}

// fitQR returns the QR code with the widest margin that fits into a window; nil if none
// does.
func fitQR(code *qr.Code, window windowSize) []string {
	for margin := widestMargin; margin >= narrowestMargin; margin-- {
		if side := code.Size + 2*margin; side < window.cols && (side+1)/2 <= window.rows {
			return qrLines(code, margin)
		}
	}
	return nil
}
