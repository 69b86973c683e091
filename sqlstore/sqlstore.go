// Package sqlstore keeps a plexauth configuration in a SQL database, so that
// several replicas of a program share one login: begun on one, finished on
// another, with one winner.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	…
//	store, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL)
//	…
//	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store})
//
// The package imports no driver: bring the one that your program uses already,
// for example github.com/jackc/pgx/v5/stdlib or modernc.org/sqlite.
//
// # The table
//
// [Open] makes its one table where it is missing. For PostgreSQL:
//
//	CREATE TABLE IF NOT EXISTS plexauth_config (
//		namespace  TEXT        NOT NULL PRIMARY KEY,
//		document   TEXT,
//		version    BIGINT      NOT NULL,
//		writes     TEXT        NOT NULL,
//		updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
//	)
//
// and for SQLite, 3.24 or later:
//
//	CREATE TABLE IF NOT EXISTS plexauth_config (
//		namespace  TEXT      NOT NULL PRIMARY KEY,
//		document   TEXT,
//		version    INTEGER   NOT NULL,
//		writes     TEXT      NOT NULL,
//		updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
//	)
//
// A program that must not make tables is given one. Then these grants are all
// that it needs on PostgreSQL:
//
//	GRANT USAGE ON SCHEMA public TO myapp;
//	GRANT SELECT, INSERT, UPDATE ON plexauth_config TO myapp;
//
// The document is TEXT, not JSONB: key order, number spelling and unknown
// fields come back byte for byte. It holds Plex credentials in clear, and so
// do the database's backups and its statement log: protect them accordingly.
//
// # How a save works
//
// Update reads the row, runs the edit, and writes with "WHERE version = the
// version that was read". If another replica was faster, no row matches and
// the edit runs again on the newer document. No transaction and no lock is
// held while the edit runs. A removed namespace leaves its row, with a NULL
// document, so that versions only ever grow.
//
// Each replica has a random name and numbers its writes, and the row remembers
// the last write of each of the latest 32 replicas (the column writes). A
// connection that breaks while the answer to a write is on its way leaves open
// whether the write happened; the next read tells, and Update neither repeats
// it nor reports it as failed. Only where no connection can be had any more, or a
// lock on the row outlasts Update's patience, does that stay open, and Update
// returns an error.
//
// # Setting up the database
//
// Give [Open] the primary, not a read replica: a store that reads what is
// minutes old sees no pending login. With SQLite set a busy timeout and the
// write-ahead log (modernc.org/sqlite: "?_pragma=busy_timeout(5000)" and
// "&_pragma=journal_mode(WAL)"); a database in memory needs
// db.SetMaxOpenConns(1), as each connection has its own.
package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/ordered"
)

// Dialect is the SQL that a database speaks.
type Dialect int

// The dialects. The zero value is not one of them.
const (
	PostgreSQL Dialect = iota + 1 // 9.5 or later
	SQLite                        // 3.24 or later
)

// rememberedReplicas is how many replicas a row keeps the last write of. A
// write whose answer was lost is looked for within seconds.
const rememberedReplicas = 32

// Store is a [plexauth.ConfigStore] in a database. It is safe for concurrent
// use by any number of goroutines and replicas.
//
// Its errors match [plexauth.ErrStore] and never quote a driver's message,
// which may contain the document. errors.As still finds the driver's own
// error, and errors.Is an error of the context.
type Store struct {
	// A func, which nothing calls that dumps by reflection: what a driver keeps
	// of statements and of its own login is not for a failing test to print.
	db                                 func() *sql.DB
	look, create, read, insert, update string

	dialect Dialect

	name string        // of this replica, in the column writes
	turn chan struct{} // held during an Update; guards seq
	seq  int           // of this replica's latest write
}

var _ plexauth.ConfigStore = (*Store)(nil)

// Open returns the store in db, and makes its table if it is missing; any
// number of replicas may do so at once. A database that is not of the dialect is an
// error, and nothing is made there; MySQL and MariaDB are not supported. db stays
// the caller's, who closes it when the store is no longer used. A database that cannot be reached is tried
// for about two seconds. Errors match [plexauth.ErrStore].
func Open(ctx context.Context, db *sql.DB, d Dialect) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: sqlstore: no database given", plexauth.ErrStore)
	}
	s := &Store{
		db:      func() *sql.DB { return db },
		dialect: d,
		name:    randomName(),
		turn:    make(chan struct{}, 1),
		read:    `SELECT document, version, writes FROM plexauth_config WHERE namespace = $1`,
		insert:  `INSERT INTO plexauth_config (namespace, document, version, writes) VALUES ($1, $2, 1, $3) ON CONFLICT (namespace) DO NOTHING`,
		update:  `UPDATE plexauth_config SET document = $1, version = version + 1, writes = $2, updated_at = CURRENT_TIMESTAMP WHERE namespace = $3 AND version = $4`,
	}
	switch d {
	case PostgreSQL:
		s.look, s.create = lookPostgreSQL, createPostgreSQL
	case SQLite:
		s.look, s.create = lookSQLite, createSQLite
		for _, q := range []*string{&s.read, &s.insert, &s.update} {
			*q = strings.ReplaceAll(*q, "$", "?")
		}
	default:
		return nil, fmt.Errorf("%w: sqlstore: unknown dialect %d", plexauth.ErrStore, int(d))
	}
	if err := s.retry(ctx, time.Now().Add(patience), s.ensureTable); err != nil {
		return nil, err
	}
	return s, nil
}

