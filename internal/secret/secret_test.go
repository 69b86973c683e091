package secret_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/secret"
)

const text = "correct-horse-battery"

// G13: no verb and no dump shows what a Value holds.
func TestValueDoesNotPrint(t *testing.T) {
	v := secret.New(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, what := range []any{v, &v, struct{ V any }{v}, struct{ v secret.Value }{v}, []secret.Value{v}, map[string]secret.Value{"k": v}} {
			out := fmt.Sprintf(verb, what)
			assert.NotContains(t, out, text, verb)
			assert.NotContains(t, out, fmt.Sprintf("%x", text), verb)
		}
	}
	assert.Equal(t, secret.Redacted, fmt.Sprint(v))
	assert.Empty(t, fmt.Sprint(secret.Value{}))
	b, err := json.Marshal([]any{v})
	assert.NotContains(t, string(b), text, "%v", err)
	assert.NotContains(t, fmt.Sprintf("%+v", struct{ f any }{secret.Hide(text)}), text)
	assert.Equal(t, text, secret.Hide(text)())
}

// held returns the bytes that a dump by reflection finds in v.
func held(v secret.Value) string {
	return string(reflect.ValueOf(v).FieldByName("p").Elem().Bytes())
}

// G13: text of each length is masked, and its mask cannot be guessed.
func TestMask(t *testing.T) {
	for _, n := range []int{1, 8, 511, 512, 513, 4096} {
		long := strings.Repeat("x", n)
		v := secret.New(long)
		assert.Equal(t, long, v.Secret(), n)
		guessed := make([]byte, n)
		rand.NewChaCha8([32]byte{}).Read(guessed)
		for i := range guessed {
			guessed[i] ^= 'x'
		}
		if n > 1 { // a single byte may be any
			assert.NotEqual(t, string(guessed), held(v), n)
		}
		for tail := held(v); len(tail) >= 8; tail = tail[8:] {
			assert.NotEqual(t, "xxxxxxxx", tail[:8], n)
		}
	}
}

// A Value gives its text back, and compares by it.
func TestValue(t *testing.T) {
	v, none := secret.New(text), secret.New("")
	assert.Equal(t, text, v.Secret())
	assert.Empty(t, none.Secret())
	assert.True(t, none.IsZero() && !v.IsZero())
	assert.True(t, v.Equal(secret.New(text)))
	assert.False(t, v.Equal(secret.New(text+"x")) || v.Equal(none) || none.Equal(v) || none.Equal(none))
}

// Redact finds a secret that hidden characters break up, and makes one line.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"token " + text + " refused":         "token [redacted] refused",
		"token correct-\u200bhorse-battery!": "token [redacted]!",
		text + text:                          "[redacted]",
		text + " " + text:                    "[redacted] [redacted]",
		"two\nlines":                         "two lines",
		"nothing":                            "nothing",
	} {
		assert.Equal(t, want, secret.Redact(in, "", text), in)
	}
	for _, secrets := range [][]string{{"horse", text}, {text, "horse"}, {text[:9], text[8:]}, {"e", "act", text}} {
		assert.Equal(t, "a [redacted]!", secret.Redact("a "+text+"!", secrets...), "secrets within a secret: %q", secrets)
	}
	assert.Equal(t, "[redacted]x", secret.Redact("ababax", "aba"))
	assert.LessOrEqual(t, len(secret.Redact(strings.Repeat("x", 1000))), 310)
	assert.Equal(t, "a\n[redacted]", secret.Without("a\n"+text, text, ""))
}

// A token is what a header can carry, within limits.
func TestUsableToken(t *testing.T) {
	for s, want := range map[string]bool{
		"x": true, text: true, "eyJ.a_b.c-d": true, strings.Repeat("x", 4096): true,
		"": false, strings.Repeat("x", 4097): false, "a b": false, "a\n": false, "ä": false, "\x7f": false,
	} {
		assert.Equal(t, want, secret.UsableToken(s), "%.10q", s)
	}
}

// A fingerprint recognizes a token. It is stored, so it must not change.
func TestFingerprint(t *testing.T) {
	assert.Empty(t, secret.Fingerprint(secret.Value{}))
	assert.Equal(t, "830754d525768749698bc56bc1e48650", secret.Fingerprint(secret.New(text)))
	assert.NotEqual(t, secret.Fingerprint(secret.New(text)), secret.Fingerprint(secret.New(text+"x")))
}
