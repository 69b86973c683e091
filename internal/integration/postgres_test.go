//go:build unix

package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/integration/postgres"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/sqlstore"
	"github.com/plexauth/plexauth/storetest"
)

func init() {
	children["postgres add"] = adder(func(args []string) (plexauth.ConfigStore, error) {
		store, _, err := openPostgresStore(context.Background(), args[0], args[1])
		return store, err
	})
}

// G16: sqlstore keeps its promises over a real server. G27: a login costs the same among many documents.
func TestPostgres(t *testing.T) {
	server := startPostgres(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *postgresServer)
	}{
		{"keeps the rules", postgresKeepsTheRules},
		{"many open at once", postgresManyOpenAtOnce},
		{"processes", postgresProcesses},
		{"processes with a large document", postgresProcessesWithALargeDocument},
		{"table of an older version", postgresOlderTable},
		{"replicas", postgresReplicas},
		{"answers lost", func(t *testing.T, s *postgresServer) { postgresAnswersLost(t, s, "") }},
		{"answers lost of a large document", func(t *testing.T, s *postgresServer) { postgresAnswersLost(t, s, largeDocument) }},
		{"cancelled", func(t *testing.T, s *postgresServer) { postgresCancelled(t, s, `{}`) }},
		{"cancelled with a large document", func(t *testing.T, s *postgresServer) { postgresCancelled(t, s, largeDocument) }},
		{"grants", postgresGrants},
		{"constraint", postgresConstraint},
		{"odd namespaces", postgresOddNamespaces},
		{"namespaces", postgresNamespaces},
		{"a login among many documents", postgresLoginAmongDocuments},
		{"opened as SQLite", postgresOpenedAsSQLite},
		{"another type", postgresAnotherType},
		{"no schema", postgresNoSchema},
		{"idle", postgresIdle},
		{"row lock", postgresRowLock},
		{"stopped", postgresStopped}, // must be the last
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, server) })
	}
}

func postgresKeepsTheRules(t *testing.T, server *postgresServer) {
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		schema := server.schema(t)
		return server.store(t, schema), server.store(t, schema)
	})
}

// Each of many replicas that start together finds or makes the table.
func postgresManyOpenAtOnce(t *testing.T, server *postgresServer) {
	for range 5 {
		schema := server.schema(t)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				_, db, err := openPostgresStore(t.Context(), server.DSN, schema)
				if assert.NoError(t, err) {
					db.Close()
				}
			})
		}
		wg.Wait()
	}
}

// G16: eight processes start without a table and make 100 updates each. No update is lost.
func postgresProcesses(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	const updates = 100
	postgresAdd(t, server, schema, 8, updates)
	assert.Len(t, keys(t, server.store(t, schema)), 8*updates)
}

// postgresAdd lets processes add keys to the document.
func postgresAdd(t *testing.T, server *postgresServer, schema string, processes, updates int) {
	var wg sync.WaitGroup
	for p := range processes {
		c := child(t, "postgres add", server.DSN, schema, fmt.Sprint("p", p), strconv.Itoa(updates))
		wg.Go(func() { assert.NoError(t, c.Run()) })
	}
	wg.Wait()
}

// G16: processes that write a large document lose no update. What has changed is in the column
// patch.
func postgresProcessesWithALargeDocument(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	store := server.store(t, schema)
	require.NoError(t, store.Update(t.Context(), "plex", becomes(largeDocument)))
	const updates = 50
	postgresAdd(t, server, schema, 4, updates)
	assert.Len(t, keys(t, store), 1+4*updates)
	assert.Len(t, keys(t, server.store(t, schema)), 1+4*updates)
	assert.Less(t, len(column(t, server, schema, "document")), len(largeDocument)+4*updates*len(`"p0 10":true,`))
	assert.NotEmpty(t, column(t, server, schema, "patch"))

	server.exec(t, `UPDATE `+schema+`.plexauth_config SET document = replace('`+largeDocument+`', 'z', 'by hand'), patch = NULL`)
	assert.Equal(t, map[string]bool{"by hand": true}, keys(t, store), "an edit by hand is noticed")
}

