package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	// patience is how long an operation waits: for a database that does not answer,
	// and for others that are faster or hold a lock. The file store waits as long for
	// its lock.
	patience = 30 * time.Second
	// attempts is how often an operation is tried while the database fails:
	// at once, since it may be but a dropped connection, and after pauses of up
	// to 0.1, 0.2, 0.4 and 0.8 s for a quick restart.
	attempts = 6
)

// errConflict is an update that another one overtook.
var errConflict = errors.New("another writer was faster")

// final wraps an error that no further attempt would change.
type final struct{ error }

// failure is an error of the database. Its text says no more than is known to
// be safe: drivers quote parameters, and a parameter is the document. Is and As
// reach the cause; Unwrap does not, so that walking the chain does not
// print it. It is a function, so that no dump shows it.
type failure struct {
	op    string
	cause func() error
}

func failed(op string, cause error) error { return &failure{op, func() error { return cause }} }

func (e *failure) Error() string {
	return fmt.Sprintf("%v: sqlstore: %s: %s", plexauth.ErrStore, e.op, describe(e.cause()))
}

func (e *failure) GoString() string     { return e.Error() }
func (e *failure) Unwrap() error        { return plexauth.ErrStore }
func (e *failure) Is(target error) bool { return errors.Is(e.cause(), target) }
func (e *failure) As(target any) bool   { return errors.As(e.cause(), target) }

// ended is the error for a ctx that is over.
func ended(ctx context.Context) error {
	return fmt.Errorf("%w: sqlstore: %w", plexauth.ErrStore, ctx.Err())
}

// noAnswer is the error for an operation that was still waiting when patience ended.
// It does not match the end of a context, for the caller's goes on.
func noAnswer(err error) error {
	op := "waiting for the database"
	var f *failure
	if errors.As(err, &f) {
		op = f.op
	}
	return fmt.Errorf("%w: sqlstore: %s: gave up after %v without an answer: another session holds a lock on the row or on plexauth_config, every connection of this program is in use, or the way to the database is cut; end what blocks it, and try again", plexauth.ErrStore, op, patience)
}

// retry runs f until it succeeds, fails for good, or has no chance left; at the
// latest until the deadline, which ends the context that f gets.
func (s *Store) retry(ctx context.Context, deadline time.Time, f func(context.Context) error) error {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	last := noAnswer(nil) // the latest error that time can change
	for conflicts, failures := 0, 0; ; {
		if ctx.Err() != nil {
			return ended(ctx)
		}
		if limited.Err() != nil {
			return last
		}
		err := f(limited)
		if err == nil {
			return nil
		}
		if f, ok := err.(*final); ok {
			return f.error
		}
		var pause time.Duration
		switch kind := classify(err); {
		case kind != busy && limited.Err() != nil:
			last = noAnswer(err)
			continue
		case kind == forGood:
			return err
		case kind == busy:
			last = fmt.Errorf("%w: sqlstore: gave up after %v: %w", plexauth.ErrStore, patience, err)
			pause = min(5*time.Millisecond<<min(conflicts, 10), 250*time.Millisecond)
			conflicts++
		default: // broken
			last = err
			if failures++; failures == attempts {
				return err
			}
			if failures == 1 {
				continue
			}
			pause = 50 * time.Millisecond << (failures - 1)
		}
		sleep(limited, pause/2+rand.N(pause/2))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// What to do about an error.
type class int

const (
	broken  class = iota // the database or the way to it: a few more attempts
	busy                 // another writer was faster or holds a lock: patience
	forGood              // nothing that time would change
)

func classify(err error) class {
	if err == errConflict {
		return busy
	}
	var f *failure
	if !errors.As(err, &f) {
		return forGood
	}
	if state := sqlState(f.cause()); state != "" {
		switch state {
		case "40001", "40P01", "55P03", // serialization failure, deadlock, lock not available
			"23505", "42P07": // two replicas made the table at once
			return busy
		case "57014", "57P01", "57P02", "57P03", // cancelled, shutting down, starting up
			"57P05", "25P03", "25P04": // the connection was ended: idle, or in a transaction, for too long
			return broken
		}
		switch state[:2] {
		case "08", "53", "58": // connection, resources, system
			return broken
		}
		return forGood
	}
	if code, ok := sqliteCode(f.cause()); ok {
		switch code {
		case 5, 6: // busy, locked
			return busy
		case 9, 10, 15: // interrupted, I/O error, locking protocol
			return broken
		}
		return forGood
	}
	// Not every SQLite driver tells its code without being imported.
	if strings.Contains(f.cause().Error(), "is locked") {
		return busy
	}
	return broken
}

// sqlState is the SQLSTATE of an error of a PostgreSQL driver, or "".
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

// sqliteCode is the primary result code of an error of modernc.org/sqlite.
func sqliteCode(err error) (int, bool) {
	var e interface {
		error
		Code() int
	}
	if errors.As(err, &e) {
		return e.Code() & 0xff, true
	}
	return 0, false
}

// Remedies that several codes have.
const (
	encoding   = "a text holds a character that the database's encoding does not have: use a database with the encoding UTF8"
	columnType = "a column of plexauth_config has another type than in the documentation of package sqlstore: rename or remove that table"
	pooler     = "a connection pooler such as pgbouncer mixes up prepared statements: open the database without them, with pgx by default_query_exec_mode=exec in the connection string, with lib/pq by binary_parameters=yes"
)

// describe says what is known about an error without quoting the driver.
func describe(err error) string {
	if state := sqlState(err); state != "" {
		return "SQLSTATE " + state + hint(map[string]string{
			"08P01": pooler,
			"22021": encoding,
			"22P05": encoding,
			"25006": "the database is read-only: is it a standby?",
			"26000": pooler,
			"28P01": "the password was refused",
			"3D000": "there is no such database",
			"3F000": "there is no schema to make the table in: set search_path to one that exists, or create it",
			"42501": "permission denied: grant SELECT, INSERT and UPDATE on plexauth_config, or CREATE on the schema",
			"42703": "a column is missing: the table is not the one in the documentation of package sqlstore",
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
			8:  "the database is read-only: look at owner and mode of the file and of its directory",
			10: "I/O error",
			11: "the database file is corrupt",
			13: "the disk is full",
			14: "the database file cannot be opened: does its directory exist, and may this user write there?",
			26: "the file is no SQLite database",
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
