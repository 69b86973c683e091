package ordered

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Replace returns doc, from which o was parsed, with value as its member key. Every byte that
// is not part of that member stays as it is.
//
// Of duplicate keys Replace changes the last, which is the one that readers see.
// A new key becomes the last member, on a line of its own. A nil value removes
// the member and its duplicates. The value is indented by two spaces per level,
// but its strings and numbers keep their spelling.
//
// The error is one of [Parse], for value.
func (o *Object) Replace(doc []byte, key string, value json.RawMessage) ([]byte, error) {
	if value == nil {
		return o.cut(doc, key), nil
	}
	if err := checkMember(value); err != nil {
		return nil, err
	}
	pretty := appendIndented(make([]byte, 0, len(value)+len(value)/2), value, 1)
	if m, ok := o.Member(key); ok {
		return splice(doc, m.Start, m.End, pretty), nil
	}

	end, text := bytes.IndexByte(doc, '{')+1, []byte(nil)
	if n := len(o.members); n > 0 {
		end, text = o.members[n-1].End, []byte(",")
	}
	text = append(text, "\n  "...)
	text = append(text, String(key)...)
	text = append(text, ": "...)
	text = append(text, pretty...)
	if doc[skipBlank(doc, end)] == '}' { // the brace goes on a line of its own, too
		text = append(text, '\n')
	}
	return splice(doc, end, end, text), nil
}

// checkMember returns the error for a value that cannot be a member's object. It may be nested
// too deep only there.
func checkMember(value json.RawMessage) error {
	start := SkipSpace(value, 0)
	if end := ScanValue(value, start, 1); at(value, start, '{') && end != Invalid && SkipSpace(value, end) == len(value) {
		return nil
	}
	if err := Check(value); err != nil {
		return err
	}
	return Check(slices.Concat([]byte(`{"":`), value, []byte("}")))
}

// appendIndented appends a valid value in the form of json.Indent, without white space around
// it. Its lines after the first are indented by level and more.
func appendIndented(dst, value []byte, level int) []byte {
	for i := 0; i < len(value); {
		switch c := value[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			end := scanString(value, i)
			dst = append(dst, value[i:end]...)
			i = end
		case '{', '[':
			dst = append(dst, c)
			if i = SkipSpace(value, i+1); value[i] == c+2 { // '}' or ']'
				dst = append(dst, value[i])
				i++
				continue
			}
			level++
			dst = appendLine(dst, level)
		case '}', ']':
			level--
			dst = append(appendLine(dst, level), c)
			i++
		case ',':
			dst = appendLine(append(dst, c), level)
			i++
		case ':':
			dst = append(dst, ": "...)
			i++
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// appendLine appends the beginning of a line.
func appendLine(dst []byte, level int) []byte {
	dst = append(dst, '\n')
	for range level {
		dst = append(dst, "  "...)
	}
	return dst
}

// cut returns doc without the members named key. It removes each member with one
// of the commas beside it.
func (o *Object) cut(doc []byte, key string) []byte {
	out, done, kept := make([]byte, 0, len(doc)), 0, false
	for i, m := range o.members {
		if m.Key != key {
			kept = true
			continue
		}
		from, to := m.keyStart, m.End
		switch {
		case kept:
			from = o.members[i-1].End
		case i+1 < len(o.members):
			to = o.members[i+1].keyStart
		case i == 0: // the only one
			from = bytes.IndexByte(doc, '{') + 1
		}
		out = append(out, doc[done:from]...)
		done = to
	}
	return append(out, doc[done:]...)
}

// splice returns a copy of doc with text in place of doc[from:to].
func splice(doc []byte, from, to int, text []byte) []byte {
	out := make([]byte, 0, len(doc)-(to-from)+len(text))
	out = append(out, doc[:from]...)
	out = append(out, text...)
	return append(out, doc[to:]...)
}

// skipBlank returns the index of the first byte from i on that is neither a
// space nor a tab.
func skipBlank(doc []byte, i int) int {
	for doc[i] == ' ' || doc[i] == '\t' {
		i++
	}
	return i
}
