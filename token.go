package plexauth

import (
	crand "crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
)

// Token is a Plex credential that does not print itself. No fmt verb, slog
// handler, encoder or reflection dumper shows it: it points to bytes that are
// masked with a random key of the process. Marshalling it is an error, so that
// a token is never lost or written down by accident, and comparing two with ==
// does not compile. Call [Token.Secret] where the token is really wanted.
//
// The zero Token holds nothing. A Token is safe for concurrent use.
type Token struct {
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

// hide keeps what has secrets in it from dumps by reflection, such as a failing
// test prints of other people's structs: nothing calls a function.
func hide[T any](v T) func() T { return func() T { return v } }

// NewToken wraps a secret: a token that comes from elsewhere, to carry it about or
// compare it with another. NewToken("") is the zero Token.
func NewToken(secret string) Token {
	if secret == "" {
		return Token{}
	}
	b := mask([]byte(secret))
	return Token{p: &b}
}

// Secret returns the token itself, "" for the zero Token. Send it in the
// X-Plex-Token header and nowhere else.
func (t Token) Secret() string {
	if t.p == nil {
		return ""
	}
	return string(mask(*t.p))
}

// IsZero reports whether t holds nothing.
func (t Token) IsZero() bool { return t.p == nil }

// Equal reports, in constant time, whether both hold the same secret. Two zero
// Tokens are not equal: "no token" is never a match.
func (t Token) Equal(u Token) bool {
	if t.p == nil || u.p == nil {
		return false
	}
	return subtle.ConstantTimeCompare(*t.p, *u.p) == 1
}

const redacted = "[redacted]"

func (t Token) placeholder() string {
	if t.p == nil {
		return ""
	}
	return redacted
}

// Format writes "[redacted]", or nothing for the zero Token, for every verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.placeholder()) }

// LogValue implements [slog.LogValuer] with the same.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.placeholder()) }

var errTokenMarshal = errors.New("plexauth: a Token cannot be marshalled; use its Secret method where the token is really wanted")

// MarshalJSON always fails.
func (t Token) MarshalJSON() ([]byte, error) { return nil, errTokenMarshal }

// MarshalText always fails.
func (t Token) MarshalText() ([]byte, error) { return nil, errTokenMarshal }
