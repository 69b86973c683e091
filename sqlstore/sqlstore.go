// Package sqlstore is a [plexauth.ConfigStore] in a SQL database, through which several
// replicas of a program share one login. One replica can start it and another finish it.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	…
//	store, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL)
//	…
//	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store})
//
// The package imports no driver. Import the one that your program already uses, for example
// github.com/jackc/pgx/v5/stdlib or modernc.org/sqlite.
//
// # The table
//
// [Open] creates the store's only table if it does not exist. For PostgreSQL:
//
//	CREATE TABLE IF NOT EXISTS plexauth_config (
//		namespace  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
//		document   TEXT,
//		version    BIGINT           NOT NULL,
//		writes     TEXT             NOT NULL,
//		updated_at TIMESTAMPTZ      NOT NULL DEFAULT CURRENT_TIMESTAMP,
//		patch      TEXT CHECK (patch IS NULL OR patch LIKE version || ' %')
//	)
//
// For SQLite, 3.24 or later:
//
//	CREATE TABLE IF NOT EXISTS plexauth_config (
//		namespace  TEXT      NOT NULL PRIMARY KEY,
//		document   TEXT,
//		version    INTEGER   NOT NULL,
//		writes     TEXT      NOT NULL,
//		updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
//	)
//
// If your program must not create tables, create the table yourself. On PostgreSQL the
// program then needs only these grants:
//
//	GRANT USAGE ON SCHEMA public TO myapp;
//	GRANT SELECT, INSERT, UPDATE ON plexauth_config TO myapp;
//
// The collation "C" lets [Store.Namespaces] use the primary key's index. To change a table
// that was created without it:
//
//	ALTER TABLE plexauth_config ALTER COLUMN namespace TYPE TEXT COLLATE "C"
//
// A table without the column patch works as well, but each write of a large document then writes
// all of it. To add the column, stop every program that uses the table, and run:
//
//	ALTER TABLE plexauth_config ADD COLUMN patch TEXT CHECK (patch IS NULL OR patch LIKE version || ' %')
//
// The document is TEXT and not JSONB, so that it keeps every byte, the order of its keys and
// unknown fields included. It contains Plex credentials in plain text. So do the database's
// backups and its statement log: protect them.
//
// # How an Update works
//
// Update reads the row, calls the edit, and writes the row with "WHERE version = the version
// that was read". If another replica was faster, no row matches, and Update starts over with
// the newer document. It holds no transaction and no lock during the edit. The row of a
// removed namespace stays, with a NULL document, so that its version always grows.
//
// A connection can break before the response to a write arrives. Then Update reads the row
// again to find out whether the write happened. For this purpose each replica has a random
// name and numbers its writes. The column writes lists the last write of each replica, for
// the 32 replicas that wrote last. So Update neither repeats a write that happened nor
// reports it as failed.
//
// If Update cannot read the row again, because it gets no connection or another session holds
// a lock for too long, it returns an error although the write may have happened.
//
// # Large documents
//
// A document of 16 KiB or more, which has some fifty profiles, is not read again while it is
// unchanged: a Store keeps the last four for ten seconds after their last use, and asks the
// database each time whether one has changed. An edit by hand is noticed, too.
//
// On PostgreSQL, a change of up to 8 KiB does not write the whole document, but the column patch:
// the version, a checksum and a range of the column document in bytes, and the text that replaces
// it. To edit such a document by hand, put the text in its place, and set patch to NULL. If patch
// does not match the column document, reading it is an error. On SQLite, spaces after the document
// keep its size, so that only the pages that differ are written.
//
// # Setting up the database
//
// Give [Open] the primary and not a read replica, whose document may be so old that a pending
// login is missing. With SQLite, set a busy timeout and the write-ahead log
// (modernc.org/sqlite: "?_pragma=busy_timeout(5000)" and "&_pragma=journal_mode(WAL)"). A
// SQLite database in memory needs db.SetMaxOpenConns(1), because every connection has a
// database of its own.
package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/plexauth/plexauth"
)

// Dialect is the SQL dialect of a database.
type Dialect int

// The dialects. The zero Dialect is invalid.
const (
	PostgreSQL Dialect = iota + 1 // 9.5 or later
	SQLite                        // 3.24 or later
)

// Store is a [plexauth.ConfigStore] in a database. It is safe for concurrent use by any
// number of goroutines and replicas.
//
// Its errors match [plexauth.ErrStore]. Their texts never quote a driver's message, which
// may contain the document. Use errors.As to get the driver's own error. If a context has
// ended, its error matches too.
type Store struct {
	// db is a function so that printing a Store does not print what a driver keeps of
	// statements and of its own password.
	db                  func() *sql.DB
	dialect             Dialect
	probe, create, list string
	statements
	recent recentRows // not those of small documents

	replica string        // this Store's random name in the column writes
	turn    chan struct{} // full while an Update runs; guards seq
	seq     int           // the number of this Store's latest write
}

