package plexauth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	crand "crypto/rand"
	"crypto/subtle"
	"math/rand/v2"
)

// Token is a Plex credential that does not print itself. No fmt verb, slog
// handler, encoder or reflection dumper shows it: it points to bytes that are
// masked with a random key of the process. Marshalling it is an error, so that
// a token is never lost or written down by accident, and comparing two with ==
// does not compile. Call [Token.Secret] where the token is really wanted.
//
// The zero Token holds nothing. A Token is safe for concurrent use.
type Token struct{ v secretValue }

// NewToken returns secret, a token from elsewhere, as a Token, to carry it about or to
// compare it with another. NewToken("") is the zero Token.
func NewToken(secret string) Token { return Token{newValue(secret)} }

// Secret returns the token itself, "" for the zero Token. Send it in the
// X-Plex-Token header and nowhere else.
func (t Token) Secret() string { return t.v.Secret() }

// IsZero reports whether t holds nothing.
func (t Token) IsZero() bool { return t.v.IsZero() }

// Equal reports, in constant time, whether both hold the same secret. Two zero
// Tokens are not equal: "no token" is never a match.
func (t Token) Equal(u Token) bool { return t.v.Equal(u.v) }

// Format writes "[redacted]", or nothing for the zero Token, for every verb.
func (t Token) Format(f fmt.State, verb rune) { t.v.Format(f, verb) }

// LogValue implements [slog.LogValuer] with the same.
func (t Token) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t.v)) }

var errTokenMarshal = errors.New("plexauth: a Token cannot be marshalled; use its Secret method where the token is really wanted")

// MarshalJSON always fails.
func (t Token) MarshalJSON() ([]byte, error) { return nil, errTokenMarshal }

// MarshalText always fails.
func (t Token) MarshalText() ([]byte, error) { return nil, errTokenMarshal }

// secretValue is text that no fmt verb, encoder or dump by reflection shows. The zero Value
// holds nothing. A Value is safe for concurrent use.
type secretValue struct {
	_ [0]func() // no ==
	p *[]byte   // masked; behind a pointer, because fmt calls no methods on unexported fields
}

// maskKey makes what a dump of memory by reflection shows unreadable. It is
// new in every process.
var maskKey = func() (key [32]byte) {
	crand.Read(key[:])
	return key
}()

// mask turns a secret into its masked form and back.
func mask(b []byte) []byte {
	out := make([]byte, len(b))
	rand.NewChaCha8(maskKey).Read(out)
	subtle.XORBytes(out, out, b)
	return out
}

// hide returns a function that returns v. Dumps by reflection, such as a failing test
// prints of a struct, call no function and so do not show v.
func hide[T any](v T) func() T { return func() T { return v } }

// newValue returns text as a Value; the zero Value for "".
func newValue(text string) secretValue {
	if text == "" {
		return secretValue{}
	}
	b := mask([]byte(text))
	return secretValue{p: &b}
}

// Secret returns the text, "" for the zero Value.
func (v secretValue) Secret() string {
	if v.p == nil {
		return ""
	}
	return string(mask(*v.p))
}

// IsZero reports whether v holds nothing.
func (v secretValue) IsZero() bool { return v.p == nil }

// Equal reports, in constant time, whether both hold the same text. Two zero Values
// are not equal.
func (v secretValue) Equal(w secretValue) bool {
	if v.p == nil || w.p == nil {
		return false
	}
	return subtle.ConstantTimeCompare(*v.p, *w.p) == 1
}

// redacted stands in the place of a secret.
const redacted = "[redacted]"

// Format writes "[redacted]", or nothing for the zero Value, for every verb.
func (v secretValue) Format(f fmt.State, _ rune) {
	if v.p != nil {
		io.WriteString(f, redacted)
	}
}
