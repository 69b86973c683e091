package crosswatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
)

// revisionKey is where a namespace names its latest Updates. A copy that
// CrossWatch has read before an Update does not name it, and so gives itself
// away, also where other Updates were made upon it. A change that a person made
// to what is there still names it. Callers of a Store do not see it.
const revisionKey = "_plexauth_revision"

// A revision is the names of the latest Updates that a document has been through,
// the newest first. A name is a Unix time and a number, in hex; that of the first
// Update of all has the mark of what stood before, too. The number is the fraction
// of the second, then random. It has one digit more where the Update gave a profile
// another token; a repair of one has the time of the change that it repairs. Older
// builds give four random digits.
type revision []string

const (
	// longest is how many names a revision has. A change is looked after for
	// about a minute, and plexauth saves a few times a login.
	longest = 16
	// youth is longer than CrossWatch keeps a copy that is looked after.
	youth = 2 * time.Minute
)

// next is the revision after another Update at that time, of a document that was
// raw. token says whether the Update gave a profile another token.
func (r revision) next(raw json.RawMessage, at time.Time, token bool) revision {
	name := fmt.Sprintf("%x-%03x%03x", at.Unix(), at.Nanosecond()/fraction, rand.N(1<<12))
	if token {
		name += "0"
	}
	if len(r) == 0 {
		name += "-" + mark(raw)
	}
	r = append(revision{name}, r...)
	return r[:min(len(r), longest)]
}

// fraction of a second, in nanoseconds, that three hex digits count.
const fraction = 1_000_000_000/(1<<12) + 1

// nameOf reads a name: when its Update was made, and whether that can have given a
// profile another token. The time of an older build's is the end of the second.
func nameOf(name string) (at time.Time, token bool) {
	seconds, rest, _ := strings.Cut(name, "-")
	number, _, _ := strings.Cut(rest, "-")
	unix, err := strconv.ParseInt(seconds, 16, 64)
	if err != nil {
		return time.Time{}, true
	}
	at = time.Unix(unix, 0)
	part, err := strconv.ParseInt(number[:min(3, len(number))], 16, 64)
	if len(number) < 6 || err != nil {
		return at.Add(time.Second), true
	}
	return at.Add(time.Duration(part) * fraction), len(number) > 6
}

// tokenSince reports whether an Update that the document has been through can have
// given a profile another token at that time or later.
func (r revision) tokenSince(at time.Time) bool {
	for _, name := range r {
		if made, token := nameOf(name); token && !made.Before(at) {
			return true
		}
	}
	if len(r) < longest {
		return false
	}
	oldest, _ := nameOf(r[len(r)-1])
	return !oldest.Before(at)
}

// origin is the mark of what stood before the first of all revisions; raw is what
// stands there now.
func (r revision) origin(raw json.RawMessage) string {
	if len(r) == 0 {
		return mark(raw)
	}
	_, rest, _ := strings.Cut(r[len(r)-1], "-")
	if _, m, ok := strings.Cut(rest, "-"); ok {
		return m
	}
	return mark(raw) // an older build has made it
}

// noMark is the mark of what has no client identifier.
const noMark = "0"

// mark tells a copy without a revision from a reset, which takes the revision, too,
// but empties the client identifier, as no copy does that was made since there is
// one.
func mark(raw json.RawMessage) string {
	o, err := ordered.Parse(raw)
	if err != nil {
		return noMark
	}
	value := o.Get("client_id")
	text := string(value)
	if json.Unmarshal(value, &text) == nil { // null leaves it as it is
		text = strings.TrimSpace(text)
	}
	if text == "" || text == "null" {
		return noMark
	}
	h := fnv.New32a()
	h.Write([]byte(text))
	return fmt.Sprintf("%08x", h.Sum32())
}

// young reports whether there may be copies from before the first of all
// revisions.
func (r revision) young() bool {
	return len(r) == 0 || len(r) < longest && time.Since(r.began()) < youth
}

// began is when the first Update of all was made, as far as the revision goes back;
// zero where it does not say.
func (r revision) began() time.Time {
	if len(r) == 0 {
		return time.Time{}
	}
	seconds, _, _ := strings.Cut(r[len(r)-1], "-")
	at, err := strconv.ParseInt(seconds, 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(at, 0)
}

// knownTo is the part of r, from the newest on, between which only the Updates made
// lie; all reports whether there are no others in r at all.
func (r revision) knownTo(made []string) (known revision, all bool) {
	for i, name := range r {
		if !slices.Contains(made, name) {
			return r[:i+1], false
		}
	}
	return r, true
}

// shares reports whether the two name an Update in common.
func (r revision) shares(other revision) bool {
	return slices.ContainsFunc(r, func(name string) bool { return slices.Contains(other, name) })
}

func takeRevision(raw json.RawMessage) (json.RawMessage, revision) {
	if !bytes.Contains(raw, []byte(revisionKey)) {
		return raw, nil
	}
	o, err := ordered.Parse(raw)
	if err != nil {
		return raw, nil
	}
	var names string
	_ = json.Unmarshal(o.Get(revisionKey), &names) // anything else is none
	if !o.Delete(revisionKey) {
		return raw, nil
	}
	return o.Bytes(), strings.Fields(names)
}

func putRevision(raw json.RawMessage, r revision) (json.RawMessage, error) {
	o, err := ordered.Parse(raw)
	if err != nil {
		return nil, err
	}
	o.Set(revisionKey, ordered.String(strings.Join(r, " ")))
	return o.Bytes(), nil
}