const createPostgreSQL = `CREATE TABLE IF NOT EXISTS plexauth_config (
	namespace  TEXT        NOT NULL PRIMARY KEY,
	document   TEXT,
	version    BIGINT      NOT NULL,
	writes     TEXT        NOT NULL,
	updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
)`

const createSQLite = `CREATE TABLE IF NOT EXISTS plexauth_config (
	namespace  TEXT      NOT NULL PRIMARY KEY,
	document   TEXT,
	version    INTEGER   NOT NULL,
	writes     TEXT      NOT NULL,
	updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)`

// These fail where the table is missing or another one, and on any database that
// speaks another dialect.
const (
	lookPostgreSQL = `SELECT namespace, document, version, writes, updated_at FROM plexauth_config WHERE 1 = 0 AND namespace::text = ''`
	lookSQLite     = `SELECT namespace, document, version, writes, updated_at FROM plexauth_config WHERE 1 = 0 AND sqlite_version() = ''`
)

// others are databases that a caller may take for one of the dialect, each with a
// query that succeeds on it alone, and what to do.
var others = map[Dialect][]struct{ query, remedy string }{
	PostgreSQL: {{isSQLite, "the database is SQLite, not PostgreSQL: give Open the dialect sqlstore.SQLite"}, {isMySQL, noMySQL}},
	SQLite:     {{isPostgreSQL, "the database is PostgreSQL, not SQLite: give Open the dialect sqlstore.PostgreSQL"}, {isMySQL, noMySQL}},
}

const (
	isPostgreSQL = `SELECT pg_backend_pid() WHERE 1 = 0`
	isSQLite     = `SELECT sqlite_version() WHERE 1 = 0`
	isMySQL      = `SELECT connection_id() FROM dual WHERE 1 = 0`

	noMySQL = "the database is MySQL or MariaDB, which sqlstore does not support: use PostgreSQL or SQLite, or write a store of your own (docs/stores.md)"
)

// succeeds does a query that has no rows.
func (s *Store) succeeds(ctx context.Context, query string) error {
	rows, err := s.db().QueryContext(ctx, query)
	if err != nil {
		return err
	}
	rows.Next() // some drivers report an error here only
	return errors.Join(rows.Close(), rows.Err())
}

// ensureTable looks before it creates: PostgreSQL asks for the right to create
// even where the table exists, and answers one of two replicas that create it
// at once with an error. On a database of another dialect nothing is created.
func (s *Store) ensureTable(ctx context.Context) error {
	err := s.succeeds(ctx, s.look)
	if err == nil {
		return nil
	}
	if !s.ofDialect(err) {
		for _, other := range others[s.dialect] {
			if s.succeeds(ctx, other.query) == nil {
				return &final{fmt.Errorf("%w: sqlstore: %s", plexauth.ErrStore, other.remedy)}
			}
		}
	}
	_, createErr := s.db().ExecContext(ctx, s.create)
	lookErr := s.succeeds(ctx, s.look)
	switch {
	case lookErr == nil:
		return nil
	case createErr == nil:
		return failed("reading the table plexauth_config", lookErr)
	}
	op := "making the table plexauth_config"
	if _, sqlite := sqliteCode(createErr); sqlState(createErr) == "" && !sqlite {
		op += " (in PostgreSQL or SQLite; MySQL and MariaDB are not supported)"
	}
	return failed(op, createErr)
}

// ofDialect reports whether an error is one that only databases of the dialect give.
func (s *Store) ofDialect(err error) bool {
	if s.dialect == PostgreSQL {
		return sqlState(err) != ""
	}
	_, ok := sqliteCode(err)
	return ok
}

// Load implements [plexauth.ConfigStore].
func (s *Store) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	var r row
	err := s.retry(ctx, time.Now().Add(patience), func(ctx context.Context) (err error) {
		r, err = s.row(ctx, namespace)
		return err
	})
	return r.document, err
}

