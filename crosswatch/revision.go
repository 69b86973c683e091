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
// away, also where other Updates were made upon it; a change that somebody made
// to what is there names it still. Callers of a Store do not see it.
const revisionKey = "_plexauth_revision"

// A revision is the names of the latest Updates that a document has been through,
// the newest first. A name is a Unix time and a random number, in hex; that of the
// first Update of all has the mark of what stood before, too.
type revision []string

const (
	// longest is how many names a revision has. A change is looked after for
	// about a minute, and plexauth saves a few times a login.
	longest = 16
	// youth is longer than CrossWatch keeps a copy that is looked after.
	youth = 2 * time.Minute
)

// next is the revision after another Update, of a document that was raw.
func (r revision) next(raw json.RawMessage) revision {
	name := fmt.Sprintf("%x-%04x", time.Now().Unix(), rand.N(1<<16))
	if len(r) == 0 {
		name += "-" + mark(raw)
	}
	r = append(revision{name}, r...)
	return r[:min(len(r), longest)]
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
	if len(r) == 0 {
		return true
	}
	seconds, _, _ := strings.Cut(r[len(r)-1], "-")
	began, err := strconv.ParseInt(seconds, 16, 64)
	return len(r) < longest && err == nil && time.Since(time.Unix(began, 0)) < youth
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
