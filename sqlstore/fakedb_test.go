package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// fakeDB is a database that knows only the table and the statements of sqlstore. It can lose
// a response, delay a write and let another replica be faster. The integration tests use real
// databases.
type fakeDB struct {
	mu      sync.Mutex
	table   bool
	isOlder bool // the table has no column patch
	rows    map[string]fakeRow
	queries []string
	traffic int // bytes of documents, and of patches, that went either way

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
	patch    any
}

// stamp differs for rows that differ.
func (r fakeRow) stamp() string { return fmt.Sprint(maphash.Comparable(seed, fmt.Sprint(r))) }

var seed = maphash.MakeSeed()

// size is how long a document or a patch is.
func size(text any) int {
	switch text := text.(type) {
	case string:
		return len(text)
	case []byte:
		return len(text)
	}
	return 0
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
	case strings.Contains(query, "pg_attribute"):
		op = "columns"
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
	for _, a := range args {
		if text, ok := a.Value.(string); ok && !utf8.ValidString(text) {
			return nil, 0, &stateError{"22021"}
		}
	}
	switch op {
	case "look":
		return &fakeRows{}, 0, nil
	case "columns":
		if f.isOlder {
			return &fakeRows{}, 0, nil
		}
		return &fakeRows{rows: [][]driver.Value{{"patch"}}}, 0, nil
	case "select":
		r, ok := f.rows[args[0].Value.(string)]
		if !ok {
			return &fakeRows{}, 0, nil
		}
		return &fakeRows{rows: [][]driver.Value{f.selected(r, query, args[1:])}}, 0, nil
	case "list":
		return f.list(args[0].Value.(string)), 0, nil
	case "insert", "update":
		name, r, ok := f.written(op, query, args)
		if !ok {
			return &fakeRows{}, 0, nil
		}
		f.rows[name] = r
		if !strings.Contains(query, "RETURNING xmin::text") {
			return &fakeRows{}, 1, nil
		}
		return &fakeRows{rows: [][]driver.Value{{r.stamp()}}}, 1, nil
	}
	return nil, 0, fmt.Errorf("the fake database does not know: %s", query)
}

// written returns the row that a statement writes, if it writes one.
func (f *fakeDB) written(op, query string, args []driver.NamedValue) (name string, r fakeRow, ok bool) {
	arg := func(n int) any { return args[n-1].Value }
	text := func(n int) any {
		f.traffic += size(arg(n))
		if b, ok := arg(n).([]byte); ok {
			return string(b) // the statement casts it
		}
		return arg(n)
	}
	if op == "insert" {
		name = arg(1).(string)
		_, isThere := f.rows[name]
		return name, fakeRow{document: text(2), version: 1, writes: arg(3).(string)}, !isThere
	}
	name = arg(3).(string)
	old := f.rows[name]
	r = fakeRow{document: old.document, version: old.version + 1, writes: arg(2).(string)}
	ok = old.version == arg(4)
	if strings.Contains(query, "SET patch = $1") {
		r.patch = text(1)
		return name, r, ok && old.stamp() == arg(5)
	}
	r.document = text(1)
	return name, r, ok
}

// list returns the names from one on.
func (f *fakeDB) list(from string) *fakeRows {
	rows := &fakeRows{}
	for _, name := range slices.Sorted(maps.Keys(f.rows)) {
		if name >= from && len(rows.rows) < 1000 {
			rows.rows = append(rows.rows, []driver.Value{name, f.rows[name].document != nil})
		}
	}
	return rows
}

// selected returns the columns of a row. known is what the caller says of the document that it
// has, if anything.
func (f *fakeDB) selected(r fakeRow, query string, known []driver.NamedValue) []driver.Value {
	columns := []driver.Value{r.document, r.version, r.writes, "", nil}
	if strings.Contains(query, "xmin") {
		columns[3], columns[4] = r.stamp(), r.patch
	}
	switch {
	case len(known) == 1 && string(known[0].Value.([]byte)) == r.document,
		len(known) == 2 && known[0].Value == r.version && known[1].Value == r.stamp():
		columns[0] = "="
	}
	f.traffic += size(columns[0]) + size(columns[4])
	return columns
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
	if len(r.rows) == 0 {
		return nil
	}
	return []string{"a", "b", "c", "d", "e"}[:len(r.rows[0])]
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