// largeDocument has a key that sorts behind those that adders add.
var largeDocument = `{"z":"` + strings.Repeat("é😀", 10_000) + `"}`

// column returns a column of the only row.
func column(t *testing.T, server *postgresServer, schema, name string) string {
	db, err := postgres.Open(server.DSN, schema)
	require.NoError(t, err)
	defer db.Close()
	var value string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COALESCE(`+name+`, '') FROM plexauth_config`).Scan(&value))
	return value
}

// G16: a table without the column patch works. With the column of the documentation, a store that
// does not know it, as one of an older version, cannot overwrite what is in it.
func postgresOlderTable(t *testing.T, server *postgresServer) {
	older := func() string {
		schema := server.schema(t)
		server.exec(t, `CREATE TABLE `+schema+`.plexauth_config (namespace TEXT COLLATE "C" NOT NULL PRIMARY KEY, document TEXT, version BIGINT NOT NULL, writes TEXT NOT NULL, updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP)`)
		return schema
	}
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		schema := older()
		return server.store(t, schema), server.store(t, schema)
	})
	schema := older()
	before := server.store(t, schema)
	require.NoError(t, before.Update(t.Context(), "plex", becomes(largeDocument)))
	require.NoError(t, before.Update(t.Context(), "plex", adds("a")))
	server.exec(t, `ALTER TABLE `+schema+`.plexauth_config ADD COLUMN patch TEXT CHECK (patch IS NULL OR patch LIKE version || ' %')`)

	store := server.store(t, schema)
	require.NoError(t, store.Update(t.Context(), "plex", adds("b")))
	require.NotEmpty(t, column(t, server, schema, "patch"))
	err := before.Update(t.Context(), "plex", adds("c"))
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "23514")
	assert.Equal(t, map[string]bool{"a": true, "b": true, "z": true}, keys(t, server.store(t, schema)))
}

// G1, G8: a login is started on one replica, approved, and finished on both at once. They
// agree about the PIN, the identifier and the token.
func postgresReplicas(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	plex := plextest.NewServer()
	defer plex.Close()
	alice := plex.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
	replica := func() *plexauth.PlexAuth {
		auth, err := plexauth.New(plexauth.Options{
			Product:    "Replica",
			Store:      server.store(t, schema),
			HTTPClient: plex.Client(),
		})
		require.NoError(t, err)
		return auth
	}
	a, b := replica(), replica()

	pin, err := a.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	again, err := b.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	assert.Equal(t, pin.Code, again.Code, "one profile has one live PIN")
	require.NoError(t, plex.Approve(pin.Code, alice))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, auth := range []*plexauth.PlexAuth{a, b} {
		wg.Go(func() {
			status, err := auth.Wait(ctx)
			if assert.NoError(t, err) {
				assert.True(t, status.Connected)
			}
		})
	}
	wg.Wait()
	one, err := a.Settings(t.Context())
	require.NoError(t, err)
	other, err := b.Settings(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, one.ClientID)
	assert.Equal(t, one.ClientID, other.ClientID)
	assert.False(t, one.AccountToken.IsZero())
	assert.True(t, one.AccountToken.Equal(other.AccountToken))
}

// lossyConn is a connection that sometimes breaks when an answer arrives. The server has
// done its work then, but the client does not learn it.
type lossyConn struct {
	net.Conn
	network *lossyNetwork
	reads   int
}

// lossyNetwork counts the answers that it has lost, and those that it may still lose.
type lossyNetwork struct{ lost, left atomic.Int64 }

// mostLost is less than a store forgives an Update: it fails at the sixth failure.
const mostLost = 4

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	// A session begins with a few reads.
	if c.reads++; err == nil && c.reads > 5 && rand.N(20) == 0 && c.network.left.Add(-1) >= 0 {
		c.network.lost.Add(1)
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// G8, G16: the network loses some of the database's answers. Every Update that succeeds
// happens exactly once. The document has rest as a member.
func postgresAnswersLost(t *testing.T, server *postgresServer, rest string) {
	schema := server.schema(t)
	server.store(t, schema) // makes the table
	config, err := pgx.ParseConfig(server.DSN)
	require.NoError(t, err)
	config.RuntimeParams["search_path"] = schema
	const updates = 200
	var done atomic.Int64
	var wg sync.WaitGroup
	var writers [2]lossyNetwork
	for i := range writers {
		lossy, its := config.Copy(), &writers[i]
		lossy.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &lossyConn{Conn: conn, network: its}, err
		}
		db := stdlib.OpenDB(*lossy)
		t.Cleanup(func() { db.Close() })
		its.left.Store(mostLost)
		var store *sqlstore.Store
		eventually(t, "Open succeeds", func() bool {
			store, err = sqlstore.Open(t.Context(), db, sqlstore.PostgreSQL)
			return err == nil
		})
		wg.Go(func() {
			for range updates {
				its.left.Store(mostLost)
				// The counter shows an Update that happened twice.
				err := store.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
					doc := struct{ N int64 }{}
					if current != nil {
						if err := json.Unmarshal(current, &doc); err != nil {
							return nil, err
						}
					}
					return fmt.Appendf(nil, `{"N":%d,"rest":%q}`, doc.N+1, rest), nil
				})
				if assert.NoError(t, err) {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()

	var doc struct{ N int64 }
	raw, err := server.store(t, schema).Load(t.Context(), "plex")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &doc))
	lost := writers[0].lost.Load() + writers[1].lost.Load()
	t.Logf("%d answers lost, %d updates succeeded", lost, done.Load())
	assert.Equal(t, done.Load(), doc.N)
	assert.Positive(t, lost, "no answer was lost, so this proves nothing")
}

// G8, G9: an Update whose context ends at a random moment has happened if it succeeds, and
// has not happened if it fails. A database that is too busy to say so within half a second
// leaves that open.
func postgresCancelled(t *testing.T, server *postgresServer, document string) {
	const updates, undecidedAfter = 300, 500 * time.Millisecond
	store := server.store(t, server.schema(t))
	require.NoError(t, store.Update(t.Context(), "plex", becomes(document)))
	happened := map[string]bool{} // as Update says
	succeeded := 0
	for i := range updates {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(8*time.Millisecond))
		end, _ := ctx.Deadline()
		key := fmt.Sprint("k", i)
		err := store.Update(ctx, "plex", adds(key))
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, plexauth.ErrStore)
			if time.Since(end) >= undecidedAfter {
				continue
			}
		} else {
			succeeded++
		}
		happened[key] = err == nil
		if i%10 == 0 { // a write may still be on its way
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, err == nil, keys(t, store)[key], "whether the store has %s, after %v", key, err)
	}
	time.Sleep(50 * time.Millisecond)
	have := keys(t, store)
	for key, want := range happened {
		assert.Equal(t, want, have[key], "whether the store still has %s", key)
	}
	t.Logf("%d of %d updates have succeeded, %d were left open", succeeded, updates, updates-len(happened))
	assert.Greater(t, len(happened), updates/2, "too few updates were decided, so this proves nothing")
}

// G17: with the grants of the documentation everything works. With fewer, Check says which
// are missing.
func postgresGrants(t *testing.T, server *postgresServer) {
	if !server.IsOurs() {
		t.Skip("needs a server that the test has started, to make roles on it")
	}
	schema := server.schema(t)
	server.store(t, schema) // makes the table
	server.exec(t, `CREATE ROLE myapp LOGIN`)
	t.Cleanup(func() { server.exec(t, `DROP OWNED BY myapp; DROP ROLE myapp`) })
	dsn := strings.Replace(server.DSN, "plexauth@", "myapp@", 1)
	open := func() (*sqlstore.Store, error) {
		store, db, err := openPostgresStore(t.Context(), dsn, schema)
		if err == nil {
			t.Cleanup(func() { db.Close() })
		}
		return store, err
	}

	_, err := open()
	require.ErrorIs(t, err, plexauth.ErrStore)
	server.exec(t, `GRANT USAGE ON SCHEMA `+schema+` TO myapp`)
	server.exec(t, `GRANT SELECT ON `+schema+`.plexauth_config TO myapp`)
	store, err := open()
	require.NoError(t, err, "a store can be read without the right to write")
	err = store.Check(t.Context())
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "grant SELECT, INSERT and UPDATE")
	require.Error(t, store.Update(t.Context(), "plex", becomes(`{"n":1}`)))

	server.exec(t, `GRANT INSERT, UPDATE ON `+schema+`.plexauth_config TO myapp`)
	require.NoError(t, store.Check(t.Context()))
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":1}`)))
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":2}`)))

	server.exec(t, `ALTER ROLE myapp SET default_transaction_read_only = on`)
	store, err = open()
	require.NoError(t, err)
	err = store.Check(t.Context())
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "read-only")
}

