package sqlstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/sqlstore"
)

// G11: a permanent error is returned at once, a temporary one after some retries. Each says
// what to do.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err      error
		attempts int
		says     string
	}{
		{&stateError{"42501"}, 1, "grant"},
		{&stateError{"25006"}, 1, "read-only"},
		{&stateError{"53100"}, 6, "disk is full"},
		{&stateError{"08006"}, 6, "SQLSTATE 08006"},
		{&codeError{8}, 1, "read-only"},
		{&codeError{13}, 1, "disk is full"},
		{&codeError{10 + 3<<8}, 6, "I/O"},
		{errors.New("attempt to write a readonly database"), 1, "check owner and mode"}, // of a driver without codes
		{errors.New("sqlite3: database or disk is full"), 1, "disk is full"},
		{errors.New("unable to open database file: no such file or directory"), 1, "does its directory exist"},
		{errors.New("database disk image is malformed"), 1, "corrupt"},
		{errors.New("file is not a database"), 1, "not a SQLite database"},
		{errors.New("disk I/O error"), 6, "I/O"},
		{errors.New("the file is not a database"), 6, "*errors.errorString"},
		{io.ErrUnexpectedEOF, 6, "EOF"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, 6, "dial tcp: connection refused"},
		{errors.New("TEST_STORED_SECRET"), 6, "*errors.errorString"},
	} {
		t.Run(fmt.Sprintf("%T %s", c.err, c.says), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeDB()
				s := open(t, f)
				defer f.open(t).Close()
				var n int
				f.fault = func(op string) (error, error) {
					n++
					return c.err, nil
				}
				start := time.Now()
				_, loadErr := s.Load(t.Context(), "plex")
				assert.Equal(t, c.attempts, n)
				assert.Less(t, time.Since(start), 2*time.Second)
				for what, err := range map[string]error{
					"Load":   loadErr,
					"Update": s.Update(t.Context(), "plex", becomes(`{"account_token":"TEST_EDITED_SECRET"}`)),
					"Check":  s.Check(t.Context()),
				} {
					require.ErrorIs(t, err, plexauth.ErrStore, what)
					require.ErrorIs(t, err, c.err, what)
					assert.ErrorContains(t, err, c.says, what)
					checkNoSecret(t, err)
				}
				var state *stateError
				assert.Equal(t, errors.As(c.err, &state), errors.As(loadErr, &state))
			})
		})
	}
}

// checkNoSecret checks every way to print err and the errors that it wraps.
func checkNoSecret(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
			assert.NotContains(t, fmt.Sprintf(verb, err), "SECRET")
		}
		b, _ := json.Marshal(err)
		assert.NotContains(t, string(b), "SECRET")
	}
}

// The store waits for a busy database, but no longer than half a minute.
func TestBusy(t *testing.T) {
	for name, fault := range map[string]error{
		"PostgreSQL": &stateError{"40001"},
		"modernc":    &codeError{5 + 2<<8},
		"mattn":      errors.New("database is locked"),
		"conflicts":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeDB()
				s, other := open(t, f), open(t, f)
				ctx := t.Context()
				var free atomic.Bool
				f.fault = func(op string) (error, error) {
					switch {
					case free.Load() || op == "select":
						return nil, nil
					case fault != nil:
						return fault, nil
					}
					free.Store(true)
					var calls int
					assert.NoError(t, other.Update(ctx, "plex", counts(&calls)))
					free.Store(false)
					return nil, nil
				}
				start := time.Now()
				err := s.Update(ctx, "plex", becomes(`{"n":0}`))
				require.ErrorIs(t, err, plexauth.ErrStore)
				assert.ErrorContains(t, err, "gave up after 30s")
				assert.InDelta(t, 30, time.Since(start).Seconds(), 1)

				soon, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				start = time.Now()
				require.ErrorIs(t, s.Update(soon, "plex", becomes(`{"n":0}`)), context.DeadlineExceeded)
				assert.Equal(t, time.Second, time.Since(start))

				time.AfterFunc(20*time.Second, func() { free.Store(true) })
				require.NoError(t, s.Update(ctx, "plex", becomes(`{"n":0}`)))
			})
		})
	}
}

// G5, G11: if the database has closed a connection, every operation uses another one.
func TestEndedConnection(t *testing.T) {
	for _, state := range []string{"57P05", "57P01", "57P02", "25P03", "25P04", "08006", "08P01"} {
		for _, op := range []string{"select", "insert"} {
			f := newFakeDB()
			s := open(t, f)
			n := 0
			f.fault = func(o string) (error, error) {
				if o != op {
					return nil, nil
				}
				if n++; n > 1 {
					return nil, nil
				}
				return &stateError{state}, nil
			}
			require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"n":1}`)), "%s in %s", state, op)
			_, err := s.Load(t.Context(), "plex")
			require.NoError(t, err)
		}
	}
}

// G11: these errors say what to do.
func TestRemedies(t *testing.T) {
	for state, remedy := range map[string]string{
		"42P05": "default_query_exec_mode=exec",
		"26000": "pgbouncer",
		"22P05": "encoding UTF8",
		"22021": "encoding UTF8",
		"42883": "another type",
		"42804": "another type",
		"3F000": "search_path",
	} {
		f := newFakeDB()
		s := open(t, f)
		f.fault = func(string) (error, error) { return &stateError{state}, nil }
		_, err := s.Load(t.Context(), "plex")
		require.ErrorIs(t, err, plexauth.ErrStore, state)
		assert.ErrorContains(t, err, remedy, state)
		assert.ErrorContains(t, err, state)
	}
}

// G5, G9: if another session never releases a lock, each operation gives up after half a
// minute and says what it waited for. If the caller's context ends earlier, it returns then.
func TestWaitForALockIsBounded(t *testing.T) {
	for _, op := range []string{"select", "insert", "update", "look"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeDB()
				s := open(t, f)
				require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"n":1}`)))
				db := f.open(t)
				defer db.Close()
				f.blocked = op
				operations := map[string]func(context.Context) error{
					"Load":   func(ctx context.Context) error { _, err := s.Load(ctx, "plex"); return err },
					"Update": func(ctx context.Context) error { return s.Update(ctx, "plex", becomes(`{"n":2}`)) },
					"first Update": func(ctx context.Context) error {
						return s.Update(ctx, "another", becomes(`{"n":2}`))
					},
					"Check": s.Check,
					"Open":  func(ctx context.Context) error { _, err := sqlstore.Open(ctx, db, sqlstore.PostgreSQL); return err },
				}
				for name, do := range operations {
					began := time.Now()
					err := do(t.Context())
					if err == nil { // the operation does not run this statement
						assert.Zero(t, time.Since(began), name)
						continue
					}
					require.ErrorIs(t, err, plexauth.ErrStore, name)
					assert.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's context has not ended")
					assert.ErrorContains(t, err, "gave up after 30s", name)
					assert.ErrorContains(t, err, "another session holds a lock", name)
					assert.InDelta(t, 30, time.Since(began).Seconds(), 1, name)

					soon, cancel := context.WithTimeout(t.Context(), time.Second)
					assert.ErrorIs(t, do(soon), context.DeadlineExceeded, name)
					cancel()
				}

				// The waits of Updates that wait for one another do not add up.
				began := time.Now()
				errs := make(chan error, 5)
				for range cap(errs) {
					go func() { errs <- operations["Update"](t.Context()) }()
				}
				for range cap(errs) {
					if err := <-errs; op == "update" || op == "select" {
						assert.Error(t, err)
					}
				}
				assert.LessOrEqual(t, time.Since(began), 32*time.Second)
			})
		})
	}
}
