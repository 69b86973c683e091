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

// revisionKey is the member of a namespace that lists its latest Updates. A copy that
// CrossWatch read before an Update does not list it, even if other Updates were made to the
// copy later. A change that a person makes to the current document leaves the list as it
// is. Callers of a Store do not see this member.
const revisionKey = "_plexauth_revision"

// A revision lists the names of the latest Updates of a document, the newest first.
//
// A name is "seconds-digits" or "seconds-digits-origin", all in hex. seconds is the Unix
// time of the Update. Three digits are the fraction of the second, and three are random. More
// digits say which profile the Update gave another token, as tokenMark returns them. An
// Update that repairs a token has the time of the change that it repairs. The name of the first
// Update of all also has the origin of the document. Older builds wrote four random digits and
// no origin.
type revision []string

const (
	// maxNames is how many names a revision has. A change is checked for about a minute,
	// and plexauth saves a few times per login.
	maxNames = 16
	// maxCopyAge is longer than CrossWatch keeps a copy of a document without a revision.
	maxCopyAge = 2 * time.Minute
	// fractionUnit is what the three digits for the fraction of a second count.
	fractionUnit = time.Second/(1<<12) + 1
)

// anyProfile is the mark of a token that may be any profile's.
const anyProfile = "0"

// tokenMark returns three digits for the profile whose token is at path.
func tokenMark(path []string) string {
	h := fnv.New32a()
	h.Write([]byte(pathKey(path)))
	return fmt.Sprintf("%03x", h.Sum32()>>20)
}

// next returns the revision after an Update at the time at. raw is the document before it,
// and token is the mark of the token that it sets, or "".
func (r revision) next(raw json.RawMessage, at time.Time, token string) revision {
	name := fmt.Sprintf("%x-%03x%03x", at.Unix(), at.Nanosecond()/int(fractionUnit), rand.N(1<<12)) + token
	if len(r) == 0 {
		name += "-" + originOf(raw)
	}
	r = append(revision{name}, r...)
	return r[:min(len(r), maxNames)]
}

// parseName returns when an Update was made, and the mark of a token that it may have set, or
// "". For an Update of an older build, the time is the end of the second.
func parseName(name string) (at time.Time, token string) {
	seconds, rest, _ := strings.Cut(name, "-")
	digits, _, _ := strings.Cut(rest, "-")
	unix, err := strconv.ParseInt(seconds, 16, 64)
	if err != nil {
		return time.Time{}, anyProfile
	}
	at = time.Unix(unix, 0)
	fraction, err := strconv.ParseInt(digits[:min(3, len(digits))], 16, 64)
	if len(digits) < 6 || err != nil {
		return at.Add(time.Second), anyProfile
	}
	return at.Add(time.Duration(fraction) * fractionUnit), digits[6:]
}

// tokenSince reports whether one of the Updates may have set the token at path at the time at
// or later. This includes Updates that a full revision no longer lists.
func (r revision) tokenSince(path []string, at time.Time) bool {
	for _, name := range r {
		made, token := parseName(name)
		if (token == anyProfile || token == tokenMark(path)) && !made.Before(at) {
			return true
		}
	}
	if len(r) < maxNames {
		return false
	}
	oldest, _ := parseName(r[len(r)-1])
	return !oldest.Before(at)
}

// reachesBefore reports whether r lists an Update from before the time at. Then it lists all
// later ones as well, unless a clock was set back. An Update that repairs a token has an older
// time in its name, so such names do not count.
func (r revision) reachesBefore(at time.Time) bool {
	return slices.ContainsFunc(r, func(name string) bool {
		made, token := parseName(name)
		return token == "" && made.Before(at)
	})
}

// origin returns the origin of the document before the first Update of all. raw is the
// document now.
func (r revision) origin(raw json.RawMessage) string {
	if len(r) == 0 {
		return originOf(raw)
	}
	_, rest, _ := strings.Cut(r[len(r)-1], "-")
	if _, origin, ok := strings.Cut(rest, "-"); ok {
		return origin
	}
	return originOf(raw) // the name is from an older build
}

// noOrigin is the origin of a document without a client identifier.
const noOrigin = "0"

// originOf returns a hash of the document's client identifier. It tells an old copy without
// a revision from a reset: both lack the revision, but only a reset also lacks the
// identifier.
func originOf(raw json.RawMessage) string {
	o, err := ordered.Parse(raw)
	if err != nil {
		return noOrigin
	}
	value := o.Get(clientID)
	text := string(value)
	if json.Unmarshal(value, &text) == nil { // for null, text stays "null"
		text = strings.TrimSpace(text)
	}
	if text == "" || text == "null" {
		return noOrigin
	}
	h := fnv.New32a()
	h.Write([]byte(text))
	return fmt.Sprintf("%08x", h.Sum32())
}

// young reports whether CrossWatch may still have a copy from before the first Update of
// all.
func (r revision) young() bool {
	return len(r) == 0 || len(r) < maxNames && time.Since(r.began()) < maxCopyAge
}

// began returns when the oldest Update of the revision was made, to the second. It returns
// the zero time if the revision does not say.
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

// knownTo returns the newest names of r, up to and including the first that is not in made.
// all reports whether every name is in made.
func (r revision) knownTo(made []string) (known revision, all bool) {
	for i, name := range r {
		if !slices.Contains(made, name) {
			return r[:i+1], false
		}
	}
	return r, true
}

// shares reports whether r and other have a name in common.
func (r revision) shares(other revision) bool {
	return slices.ContainsFunc(r, func(name string) bool { return slices.Contains(other, name) })
}

// takeRevision returns raw without its revision, and the revision.
func takeRevision(raw json.RawMessage) (json.RawMessage, revision) {
	if !bytes.Contains(raw, []byte(revisionKey)) {
		return raw, nil
	}
	o, err := ordered.Parse(raw)
	if err != nil {
		return raw, nil
	}
	var names string
	_ = json.Unmarshal(o.Get(revisionKey), &names) // another type of value has no names
	if !o.Delete(revisionKey) {
		return raw, nil
	}
	return o.Bytes(), strings.Fields(names)
}

// putRevision returns raw with the revision r.
func putRevision(raw json.RawMessage, r revision) (json.RawMessage, error) {
	o, err := ordered.Parse(raw)
	if err != nil {
		return nil, err
	}
	o.Set(revisionKey, ordered.String(strings.Join(r, " ")))
	return o.Bytes(), nil
}