// G13: PostgreSQL quotes a row that breaks a constraint. The store does not.
func postgresConstraint(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	store := server.store(t, schema)
	server.exec(t, `ALTER TABLE `+schema+`.plexauth_config ADD CHECK (document NOT LIKE '%SECRET%')`)
	err := store.Update(t.Context(), "plex", becomes(`{"account_token":"TEST_EDITED_SECRET"}`))
	require.ErrorIs(t, err, plexauth.ErrStore)
	var cause *pgconn.PgError
	require.ErrorAs(t, err, &cause)
	require.Contains(t, cause.Detail, "SECRET", "or this test shows nothing")
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "SECRET")
	assert.ErrorContains(t, err, "23514")
}

// A name that PostgreSQL cannot keep is an error, not another name.
func postgresOddNamespaces(t *testing.T, server *postgresServer) {
	store := server.store(t, server.schema(t))
	for _, name := range []string{"ple\x00x", "ple\xffx"} {
		require.ErrorIs(t, store.Update(t.Context(), name, becomes(`{}`)), plexauth.ErrStore)
		_, err := store.Load(t.Context(), name)
		require.ErrorIs(t, err, plexauth.ErrStore)
	}
}

// Names are listed in the order of their bytes in a database with another collation, and from
// the index of the primary key. A table without the collation of the documentation is listed
// in the same order.
func postgresNamespaces(t *testing.T, server *postgresServer) {
	if !server.IsOurs() {
		t.Skip("needs a server that the test has started, to make a database on it")
	}
	server.exec(t, `CREATE DATABASE english TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`)
	t.Cleanup(func() { server.exec(t, `DROP DATABASE english WITH (FORCE)`) })
	english := &postgresServer{&postgres.Server{DSN: strings.Replace(server.DSN, "/postgres?", "/english?", 1)}}
	var before bool
	db, err := postgres.Open(english.DSN, "public")
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT 'a' < 'B'`).Scan(&before))
	require.True(t, before, "or this test shows nothing")

	schema := english.schema(t)
	keepsOddNames(t, english.store(t, schema))
	english.exec(t, `INSERT INTO `+schema+`.plexauth_config (namespace, document, version, writes) SELECT 'plex/' || n, '{}', 1, '' FROM generate_series(1, 20000) n`)
	english.exec(t, `ANALYZE `+schema+`.plexauth_config`)
	query := listing(t, sqlstore.PostgreSQL, stdlib.GetDefaultDriver(), english.DSN+"&search_path="+schema)
	in, err := postgres.Open(english.DSN, schema)
	require.NoError(t, err)
	defer in.Close()
	text := plan(t, in, "EXPLAIN", query)
	assert.Contains(t, text, "Index Scan using plexauth_config_pkey")
	assert.Contains(t, text, "Index Cond: (namespace >= ")
	assert.NotContains(t, text, "Sort")

	schema = english.schema(t)
	english.exec(t, `CREATE TABLE `+schema+`.plexauth_config (namespace TEXT NOT NULL PRIMARY KEY, document TEXT, version BIGINT NOT NULL, writes TEXT NOT NULL, updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP)`)
	keepsOddNames(t, english.store(t, schema))
	english.exec(t, `ALTER TABLE `+schema+`.plexauth_config ALTER COLUMN namespace TYPE TEXT COLLATE "C"`)
	keepsOddNames(t, english.store(t, schema))
}

// The wrong dialect is told, and no table made.
func postgresOpenedAsSQLite(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	db, err := postgres.Open(server.DSN, schema)
	require.NoError(t, err)
	defer db.Close()
	_, err = sqlstore.Open(t.Context(), db, sqlstore.SQLite)
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "give Open the dialect sqlstore.PostgreSQL")
	_, err = db.ExecContext(t.Context(), "SELECT 1 FROM plexauth_config")
	assert.ErrorContains(t, err, "42P01")
}

// A table of that name with columns of other types is an error that says so.
func postgresAnotherType(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	server.exec(t, "CREATE TABLE "+schema+".plexauth_config (namespace TEXT PRIMARY KEY, document TEXT, version TEXT, writes TEXT, updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP)")
	store := server.store(t, schema)
	err := store.Update(t.Context(), "plex", becomes(`{"n":1}`))
	if err == nil { // the first Update inserts a row
		err = store.Update(t.Context(), "plex", becomes(`{"n":2}`))
	}
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "another type than in the documentation")
}

func postgresNoSchema(t *testing.T, server *postgresServer) {
	_, _, err := openPostgresStore(t.Context(), server.DSN, "plexauth_not_there")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "search_path")
}

// G5: a connection that the server has ended, because it was idle, is replaced.
func postgresIdle(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	config, err := pgx.ParseConfig(server.DSN)
	require.NoError(t, err)
	config.RuntimeParams["search_path"] = schema
	config.RuntimeParams["idle_session_timeout"] = "100ms"
	db := stdlib.OpenDB(*config)
	defer db.Close()
	store, err := sqlstore.Open(t.Context(), db, sqlstore.PostgreSQL)
	require.NoError(t, err)
	for range 3 {
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":1}`)))
		time.Sleep(300 * time.Millisecond)
		_, err = store.Load(t.Context(), "plex")
		require.NoError(t, err)
	}
}

