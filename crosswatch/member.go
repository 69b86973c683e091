package crosswatch

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// member is a member of a namespace, or of a profile in it. It is compared and repaired as a
// whole.
type member struct {
	path  []string
	value json.RawMessage
}

// pathKey returns the key of a member in the result of membersOf.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

// membersOf returns the members of a namespace by pathKey. The profiles are not members
// themselves; their members are.
func membersOf(raw json.RawMessage) map[string]member {
	all := map[string]member{}
	add := func(value json.RawMessage, path ...string) { all[pathKey(path)] = member{path, value} }
	parse := func(raw json.RawMessage) []ordered.Member {
		o, err := ordered.Parse(raw)
		if err != nil {
			return nil
		}
		return o.Members()
	}
	for _, m := range parse(raw) {
		if m.Key != "instances" {
			add(m.Value, m.Key)
			continue
		}
		for _, profile := range parse(m.Value) {
			for _, f := range parse(profile.Value) {
				add(f.Value, m.Key, profile.Key, f.Key)
			}
		}
	}
	return all
}

func union(a, b map[string]member) map[string]member {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// apply returns the document with the values of changes.
func apply(current json.RawMessage, changes []change) (json.RawMessage, error) {
	for _, c := range changes {
		next, err := set(current, c.path, c.value)
		if err != nil {
			return nil, err
		}
		current = next
	}
	return current, nil
}

// set returns the document with value at path. A nil value removes the member.
func set(raw json.RawMessage, path []string, value json.RawMessage) (json.RawMessage, error) {
	o, err := ordered.Parse(raw)
	if err != nil {
		o = &ordered.Object{} // absent, null, or a value that cannot hold a profile
	}
	if len(path) > 1 {
		if value, err = set(o.Get(path[0]), path[1:], value); err != nil {
			return nil, err
		}
	}
	if value == nil {
		o.Delete(path[0])
	} else {
		o.Set(path[0], value)
	}
	return o.Bytes(), nil
}

// equal reports whether two values mean the same. CrossWatch may write them differently.
func equal(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// isBlank reports whether a value is absent, null, false or empty. When CrossWatch saves, it
// writes such defaults for absent members.
func isBlank(raw json.RawMessage) bool {
	if raw == nil {
		return true
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return false
	}
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
