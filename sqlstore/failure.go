package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/plexauth/plexauth"
)

// final is an error that another attempt would not change.
type final struct{ error }

// failure is an error of the database. Its text does not quote the cause: drivers quote
// parameters, and a parameter is the document. Is and As find the cause. Unwrap does not
// return it, so that code which prints all wrapped errors does not print it.
type failure struct {
	op    string
	cause func() error // a function, so that printing the fields does not show the cause
}

func failed(op string, cause error) error { return &failure{op, func() error { return cause }} }

func (e *failure) Error() string {
	return fmt.Sprintf("%v: sqlstore: %s: %s", plexauth.ErrStore, e.op, describe(e.cause()))
}

func (e *failure) GoString() string     { return e.Error() }
func (e *failure) Unwrap() error        { return plexauth.ErrStore }
func (e *failure) Is(target error) bool { return errors.Is(e.cause(), target) }
func (e *failure) As(target any) bool   { return errors.As(e.cause(), target) }

// contextError returns the error for a ctx that has ended.
func contextError(ctx context.Context) error {
	return fmt.Errorf("%w: sqlstore: %w", plexauth.ErrStore, ctx.Err())
}

// noAnswer returns the error for an operation that got no answer before its deadline. err is
// its latest error. The result does not match the error of a context, because the caller's
// context has not ended.
func noAnswer(err error) error {
	op := "waiting for the database"
	var f *failure
	if errors.As(err, &f) {
		op = f.op
	}
	return fmt.Errorf("%w: sqlstore: %s: gave up after %v without an answer: another session holds a lock on the row or on plexauth_config, every connection of this program is in use, or the network to the database is down; fix that, then try again", plexauth.ErrStore, op, patience)
}

// sqlState returns the SQLSTATE of an error from a PostgreSQL driver, "" for other errors.
func sqlState(err error) string {
	var e interface {
		error
		SQLState() string
	}
	if errors.As(err, &e) && len(e.SQLState()) == 5 {
		return e.SQLState()
	}
	return ""
}

// sqliteTexts are SQLite's own texts of some primary result codes.
var sqliteTexts = map[int]string{
	5:  "database is locked",
	6:  "database table is locked",
	8:  "attempt to write a readonly database",
	10: "disk I/O error",
	11: "database disk image is malformed",
	13: "database or disk is full",
	14: "unable to open database file",
	26: "file is not a database",
}

// sqliteCode returns the primary result code of an error from SQLite. modernc.org/sqlite has
// it. That of other drivers cannot be read without importing them, but their errors begin
// with SQLite's text. It returns false for other errors.
func sqliteCode(err error) (int, bool) {
	var e interface {
		error
		Code() int
	}
	if errors.As(err, &e) {
		return e.Code() & 0xff, true
	}
	text := strings.TrimPrefix(err.Error(), "sqlite3: ")
	for code, known := range sqliteTexts {
		if strings.HasPrefix(text, known) {
			return code, true
		}
	}
	return 0, false
}

// These remedies are for more than one code.
const (
	encoding   = "the database's encoding lacks a character of the document: use a database with the encoding UTF8"
	columnType = "a column of plexauth_config has another type than in the documentation of package sqlstore: rename or remove this table"
	pooler     = "a connection pooler such as pgbouncer mixes up prepared statements: do not use them; with pgx add default_query_exec_mode=exec to the connection string, with lib/pq binary_parameters=yes"
)

// describe returns a text about an error of a driver. It does not quote the error.
func describe(err error) string {
	if state := sqlState(err); state != "" {
		return "SQLSTATE " + state + hint(map[string]string{
			"08P01": pooler,
			"22021": encoding,
			"22P05": encoding,
			"25006": "the database is read-only: is it a standby?",
			"26000": pooler,
			"28P01": "the password is wrong",
			"3D000": "the database does not exist",
			"3F000": "the schema for the table does not exist: create it, or set search_path to another one",
			"42501": "permission denied: grant SELECT, INSERT and UPDATE on plexauth_config, or CREATE on the schema",
			"42703": "a column is missing: the table differs from that in the documentation of package sqlstore",
			"42804": columnType,
			"42883": columnType,
			"42P01": "the table does not exist",
			"42P05": pooler,
			"53100": "the disk is full",
			"53300": "too many connections",
			"57P03": "the database is starting up",
		}[state])
	}
	if code, ok := sqliteCode(err); ok {
		return fmt.Sprintf("SQLite error %d%s", code, hint(map[int]string{
			5:  "the database is locked: set a busy timeout",
			6:  "the table is locked",
			8:  "the database is read-only: check owner and mode of the file and of its directory",
			10: "I/O error",
			11: "the database file is corrupt",
			13: "the disk is full",
			14: "the database file cannot be opened: does its directory exist, and may this user write there?",
			26: "the file is not a SQLite database",
		}[code]))
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Error()
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, driver.ErrBadConn, sql.ErrConnDone, sql.ErrTxDone, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprintf("the driver reports a %T", err)
}

func hint(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
