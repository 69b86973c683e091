package crosswatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/ordered"
)

// walkTexts calls change with every string in raw, except the names of members, and with its
// path, which begins with root. It returns the document with the results.
func walkTexts(raw json.RawMessage, root []string, change func(path []string, text string) (string, error)) (json.RawMessage, error) {
	var out []byte
	copied := 0
	at := position{path: slices.Clone(root)}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	for {
		before := int(dec.InputOffset())
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w: %s: not valid JSON", plexauth.ErrStore, plexauth.ErrCorruptConfig, strings.Join(root, "."))
		}
		if at.enter(token) {
			continue
		}
		text := token.(string)
		value, err := change(at.path, text)
		if err != nil {
			return nil, err
		}
		if value != text {
			start := before + bytes.IndexByte(raw[before:], '"')
			out = append(append(out, raw[copied:start]...), ordered.String(value)...)
			copied = int(dec.InputOffset())
		}
		at.leave()
	}
	if copied == 0 {
		return raw, nil
	}
	return append(out, raw[copied:]...), nil
}

// position is the position of a decoder in a document.
type position struct {
	path   []string // of the next or present value
	levels []level  // the open objects and lists, the innermost last
}

// level is an open object or list.
type level struct {
	list  bool
	index int  // of the next element
	key   bool // the next token is a key
}

// enter moves the position past a token. It returns false if the token is a string value;
// then p.path is its path, and the caller must call leave.
func (p *position) enter(token json.Token) bool {
	d, delim := token.(json.Delim)
	if delim && (d == '}' || d == ']') {
		p.levels = p.levels[:len(p.levels)-1]
		p.leave()
		return true
	}
	if n := len(p.levels); n > 0 {
		switch l := &p.levels[n-1]; {
		case l.key:
			p.path = append(p.path, token.(string))
			l.key = false
			return true
		case l.list:
			p.path = append(p.path, strconv.Itoa(l.index))
		}
	}
	if delim {
		p.levels = append(p.levels, level{list: d == '[', key: d == '{'})
		return true
	}
	if _, text := token.(string); !text {
		p.leave()
		return true
	}
	return false
}

// leave moves the position past the end of a value.
func (p *position) leave() {
	if len(p.levels) == 0 {
		return
	}
	p.path = p.path[:len(p.path)-1]
	l := &p.levels[len(p.levels)-1]
	l.index++
	l.key = !l.list
}
