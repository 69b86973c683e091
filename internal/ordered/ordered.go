// Package ordered edits a JSON object without changing the rest of it. The order
// of the keys, the spelling of numbers and escapes, and unknown members survive.
package ordered

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrNotObject is the error of Parse for valid JSON that is not an object.
var ErrNotObject = errors.New("not a JSON object")

// SyntaxError says where a document is not valid JSON. It quotes nothing of the
// document, which may contain secrets.
type SyntaxError struct {
	Line, Column int // both from 1; the column counts bytes
	Reason       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// Member is one key and its value. Start and End are the byte range of the value
// in the parsed document. They are zero for a member that was set later.
type Member struct {
	Key        string
	Value      json.RawMessage
	Start, End int

	keyStart, keyEnd int     // the place of the key in the document, quotes included; 0 for a member that was set later
	parsed           *Object // Value as Parsed has returned it; nil if it has not
}

// Object is a JSON object whose members keep their order.
type Object struct {
	document []byte // what was parsed; nil for an object that was not
	members  []Member
}

// New returns an object without members, with room for so many.
func New(members int) *Object { return &Object{members: make([]Member, 0, members)} }

// Parse parses a JSON object. The result shares no memory with data. The error
// is a [*SyntaxError] or [ErrNotObject].
func Parse(data []byte) (*Object, error) { return View(bytes.Clone(data)) }

// View does what [Parse] does, without a copy of data, which must not change.
func View(data []byte) (*Object, error) {
	start := SkipSpace(data, 0)
	if !at(data, start, '{') {
		return nil, refusal(data)
	}
	text := "" // a short document as a string, so that its keys share one allocation
	if len(data) < 1<<10 {
		text = string(data)
	}
	o := &Object{document: data, members: make([]Member, 0, min(1+len(data)/24, 8))} // an estimate that suits short objects
	end := scanObject(data, start, 1, func(key, keyEnd, start, end int) {
		o.members = append(o.members, Member{
			Key:      readKey(text, data, key, keyEnd),
			Value:    data[start:end:end],
			Start:    start,
			End:      end,
			keyStart: key,
			keyEnd:   keyEnd,
		})
	})
	if end == Invalid || SkipSpace(data, end) != len(data) {
		return nil, refusal(data)
	}
	return o, nil
}

// Each calls member with the key and the value of each member of the JSON object data, in
// order. Both may share memory with data. ok reports whether data is an object; if not, Each may
// have stopped in its middle.
func Each(data []byte, member func(key []byte, value json.RawMessage)) (ok bool) {
	start := SkipSpace(data, 0)
	if !at(data, start, '{') {
		return false
	}
	end := scanObject(data, start, 1, func(key, keyEnd, start, end int) {
		name := data[key+1 : keyEnd-1]
		if !plain(name) {
			text, _ := Unquote(data[key:keyEnd])
			name = []byte(text)
		}
		member(name, data[start:end:end])
	})
	return end != Invalid && SkipSpace(data, end) == len(data)
}

// readKey returns the key in data[from:to], which is a valid string. It slices text, which is
// data as a string or empty, if the key needs no unescaping.
func readKey(text string, data []byte, from, to int) string {
	if text != "" && plain(data[from+1:to-1]) {
		return text[from+1 : to-1]
	}
	key, _ := Unquote(data[from:to])
	return key
}

// Unquote decodes a JSON string. It calls encoding/json only if the string has
// escapes or is not valid.
func Unquote(quoted []byte) (s string, err error) {
	if inner, ok := Plain(quoted); ok {
		return string(inner), nil
	}
	err = json.Unmarshal(quoted, &s)
	return s, err
}

// Plain returns what is between the quotes of a JSON string that means itself. ok is false for
// one that has escapes or is not valid, and for anything else.
func Plain(quoted []byte) (inner []byte, ok bool) {
	n := len(quoted) - 1
	if n < 1 || quoted[0] != '"' || quoted[n] != '"' || !plain(quoted[1:n]) {
		return nil, false
	}
	return quoted[1:n], true
}

// plain reports whether inner, the text between the quotes of a JSON string, is
// valid without unescaping.
func plain(inner []byte) bool {
	for _, c := range inner {
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return utf8.Valid(inner)
}

// errEmpty is allocated once because it is frequent: a missing member is empty.
var errEmpty = &SyntaxError{Line: 1, Column: 1, Reason: "the document is empty"}

// Check returns the error that Parse would return for data.
func Check(data []byte) error {
	if at(data, SkipSpace(data, 0), '{') && isValid(data) {
		return nil
	}
	return refusal(data)
}

// refusal returns the error for data, which is not a valid object.
func refusal(data []byte) error {
	switch {
	case len(data) == 0:
		return errEmpty
	case isValid(data):
		return ErrNotObject
	}
	return locate(data) // encoding/json accepts invalid UTF-8, Python does not
}

// locate returns a SyntaxError with the place and the reason why data is not
// valid JSON. It does not quote data.
func locate(data []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	var syntax *json.SyntaxError
	errors.As(err, &syntax) // any value can be decoded into v
	offset, reason := len(data), "the document ends too early"
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		offset, reason = 1, "the document begins with a byte order mark"
	case len(bytes.TrimSpace(data)) == 0:
		reason = "the document is empty"
	case err == nil:
		offset, reason = 1+validUTF8(data), "not UTF-8"
	case strings.HasSuffix(syntax.Error(), "exceeded max depth"):
		offset, reason = int(syntax.Offset), "nested too deep"
	case syntax.Error() != "unexpected end of JSON input":
		offset, reason = int(syntax.Offset), "not valid JSON"
	}
	line, column := Position(data, min(max(offset-1, 0), len(data)))
	return &SyntaxError{Line: line, Column: column, Reason: reason}
}

// validUTF8 returns the length of the longest prefix of data that is UTF-8. The
// data must contain invalid UTF-8.
func validUTF8(data []byte) int {
	for i := 0; ; {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n < 2 {
			return i
		}
		i += n
	}
}

// Position returns the line and the column of data[offset], both from 1. The
// column counts bytes.
func Position(data []byte, offset int) (line, column int) {
	upTo := data[:offset]
	return 1 + bytes.Count(upTo, []byte("\n")), len(upTo) - bytes.LastIndexByte(upTo, '\n')
}

// Members returns the members in order. The caller must not modify the slice.
func (o *Object) Members() []Member { return o.members }

// index returns the position of key, or -1. Of duplicates it returns the last.
func (o *Object) index(key string) int {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].Key == key {
			return i
		}
	}
	return -1
}

