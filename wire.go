package plexauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// How fields of plex.tv's answers and of stored documents are read: a change
// of type in one of them, or a null, must not break a login.

// text reads a JSON string, and what drifted into a number; "" for the rest.
func text(v json.RawMessage) string {
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

// number reads a JSON number, also one in a string.
func number(v json.RawMessage) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text(v)), 64)
	return f, err == nil && f == f
}

// integer reads an id: a whole JSON number, also in a string; 0 for the rest.
func integer(v json.RawMessage) int64 {
	s := strings.TrimSpace(text(v))
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f == float64(int64(f)) {
		return int64(f)
	}
	return 0
}

// truth reads a JSON boolean, also as 1, "1" or "true".
func truth(v json.RawMessage) (value, known bool) {
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
	laxText string
	laxInt  int64
	laxBool bool
)

func (v *laxText) UnmarshalJSON(b []byte) error {
	*v = laxText(text(b))
	return nil
}

func (v *laxInt) UnmarshalJSON(b []byte) error {
	*v = laxInt(integer(b))
	return nil
}

func (v *laxBool) UnmarshalJSON(b []byte) error {
	is, _ := truth(b)
	*v = laxBool(is)
	return nil
}

// unmarshal is json.Unmarshal, but that what has another shape than v counts as
// absent.
func unmarshal(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil
	}
	return err
}

const maxTokenLength = 4 << 10

// usableToken reports whether s can be a token: anything that fits into a
// header. Its form is plex.tv's own business, and changes.
func usableToken(s string) bool {
	return s != "" && len(s) <= maxTokenLength && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// isJWT reports whether a token is a JWT: three parts, of which the first is
// a JSON object.
func isJWT(s string) bool {
	header, rest, _ := strings.Cut(s, ".")
	if strings.Count(rest, ".") != 1 {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(header)
	return err == nil && len(b) > 0 && b[0] == '{'
}
