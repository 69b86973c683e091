package crosswatch

import (
	"encoding/json"
	"reflect"

	"github.com/plexauth/plexauth/internal/ordered"
)

// unit is a member that is compared and repeated as a whole.
type unit struct {
	path  []string
	value json.RawMessage
}

// units are the members of a namespace, and those of its profiles one by one.
func units(raw json.RawMessage) map[string]unit {
	all := map[string]unit{}
	add := func(value json.RawMessage, path ...string) { all[place(path)] = unit{path, value} }
	members := func(raw json.RawMessage) []ordered.Member {
		o, err := ordered.Parse(raw)
		if err != nil {
			return nil
		}
		return o.Members()
	}
	for _, m := range members(raw) {
		if m.Key != "instances" {
			add(m.Value, m.Key)
			continue
		}
		for _, profile := range members(m.Value) {
			for _, f := range members(profile.Value) {
				add(f.Value, m.Key, profile.Key, f.Key)
			}
		}
	}
	return all
}

func union(a, b map[string]unit) map[string]unit {
	all := map[string]unit{}
	for _, m := range []map[string]unit{a, b} {
		for key, u := range m {
			all[key] = u
		}
	}
	return all
}

// apply gives the members their values in the document.
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

func set(raw json.RawMessage, path []string, value json.RawMessage) (json.RawMessage, error) {
	o, err := ordered.Parse(raw)
	if err != nil {
		o = &ordered.Object{} // absent, null, or a list that a profile cannot live in
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

// equal compares two values by what they mean: CrossWatch spells them its own way.
func equal(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// blank reports whether a value says nothing. CrossWatch fills what is absent with
// such defaults when it saves.
func blank(raw json.RawMessage) bool {
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