// Member returns the member named key. Of duplicates it returns the last.
func (o *Object) Member(key string) (Member, bool) {
	if i := o.index(key); i >= 0 {
		return o.members[i], true
	}
	return Member{}, false
}

// Get returns the value of key, or nil. Of duplicates it returns the last.
func (o *Object) Get(key string) json.RawMessage {
	m, _ := o.Member(key)
	return m.Value
}

// Parsed returns the value of key as an object, which it parses once. It is empty if there is
// none. An edit of it counts once its bytes are the value: see [Object.Set].
func (o *Object) Parsed(key string) (*Object, error) {
	i := o.index(key)
	if i < 0 {
		return nil, errEmpty
	}
	m := &o.members[i]
	if m.parsed == nil {
		parsed, err := View(m.Value)
		if err != nil {
			return nil, err
		}
		m.parsed = parsed
	}
	return m.parsed, nil
}

// Set replaces the value of key in place, or appends a new member.
func (o *Object) Set(key string, value json.RawMessage) {
	o.insert(len(o.members), key, value)
}

// SetFirst replaces the value of key in place, or inserts a new member at the
// beginning.
func (o *Object) SetFirst(key string, value json.RawMessage) {
	o.insert(0, key, value)
}

// SetAfter replaces the value of key in place, or inserts a new member after the
// first of anchors that exists. If no anchor exists, it appends the member.
func (o *Object) SetAfter(key string, value json.RawMessage, anchors ...string) {
	at := len(o.members)
	for _, a := range anchors {
		if i := o.index(a); i >= 0 {
			at = i + 1
			break
		}
	}
	o.insert(at, key, value)
}

func (o *Object) insert(at int, key string, value json.RawMessage) {
	if i := o.index(key); i >= 0 {
		o.members[i].Value, o.members[i].parsed = value, nil
		return
	}
	o.members = slices.Insert(o.members, at, Member{Key: key, Value: value})
}

// Delete removes all members named key and reports whether there were any.
func (o *Object) Delete(key string) bool {
	n := len(o.members)
	o.members = slices.DeleteFunc(o.members, func(m Member) bool { return m.Key == key })
	return len(o.members) < n
}

// Bytes returns the object as JSON without white space between its members. The
// values keep their bytes.
func (o *Object) Bytes() json.RawMessage {
	n := len("{}")
	for _, m := range o.members {
		n += max(m.keyEnd-m.keyStart, len(m.Key)+len(`""`)) + len(m.Value) + len(":,")
	}
	out := append(make([]byte, 0, n), '{')
	for i, m := range o.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(o.appendKey(out, &m), ':')
		out = append(out, m.Value...)
	}
	return append(out, '}')
}

// appendKey appends the key of m as the document spells it.
func (o *Object) appendKey(dst []byte, m *Member) []byte {
	if m.keyEnd > 0 {
		return append(dst, o.document[m.keyStart:m.keyEnd]...)
	}
	return appendString(dst, m.Key)
}

// Around returns what Bytes returns before and after the value of key, which the object must
// have. Of duplicates it takes the last.
func (o *Object) Around(key string) (before, after []byte) {
	i := o.index(key)
	head := Object{o.document, o.members[:i+1]}
	at := len(head.Bytes()) - len("}") - len(o.members[i].Value)
	all := o.Bytes()
	return all[:at:at], all[at+len(o.members[i].Value):]
}

// String returns s as a JSON string. It escapes only what JSON requires, so that
// <, >, & and every letter stay readable. Invalid UTF-8 becomes U+FFFD.
func String(s string) json.RawMessage {
	return appendString(make([]byte, 0, len(s)+len(`""`)), s)
}

func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			out = utf8.AppendRune(out, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c >= 0x20:
			out = append(out, c)
		case c == '\n':
			out = append(out, '\\', 'n')
		case c == '\t':
			out = append(out, '\\', 't')
		case c == '\r':
			out = append(out, '\\', 'r')
		case c == '\b':
			out = append(out, '\\', 'b')
		case c == '\f':
			out = append(out, '\\', 'f')
		default:
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
	}
	return append(out, '"')
}

// Int returns n as a JSON number.
func Int(n int64) json.RawMessage {
	return strconv.AppendInt(nil, n, 10)
}

// Bool returns b as a JSON literal.
func Bool(b bool) json.RawMessage {
	return strconv.AppendBool(nil, b)
}
