package profile

import (
	"encoding/json"
	"slices"
	"sync/atomic"

	"github.com/plexauth/plexauth/internal/ordered"
)

// Stored is the namespace's object as a store keeps it. It does not change, and is safe for
// concurrent use. A nil Stored stands for an absent object.
type Stored struct {
	raw       json.RawMessage // nil if it was edited since it was read
	base      json.RawMessage // the object with {} in place of the other profiles
	others    json.RawMessage // the object of the other profiles; nil if it was edited since it was read
	blocks    []block         // in others
	hasOthers bool
	version   uint64
}

var versions atomic.Uint64

// Version returns a number that no other Stored of this process has.
func (s *Stored) Version() uint64 { return s.version }

// Parse reads the namespace's object; nil is an absent one. It keeps raw, which must not
// change. The error is one of [ordered.Parse].
func Parse(raw json.RawMessage) (*Stored, error) {
	if raw == nil {
		return nil, nil
	}
	if s := parseInParts(raw); s != nil {
		return s, nil
	}
	base, err := ordered.View(raw)
	if err != nil {
		return nil, err
	}
	s := &Stored{raw: raw, base: raw, version: versions.Add(1)}
	if m, ok := base.Member(keyInstances); ok && m.Value[0] == '{' {
		s.setOthers(m.Start, m.End)
	}
	return s, nil
}

// setOthers takes the blocks of the other profiles from s.raw, which is valid.
func (s *Stored) setOthers(from, to int) {
	s.hasOthers, s.others = true, s.raw[from:to:to]
	s.blocks, _ = readBlocks(s.raw, from)
	s.base = slices.Concat(s.raw[:from], []byte(`{}`), s.raw[to:])
}

// parseInParts reads the blocks of the other profiles, and then the rest of the object. It
// returns nil if the object is not valid, or has no such blocks, or more than one list of them.
func parseInParts(raw json.RawMessage) *Stored {
	from := findInstances(raw)
	if from == ordered.Invalid || from == len(raw) || raw[from] != '{' {
		return nil
	}
	blocks, to := readBlocks(raw, from)
	if to == ordered.Invalid {
		return nil
	}
	base := slices.Concat(raw[:from], []byte(`{}`), raw[to:])
	o, err := ordered.View(base)
	if err != nil {
		return nil
	}
	if m, _ := o.Member(keyInstances); m.Start != from {
		return nil
	}
	return &Stored{raw: raw, base: base, others: raw[from:to:to], blocks: blocks, hasOthers: true, version: versions.Add(1)}
}

// findInstances returns the index of the value of the first member "instances" in an object,
// or ordered.Invalid if there is none.
func findInstances(raw []byte) int {
	i := ordered.SkipSpace(raw, 0)
	if i == len(raw) || raw[i] != '{' {
		return ordered.Invalid
	}
	for {
		i = ordered.SkipSpace(raw, i+1)
		end, value := ordered.ScanKey(raw, i)
		if value == ordered.Invalid {
			return ordered.Invalid
		}
		if key, _ := ordered.Unquote(raw[i:end]); key == keyInstances {
			return value
		}
		if i = ordered.ScanValue(raw, value, 1); i == ordered.Invalid {
			return ordered.Invalid
		}
		if i = ordered.SkipSpace(raw, i); i == len(raw) || raw[i] != ',' {
			return ordered.Invalid
		}
	}
}

// Bytes returns a copy of the object, nil if it is absent.
func (s *Stored) Bytes() json.RawMessage { return s.AppendTo(nil) }

// AppendTo appends the object to out, and nothing if it is absent.
func (s *Stored) AppendTo(out []byte) []byte {
	switch {
	case s == nil:
		return out
	case s.raw != nil:
		return append(out, s.raw...)
	case !s.hasOthers:
		return append(out, s.base...)
	}
	base, _ := ordered.View(s.base) // it is valid
	before, after := base.Around(keyInstances)
	size := len(before) + len(s.others) + len(after) + len("{}")
	for _, b := range s.blocks {
		size += len(b.text) + len(",")
	}
	out = append(slices.Grow(out, size), before...)
	if s.others != nil {
		out = append(out, s.others...)
	} else {
		out = append(out, '{')
		for i, b := range s.blocks {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(out, b.key()...), ':')
			out = append(out, b.value()...)
		}
		out = append(out, '}')
	}
	return append(out, after...)
}

// Document returns the object for reading and editing.
func (s *Stored) Document() *Document {
	if s == nil {
		return &Document{base: &ordered.Object{}}
	}
	base, _ := ordered.View(s.base) // it is valid
	return &Document{stored: s, base: base, blocks: s.blocks}
}
