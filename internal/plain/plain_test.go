package plain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/plain"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"Living room":                         "Living room",
		"  two  spaces ":                      "  two  spaces ",
		"Wohnzimmer äöü 电影 🎬":                 "Wohnzimmer äöü 电影 🎬",
		"\x1b[2J\x1b]0;title\aBox":            "[2J ]0;title Box",
		"Box\u009b2J\u009d0;title\u009c":      "Box 2J 0;title",
		"a\r\n\tb\x00c\x7fd\u0085e":           "a b c d e",
		"a\u2028b\u2029c":                     "a b c",
		"\u202egnp.exe\u2066x\u2069\u061c":    "gnp.exex",
		"a\u200bb\u200dc\ufeffd\u2060e\u00ad": "abcde",
		"a\u3164b\U000e0041c":                 "abc",
		"bad \xff\xfe bytes":                  "bad ? bytes",
		"private \ue000":                      "private ",
		"hard\u00a0space":                     "hard\u00a0space",
	} {
		assert.Equal(t, want, plain.Line(text), "%+q", text)
	}
}

func TestCut(t *testing.T) {
	assert.Equal(t, "abc", plain.Cut("abc", 3))
	assert.Equal(t, "ab…", plain.Cut("abc", 2))
	assert.Equal(t, "ä…", plain.Cut("ääää", 3), "no half characters")
	assert.Equal(t, "abc", plain.Cut("a\u200bb\u200bc", 3), "what is not shown does not count")
}

// A header has one line of valid UTF-8, and 255 bytes at most.
func TestHeaderValue(t *testing.T) {
	for text, want := range map[string]string{
		"My App":                        "My App",
		" My\r\nApp ":                   "My  App",
		"Küche 🎬":                       "Küche 🎬",
		"bad \xff bytes":                "bad  bytes",
		"\x00":                          "",
		"a\x7fb\u0080c\u009fd\u00a0e":   "a b c d\u00a0e",
		strings.Repeat("x", 300):        strings.Repeat("x", 255),
		strings.Repeat("ä", 200) + "xx": strings.Repeat("ä", 127),
	} {
		assert.Equal(t, want, plain.HeaderValue(text), "%.20q", text)
		assert.Equal(t, want == text && text != "", plain.IsHeaderValue(text), "%.20q", text)
	}
	assert.False(t, plain.IsHeaderValue(""))
}

// Foreign text is kept short, and what this machine says may be long.
func TestLimits(t *testing.T) {
	long := strings.Repeat("x", 5000)
	assert.Len(t, plain.Short(long), 300+len("…"))
	assert.Len(t, plain.Long(long), 4000+len("…"))
}
