// Package secret holds text that must not print, and takes such text out of other text.
package secret

import (
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/plexauth/plexauth/internal/plain"
)

// Value is text that no fmt verb, encoder or dump by reflection shows. The zero Value
// holds nothing. A Value is safe for concurrent use.
type Value struct {
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

// Hide returns a function that returns v. Dumps by reflection, such as a failing test
// prints of a struct, call no function and so do not show v.
func Hide[T any](v T) func() T { return func() T { return v } }

// New returns text as a Value; the zero Value for "".
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	b := mask([]byte(text))
	return Value{p: &b}
}

// Secret returns the text, "" for the zero Value.
func (v Value) Secret() string {
	if v.p == nil {
		return ""
	}
	return string(mask(*v.p))
}

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.p == nil }

// Equal reports, in constant time, whether both hold the same text. Two zero Values
// are not equal.
func (v Value) Equal(w Value) bool {
	if v.p == nil || w.p == nil {
		return false
	}
	return subtle.ConstantTimeCompare(*v.p, *w.p) == 1
}

// redacted stands in the place of a secret.
const Redacted = "[redacted]"

// Format writes "[redacted]", or nothing for the zero Value, for every verb.
func (v Value) Format(f fmt.State, _ rune) {
	if v.p != nil {
		io.WriteString(f, Redacted)
	}
}

// Redact takes secrets out of a text that comes from elsewhere: an error of a
// transport, a message of a server. The result is one short line. Hidden
// characters go first, so that none can hide a secret.
func Redact(text string, secrets ...string) string {
	return plain.Short(Without(plain.Line(text), secrets...))
}

func Without(text string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, Redacted)
		}
	}
	return text
}

const maxTokenLength = 4 << 10

// UsableToken reports whether s can be a token: anything that fits into a
// header. Its form is plex.tv's own business, and changes.
func UsableToken(s string) bool {
	return s != "" && len(s) <= maxTokenLength && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// Fingerprint recognizes a token without giving it away.
func Fingerprint(t Value) string {
	if t.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte("plexauth rejected " + t.Secret()))
	return hex.EncodeToString(sum[:16])
}

// HasParts reports whether a device's token must be a JWT. What has no parts is
// a long-lived token: whether plex.tv may answer a PIN with a key by one is not
// documented.
func (t Value) HasParts() bool { return strings.Contains(t.Secret(), ".") }