// G9: the store waits for another session's lock on the row, for half a minute at most. An
// Update that was given up is not written later.
func postgresRowLock(t *testing.T, server *postgresServer) {
	schema := server.schema(t)
	store := server.store(t, schema)
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":1}`)))
	lock := func() (release func()) {
		conn, err := pgx.Connect(t.Context(), server.DSN)
		require.NoError(t, err)
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SELECT * FROM "+schema+".plexauth_config FOR UPDATE")
		require.NoError(t, err)
		return func() {
			assert.NoError(t, tx.Rollback(t.Context()))
			conn.Close(t.Context())
		}
	}
	time.AfterFunc(time.Second, lock())
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":2}`)))
	if testing.Short() {
		return
	}
	release := lock()
	began := time.Now()
	err := store.Update(t.Context(), "plex", becomes(`{"n":3}`))
	assert.Greater(t, time.Since(began), 25*time.Second, "the store gave up too early")
	assert.Less(t, time.Since(began), 30*time.Second+slack, "the store gave up too late")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "another session holds a lock")
	release()
	time.Sleep(time.Second)
	raw, err := store.Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.JSONEq(t, `{"n":2}`, string(raw))
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":4}`)))
}

// G11: the error names a database that has stopped. The store uses it again when it runs.
func postgresStopped(t *testing.T, server *postgresServer) {
	if !server.IsOurs() {
		t.Skip("needs a server that the test has started, to stop it")
	}
	store := server.store(t, server.schema(t))
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":1}`)))
	server.Stop()
	for what, err := range map[string]error{
		"Update": store.Update(t.Context(), "plex", becomes(`{"n":2}`)),
		"Check":  store.Check(t.Context()),
	} {
		require.ErrorIs(t, err, plexauth.ErrStore, what)
		assert.ErrorContains(t, err, "connection refused", what)
	}
	done := make(chan error, 1)
	go func() { done <- store.Update(t.Context(), "plex", becomes(`{"n":3}`)) }()
	require.NoError(t, server.Restart())
	if err := <-done; err != nil { // it took more than two seconds to start
		require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"n":3}`)))
	}
	raw, err := store.Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.Equal(t, `{"n":3}`, string(raw))
}
