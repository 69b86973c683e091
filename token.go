package plexauth

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/plexauth/plexauth/internal/secret"
)

// Token is a Plex credential that does not print itself. No fmt verb, slog
// handler, encoder or reflection dumper shows it: it points to bytes that are
// masked with a random key of the process. Marshalling it is an error, so that
// a token is never lost or written down by accident, and comparing two with ==
// does not compile. Call [Token.Secret] where the token is really wanted.
//
// The zero Token holds nothing. A Token is safe for concurrent use.
type Token struct{ v secret.Value }

// NewToken returns a token from elsewhere as a Token, to carry it about or to
// compare it with another. NewToken("") is the zero Token.
func NewToken(token string) Token { return Token{secret.New(token)} }

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
