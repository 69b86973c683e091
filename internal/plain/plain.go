// Package plain makes text of other people's fit for a terminal and a log.
// Anybody can name a server, a user or a device, and a terminal obeys the
// control characters in a name.
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
	pending := false // a space that more text has to follow
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

// Cut returns text as Line does, with most bytes at most and a mark where more
// was there.
func Cut(text string, most int) string {
	text = Line(text)
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// Short returns foreign text as one line of at most 300 bytes.
func Short(text string) string { return Cut(text, 300) }

// Long returns text that this machine has written as one line of at most 4000 bytes.
// An error of a store names paths, owners and what to do, and all of it is to be read.
func Long(text string) string { return Cut(text, 4000) }

// maxHeader bounds the value of a header, in bytes.
const maxHeader = 255

// Header returns text as the value of a header: one line of valid UTF-8, which Plex
// documents for its identity headers, of at most 255 bytes.
func Header(text string) string {
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

// IsHeader reports whether text is not empty and can be sent as the value of a header
// as it is.
func IsHeader(text string) bool { return text != "" && Header(text) == text }

// isPlain reports whether text is printable ASCII, as most is.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// isBreak recognizes C0, DEL, C1 and the two separators of lines.
func isBreak(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }

// isHidden recognizes what takes no width or has no agreed shape: marks of
// direction, joiners, fillers, tags, private use.
func isHidden(r rune) bool {
	return unicode.In(r, unicode.C, unicode.Other_Default_Ignorable_Code_Point)
}
