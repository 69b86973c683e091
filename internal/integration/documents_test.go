//go:build unix

package integration_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/integration/postgres"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/sqlstore"
)

// loginAmong signs people in, one after the other, among n documents. A login is Start, Finish, and
// Finish in another process after the approval. It returns the statements of the last login, and
// the allocations of one, those of the fake plex.tv included.
func loginAmong(t *testing.T, d sqlstore.Dialect, s *seen, copies string, n int) (statements []statement, allocations float64) {
	t.Helper()
	db := sql.OpenDB(s)
	defer db.Close()
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	var processes []*plexauth.PlexAuth
	for range 2 {
		store, err := sqlstore.Open(t.Context(), db, d)
		require.NoError(t, err)
		auth, err := plexauth.New(plexauth.Options{Product: "My App", HTTPClient: plex.Client(), Store: store})
		require.NoError(t, err)
		processes = append(processes, auth)
	}
	login := func(name string) {
		here, there := processes[0].Namespace(name), processes[1].Namespace(name)
		pin, err := here.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = here.Finish(t.Context())
		require.NoError(t, err)
		require.NoError(t, plex.Approve(pin.Code, alice))
		status, err := there.Finish(t.Context())
		require.NoError(t, err)
		require.True(t, status.Connected)
	}
	login("plex/person")
	_, err := db.ExecContext(t.Context(), copies, n)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "ANALYZE")
	require.NoError(t, err)
	const logins = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range logins {
		s.take()
		login(fmt.Sprintf("plex/person %06d.%d", n/2, i))
	}
	runtime.ReadMemStats(&after)
	return s.take(), float64(after.Mallocs-before.Mallocs) / logins
}

// checkFlat checks that a login among many documents does what one among few does.
func checkFlat(t *testing.T, few, many []statement, allocsFew, allocsMany float64) {
	t.Helper()
	texts := func(statements []statement) (all []string) {
		for _, s := range statements {
			all = append(all, s.text)
		}
		return all
	}
	assert.Equal(t, texts(few), texts(many), "statements of a login")
	t.Logf("%d statements and %.0f allocations a login", len(many), allocsMany)
	assert.LessOrEqual(t, len(many), mostStatements)
	assert.Less(t, allocsMany, 1.2*allocsFew, "allocations of a login")
}

// mostStatements bounds the statements of SQL of one login.
const mostStatements = 15

const manyDocuments = 20_000

// G27: a login costs a SQLite database the same among ten documents and among twenty thousand: the
// same statements, each of which finds its row by the index.
func TestSQLiteLoginAmongDocuments(t *testing.T) {
	var statements [2][]statement
	var allocations [2]float64
	for i, n := range []int{10, manyDocuments} {
		path := filepath.Join(t.TempDir(), "plexauth.db")
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		defer db.Close()
		copies := `WITH RECURSIVE i(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM i WHERE n < $1 - 1)
			INSERT INTO plexauth_config (namespace, document, version, writes) SELECT 'plex/person ' || printf('%06d', i.n), document, version, writes FROM plexauth_config CROSS JOIN i`
		statements[i], allocations[i] = loginAmong(t, sqlstore.SQLite, &seen{driver: db.Driver(), dsn: path + "?" + recommended}, copies, n)
		for _, s := range statements[i] {
			text := plan(t, db, "EXPLAIN QUERY PLAN", s)
			assert.NotContains(t, text, "SCAN", s.text)
			if !strings.HasPrefix(s.text, "INSERT") {
				assert.Contains(t, text, "SEARCH plexauth_config USING INDEX", s.text)
			}
		}
	}
	checkFlat(t, statements[0], statements[1], allocations[0], allocations[1])
}

// postgresLoginAmongDocuments is TestSQLiteLoginAmongDocuments for PostgreSQL.
func postgresLoginAmongDocuments(t *testing.T, server *postgresServer) {
	var statements [2][]statement
	var allocations [2]float64
	for i, n := range []int{10, manyDocuments} {
		schema := server.schema(t)
		db, err := postgres.Open(server.DSN, schema)
		require.NoError(t, err)
		defer db.Close()
		const copies = `INSERT INTO plexauth_config (namespace, document, version, writes)
			SELECT 'plex/person ' || lpad(i.n::text, 6, '0'), document, version, writes FROM plexauth_config CROSS JOIN generate_series(0, $1::int - 1) AS i(n)`
		statements[i], allocations[i] = loginAmong(t, sqlstore.PostgreSQL, &seen{driver: stdlib.GetDefaultDriver(), dsn: server.DSN + "&search_path=" + schema}, copies, n)
		if n < manyDocuments {
			continue // a small table is read as a whole
		}
		for _, s := range statements[i] {
			text := plan(t, db, "EXPLAIN", s)
			assert.NotContains(t, text, "Seq Scan", s.text)
			if !strings.HasPrefix(s.text, "INSERT") {
				assert.Contains(t, text, "Index Scan using plexauth_config_pkey", s.text)
			}
		}
	}
	checkFlat(t, statements[0], statements[1], allocations[0], allocations[1])
}
