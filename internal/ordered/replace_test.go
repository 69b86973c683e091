package ordered_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/ordered"
)

func TestReplace(t *testing.T) {
	for name, row := range map[string]struct{ doc, key, value, want string }{
		"in place": {
			"{\n    \"a\" : 10.0,\n  \"plex\":{\"old\":1} ,\"z\":[ ]}\n", "plex", `{"n":1e16,"s":"<&>é","e":{},"l":[1,[]]}`,
			"{\n    \"a\" : 10.0,\n  \"plex\":{\n    \"n\": 1e16,\n    \"s\": \"<&>é\",\n    \"e\": {},\n    \"l\": [\n      1,\n      []\n    ]\n  } ,\"z\":[ ]}\n",
		},
		"null in place":          {`{"plex":null,"a":1}`, "plex", `{}`, `{"plex":{},"a":1}`},
		"the last of duplicates": {`{"plex":{"first":1},"plex":{"last":1},"a":1}`, "plex", `{}`, `{"plex":{"first":1},"plex":{},"a":1}`},
		"a key with escapes":     {`{"pl\u0065x":{"a":1}}`, "plex", `{}`, `{"pl\u0065x":{}}`},
		"a key with dots":        {`{"a":{"b":1}}`, "a.b", `{}`, "{\"a\":{\"b\":1},\n  \"a.b\": {}\n}"},
		"CRLF":                   {"{\r\n  \"a\": 1,\r\n  \"plex\": {}\r\n}\r\n", "plex", `{"b":2}`, "{\r\n  \"a\": 1,\r\n  \"plex\": {\n    \"b\": 2\n  }\r\n}\r\n"},
		"new, last":              {"{\n  \"a\": 1\n}\n", "plex", `{"b":2}`, "{\n  \"a\": 1,\n  \"plex\": {\n    \"b\": 2\n  }\n}\n"},
		"new, compact":           {`{"a":1}`, "plex", `{}`, "{\"a\":1,\n  \"plex\": {}\n}"},
		"new, before a space":    {`{"a":1 }`, "plex", `{}`, "{\"a\":1,\n  \"plex\": {}\n }"},
		"new, before a tab":      {"{\"a\":1\t}", "plex", `{}`, "{\"a\":1,\n  \"plex\": {}\n\t}"},
		"new, empty document":    {"{}\n", "plex", `{}`, "{\n  \"plex\": {}\n}\n"},
		"new, blank document":    {"{ \n}\n", "plex", `{}`, "{\n  \"plex\": {} \n}\n"},
		"removed last":           {"{\n  \"a\": 1,\n  \"plex\": {\n    \"b\": 2\n  }\n}\n", "plex", "", "{\n  \"a\": 1\n}\n"},
		"removed first":          {"{\n  \"plex\": {},\n  \"a\": 1\n}\n", "plex", "", "{\n  \"a\": 1\n}\n"},
		"removed middle":         {`{"a":1, "plex":{}, "b":2}`, "plex", "", `{"a":1, "b":2}`},
		"removed only":           {"{\n  \"plex\": {}\n}\n", "plex", "", "{\n}\n"},
		"removed duplicates":     {`{"plex":{},"plex":{},"a":1,"plex":{},"plex":{},"b":2,"plex":{}}`, "plex", "", `{"a":1,"b":2}`},
		"only duplicates":        {`{"plex":{},"plex":{}}`, "plex", "", `{}`},
		"removed, not there":     {`{"a" : 1}`, "plex", "", `{"a" : 1}`},
	} {
		t.Run(name, func(t *testing.T) {
			var value json.RawMessage
			if row.value != "" {
				value = json.RawMessage(row.value)
			}
			got, err := replace([]byte(row.doc), row.key, value)
			require.NoError(t, err)
			assert.Equal(t, row.want, string(got))
			assert.True(t, json.Valid(got))
		})
	}
}

func TestReplaceErrors(t *testing.T) {
	var syntax *ordered.SyntaxError
	_, err := replace([]byte(`{"a":`), "plex", json.RawMessage(`{}`))
	assert.ErrorAs(t, err, &syntax)
	_, err = replace([]byte(`[]`), "plex", json.RawMessage(`{}`))
	assert.ErrorIs(t, err, ordered.ErrNotObject)
	_, err = replace([]byte(`{}`), "plex", json.RawMessage(`{`))
	assert.ErrorAs(t, err, &syntax)
	_, err = replace([]byte(`{}`), "plex", json.RawMessage(`[]`))
	assert.ErrorIs(t, err, ordered.ErrNotObject)
	_, err = replace([]byte(`{}`), "plex", json.RawMessage(`{} {}`))
	assert.ErrorAs(t, err, &syntax)
	deepest := strings.Repeat(`{"a":`, 9_999) + "{}" + strings.Repeat("}", 9_999)
	require.NoError(t, ordered.Check([]byte(deepest)))
	_, err = replace([]byte(`{}`), "plex", json.RawMessage(deepest))
	assert.ErrorContains(t, err, "nested too deep", "as a member")
}

