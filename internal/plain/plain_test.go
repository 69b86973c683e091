package plain_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

// What is escaped means the same.
func TestJSON(t *testing.T) {
	in := map[string]string{"name": "Box\u009b2J \u202e \U000e0041 \x7f äöü \n \xff"}
	doc, err := json.MarshalIndent(in, "", "  ")
	require.NoError(t, err)
	out := plain.JSON(doc)
	assert.NotContains(t, string(out), "\u009b")
	assert.NotContains(t, string(out), "\u202e")
	assert.NotContains(t, string(out), "\x7f")
	assert.Contains(t, string(out), "\n  \"name\"", "its lines stay")
	var a, b map[string]string
	require.NoError(t, json.Unmarshal(doc, &a))
	require.NoError(t, json.Unmarshal(out, &b))
	assert.Equal(t, a, b)
}
