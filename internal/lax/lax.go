// Package lax reads JSON fields whose type may change: a number in a string, a null, or
// a boolean as 1 must not break a login (G4).
package lax

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/plexauth/plexauth/internal/ordered"
)

// Text returns a JSON string, or a number as text; "" for anything else.
func Text(v json.RawMessage) string {
	if len(v) == 0 {
		return ""
	}
	switch v[0] {
	case '"':
		s, _ := ordered.Unquote(v) // "" if it is not valid
		return s
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return string(v)
	}
	return ""
}

// Number returns a JSON number, or one in a string. ok is false for anything else.
func Number(v json.RawMessage) (f float64, ok bool) {
	s := strings.TrimSpace(Text(v))
	if s == "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && f == f // not NaN
}

// Int returns a whole JSON number, or one in a string; 0 for anything else.
func Int(v json.RawMessage) int64 {
	if len(v) > 0 && v[0] != '"' { // most often
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
	}
	return Whole(Text(v))
}

// Whole returns the whole number in text; 0 for anything else.
func Whole(text string) int64 {
	s := strings.TrimSpace(text)
	if s == "" { // most often; an error of strconv costs more than all else here
		return 0
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(s, 64) // 0 if it is not a number, and infinite if it is too large
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		return int64(f)
	}
	return 0
}

// Bool returns a JSON boolean, or one as a number or a word: 1, "true", "yes", "on" and
// their opposites. known is false for anything else.
func Bool(v json.RawMessage) (value, known bool) {
	switch string(v) { // most often
	case "":
		return false, false
	case "true":
		return true, true
	case "false":
		return false, true
	}
	switch strings.ToLower(strings.Trim(string(v), `"`)) {
	case "true", "1", "yes", "on":
		return true, true
	case "false", "0", "no", "off":
		return false, true
	}
	return false, false
}

// Types of fields that are read as [Text], [Int] and [Bool] do. They never fail to
// decode.
type (
	String  string
	Integer int64
	Boolean bool
)

// UnmarshalJSON implements [json.Unmarshaler].
func (v *String) UnmarshalJSON(b []byte) error {
	*v = String(Text(b))
	return nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Integer) UnmarshalJSON(b []byte) error {
	*v = Integer(Int(b))
	return nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Boolean) UnmarshalJSON(b []byte) error {
	is, _ := Bool(b)
	*v = Boolean(is)
	return nil
}

// ErrNotObject is the error of Object.
var ErrNotObject = errors.New("not a JSON object")

// Object calls member with each member of a JSON object, in order. It takes bytes that are not
// UTF-8 for U+FFFD, as encoding/json does. If body is not an object, the error is
// [ErrNotObject], and some members may have been seen.
func Object(body []byte, member func(key []byte, value json.RawMessage)) error {
	if !utf8.Valid(body) {
		body = bytes.ToValidUTF8(body, []byte("\ufffd"))
	}
	if !ordered.Each(body, member) {
		return ErrNotObject
	}
	return nil
}

// Unmarshal decodes body into v as [json.Unmarshal] does, but a part of another shape
// counts as absent.
func Unmarshal(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil
	}
	return err
}
