package ordered_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/ordered"
)

func TestEditKeepsTheRest(t *testing.T) {
	o, err := ordered.Parse([]byte("{ \"b\" : 10.0, \"caf\\u00e9\":\"<&>é\",\"x\":[1e16 ,{}],\"b\":2}"))
	require.NoError(t, err)
	assert.Equal(t, "2", string(o.Get("b")), "the last of duplicate keys counts")
	o.Set("x", ordered.String("new"))
	o.SetFirst("first", ordered.Int(1))
	o.SetAfter("mid", ordered.Bool(true), "absent", "café")
	assert.Equal(t, `{"first":1,"b":10.0,"caf\u00e9":"<&>é","mid":true,"x":"new","b":2}`, string(o.Bytes()))
	assert.True(t, o.Delete("b"))
	assert.False(t, o.Delete("b"), "it is gone")
	assert.Equal(t, `{"first":1,"caf\u00e9":"<&>é","mid":true,"x":"new"}`, string(o.Bytes()))
}

// A new member follows the first anchor that exists, wherever that is.
func TestSetAfter(t *testing.T) {
	for want, anchors := range map[string][]string{
		`{"a":1,"new":0,"b":2,"c":3}`: {"a"},
		`{"a":1,"b":2,"new":0,"c":3}`: {"x", "b", "a", "c"},
		`{"a":1,"b":2,"c":3,"new":0}`: {"x"},
	} {
		o, err := ordered.Parse([]byte(`{"a":1,"b":2,"c":3}`))
		require.NoError(t, err)
		o.SetAfter("new", ordered.Int(0), anchors...)
		assert.Equal(t, want, string(o.Bytes()))
	}
}

func TestAround(t *testing.T) {
	o, err := ordered.Parse([]byte(`{"a":1, "caf\u00e9":[2], "a":{"b":3}, "z":4}`))
	require.NoError(t, err)
	for key, want := range map[string][2]string{
		"a":    {`{"a":1,"caf\u00e9":[2],"a":`, `,"z":4}`},
		"café": {`{"a":1,"caf\u00e9":`, `,"a":{"b":3},"z":4}`},
		"z":    {`{"a":1,"caf\u00e9":[2],"a":{"b":3},"z":`, `}`},
	} {
		before, after := o.Around(key)
		assert.Equal(t, want, [2]string{string(before), string(after)}, key)
	}
}

func TestParsed(t *testing.T) {
	o, err := ordered.Parse([]byte(`{"a":{"b":1},"n":2}`))
	require.NoError(t, err)
	for key, want := range map[string]string{"n": "not a JSON object", "absent": "line 1, column 1: the document is empty"} {
		_, err := o.Parsed(key)
		assert.EqualError(t, err, want, key)
	}
	a, err := o.Parsed("a")
	require.NoError(t, err)
	same, err := o.Parsed("a")
	require.NoError(t, err)
	assert.Same(t, a, same, "parsed once")
	a.Set("b", ordered.Int(3))
	assert.Equal(t, `{"a":{"b":1},"n":2}`, string(o.Bytes()), "not set yet")
	o.Set("a", a.Bytes())
	again, err := o.Parsed("a")
	require.NoError(t, err)
	assert.Equal(t, "3", string(again.Get("b")))
	o.Set("a", []byte(`{"b":4}`))
	again, err = o.Parsed("a")
	require.NoError(t, err)
	assert.Equal(t, "4", string(again.Get("b")))
	assert.Equal(t, `{"a":{"b":4},"n":2}`, string(o.Bytes()))
}

func TestMemberRange(t *testing.T) {
	doc := []byte("{\n  \"a\": {\"k\": 1},\n  \"b\": [ ]\n}\n")
	o, err := ordered.Parse(doc)
	require.NoError(t, err)
	m, ok := o.Member("a")
	require.True(t, ok)
	assert.Equal(t, `{"k": 1}`, string(doc[m.Start:m.End]))
}

func TestParseErrors(t *testing.T) {
	for doc, want := range map[string]string{
		"":                          "line 1, column 1: the document is empty",
		" \n":                       "line 1, column 2: the document is empty",
		"{\n  \"a\": 1,\n  oops}":   "line 3, column 3: not valid JSON",
		"{\"a\":":                   "line 1, column 5: the document ends too early",
		"\xef\xbb\xbf{}":            "line 1, column 1: the document begins with a byte order mark",
		"{} {}":                     "line 1, column 4: not valid JSON",
		"{\"é\":\n\"a\xffb\xff\"}":  "line 2, column 3: not UTF-8",
		"{\"\ufffd\":\"\xe2\x82\"}": "line 1, column 9: not UTF-8", // a truncated character
		strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001): "line 1, column 50001: nested too deep",
	} {
		_, err := ordered.Parse([]byte(doc))
		var syntax *ordered.SyntaxError
		require.ErrorAs(t, err, &syntax, doc)
		assert.Equal(t, want, err.Error(), doc)
	}
	for _, doc := range []string{"[]", "null", `"s"`, "1"} {
		_, err := ordered.Parse([]byte(doc))
		assert.ErrorIs(t, err, ordered.ErrNotObject, doc)
	}
}

func TestStringEscapesOnlyWhatItMust(t *testing.T) {
	assert.Equal(t, "\"<&>é/\\\"\\\\\\n\\u0001\u2028\x7f\"", string(ordered.String("<&>é/\"\\\n\x01\u2028\x7f")))
	assert.Equal(t, `"\t\r\b\f "`, string(ordered.String("\t\r\b\f ")))
	assert.Equal(t, "\"a\ufffdb\ufffdc\"", string(ordered.String("a\x80b\xffc")), "what is not UTF-8")
}

// Only a string that means itself is plain.
func TestPlain(t *testing.T) {
	for _, s := range []string{`""`, `"a"`, `"a b~<&>"`, `"é"`} {
		inner, ok := ordered.Plain([]byte(s))
		assert.True(t, ok, s)
		assert.Equal(t, s[1:len(s)-1], string(inner))
	}
	for _, s := range []string{``, `"`, `a"`, `"a`, `1`, `"a"b"`, `"\n"`, "\"\n\"", "\"\xff\""} {
		_, ok := ordered.Plain([]byte(s))
		assert.False(t, ok, s)
	}
}

func TestUnquote(t *testing.T) {
	for quoted, want := range map[string]string{
		`""`: "", `"caf\u00e9"`: "café", `"café"`: "café", `"a\\b\"c"`: `a\b"c`, "\"\xff\"": "\uFFFD",
	} {
		s, err := ordered.Unquote([]byte(quoted))
		require.NoError(t, err, quoted)
		assert.Equal(t, want, s)
	}
	for _, bad := range []string{"", `"`, `"a`, `a"`, `a`, "1", `"a"b"`, "\"a\nb\"", `"\x"`} {
		_, err := ordered.Unquote([]byte(bad))
		assert.Error(t, err, bad)
	}
}