// Update implements [plexauth.ConfigStore]. While other replicas keep winning, or
// another session holds a lock on the row, it keeps trying for 30 seconds; after a
// failure of the database, for about two. Updates of one Store take turns.
func (s *Store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	deadline := time.Now().Add(patience)
	if err := s.takeTurn(ctx, deadline); err != nil {
		return err
	}
	defer func() { <-s.turn }()
	s.seq++
	mark := fmt.Sprintf("%s-%d", s.name, s.seq)
	var old row
	var written, unknown bool // a write of ours was sent; its outcome is not known
	err := s.retry(ctx, deadline, func(ctx context.Context) error {
		now, err := s.row(ctx, namespace)
		if err != nil {
			return err // and old is still what was written over
		}
		old = now
		if written && old.has(mark) {
			return nil
		}
		next, err := edit(bytes.Clone(old.document))
		if err == nil {
			err = checkEdited(next)
		}
		if err != nil {
			return &final{err}
		}
		if (next == nil) == (old.document == nil) && bytes.Equal(next, old.document) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		written = true
		n, err := s.write(ctx, namespace, old, next, old.marked(mark))
		unknown = err != nil
		if err == nil && n == 0 {
			return errConflict
		}
		return err
	})
	if err != nil && unknown && s.landed(ctx, namespace, old, mark) {
		return nil
	}
	return err
}

// takeTurn waits until no other Update of the Store is under way.
func (s *Store) takeTurn(ctx context.Context, deadline time.Time) error {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-limited.Done():
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	return fmt.Errorf("%w: sqlstore: gave up after %v: another Update of this program is still waiting for the database", plexauth.ErrStore, patience)
}

// Check reports whether an Update would succeed now: it writes a row of its
// own and takes it back. Errors are as those of Update.
func (s *Store) Check(ctx context.Context) error {
	return s.retry(ctx, time.Now().Add(patience), func(ctx context.Context) error {
		tx, err := s.db().BeginTx(ctx, nil)
		if err != nil {
			return failed("beginning a transaction", err)
		}
		defer tx.Rollback()
		name := "plexauth check " + randomName()
		if _, err := tx.ExecContext(ctx, s.insert, name, nil, ""); err != nil {
			return failed("inserting into plexauth_config", err)
		}
		if _, err := tx.ExecContext(ctx, s.update, nil, "", name, 1); err != nil {
			return failed("updating plexauth_config", err)
		}
		return nil
	})
}

// row is what the table has for a namespace; version 0 if nothing.
type row struct {
	document json.RawMessage // nil: removed
	version  int64
	writes   string // marks of the last write of each replica, newest first
}

// has reports whether a write is its replica's last one in the row.
func (r row) has(mark string) bool {
	return slices.Contains(strings.Fields(r.writes), mark)
}

// marked is the column writes after another write.
func (r row) marked(mark string) string {
	replica, _, _ := strings.Cut(mark, "-")
	marks := slices.DeleteFunc(strings.Fields(r.writes), func(m string) bool { return strings.HasPrefix(m, replica+"-") })
	marks = append([]string{mark}, marks...)
	return strings.Join(marks[:min(len(marks), rememberedReplicas)], " ")
}

// row reads a row and checks that its document is an object.
func (s *Store) row(ctx context.Context, namespace string) (row, error) {
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

// write replaces old by next, and reports how many rows that changed: none if
// another was faster.
func (s *Store) write(ctx context.Context, namespace string, old row, next json.RawMessage, writes string) (int64, error) {
	var document any
	if next != nil {
		document = string(next)
	}
	var res sql.Result
	var err error
	if old.version == 0 {
		res, err = s.db().ExecContext(ctx, s.insert, namespace, document, writes)
	} else {
		res, err = s.db().ExecContext(ctx, s.update, document, writes, namespace, old.version)
	}
	if err != nil {
		return 0, failed("writing plexauth_config", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, failed("writing plexauth_config", err)
	}
	return n, nil
}

// landed tells whether a write over old happened although its answer was lost.
// It first puts the old document in its own place, so that a write which is
// still on its way comes too late and the answer stays true. It does so past
// the end of ctx, which may be why the answer was lost.
func (s *Store) landed(ctx context.Context, namespace string, old row, mark string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second/2)
	defer cancel()
	if n, err := s.write(ctx, namespace, old, old.document, old.writes); err == nil && n == 1 {
		return false
	}
	r, err := s.row(ctx, namespace)
	return err == nil && r.has(mark)
}

// checkEdited refuses what an edit must not return.
func checkEdited(next json.RawMessage) error {
	if next == nil {
		return nil
	}
	if err := ordered.Check(next); err != nil {
		return fmt.Errorf("%w: sqlstore: the edit returned no JSON object: %w", plexauth.ErrStore, err)
	}
	return nil
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
