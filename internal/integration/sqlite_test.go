package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/sqlstore"
	"github.com/plexauth/plexauth/storetest"
)

func init() {
	children["sqlite add"] = adder(func(args []string) (plexauth.ConfigStore, error) {
		store, _, err := openSQLite(context.Background(), args[0], args[1])
		return store, err
	})
}

// recommended are the settings in the documentation of sqlstore.
const recommended = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"

func openSQLite(ctx context.Context, path, settings string) (*sqlstore.Store, *sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: path, RawQuery: settings}).String())
	if err != nil {
		return nil, nil, err
	}
	return openStore(ctx, db, sqlstore.SQLite)
}

// openStore opens the store in db. After an error it closes db.
func openStore(ctx context.Context, db *sql.DB, d sqlstore.Dialect) (*sqlstore.Store, *sql.DB, error) {
	store, err := sqlstore.Open(ctx, db, d)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return store, db, nil
}

// newSQLite opens a store, which is closed at the end of the test.
func newSQLite(t testing.TB, path, settings string) *sqlstore.Store {
	t.Helper()
	store, db, err := openSQLite(t.Context(), path, settings)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return store
}

// The wrong dialect is an error that names the right one, and makes no table.
func TestSQLiteOpenedAsPostgreSQL(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = sqlstore.Open(t.Context(), db, sqlstore.PostgreSQL)
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "give Open the dialect sqlstore.SQLite")
	var tables int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_schema").Scan(&tables))
	assert.Zero(t, tables)
	_, err = sqlstore.Open(t.Context(), db, sqlstore.SQLite)
	require.NoError(t, err)
}

// G16: sqlstore keeps its promises over SQLite, with any settings.
func TestSQLite(t *testing.T) {
	for name, settings := range map[string]string{"recommended": recommended, "driver's own": "", "UTF-16": recommended + "&_pragma=encoding('UTF-16')"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
				path := filepath.Join(t.TempDir(), "plexauth.db")
				return newSQLite(t, path, settings), newSQLite(t, path, settings)
			})
		})
	}
	t.Run("memory", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
			db, err := sql.Open("sqlite", ":memory:")
			require.NoError(t, err)
			t.Cleanup(func() { db.Close() })
			db.SetMaxOpenConns(1)
			store, err := sqlstore.Open(t.Context(), db, sqlstore.SQLite)
			require.NoError(t, err)
			return store, store
		})
	})
}

// G16: eight processes start without a file and lose no update, with any settings.
func TestSQLiteProcesses(t *testing.T) {
	for name, settings := range map[string]string{"recommended": recommended, "driver's own": ""} {
		t.Run(name, func(t *testing.T) {
			const processes, updates = 8, 50
			path := filepath.Join(t.TempDir(), "plexauth.db")
			var wg sync.WaitGroup
			for p := range processes {
				c := child(t, "sqlite add", path, settings, fmt.Sprint("p", p), strconv.Itoa(updates))
				wg.Go(func() { assert.NoError(t, c.Run()) })
			}
			wg.Wait()
			assert.Len(t, keys(t, newSQLite(t, path, settings)), processes*updates)
		})
	}
}

// G16, G27: processes that write a large document lose no update, and a change at its end writes
// few pages.
func TestSQLiteLargeDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plexauth.db")
	store, db, err := openSQLite(t.Context(), path, recommended)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"a":"`+strings.Repeat("é😀", 50_000)+`"}`)))
	const processes, updates = 4, 25
	var wg sync.WaitGroup
	for p := range processes {
		c := child(t, "sqlite add", path, recommended, fmt.Sprint("p", p), strconv.Itoa(updates))
		wg.Go(func() { assert.NoError(t, c.Run()) })
	}
	wg.Wait()
	assert.Len(t, keys(t, store), 1+processes*updates)
	assert.Len(t, keys(t, newSQLite(t, path, recommended)), 1+processes*updates)

	pages := func() (n int) { // since the last call
		var busy, done int
		require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA wal_checkpoint").Scan(&busy, &n, &done))
		return n
	}
	pages()
	for i := range 4 { // one of which may need a page more than before
		require.NoError(t, store.Update(t.Context(), "plex", adds(fmt.Sprint("z", i))))
	}
	n := pages()
	t.Logf("4 changes wrote %d pages; the document has 75", n)
	assert.Less(t, n, 75+4*10)
}

// G17, G18: the error says that a database cannot be written, or that a file is not a
// database.
func TestSQLiteUnusable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plexauth.db")
	newSQLite(t, path, "")
	store := newSQLite(t, path, "mode=ro")
	for what, err := range map[string]error{
		"Check":  store.Check(t.Context()),
		"Update": store.Update(t.Context(), "plex", becomes(`{"n":1}`)),
	} {
		require.ErrorIs(t, err, plexauth.ErrStore, what)
		assert.ErrorContains(t, err, "read-only", what)
	}

	path = filepath.Join(t.TempDir(), "config.json")
	content := []byte(`{"plex":{"account_token":"TEST_TOKEN_on_disk"}, "padding": "beyond the header of a database: 0123456789012345678901234567890123456789"}`)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	_, _, err := openSQLite(t.Context(), path, "")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "not a SQLite database")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, content, after)

	_, _, err = openSQLite(t.Context(), filepath.Join(t.TempDir(), "missing", "plexauth.db"), "")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "cannot be opened")
}
