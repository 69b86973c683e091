package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/plexauth/plexauth"
)

const createPostgreSQL = `CREATE TABLE IF NOT EXISTS plexauth_config (
	namespace  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	document   TEXT,
	version    BIGINT           NOT NULL,
	writes     TEXT             NOT NULL,
	updated_at TIMESTAMPTZ      NOT NULL DEFAULT CURRENT_TIMESTAMP,
	patch      TEXT CHECK (patch IS NULL OR patch LIKE version || ' %')
)`

const createSQLite = `CREATE TABLE IF NOT EXISTS plexauth_config (
	namespace  TEXT      NOT NULL PRIMARY KEY,
	document   TEXT,
	version    INTEGER   NOT NULL,
	writes     TEXT      NOT NULL,
	updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)`

// The probes fail if the table does not exist, if it has other columns, and on a database of
// another dialect.
const (
	probePostgreSQL = `SELECT namespace, document, version, writes, updated_at FROM plexauth_config WHERE 1 = 0 AND namespace::text = ''`
	probeSQLite     = `SELECT namespace, document, version, writes, updated_at FROM plexauth_config WHERE 1 = 0 AND sqlite_version() = ''`
)

// findPatch returns a row if the table has the column patch. A view has no column xmin.
const findPatch = `SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.oid = 'plexauth_config'::regclass AND c.relkind = 'r' AND a.attname = 'patch' AND NOT a.attisdropped`

// mistakes lists for each dialect the databases that a caller may confuse with it. Each query
// succeeds only on that database.
var mistakes = map[Dialect][]struct{ query, remedy string }{
	PostgreSQL: {{isSQLite, "the database is SQLite, not PostgreSQL: give Open the dialect sqlstore.SQLite"}, {isMySQL, noMySQL}},
	SQLite:     {{isPostgreSQL, "the database is PostgreSQL, not SQLite: give Open the dialect sqlstore.PostgreSQL"}, {isMySQL, noMySQL}},
}

const (
	isPostgreSQL = `SELECT pg_backend_pid() WHERE 1 = 0`
	isSQLite     = `SELECT sqlite_version() WHERE 1 = 0`
	isMySQL      = `SELECT connection_id() FROM dual WHERE 1 = 0`

	noMySQL = "the database is MySQL or MariaDB, which sqlstore does not support: use PostgreSQL or SQLite, or write a store of your own (docs/stores.md)"
)

// ensureTable creates the table if it does not exist. It probes first, because PostgreSQL
// demands the right to create even if the table exists. It probes again afterwards: if two
// replicas create the table at the same time, one of them gets an error. On a database of
// another dialect ensureTable creates nothing.
func (s *Store) ensureTable(ctx context.Context) error {
	err := s.query(ctx, s.probe)
	if err == nil {
		return nil
	}
	if !s.isOfDialect(err) {
		for _, m := range mistakes[s.dialect] {
			if s.query(ctx, m.query) == nil {
				return &final{fmt.Errorf("%w: sqlstore: %s", plexauth.ErrStore, m.remedy)}
			}
		}
	}
	_, createErr := s.db().ExecContext(ctx, s.create)
	probeErr := s.query(ctx, s.probe)
	switch {
	case probeErr == nil:
		return nil
	case createErr == nil:
		return failed("reading the table plexauth_config", probeErr)
	}
	op := "creating the table plexauth_config"
	if _, sqlite := sqliteCode(createErr); sqlState(createErr) == "" && !sqlite {
		op += " (in PostgreSQL or SQLite; MySQL and MariaDB are not supported)"
	}
	return failed(op, createErr)
}

// chooseStatements finds out of which kind the table is.
func (s *Store) chooseStatements(ctx context.Context) error {
	s.statements = plainStatements[s.dialect]
	if s.dialect != PostgreSQL {
		return nil
	}
	var column string
	switch err := s.db().QueryRowContext(ctx, findPatch).Scan(&column); {
	case errors.Is(err, sql.ErrNoRows): // a table of an older version
	case err != nil:
		return failed("reading the columns of plexauth_config", err)
	default:
		s.statements = patchStatements
	}
	return nil
}

// query runs a query that returns no rows.
func (s *Store) query(ctx context.Context, query string) error {
	rows, err := s.db().QueryContext(ctx, query)
	if err != nil {
		return err
	}
	rows.Next() // some drivers report an error only here
	return errors.Join(rows.Close(), rows.Err())
}

// isOfDialect reports whether err has a code that only databases of the dialect give.
func (s *Store) isOfDialect(err error) bool {
	if s.dialect == PostgreSQL {
		return sqlState(err) != ""
	}
	_, ok := sqliteCode(err)
	return ok
}
