package crosswatch

import (
	"encoding/json"
	"slices"
	"time"
)

// maxRemembered bounds the values and names that a change keeps if it is made again and
// again.
const maxRemembered = 32

// resetLimit is how long after the first Update of all a document without a client
// identifier is taken for an old copy. Later it is taken for a reset, which looks the same.
const resetLimit = 3 * time.Minute

// change is a member to which an Update gave another value.
type change struct {
	path   []string        // ["account_token"], ["instances", "PLEX-P01", "account_token"]
	value  json.RawMessage // what the Update wrote; nil if it removed the member
	number int64           // of the Update
	at     time.Time       // when the Update was made, according to its name
	names  []string        // of this Update, and of later ones that found or repaired the value

	// These fields describe the old copies that may overwrite the change.
	old         []json.RawMessage // earlier values; nil for an absent member
	before      []string          // names of earlier Updates
	known       []string          // the names in before whose value is in old
	origins     []string          // origins of the documents before the first Update of all
	originKnown bool              // their value is in old
	originUntil time.Time         // when a document without an identifier becomes a reset

	since  time.Time // when the change was made last
	checks int       // since then, or since the last repair
	due    time.Time // of the next check
}

// document is what a change is compared with.
type document struct {
	members  map[string]member
	revision revision
	origin   string // as revision.origin returns it
	at       time.Time
}

func (d document) value(path []string) json.RawMessage { return d.members[pathKey(path)].value }

// latest returns the last maxRemembered elements of list.
func latest[T any](list []T) []T { return list[max(0, len(list)-maxRemembered):] }

// addNew appends the names that list does not contain yet.
func addNew(list []string, names ...string) []string {
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = latest(append(list, name))
		}
	}
	return list
}

// learnOld remembers what old copies can contain. The Update u found the value old. This Store
// knows the values after all Updates in known. If all is true, it also knows the value before
// the first of them.
func (c *change) learnOld(u update, old json.RawMessage, known revision, all bool) {
	c.addOld(old)
	for _, name := range slices.Backward(u.foundRevision) {
		c.before = addNew(c.before, name)
	}
	c.known = addNew(c.known, known...)
	if u.foundRevision.young() {
		c.origins = addNew(c.origins, u.foundRevision.origin(u.found))
		c.originKnown = c.originKnown || all
		c.originUntil = u.newRevision.began().Add(resetLimit)
	}
}

func (c *change) addOld(value json.RawMessage) {
	if !slices.ContainsFunc(c.old, func(old json.RawMessage) bool { return equal(old, value) }) {
		c.old = latest(append(c.old, value))
	}
}

func (c *change) checkSoon(now time.Time) { c.checks, c.due = 0, now.Add(firstCheck) }

// overwrittenIn reports whether d is an old copy that has overwritten the change. A value
// that is not an old one was put into the copy on purpose, and stays.
//
// Another Store may have written old values that this Store does not know. Then an empty value
// counts as old. A token counts as old too, unless a later Update has set one: an older login
// must not replace a newer one.
func (c *change) overwrittenIn(d document) bool {
	v := d.value(c.path)
	if !c.missingIn(d) || equal(v, c.value) || d.at.Sub(c.since) > repairLimit {
		return false
	}
	isOld := func(old json.RawMessage) bool { return equal(old, v) || isBlank(old) && isBlank(v) }
	switch {
	case slices.ContainsFunc(c.old, isOld):
		return true
	case c.knowsOldValueIn(d):
		return false
	case c.isToken():
		return !d.revision.tokenSince(c.path, c.at)
	case c.isPIN() && c.isLaterThanPIN(v):
		return true
	}
	return isBlank(v) && c.isLaterThan(d)
}

// missingIn reports whether d was written from a copy from before the change. A document
// that has lost both its revision and its client identifier was reset: CrossWatch does that
// when it disconnects. If a full revision lists only later Updates, d may have had the change,
// and missingIn returns false.
func (c *change) missingIn(d document) bool {
	if d.revision.shares(c.names) {
		return false
	}
	if d.revision.shares(c.before) || d.revision.reachesBefore(c.at) {
		return true
	}
	return len(d.revision) < maxNames && slices.Contains(c.origins, d.origin) && (d.origin != noOrigin || d.at.Before(c.originUntil))
}

// knowsOldValueIn reports whether c.old contains the value that the document had after the
// latest Update in its revision.
func (c *change) knowsOldValueIn(d document) bool {
	if len(d.revision) == 0 {
		return c.originKnown
	}
	return slices.Contains(c.known, d.revision[0])
}

// isLaterThan reports whether the change was made after all Updates in the revision of d.
func (c *change) isLaterThan(d document) bool {
	if len(d.revision) == 0 || slices.Contains(c.before, d.revision[0]) {
		return true
	}
	at, _ := parseName(d.revision[0])
	return at.Before(c.at)
}

// goesWith reports whether the change must be repaired together with token, a change of the
// same profile. A token needs the client identifier that it was made under. The other
// members of the profile describe the token's account.
func (c *change) goesWith(token *change, d document) bool {
	if c == token || equal(d.value(c.path), c.value) {
		return false
	}
	return c.path[len(c.path)-1] == clientID || c.missingIn(d) && !c.knowsOldValueIn(d) && c.isLaterThan(d)
}

// replacedIn reports whether d once had the change and has another value now.
func (c *change) replacedIn(d document) bool {
	return d.revision.shares(c.names) && !equal(d.value(c.path), c.value)
}

// adopt makes the value in d the value of the change, if another Store has written it.
// Otherwise an old copy could bring back the earlier value. It returns false if CrossWatch or a
// person has written the value.
func (c *change) adopt(d document) bool {
	if slices.Contains(c.names, d.revision[0]) {
		return false
	}
	c.addOld(c.value)
	c.known = addNew(c.known, c.names...)
	for _, name := range slices.Backward(d.revision[1:]) {
		c.before = addNew(c.before, name)
	}
	c.value, c.names = d.value(c.path), d.revision[:1:1]
	c.at, _ = parseName(d.revision[0])
	return true
}

// isLaterThanPIN reports whether the change was made after the pending PIN v, or in the same
// second. It returns false if v does not say when it was made.
func (c *change) isLaterThanPIN(v json.RawMessage) bool {
	var pin struct {
		Created int64 `json:"created"`
	}
	return json.Unmarshal(v, &pin) == nil && pin.Created > 0 && !time.Unix(pin.Created, 0).After(c.at)
}

const (
	accountToken = "account_token"
	clientID     = "client_id"
	pendingPIN   = "_pending_pin"
)

func (c *change) isToken() bool { return isToken(c.path) }

func (c *change) isPIN() bool { return c.path[len(c.path)-1] == pendingPIN }

func isToken(path []string) bool { return path[len(path)-1] == accountToken }

// tokenOf returns the path of the token in the profile that path is in.
func tokenOf(path []string) []string {
	return append(slices.Clone(path[:len(path)-1]), accountToken)
}
