package crosswatch

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/plexauth/plexauth/internal/ordered"
)

// revisionKey counts the Updates of a namespace, in the namespace itself. A
// copy that CrossWatch has read before an Update brings back the number of
// before, and so gives itself away; a change that somebody made to what is
// there keeps it. Callers of a Store do not see it.
const revisionKey = "_plexauth_revision"

func takeRevision(raw json.RawMessage) (json.RawMessage, int64) {
	if !bytes.Contains(raw, []byte(revisionKey)) {
		return raw, 0
	}
	o, err := ordered.Parse(raw)
	if err != nil {
		return raw, 0
	}
	n, _ := strconv.ParseInt(string(o.Get(revisionKey)), 10, 64)
	if !o.Delete(revisionKey) {
		return raw, 0
	}
	return o.Bytes(), n
}

func putRevision(raw json.RawMessage, n int64) (json.RawMessage, error) {
	o, err := ordered.Parse(raw)
	if err != nil {
		return raw, nil // which the store beneath refuses by name
	}
	o.Set(revisionKey, ordered.Int(n))
	return o.Bytes(), nil
}
