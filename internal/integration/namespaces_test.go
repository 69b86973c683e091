package integration_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/sqlstore"
)

// oddNames are names in which something is special for a database, in the order of their
// bytes. Other collations put "B" after "a", ignore "-", and call "É" and "é" almost the same.
var oddNames = func() []string {
	names := []string{
		"plex/ ", "plex/!", `plex/"`, "plex/$1", "plex/%", "plex/'", "plex/'; DROP TABLE plexauth_config; --", "plex/*", "plex/-a", "plex/?1", "plex/B", "plex/\\",
		"plex/_", "plex/a", "plex/a b", "plex/ab", "plex/e\u0301", "plex/É", "plex/é", "plex/ß", "plex/漢字", "plex/\ufffd", "plex/👩‍👩‍👧", "plex/\U0010ffff",
		"plex/" + strings.Repeat("x", 195), "plex/" + strings.Repeat("😀", 48) + "xyz",
	}
	slices.Sort(names)
	return names
}()

// keepsOddNames tests that a store lists what it has been given, in the order of the bytes,
// with any prefix.
func keepsOddNames(t *testing.T, store *sqlstore.Store) {
	others := []string{"Plex/a", "plex", "plex.a", "plex0", "ple\\x/a", "p_ex/a"}
	all := slices.Sorted(slices.Values(slices.Concat(oddNames, others)))
	for _, i := range rand.Perm(len(all)) {
		require.NoError(t, store.Update(t.Context(), all[i], becomes(fmt.Sprintf(`{"n":%d}`, i))))
	}
	for i, name := range all {
		raw, err := store.Load(t.Context(), name)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf(`{"n":%d}`, i), string(raw), name)
	}
	for _, prefix := range slices.Concat([]string{"", "plex", "plex/", "p_ex", "none"}, oddNames) {
		want := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !strings.HasPrefix(name, prefix) })
		assert.Equal(t, want, list(t, store, prefix), prefix)
	}
}

func list(t *testing.T, store *sqlstore.Store, prefix string) []string {
	t.Helper()
	got := []string{}
	for name, err := range store.Namespaces(t.Context(), prefix) {
		require.NoError(t, err)
		got = append(got, name)
	}
	return got
}

func TestSQLiteNamespaces(t *testing.T) {
	keepsOddNames(t, newSQLite(t, filepath.Join(t.TempDir(), "plexauth.db"), recommended))
}

// seen is a connector that notes the statements of a store.
type seen struct {
	driver     driver.Driver
	dsn        string
	mu         sync.Mutex
	statements []statement
}

type statement struct {
	text string
	args []any
}

func (s *seen) note(text string, args []driver.NamedValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := statement{text: text}
	for _, arg := range args {
		st.args = append(st.args, arg.Value)
	}
	s.statements = append(s.statements, st)
}

// take returns what was noted since the last call.
func (s *seen) take() []statement {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.statements
	s.statements = nil
	return taken
}

func (s *seen) Driver() driver.Driver { return s.driver }

func (s *seen) Connect(context.Context) (driver.Conn, error) {
	conn, err := s.driver.Open(s.dsn)
	if err != nil {
		return nil, err
	}
	return &seenConn{conn, s}, nil
}

type seenConn struct {
	driver.Conn
	seen *seen
}

func (c *seenConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.seen.note(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *seenConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.seen.note(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

// listing opens a store, and returns the statement with which it reads a page of names.
func listing(t *testing.T, d sqlstore.Dialect, over driver.Driver, dsn string) statement {
	t.Helper()
	s := &seen{driver: over, dsn: dsn}
	db := sql.OpenDB(s)
	defer db.Close()
	store, err := sqlstore.Open(t.Context(), db, d)
	require.NoError(t, err)
	s.take()
	require.Empty(t, list(t, store, "none/"))
	noted := s.take()
	require.Len(t, noted, 1)
	return noted[0]
}

// plan returns what explain, which is the database's word for it, says of a statement.
func plan(t *testing.T, db *sql.DB, explain string, s statement) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), explain+" "+s.text, s.args...)
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var text strings.Builder
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		require.NoError(t, rows.Scan(cells...))
		fmt.Fprintln(&text, *cells[len(cells)-1].(*any))
	}
	require.NoError(t, rows.Err())
	return text.String()
}

// A page of names is read from the index of the primary key, without sorting.
func TestSQLiteNamespacesByIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plexauth.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	text := plan(t, db, "EXPLAIN QUERY PLAN", listing(t, sqlstore.SQLite, db.Driver(), path))
	assert.Contains(t, text, "SEARCH plexauth_config USING INDEX sqlite_autoindex_plexauth_config_1 (namespace>?)")
	assert.NotContains(t, text, "TEMP B-TREE")
}
