package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeDB is a database that knows only the table and the statements of sqlstore. It can lose
// a response, delay a write and let another replica be faster. The integration tests use real
// databases.
type fakeDB struct {
	mu      sync.Mutex
	table   bool
	rows    map[string]fakeRow
	queries []string

	// fault, if set, returns an error for a statement: instead of running it, or after it.
	fault func(op string) (before, after error)
	// blocked is an operation that waits for ever, as for another session's lock.
	blocked string
	// function, if set, makes this another database: it fails every statement but the one
	// that calls this function.
	function string
	// afterwards, if set, is called after a statement whose response is lost.
	afterwards func()
}

type fakeRow struct {
	document any
	version  int64
	writes   string
}

func newFakeDB() *fakeDB { return &fakeDB{table: true, rows: map[string]fakeRow{}} }

// open returns a handle that is closed at the end of the test.
func (f *fakeDB) open(t *testing.T) *sql.DB {
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	return db
}

func (f *fakeDB) Connect(context.Context) (driver.Conn, error) { return &fakeConn{db: f}, nil }
func (f *fakeDB) Driver() driver.Driver                        { return f }
func (f *fakeDB) Open(string) (driver.Conn, error)             { return f.Connect(context.Background()) }

// The example's database has the name of PostgreSQL's driver. The real driver is not a
// dependency of this module.
func init() { sql.Register("pgx", &fakeDB{rows: map[string]fakeRow{}}) }

// failsAt returns a fault that fails op with err.
func failsAt(op string, err error) func(op string) (before, after error) {
	return func(o string) (before, after error) {
		if o == op {
			return err, nil
		}
		return nil, nil
	}
}

// failFirstWrite makes the first write fail: with before it is not done, with after it is
// done. then is called after that.
func (f *fakeDB) failFirstWrite(before, after error, then func()) {
	failed := false
	f.afterwards = then
	f.fault = func(op string) (error, error) {
		if failed || op != "insert" && op != "update" {
			return nil, nil
		}
		failed = true
		if before != nil {
			then()
		}
		return before, after
	}
}

// row returns the stored row, without using the store.
func (f *fakeDB) row(namespace string) fakeRow {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows[namespace]
}

// run runs a statement, with the faults of f.
func (f *fakeDB) run(ctx context.Context, query string, args []driver.NamedValue) (rows *fakeRows, affected int64, err error) {
	op, _, _ := strings.Cut(strings.ToLower(query), " ")
	switch {
	case strings.Contains(query, "1 = 0"):
		op = "look"
	case strings.Contains(query, "ORDER BY"):
		op = "list"
	}
	if f.function != "" {
		f.queries = append(f.queries, query)
		if op == "look" && strings.Contains(query, f.function) && !strings.Contains(query, "plexauth_config") {
			return &fakeRows{}, 0, nil
		}
		return nil, 0, errors.New("near TEST_STORED_SECRET")
	}
	if f.blocked == op {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	if f.fault != nil {
		before, after := f.fault(op)
		if before != nil {
			return nil, 0, before
		}
		defer func() {
			if after == nil {
				return
			}
			err = after
			if f.afterwards != nil {
				f.afterwards()
			}
		}()
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	return f.statement(op, query, args)
}

// statement runs a statement.
func (f *fakeDB) statement(op, query string, args []driver.NamedValue) (rows *fakeRows, affected int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queries = append(f.queries, query)
	if op == "create" {
		f.table = true
		return nil, 0, nil
	}
	if !f.table {
		return nil, 0, &stateError{"42P01"}
	}
	arg := func(n int) any { return args[n-1].Value }
	switch op {
	case "look":
		return &fakeRows{}, 0, nil
	case "select":
		r, ok := f.rows[arg(1).(string)]
		if !ok {
			return &fakeRows{}, 0, nil
		}
		return &fakeRows{rows: [][]driver.Value{{r.document, r.version, r.writes}}}, 0, nil
	case "list":
		rows = &fakeRows{}
		for _, name := range slices.Sorted(maps.Keys(f.rows)) {
			if name >= arg(1).(string) && len(rows.rows) < 1000 {
				rows.rows = append(rows.rows, []driver.Value{name, f.rows[name].document != nil})
			}
		}
		return rows, 0, nil
	case "insert":
		name := arg(1).(string)
		if _, ok := f.rows[name]; ok {
			return nil, 0, nil
		}
		f.rows[name] = fakeRow{arg(2), 1, arg(3).(string)}
		return nil, 1, nil
	case "update":
		name, old := arg(3).(string), arg(4).(int64)
		if f.rows[name].version != old {
			return nil, 0, nil
		}
		f.rows[name] = fakeRow{arg(1), old + 1, arg(2).(string)}
		return nil, 1, nil
	}
	return nil, 0, fmt.Errorf("the fake database does not know: %s", query)
}

type fakeConn struct {
	db    *fakeDB
	saved map[string]fakeRow // for Rollback
}

func (c *fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c *fakeConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (c *fakeConn) Close() error                        { return nil }

func (c *fakeConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	c.saved = maps.Clone(c.db.rows)
	return c, nil
}

func (c *fakeConn) Commit() error { return nil }

func (c *fakeConn) Rollback() error {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	c.db.rows = c.saved
	return nil
}

func (c *fakeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	_, n, err := c.db.run(ctx, query, args)
	return driver.RowsAffected(n), err
}

func (c *fakeConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, _, err := c.db.run(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

type fakeRows struct{ rows [][]driver.Value }

func (r *fakeRows) Close() error { return nil }

func (r *fakeRows) Columns() []string {
	if len(r.rows) > 0 && len(r.rows[0]) == 2 {
		return []string{"namespace", "has_document"}
	}
	return []string{"document", "version", "writes"}
}

func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

// stateError is an error like those of PostgreSQL's drivers. Its text quotes the document, as
// theirs may.
type stateError struct{ state string }

func (e *stateError) SQLState() string { return e.state }
func (e *stateError) Error() string    { return "failing row contains (plex, TEST_STORED_SECRET)" }

// codeError is an error like those of modernc.org/sqlite.
type codeError struct{ code int }

func (e *codeError) Code() int     { return e.code }
func (e *codeError) Error() string { return "near TEST_STORED_SECRET" }
