package crosswatch

import (
	"bytes"
	"encoding/json"
	"time"
)

// update describes one Update of the namespace, which is decrypted and without its revision
// in all fields.
type update struct {
	number int64 // Updates of a Store are numbered in the order of their writes

	found         json.RawMessage // what was in the file
	foundRevision revision
	repaired      []change // those that an old copy had overwritten
	comparedWith  int64    // the highest number of the changes that were compared with found

	before      json.RawMessage // found, with the repairs; given to edit
	after       json.RawMessage // returned by edit
	newRevision revision        // nil if nothing was written
}

// nextRevision returns the revision that the Update writes. If the Update only repairs a
// token, the new name has the time of the change that set the token.
func (u update) nextRevision() revision {
	r, repairsToken := u.foundRevision, false
	for _, c := range u.repaired {
		if c.isToken() {
			r, repairsToken = r.next(u.found, c.at, tokenMark(c.path)), true
		}
	}
	if repairsToken && bytes.Equal(u.before, u.after) {
		return r
	}
	return r.next(u.found, time.Now(), u.tokenMark())
}

// tokenMark returns the mark of the token that the edit set, or "" if it set none.
func (u update) tokenMark() (mark string) {
	before, after := membersOf(u.before), membersOf(u.after)
	for key, m := range union(before, after) {
		switch {
		case !isToken(m.path) || equal(before[key].value, after[key].value):
		case mark != "":
			return anyProfile
		default:
			mark = tokenMark(m.path)
		}
	}
	return mark
}
