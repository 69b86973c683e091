package ordered

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Replace returns doc with value as its member key. Every byte that is not part
// of that member stays as it is.
//
// Of duplicate keys Replace changes the last, which is the one that readers see.
// A new key becomes the last member, on a line of its own. A nil value removes
// the member and its duplicates. The value is indented by two spaces per level,
// but its strings and numbers keep their spelling.
//
// The error is one of [Parse], for doc or for value.
func Replace(doc []byte, key string, value json.RawMessage) ([]byte, error) {
	o, err := Parse(doc)
	if err != nil {
		return nil, err
	}
	if value == nil {
		return o.cut(doc, key), nil
	}
	if err := Check(value); err != nil {
		return nil, err
	}
	if err := Check(slices.Concat([]byte(`{"":`), value, []byte("}"))); err != nil { // it may be nested too deep inside doc
		return nil, err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, bytes.TrimSpace(value), "  ", "  "); err != nil {
		return nil, err
	}
	if m, ok := o.Member(key); ok {
		return splice(doc, m.Start, m.End, pretty.Bytes()), nil
	}

	at, text := bytes.IndexByte(doc, '{')+1, []byte(nil)
	if n := len(o.members); n > 0 {
		at, text = o.members[n-1].End, []byte(",")
	}
	text = append(text, "\n  "...)
	text = append(text, String(key)...)
	text = append(text, ": "...)
	text = append(text, pretty.Bytes()...)
	if doc[skipBlank(doc, at)] == '}' { // the brace goes on a line of its own, too
		text = append(text, '\n')
	}
	return splice(doc, at, at, text), nil
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
