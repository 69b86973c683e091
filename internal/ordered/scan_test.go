package ordered_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/ordered"
)

// oddJSON is valid and invalid JSON at the edges of the grammar.
var oddJSON = func() []string {
	all := []string{
		"", " ", "n", "nul", "null", "nulll", "true", "tru", "false", "fals e", "NaN", "-", "-0", "-1", "+1", "01", "-01", "0.", ".5", "0.5", "0e", "0e+", "0E-1", "1e5", "1e5.", "00", "9", "-9", "1 2", "1,",
		"{", "}", "{}", "{ }", "{,}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{"a" :1 , "b": 2 }`, `{a:1}`, `{"a":1}}`, "[", "]", "[]", "[ ]", "[,]", "[1,]", "[1 2]", "[1]]", "[}", "{]", `{"a":[}`,
		`"`, `""`, `"a`, `"\`, `"\"`, `"\\"`, `"\/\b\f\n\r\t\""`, `"\x"`, `"\u"`, `"\u12"`, `"\u12G4"`, `"\u12@4"`, `"\u12/4"`, `"\u1`, `"\u12aF"`, `"\u123`, `"\ud800"`, `"\ud83d\ude00"`, `"\a"`, "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\n\"", "'a'",
		"\"é漢😀\u2028\"", "\"\xff\"", "\"\xc3\"", "\"\xe2\x82\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\"\xf4\x90\x80\x80\"", "{\"\xff\":1}", "\xff", "\xef\xbb\xbf{}", "\u00a0{}", "{}\x00", "\v{}", "\f1", "/**/1",
	}
	for _, text := range []string{`\`, `"`, "\x1f", " ", "é", "\xff", "\x80", "\x7f", `\u00e9`, `\n`, "\xa0", "\xe2"} {
		for n := range 18 { // every place in a word, and beside one
			all = append(all, `{"k":"`+strings.Repeat("x", n)+text+strings.Repeat("y", 17-n)+`"}`)
		}
	}
	for _, depth := range []int{9_999, 10_000, 10_001, 10_002} {
		all = append(all, strings.Repeat(`[`, depth)+strings.Repeat(`]`, depth), strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat(`}`, depth), strings.Repeat(`[`, depth))
	}
	return all
}()

// requireSameAsStandard compares Check with the standard library.
func requireSameAsStandard(t *testing.T, doc []byte) {
	t.Helper()
	doc = slices.Clip(doc) // reading beyond its end must not go unnoticed
	before := bytes.Clone(doc)
	err := ordered.Check(doc)
	isValid := json.Valid(doc) && utf8.Valid(doc)
	switch isObject := isValid && bytes.HasPrefix(bytes.TrimLeft(doc, " \t\r\n"), []byte("{")); {
	case isObject:
		require.NoError(t, err)
	case isValid:
		require.ErrorIs(t, err, ordered.ErrNotObject)
	default:
		var syntax *ordered.SyntaxError
		require.ErrorAs(t, err, &syntax)
	}
	o, parseErr := ordered.Parse(doc)
	require.Equal(t, err, parseErr)
	seen := map[string]json.RawMessage{}
	ok := ordered.Each(doc, func(key []byte, value json.RawMessage) { seen[string(key)] = value })
	require.Equal(t, err == nil, ok)
	require.Equal(t, before, doc)
	if err != nil {
		return
	}
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(doc, &all))
	require.Len(t, all, len(keysOf(o)))
	for key, value := range all {
		require.Equal(t, string(value), string(o.Get(key)), key)
		require.Equal(t, string(value), string(seen[key]), key)
	}
}

func keysOf(o *ordered.Object) map[string]bool {
	keys := map[string]bool{}
	for _, m := range o.Members() {
		keys[m.Key] = true
	}
	return keys
}

// Check and Parse accept what the standard library accepts in UTF-8.
func TestSameAsStandard(t *testing.T) {
	for _, doc := range oddJSON {
		for _, around := range [][2]string{{"", ""}, {" \t\r\n", "\n "}, {`{"a":`, `}`}, {`{"a":[1,`, `],"b":{}}`}} {
			requireSameAsStandard(t, []byte(around[0]+doc+around[1]))
		}
	}
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		doc, err := os.ReadFile(file)
		require.NoError(t, err)
		requireSameAsStandard(t, doc)
		for i := range len(doc) / 7 { // cut short, and with a byte changed
			requireSameAsStandard(t, doc[:i*7])
			changed := bytes.Clone(doc)
			changed[i*7] ^= byte(1 + i%255)
			requireSameAsStandard(t, changed)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, doc := range oddJSON {
		f.Add([]byte(doc))
		f.Add([]byte(`{"a":` + doc + `}`))
	}
	f.Fuzz(requireSameAsStandard)
}

// BenchmarkCheck compares Check with the standard library.
func BenchmarkCheck(b *testing.B) {
	doc := []byte(`{"a":[` + strings.Repeat(`{"key":"a value of usual length","other":10.0},`, 5_000) + `0]}`)
	b.Run("Check", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			assert.NoError(b, ordered.Check(doc))
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			assert.True(b, json.Valid(doc) && utf8.Valid(doc))
		}
	})
}