// G16: Replace keeps the other members of any document byte for byte, or returns
// one of the two errors of Parse.
func FuzzReplace(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(f, err)
	require.NotEmpty(f, files, "no seeds: testdata has moved")
	for _, file := range files {
		doc, err := os.ReadFile(file)
		require.NoError(f, err)
		for _, key := range []string{"plex", "a.b", "", "caf\u00e9", "version"} {
			f.Add(doc, key, []byte(`{"n":10.0,"s":"<&>\u0000é","l":[1,{}]}`))
			f.Add(doc, key, []byte(nil))
			f.Add(doc, key, []byte(`[]`))
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte, key string, value []byte) {
		key = strings.ToValidUTF8(key, "?") // keys of a JSON document are valid UTF-8
		before := bytes.Clone(doc)
		got, err := replace(doc, key, value)
		require.Equal(t, before, doc, "Replace does not modify its input")
		if err != nil {
			var syntax *ordered.SyntaxError
			if !errors.As(err, &syntax) {
				require.ErrorIs(t, err, ordered.ErrNotObject)
			}
			return
		}
		require.True(t, json.Valid(got))
		old, err := ordered.Parse(doc)
		require.NoError(t, err, "Replace edits only objects")
		edited, err := ordered.Parse(got)
		require.NoError(t, err)

		// The edited document has the value, or no such member for nil.
		m, ok := edited.Member(key)
		require.Equal(t, value != nil, ok)
		if ok {
			var want, have bytes.Buffer
			require.NoError(t, json.Compact(&want, value))
			require.NoError(t, json.Compact(&have, m.Value))
			require.Equal(t, want.String(), have.String())
		}

		// The value looks as encoding/json indents it.
		if value != nil {
			var pretty bytes.Buffer
			require.NoError(t, json.Indent(&pretty, bytes.TrimSpace(value), "  ", "  "))
			require.Equal(t, pretty.String(), string(m.Value))
		}

		// All other members are unchanged and in the same order.
		require.Equal(t, others(old, key), others(edited, key))
		if was, ok := old.Member(key); ok && value != nil {
			require.Equal(t, string(doc[:was.Start]), string(got[:was.Start]), "before the value")
			require.True(t, bytes.HasSuffix(got, doc[was.End:]), "after the value")
			require.Equal(t, len(doc)-(was.End-was.Start)+len(m.Value), len(got))
		} else if value != nil {
			at := commonPrefix(doc, got)
			require.True(t, bytes.HasSuffix(got, doc[at:]), "a new member is a single insertion")
		}
	})
}

// replace replaces a member of a document.
func replace(doc []byte, key string, value json.RawMessage) ([]byte, error) {
	o, err := ordered.Parse(doc)
	if err != nil {
		return nil, err
	}
	return o.Replace(doc, key, value)
}

// others returns the keys and the raw values of all members except those named
// key.
func others(o *ordered.Object, key string) []string {
	var all []string
	for _, m := range o.Members() {
		if m.Key != key {
			all = append(all, m.Key, string(m.Value))
		}
	}
	return all
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func BenchmarkReplace10MB(b *testing.B) {
	doc := []byte(`{"a":[` + strings.Repeat(`{"k":"value","n":10.0},`, 450_000) + `0],"plex":{"x":1}}`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := replace(doc, "plex", json.RawMessage(`{"x":2}`)); err != nil {
			b.Fatal(err)
		}
	}
}

// A value that encoding/json accepts is indented as encoding/json does.
func TestReplaceIndents(t *testing.T) {
	for _, doc := range oddJSON {
		value := []byte(`{"a" : ` + doc + ` , "b":[ ],"c":{ },"d":[{"e" :[1,"x:{[,]}"]}, {}]}`)
		if ordered.Check(value) != nil || len(value) > 10_000 { // indenting deep values takes long
			continue
		}
		got, err := replace([]byte(`{"plex":{}}`), "plex", value)
		require.NoError(t, err)
		var pretty bytes.Buffer
		require.NoError(t, json.Indent(&pretty, value, "  ", "  "))
		require.Equal(t, `{"plex":`+pretty.String()+`}`, string(got))
	}
}
