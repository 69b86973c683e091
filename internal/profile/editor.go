package profile

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/secret"
)

// text reads a string, or a number as text, without the white space around it that a
// person may have left.
func text(o *ordered.Object, key string) string { return strings.TrimSpace(lax.Text(o.Get(key))) }

func textField(o *ordered.Object, key string) Field[string] {
	return Field[string]{text(o, key), o.Get(key) != nil}
}

func secretField(o *ordered.Object, key string) Field[secret.Value] {
	return Field[secret.Value]{secret.New(text(o, key)), o.Get(key) != nil}
}

// reads reports whether the member v reads as value, as text does. Most members and values are
// missing.
func reads(v json.RawMessage, value string) bool {
	if v == nil {
		return value == "" || strings.TrimSpace(value) == ""
	}
	value = strings.TrimSpace(value)
	if inner, ok := ordered.Plain(v); ok { // without a copy of it
		return string(bytes.TrimSpace(inner)) == value
	}
	return strings.TrimSpace(lax.Text(v)) == value
}

// maxSeconds is the last day of the year 9999 in seconds since 1970. A later time could not be
// written as JSON.
const maxSeconds = 253_402_214_400

// seconds reads a time in seconds since 1970, zero if there is none.
func seconds(v json.RawMessage) time.Time {
	if s := lax.Int(v); s > 0 && s <= maxSeconds {
		return time.Unix(s, 0)
	}
	return time.Time{}
}

// milliseconds reads a time in milliseconds since 1970, zero if there is none.
func milliseconds(v json.RawMessage) time.Time {
	if ms := lax.Int(v); ms > 0 && ms <= maxSeconds*1000 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// editor writes values into an object. It leaves a member alone that already reads as
// its value, so that the spelling survives.
type editor struct {
	object  *ordered.Object
	places  map[string][]string
	changed bool
}

func (e *editor) put(key string, value json.RawMessage) {
	e.changed = true
	switch after, ok := e.places[key]; {
	case !ok:
		e.object.Set(key, value)
	case len(after) == 0:
		e.object.SetFirst(key, value)
	default:
		e.object.SetAfter(key, value, after...)
	}
}

func (e *editor) remove(key string) {
	if e.object.Delete(key) {
		e.changed = true
	}
}

// text writes a value that is removed when it is empty.
func (e *editor) text(key, value string) {
	switch {
	case reads(e.object.Get(key), value):
	case value == "":
		e.remove(key)
	default:
		e.put(key, ordered.String(value))
	}
}

func (e *editor) field(key string, f Field[string]) {
	e.fieldAs(key, f, ordered.String)
}

func (e *editor) secret(key string, f Field[secret.Value]) {
	e.field(key, Field[string]{f.Value.Secret(), f.Present})
}

// numeric writes a text that is a number as a number.
func (e *editor) numeric(key string, f Field[string]) {
	e.fieldAs(key, f, func(value string) json.RawMessage {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && strconv.FormatInt(n, 10) == value {
			return ordered.Int(n)
		}
		return ordered.String(value)
	})
}

func (e *editor) fieldAs(key string, f Field[string], spell func(string) json.RawMessage) {
	stored := e.object.Get(key)
	switch {
	case !f.Present:
		if stored != nil {
			e.remove(key)
		}
	case stored == nil || !reads(stored, f.Value):
		e.put(key, spell(f.Value))
	}
}

// number writes a value that is removed when it is 0.
func (e *editor) number(key string, n int64) {
	switch {
	case lax.Int(e.object.Get(key)) == n:
	case n == 0:
		e.remove(key)
	default:
		e.put(key, ordered.Int(n))
	}
}

// flag writes a value that is removed when it is false.
func (e *editor) flag(key string, on bool) {
	stored, _ := lax.Bool(e.object.Get(key))
	switch {
	case stored == on:
	case !on:
		e.remove(key)
	default:
		e.put(key, ordered.Bool(true))
	}
}

func (e *editor) seconds(key string, t time.Time) {
	switch {
	case seconds(e.object.Get(key)).Equal(t.Truncate(time.Second)):
	case t.IsZero():
		e.remove(key)
	default:
		e.put(key, ordered.Int(t.Unix()))
	}
}

func (e *editor) milliseconds(key string, t time.Time) {
	switch {
	case milliseconds(e.object.Get(key)).Equal(t.Truncate(time.Millisecond)):
	case t.IsZero():
		e.remove(key)
	default:
		e.put(key, ordered.Int(t.UnixMilli()))
	}
}

// edit lets write change the object under key, or fill a new one. A new object drops
// the members of the one before, because they are about something else.
func (e *editor) edit(key string, isNew bool, write func(*editor)) {
	var stored *ordered.Object
	if !isNew {
		stored = object(e.object.Get(key))
	}
	e.editParsed(key, stored, write)
}

// editParsed does what edit does, for a caller that has parsed the object; nil is a new
// one.
func (e *editor) editParsed(key string, stored *ordered.Object, write func(*editor)) {
	inner := &editor{object: stored}
	if stored == nil {
		inner.object = ordered.New(8)
	}
	write(inner)
	if inner.changed {
		e.put(key, inner.object.Bytes())
	}
}

type members []struct {
	key   string
	value json.RawMessage
}

// replace writes a new object.
func (e *editor) replace(key string, all members) {
	o := &ordered.Object{}
	for _, m := range all {
		o.Set(m.key, m.value)
	}
	e.put(key, o.Bytes())
}
