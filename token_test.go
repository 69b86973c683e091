package plexauth_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// A Token gives its secret on demand, and compares with others.
func TestToken(t *testing.T) {
	a := plexauth.NewToken("TEST_canary-hunter2")
	assert.Equal(t, "TEST_canary-hunter2", a.Secret())
	assert.False(t, a.IsZero())
	assert.True(t, a.Equal(plexauth.NewToken("TEST_canary-hunter2")))
	assert.False(t, a.Equal(plexauth.NewToken("TEST_canary-hunter3")))
	assert.False(t, a.Equal(plexauth.NewToken("TEST_canary")))
	var zero plexauth.Token
	assert.True(t, zero.IsZero())
	assert.True(t, plexauth.NewToken("").IsZero())
	assert.Empty(t, zero.Secret())
	assert.False(t, zero.Equal(zero), "no token is never a match")
	assert.False(t, zero.Equal(a))
	long := strings.Repeat("TEST_jwt.", 500)
	assert.Equal(t, long, plexauth.NewToken(long).Secret())
}

// G13: no verb, handler, encoder or dumper shows a token or anything that it could be
// computed from, even inside other structs.
func TestTokenDoesNotPrintItself(t *testing.T) {
	const secret = "TEST_hunter2" // it fits into a line of a dump
	tok := plexauth.NewToken(secret)
	type exported struct{ T plexauth.Token }
	type hidden struct{ t plexauth.Token }
	type pointer struct{ T *plexauth.Token }
	values := map[string]any{
		"itself": tok, "pointer": &tok, "exported field": exported{tok}, "unexported field": hidden{tok}, "pointer to hidden": &hidden{tok},
		"pointer field": pointer{&tok}, "slice": []plexauth.Token{tok}, "map": map[string]plexauth.Token{"k": tok}, "any": []any{tok},
		"nested": struct{ In []hidden }{[]hidden{{tok}}}, "settings": plexauth.Settings{AccountToken: tok, ServerToken: tok},
	}
	check := func(t *testing.T, how, out string) {
		t.Helper()
		for _, leak := range []string{secret, "hunter2", fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("%d", []byte(secret)), fmt.Sprintf("% x", secret)} {
			assert.NotContains(t, out, leak, how)
		}
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
				for _, flag := range []string{"", "+", "#", " ", "+#"} {
					format := "%" + flag + string(verb)
					check(t, format, fmt.Sprintf(format, v))
				}
			}
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
			slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
			slog.New(plexauth.NewLogHandler(func(_, _, m string) { b.WriteString(m) })).Info("m", "v", v)
			if j, err := json.Marshal(v); err == nil {
				b.Write(j)
			}
			if x, err := xml.Marshal(v); err == nil {
				b.Write(x)
			}
			_ = gob.NewEncoder(&b).Encode(v)
			check(t, "encoders", b.String())

			// A failing assertion of testify dumps both sides by reflection.
			rec := &recorder{}
			assert.Equal(rec, v, reflect.Zero(reflect.TypeOf(v)).Interface()) // of another type there is no diff
			require.Contains(t, rec.text, "Diff:")
			assert.ElementsMatch(rec, []any{v}, []any{1})
			require.Contains(t, rec.text, "extra elements")
			check(t, "test diff", rec.text)
		})
	}
	for _, v := range []any{tok, exported{tok}, &tok, map[string]plexauth.Token{"k": tok}} {
		_, err := json.Marshal(v)
		assert.Error(t, err, "a token is not encoded by accident")
	}
	_, err := tok.MarshalText()
	assert.Error(t, err)
	j, err := json.Marshal(plexauth.Settings{AccountToken: tok, Username: "alice"})
	require.NoError(t, err)
	assert.Contains(t, string(j), "alice")
}
