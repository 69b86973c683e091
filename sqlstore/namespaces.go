package sqlstore

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/plexauth/plexauth"
)

// pageSize is the LIMIT of the statements below.
const pageSize = 1000

// Each statement reads a page from a name on, including that name, so that it reads the first
// page too. It also reads removed namespaces, which the caller leaves out. Otherwise it would
// look for pageSize documents far beyond the names with the prefix.
const (
	listPostgreSQL = `SELECT namespace, document IS NOT NULL FROM plexauth_config WHERE namespace COLLATE "C" >= $1 ORDER BY namespace COLLATE "C" LIMIT 1000`
	listSQLite     = `SELECT namespace, document IS NOT NULL FROM plexauth_config WHERE namespace >= ?1 ORDER BY namespace LIMIT 1000`
)

// Namespaces lists the namespaces that have a document and begin with prefix, in the order of
// their bytes. The prefix "" lists all. The sequence reads the table each time a loop ranges
// over it, and several goroutines may do so at the same time.
//
// It reads 1,000 rows at a time and holds no connection while the caller's loop runs, so the
// loop may use the store. A namespace that has a document all the time is listed once. One that
// is created or removed during the loop may be listed or not.
//
// An error comes with the name "", and ends the sequence. Each page is read with the retries
// and the errors of [Store.Load]. If ctx ends, the sequence ends with an error that matches
// that of ctx. A prefix that is not UTF-8 or contains U+0000 is an error.
//
// The cost depends on how many names begin with prefix, and not on how many there are. On
// PostgreSQL this needs the collation "C", as in the table of the package documentation.
// Without it the names come in the same order, but each page reads the whole table.
func (s *Store) Namespaces(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.eachNamespace(ctx, prefix, func(name string) bool { return yield(name, nil) }); err != nil {
			yield("", err)
		}
	}
}

// eachNamespace calls visit with each namespace that begins with prefix, until visit returns
// false.
func (s *Store) eachNamespace(ctx context.Context, prefix string, visit func(name string) bool) error {
	if !utf8.ValidString(prefix) || strings.Contains(prefix, "\x00") {
		return fmt.Errorf("%w: sqlstore: the prefix %q is not UTF-8 text without U+0000", plexauth.ErrStore, prefix)
	}
	from, isVisited := prefix, false
	for {
		page, err := s.readPage(ctx, from)
		if err != nil {
			return err
		}
		for _, e := range page {
			if !strings.HasPrefix(e.namespace, prefix) {
				return nil
			}
			if !e.hasDocument || isVisited && e.namespace == from {
				continue
			}
			if ctx.Err() != nil {
				return contextError(ctx)
			}
			if !visit(e.namespace) {
				return nil
			}
		}
		if len(page) < pageSize {
			return nil
		}
		from, isVisited = page[len(page)-1].namespace, true
	}
}

// entry is a row of the table without its document.
type entry struct {
	namespace   string
	hasDocument bool
}

// readPage reads up to pageSize rows from the name from on.
func (s *Store) readPage(ctx context.Context, from string) (page []entry, err error) {
	err = s.retry(ctx, time.Now().Add(patience), func(ctx context.Context) error {
		page = nil
		rows, err := s.db().QueryContext(ctx, s.list, from)
		if err != nil {
			return failed("reading plexauth_config", err)
		}
		defer rows.Close()
		for rows.Next() {
			var e entry
			if err := rows.Scan(&e.namespace, &e.hasDocument); err != nil {
				return failed("reading plexauth_config", err)
			}
			page = append(page, e)
		}
		if err := rows.Err(); err != nil {
			return failed("reading plexauth_config", err)
		}
		return nil
	})
	return page, err
}
