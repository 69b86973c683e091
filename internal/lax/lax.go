// Package lax reads JSON fields whose type may change: a number in a string, a null, or
// a boolean as 1 must not break a login.
package lax

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// Text reads a JSON string, and what drifted into a number; "" for the rest.
func Text(v json.RawMessage) string {
	if len(v) == 0 {
		return ""
	}
	switch v[0] {
	case '"':
		if s, err := ordered.Unquote(v); err == nil {
			return s
		}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return string(v)
	}
	return ""
}

// Number reads a JSON number, also one in a string.
func Number(v json.RawMessage) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(Text(v)), 64)
	return f, err == nil && f == f
}

// Int reads an id: a whole JSON number, also in a string; 0 for the rest.
func Int(v json.RawMessage) int64 { return Whole(Text(v)) }

// Whole reads an id from text: a whole number, or 0 for anything else.
func Whole(text string) int64 {
	s := strings.TrimSpace(text)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f == float64(int64(f)) {
		return int64(f)
	}
	return 0
}

// Bool reads a JSON boolean, also as 1, "1" or "true".
func Bool(v json.RawMessage) (value, known bool) {
	switch strings.ToLower(strings.Trim(string(v), `"`)) {
	case "true", "1", "yes", "on":
		return true, true
	case "false", "0", "no", "off":
		return false, true
	}
	return false, false
}

// laxText, laxInt and laxBool are fields that read so.
type (
	String  string
	Integer int64
	Boolean bool
)

func (v *String) UnmarshalJSON(b []byte) error {
	*v = String(Text(b))
	return nil
}

func (v *Integer) UnmarshalJSON(b []byte) error {
	*v = Integer(Int(b))
	return nil
}

func (v *Boolean) UnmarshalJSON(b []byte) error {
	is, _ := Bool(b)
	*v = Boolean(is)
	return nil
}

// Unmarshal is json.Unmarshal, but that what has another shape than v counts as
// absent.
func Unmarshal(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil
	}
	return err
}
