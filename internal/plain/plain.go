// Package plain makes text from other people fit for a terminal, a log and a header.
// Anyone can name a server, a user or a device, and a terminal obeys the control
// characters in a name (G13).
package plain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns text as one line of visible characters. Control characters and
// line separators become spaces. Marks without a width, such as those that turn
// the direction of writing, are left out. Invalid UTF-8 becomes "?".
func Line(text string) string {
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	pending := false // a space, which is written once more text follows
	for _, r := range strings.ToValidUTF8(text, "?") {
		switch {
		case isBreak(r):
			pending = b.Len() > 0
		case isHidden(r):
		default:
			if pending {
				b.WriteByte(' ')
				pending = false
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Cut returns text as [Line] does, cut to limit bytes with "…" after them.
func Cut(text string, limit int) string {
	text = Line(text)
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// These bound texts, in bytes.
const (
	maxShort  = 300
	maxLong   = 4000
	maxHeader = 255
)

// Short returns text from other people as one line of at most 300 bytes.
func Short(text string) string { return Cut(text, maxShort) }

// Long returns text that this machine has written as one line of at most 4000 bytes. An
// error of a store names paths, owners and what to do, and a person must read all of it.
func Long(text string) string { return Cut(text, maxLong) }

// HeaderValue returns text as the value of a header: one line of at most 255 bytes. It
// is valid UTF-8, which Plex documents for its identity headers.
func HeaderValue(text string) string {
	if len(text) <= maxHeader && isPlain(text) {
		return strings.TrimSpace(text)
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return -1
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return ' '
		}
		return r
	}, text)
	if len(text) > maxHeader {
		text = strings.ToValidUTF8(text[:maxHeader], "")
	}
	return strings.TrimSpace(text)
}

// IsHeaderValue reports whether text is not empty and can be the value of a header
// unchanged.
func IsHeaderValue(text string) bool { return text != "" && HeaderValue(text) == text }

// isPlain reports whether text is printable ASCII, as most is.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// isBreak reports whether r is a control character (C0, DEL, C1) or a line separator.
func isBreak(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }

// isHidden reports whether r has no width or no agreed shape: marks of direction,
// joiners, fillers, tags, private use.
func isHidden(r rune) bool {
	return unicode.In(r, unicode.C, unicode.Other_Default_Ignorable_Code_Point)
}
