// Package secret holds text that must not be printed, and takes such text out of other
// text (G13).
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

// maskKey masks the bytes of every Value, so that a dump by reflection shows nothing
// readable. Each process has its own.
var maskKey = func() (key [32]byte) {
	crand.Read(key[:])
	return key
}()

// maskStart is the beginning of the mask. It is long enough for most tokens.
var maskStart = func() (start [512]byte) {
	rand.NewChaCha8(maskKey).Read(start[:])
	return start
}()

// mask writes src into dst, masked, or unmasked if it is masked. Both are of one length, and may
// be the same.
func mask(dst, src []byte) {
	if len(src) <= len(maskStart) {
		subtle.XORBytes(dst, src, maskStart[:])
		return
	}
	key := make([]byte, len(src))
	rand.NewChaCha8(maskKey).Read(key)
	subtle.XORBytes(dst, src, key)
}

// Hide returns a function that returns v. A dump by reflection, as a failing test prints
// it of a struct, calls no function and so does not show v.
func Hide[T any](v T) func() T { return func() T { return v } }

// New returns text as a Value. New("") is the zero Value.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	b := []byte(text)
	mask(b, b)
	return Value{p: &b}
}

// Secret returns the text, "" for the zero Value.
func (v Value) Secret() string {
	if v.p == nil {
		return ""
	}
	var short [len(maskStart)]byte // so that most tokens need no other copy
	b := short[:]
	if len(*v.p) > len(b) {
		b = make([]byte, len(*v.p))
	}
	b = b[:len(*v.p)]
	mask(b, *v.p)
	return string(b)
}

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.p == nil }

// Equal reports, in constant time, whether v and w hold the same text. Two zero Values
// are not equal: no token is never a match.
func (v Value) Equal(w Value) bool {
	if v.p == nil || w.p == nil {
		return false
	}
	return subtle.ConstantTimeCompare(*v.p, *w.p) == 1
}

// Redacted stands in the place of a secret.
const Redacted = "[redacted]"

// Format writes "[redacted]", or nothing for the zero Value, for every verb.
func (v Value) Format(f fmt.State, _ rune) {
	if v.p != nil {
		io.WriteString(f, Redacted)
	}
}

// Redact returns text from elsewhere, such as an error of a transport or a message of a
// server, as one short line without secrets. Hidden characters go first, so that they
// cannot break up a secret.
func Redact(text string, secrets ...string) string {
	return plain.Short(Without(plain.Line(text), secrets...))
}

// Without returns text with [Redacted] in the place of secrets. Empty ones do nothing. All
// are found before any is replaced, because the code of a PIN may also be a part of a token.
func Without(text string, secrets ...string) string {
	hidden := make([]bool, len(text)) // bytes of text
	for _, s := range secrets {
		for from := 0; s != ""; from++ {
			i := strings.Index(text[from:], s)
			if i < 0 {
				break
			}
			from += i
			for at := range len(s) {
				hidden[from+at] = true
			}
		}
	}
	var b strings.Builder
	for i := range hidden {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(Redacted)
		}
	}
	return b.String()
}

// maxToken bounds the length of a token, in bytes.
const maxToken = 4 << 10

// UsableToken reports whether s can be a token: it fits into a header. plex.tv decides
// what a token looks like, and changes it.
func UsableToken(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// Fingerprint returns a hash by which v can be recognized, but not recovered; "" for the
// zero Value. It is stored, so it must stay the same in later versions.
func Fingerprint(v Value) string {
	if v.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte("plexauth rejected " + v.Secret()))
	return hex.EncodeToString(sum[:16])
}