var _ plexauth.ConfigStore = (*Store)(nil)

// Open returns the store in db, and creates its table if it does not exist. Any number of
// replicas may call it at the same time. If db has another dialect than d, Open returns an
// error and creates nothing; MySQL and MariaDB are not supported. If the database cannot be
// reached, Open tries for about two seconds. Its errors match [plexauth.ErrStore].
//
// The caller closes db when the store is no longer used.
func Open(ctx context.Context, db *sql.DB, d Dialect) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: sqlstore: the database is nil", plexauth.ErrStore)
	}
	s := &Store{
		db:      func() *sql.DB { return db },
		dialect: d,
		replica: randomName(),
		turn:    make(chan struct{}, 1),
	}
	switch d {
	case PostgreSQL:
		s.probe, s.create, s.list = probePostgreSQL, createPostgreSQL, listPostgreSQL
	case SQLite:
		s.probe, s.create, s.list = probeSQLite, createSQLite, listSQLite
	default:
		return nil, fmt.Errorf("%w: sqlstore: unknown dialect %d", plexauth.ErrStore, int(d))
	}
	deadline := time.Now().Add(patience)
	if err := s.retry(ctx, deadline, s.ensureTable); err != nil {
		return nil, err
	}
	if err := s.retry(ctx, deadline, s.chooseStatements); err != nil {
		return nil, err
	}
	return s, nil
}

// Load implements [plexauth.ConfigStore].
func (s *Store) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	r, err := s.load(ctx, namespace)
	return bytes.Clone(r.text), err
}

func (s *Store) load(ctx context.Context, namespace string) (r row, err error) {
	err = s.retry(ctx, time.Now().Add(patience), func(ctx context.Context) (err error) {
		r, err = s.readRow(ctx, namespace)
		return err
	})
	return r, err
}

// Update implements [plexauth.ConfigStore]. If other replicas are faster again and again, or
// another session holds a lock on the row, Update tries for 30 seconds. If the database
// fails, it tries for about two. Only one Update of a Store runs at a time.
func (s *Store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	return s.replace(ctx, namespace, func(old document) (document, error) {
		next, err := edit(bytes.Clone(old.text))
		switch {
		case err != nil || next == nil:
			return document{}, err
		case old.text != nil && bytes.Equal(next, old.text):
			return old, nil
		}
		d, err := newDocument(s.padded(bytes.Clone(next)))
		if err != nil {
			return document{}, fmt.Errorf("%w: sqlstore: the edit returned no JSON object: %w", plexauth.ErrStore, err)
		}
		return d, nil
	})
}

// replace does what Update does. edit neither changes nor keeps the text of old.
func (s *Store) replace(ctx context.Context, namespace string, edit func(old document) (document, error)) error {
	deadline := time.Now().Add(patience)
	if err := s.takeTurn(ctx, deadline); err != nil {
		return err
	}
	defer func() { <-s.turn }()
	s.seq++
	mark := fmt.Sprintf("%s-%d", s.replica, s.seq)
	var old row
	unanswered := false // the response to the latest write was lost
	err := s.retry(ctx, deadline, func(ctx context.Context) error {
		now, err := s.readRow(ctx, namespace)
		if err != nil {
			return err // old stays the row that the latest write was to replace
		}
		old = now
		if old.has(mark) { // an earlier attempt succeeded
			return nil
		}
		next, err := edit(old.document)
		if err != nil {
			return &final{err}
		}
		if next.equal(old.document) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		written, err := s.writeRow(ctx, namespace, old, next, old.marked(mark))
		unanswered = err != nil
		if err == nil && !written {
			return errConflict
		}
		return err
	})
	if err != nil && unanswered && s.succeededAfterAll(ctx, namespace, old, mark) {
		return nil
	}
	return err
}

// takeTurn waits until no other Update of the Store is running.
func (s *Store) takeTurn(ctx context.Context, deadline time.Time) error {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-limited.Done():
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	return fmt.Errorf("%w: sqlstore: gave up after %v: another Update of this program is still waiting for the database", plexauth.ErrStore, patience)
}

// succeededAfterAll reports whether a write that was to replace old happened although its
// response was lost. It first writes old's document again: this raises the version, so a
// write that has not arrived yet can no longer match. It works even if ctx has ended, which
// may be why the response was lost.
func (s *Store) succeededAfterAll(ctx context.Context, namespace string, old row, mark string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReadLimit)
	defer cancel()
	if written, err := s.writeRow(ctx, namespace, old, old.document, old.writes); err == nil && written {
		return false
	}
	r, err := s.readRow(ctx, namespace)
	return err == nil && r.has(mark)
}

// Check reports whether an Update would succeed now. It writes a row of its own in a
// transaction that it rolls back. Its errors are those of Update.
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

func randomName() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
