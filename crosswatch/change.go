package crosswatch

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// remembered bounds the values and names that a change keeps, if it is made again
// and again.
const remembered = 32

// resetLimit is how long after the first revision of all a document without a
// client identifier is taken for an old copy. Later it is a reset, which looks alike.
const resetLimit = 3 * time.Minute

// change is a member of a namespace or of a profile that an Update gave another
// value.
type change struct {
	namespace string
	path      []string        // ["account_token"], ["instances", "PLEX-P01", "account_token"]
	value     json.RawMessage // what it shall be; nil: absent
	turn      int64           // of the Update that made it
	at        time.Time       // when that was, by its name
	names     []string        // of that Update, and of those that found or repaired its value

	// What old copies can hold.
	old       []json.RawMessage // earlier values; nil: absent
	before    []string          // names of earlier Updates
	known     []string          // those of them whose value is among old
	bare      []string          // origins of copies without a revision
	bareKnown bool              // their value is among old, too
	bareUntil time.Time         // until when one without an identifier is no reset

	since time.Time // of the latest Update that made it
	looks int       // since then, or since the last repair
	due   time.Time
}

// document is what a change is compared with.
type document struct {
	units  map[string]unit
	found  revision
	origin string
	at     time.Time
}

func (d document) value(path []string) json.RawMessage { return d.units[place(path)].value }

func id(namespace string, path []string) string { return place(append([]string{namespace}, path...)) }

func latest[T any](list []T) []T { return list[max(0, len(list)-remembered):] }

// addNew appends to list what it does not have yet.
func addNew(list []string, names ...string) []string {
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = latest(append(list, name))
		}
	}
	return list
}

// follow records what old copies can hold, from an Update that found from. known
// are the names among u.found up to which this Store knows all earlier values; all
// says that it knows those before the first of them, too.
func (c *change) follow(u written, from json.RawMessage, known revision, all bool) {
	c.addOld(from)
	for _, name := range slices.Backward(u.found) {
		c.before = addNew(c.before, name)
	}
	c.known = addNew(c.known, known...)
	if u.found.young() {
		c.bare = addNew(c.bare, u.found.origin(u.plain))
		c.bareKnown = c.bareKnown || all
		c.bareUntil = u.made.began().Add(resetLimit)
	}
}

func (c *change) addOld(value json.RawMessage) {
	if !slices.ContainsFunc(c.old, func(old json.RawMessage) bool { return equal(old, value) }) {
		c.old = latest(append(c.old, value))
	}
}

func (c *change) lookSoon(now time.Time) { c.looks, c.due = 0, now.Add(firstLook) }

// overwrittenIn reports whether the document is an old copy that has taken the
// change away. Another value than the old ones was put into that copy on purpose,
// and stays. Another Store of ours can have written old ones that this Store does
// not know: then an empty value counts as old, and a token does unless a later
// Update has set one. A newer login must not give way to an older one.
func (c *change) overwrittenIn(d document) bool {
	v := d.value(c.path)
	if !c.missingIn(d) || equal(v, c.value) || d.at.Sub(c.since) > repairLimit {
		return false
	}
	isOld := func(old json.RawMessage) bool { return equal(old, v) || blank(old) && blank(v) }
	switch {
	case slices.ContainsFunc(c.old, isOld):
		return true
	case c.knowsOf(d):
		return false
	case c.isToken():
		return !d.found.tokenSince(c.at)
	}
	return blank(v) && c.follows(d)
}

// missingIn reports whether the document goes back to a copy from before the change.
// One that has lost its revision and its identifier was reset: that is a disconnect
// in CrossWatch. One that has been through very many Updates since may have seen it.
func (c *change) missingIn(d document) bool {
	if d.found.shares(c.names) {
		return false
	}
	if d.found.shares(c.before) {
		return true
	}
	return len(d.found) < longest && slices.Contains(c.bare, d.origin) && (d.origin != noMark || d.at.Before(c.bareUntil))
}

// knowsOf reports whether the value that the document had after its latest Update
// is among the old ones.
func (c *change) knowsOf(d document) bool {
	if len(d.found) == 0 {
		return c.bareKnown
	}
	return slices.Contains(c.known, d.found[0])
}

// follows reports whether all Updates that the document has been through were made
// before the change.
func (c *change) follows(d document) bool {
	if len(d.found) == 0 || slices.Contains(c.before, d.found[0]) {
		return true
	}
	made, _ := nameOf(d.found[0])
	return made.Before(c.at)
}

// belongsTo reports whether the change is to be repaired where that of the token is.
// A token goes with the identifier that it was made under, and what is said of its
// account in a copy that this Store does not know goes with it.
func (c *change) belongsTo(token *change, d document) bool {
	if c == token || equal(d.value(c.path), c.value) {
		return false
	}
	return c.path[len(c.path)-1] == clientID || c.missingIn(d) && !c.knowsOf(d) && c.follows(d)
}

// replacedIn reports whether the document has seen the change and has another value
// now.
func (c *change) replacedIn(d document) bool {
	return d.found.shares(c.names) && !equal(d.value(c.path), c.value)
}

// replace takes the document's value for the change's own, where another Store of
// ours has written it: an old copy must not bring back this one's. It reports false
// where CrossWatch or a person has.
func (c *change) replace(d document) bool {
	if slices.Contains(c.names, d.found[0]) {
		return false
	}
	c.addOld(c.value)
	c.known = addNew(c.known, c.names...)
	for _, name := range slices.Backward(d.found[1:]) {
		c.before = addNew(c.before, name)
	}
	c.value, c.names = d.value(c.path), d.found[:1:1]
	c.at, _ = nameOf(d.found[0])
	return true
}

// next is the revision that the Update leaves. A repaired token keeps its time.
func (u written) next() revision {
	r, named := u.found, false
	for _, c := range u.repaired {
		if c.isToken() {
			r, named = r.next(u.plain, c.at, true), true
		}
	}
	if named && bytes.Equal(u.before, u.after) {
		return r
	}
	return r.next(u.plain, time.Now(), u.newToken())
}

// newToken reports whether the edit gave a profile another token.
func (u written) newToken() bool {
	old, next := units(u.before), units(u.after)
	for key, unit := range union(old, next) {
		if isToken(unit.path) && !equal(old[key].value, next[key].value) {
			return true
		}
	}
	return false
}

func isToken(path []string) bool { return path[len(path)-1] == accountToken }

func (c *change) isToken() bool { return isToken(c.path) }

const (
	accountToken = "account_token"
	clientID     = "client_id"
)

// tokenOf is the path of the token of the profile that path is in.
func tokenOf(path []string) []string {
	return append(slices.Clone(path[:len(path)-1]), accountToken)
}
