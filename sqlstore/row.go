package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/profile"
)

// maxReplicas is how many replicas a row remembers the last write of. A replica looks for
// its write within seconds.
const maxReplicas = 32

// minLarge is the length in bytes from which on a document is large.
const minLarge = 16 << 10

// document is a valid document. It does not change.
type document struct {
	text   json.RawMessage // nil if the namespace has none
	parsed *profile.Stored // nil if the document is not large
}

// newDocument checks a document. It keeps text, which must not change.
func newDocument(text json.RawMessage) (document, error) {
	if len(text) < minLarge {
		return document{text: text}, ordered.Check(text)
	}
	parsed, err := profile.Parse(text)
	return document{text, parsed}, err
}

func (d document) equal(other document) bool {
	return (d.text == nil) == (other.text == nil) && bytes.Equal(d.text, other.text)
}

// row is the table's row for a namespace. The version is 0 if there is no row.
type row struct {
	document
	version int64
	writes  string // a mark ("replica-number") for the last write of each replica, newest first
	stamp   string
	base    json.RawMessage // the column document, of a large document
}

// has reports whether mark is the last write of its replica.
func (r row) has(mark string) bool {
	return slices.Contains(strings.Fields(r.writes), mark)
}

// marked returns the column writes after the write mark.
func (r row) marked(mark string) string {
	replica, _, _ := strings.Cut(mark, "-")
	marks := slices.DeleteFunc(strings.Fields(r.writes), func(m string) bool { return strings.HasPrefix(m, replica+"-") })
	marks = append([]string{mark}, marks...)
	return strings.Join(marks[:min(len(marks), maxReplicas)], " ")
}

// readRow reads the row of a namespace, and checks that the document is an object. A large
// document that has not changed since it was last read or written is not read again.
func (s *Store) readRow(ctx context.Context, namespace string) (row, error) {
	query, args := s.read, []any{namespace}
	known, isKnown := s.recent.find(namespace)
	if isKnown {
		query, args = s.reread, append(args, s.state(known)...)
	}
	var r row
	var text []byte
	var patch sql.NullString
	err := s.db().QueryRowContext(ctx, query, args...).Scan(&text, &r.version, &r.writes, &r.stamp, &patch)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		r, err = row{}, nil
	case err != nil:
		return row{}, failed("reading plexauth_config", err)
	case isKnown && string(text) == unchanged:
		r.document, r.base = known.document, known.base
	case text != nil && !bytes.Equal(bytes.TrimSpace(text), []byte("null")):
		r.document, r.base, err = readDocument(text, patch)
	}
	if err != nil {
		return row{}, &final{fmt.Errorf("%w: %w: sqlstore: the document of namespace %q: %w",
			plexauth.ErrStore, plexauth.ErrCorruptConfig, namespace, err)}
	}
	s.recent.put(namespace, r, s.reread != "")
	return r, nil
}

// readDocument returns the document of a row with the column document base.
func readDocument(base json.RawMessage, patch sql.NullString) (d document, kept json.RawMessage, err error) {
	text := base
	if patch.Valid {
		if text, err = applyPatch(base, patch.String); err != nil {
			return document{}, nil, err
		}
	}
	if d, err = newDocument(text); err != nil || d.parsed == nil {
		return d, nil, err
	}
	return d, base, nil
}

// state returns the parameters with which the statement reread compares a row.
func (s *Store) state(r row) []any {
	if s.hasStamps {
		return []any{r.version, r.stamp}
	}
	return []any{[]byte(r.text)}
}

// writeRow replaces old. It returns false if another writer has replaced old before.
func (s *Store) writeRow(ctx context.Context, namespace string, old row, next document, writes string) (written bool, err error) {
	r := row{document: next, version: old.version + 1, writes: writes}
	query, args := s.writing(namespace, old, &r)
	if s.hasStamps {
		err = s.db().QueryRowContext(ctx, query, args...).Scan(&r.stamp)
		written = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
	} else {
		written, err = s.execute(ctx, query, args)
	}
	if err != nil {
		return false, failed("writing plexauth_config", err)
	}
	if written {
		s.recent.put(namespace, r, s.reread != "")
	}
	return written, nil
}

// writing returns the statement that replaces old by r, and sets the base of r.
func (s *Store) writing(namespace string, old row, r *row) (query string, args []any) {
	if s.patch != "" && r.parsed != nil && old.base != nil {
		if p := newPatch(r.version, old.base, r.text); len(p.text) <= maxPatch {
			r.base = old.base
			return s.patch, []any{p.column(), r.writes, namespace, old.version, old.stamp}
		}
	}
	var text any
	if r.text != nil {
		text = string(r.text)
	}
	if r.parsed != nil {
		r.base = r.text
	}
	if old.version == 0 {
		return s.insert, []any{namespace, text, r.writes}
	}
	return s.update, []any{text, r.writes, namespace, old.version}
}

// execute runs a statement that writes one row or none.
func (s *Store) execute(ctx context.Context, query string, args []any) (written bool, err error) {
	res, err := s.db().ExecContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n != 0, err
}

// padding follows a large document in SQLite.
var padding = bytes.Repeat([]byte(" "), 4<<10)

// padded returns a document as it is written. SQLite writes every page of a row whose size has
// changed, and otherwise only the pages that differ. So spaces after a large document keep the
// row's size. They are written into the memory of text, if there is room.
func (s *Store) padded(text json.RawMessage) json.RawMessage {
	if s.dialect != SQLite || len(text) < minLarge {
		return text
	}
	text = bytes.TrimRight(text, " ")
	return append(text, padding[len(text)%len(padding):]...)
}
