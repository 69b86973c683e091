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
)

// maxReplicas is how many replicas a row remembers the last write of. A replica looks for
// its write within seconds.
const maxReplicas = 32

// row is the table's row for a namespace. The version is 0 if there is no row.
type row struct {
	document json.RawMessage // nil if the namespace was removed
	version  int64
	writes   string // a mark ("replica-number") for the last write of each replica, newest first
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

// readRow reads the row of a namespace, and checks that the document is an object.
func (s *Store) readRow(ctx context.Context, namespace string) (row, error) {
	var r row
	var doc []byte
	err := s.db().QueryRowContext(ctx, s.read, namespace).Scan(&doc, &r.version, &r.writes)
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, nil
	}
	if err != nil {
		return row{}, failed("reading plexauth_config", err)
	}
	if doc == nil || bytes.Equal(bytes.TrimSpace(doc), []byte("null")) {
		return r, nil
	}
	if err := ordered.Check(doc); err != nil {
		return row{}, &final{fmt.Errorf("%w: %w: sqlstore: the document of namespace %q: %w",
			plexauth.ErrStore, plexauth.ErrCorruptConfig, namespace, err)}
	}
	r.document = doc
	return r, nil
}

// writeRow replaces old. It returns false if another writer has replaced old before.
func (s *Store) writeRow(ctx context.Context, namespace string, old row, next json.RawMessage, writes string) (written bool, err error) {
	var document any
	if next != nil {
		document = string(next)
	}
	var res sql.Result
	if old.version == 0 {
		res, err = s.db().ExecContext(ctx, s.insert, namespace, document, writes)
	} else {
		res, err = s.db().ExecContext(ctx, s.update, document, writes, namespace, old.version)
	}
	if err != nil {
		return false, failed("writing plexauth_config", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, failed("writing plexauth_config", err)
	}
	return n != 0, nil
}
