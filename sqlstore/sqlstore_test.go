package sqlstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/sqlstore"
	"github.com/plexauth/plexauth/storetest"
)

func open(t *testing.T, f *fakeDB) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), f.open(t), sqlstore.PostgreSQL)
	require.NoError(t, err)
	return s
}

// becomes returns an edit that returns value, or removes the namespace if value is "".
func becomes(value string) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) {
		if value == "" {
			return nil, nil
		}
		return json.RawMessage(value), nil
	}
}

// counts returns an edit that adds 1 to {"n":…}. It also counts the calls of the edit.
func counts(calls *int) func(json.RawMessage) (json.RawMessage, error) {
	return func(current json.RawMessage) (json.RawMessage, error) {
		*calls++
		var doc struct{ N int }
		if current != nil {
			if err := json.Unmarshal(current, &doc); err != nil {
				return nil, err
			}
		}
		return json.RawMessage(fmt.Sprintf(`{"n":%d}`, doc.N+1)), nil
	}
}

// G16, G18: the store keeps every rule of plexauth.ConfigStore.
func TestStore(t *testing.T) {
	for name, d := range map[string]sqlstore.Dialect{"PostgreSQL": sqlstore.PostgreSQL, "SQLite": sqlstore.SQLite} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
				f := newFakeDB()
				f.table = false
				first, err := sqlstore.Open(t.Context(), f.open(t), d)
				require.NoError(t, err)
				second, err = sqlstore.Open(t.Context(), f.open(t), d)
				require.NoError(t, err)
				return first, second
			})
		})
	}
}

func TestOpen(t *testing.T) {
	t.Run("creates the table once", func(t *testing.T) {
		f := newFakeDB()
		f.table = false
		open(t, f)
		open(t, f)
		assert.Equal(t, 1, strings.Count(strings.Join(f.queries, "\n"), "CREATE TABLE"))
	})
	t.Run("another replica creates it at the same time", func(t *testing.T) {
		f := newFakeDB()
		f.table = false
		f.fault = func(op string) (error, error) {
			if op == "create" {
				f.table = true
				return &stateError{"23505"}, nil
			}
			return nil, nil
		}
		open(t, f)
	})
	t.Run("may not create it", func(t *testing.T) {
		f := newFakeDB()
		f.table = false
		f.fault = failsAt("create", &stateError{"42501"})
		_, err := sqlstore.Open(t.Context(), f.open(t), sqlstore.PostgreSQL)
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.ErrorContains(t, err, "grant")
	})
	t.Run("another table has its name", func(t *testing.T) {
		f := newFakeDB()
		f.fault = failsAt("look", &stateError{"42703"})
		_, err := sqlstore.Open(t.Context(), f.open(t), sqlstore.PostgreSQL)
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.ErrorContains(t, err, "column")
	})
	t.Run("another database", func(t *testing.T) {
		for function, row := range map[string]struct {
			dialect sqlstore.Dialect
			says    string
		}{
			"sqlite_version": {sqlstore.PostgreSQL, "sqlstore.SQLite"},
			"pg_backend_pid": {sqlstore.SQLite, "sqlstore.PostgreSQL"},
			"connection_id":  {sqlstore.PostgreSQL, "MySQL or MariaDB, which sqlstore does not support"},
			"connection_id ": {sqlstore.SQLite, "MySQL or MariaDB, which sqlstore does not support"},
			"SERVERPROPERTY": {sqlstore.PostgreSQL, "in PostgreSQL or SQLite; MySQL and MariaDB are not supported"},
		} {
			f := newFakeDB()
			f.function = strings.TrimSpace(function)
			_, err := sqlstore.Open(t.Context(), f.open(t), row.dialect)
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.ErrorContains(t, err, row.says)
			checkNoSecret(t, err)
			if f.function != "SERVERPROPERTY" {
				assert.NotContains(t, strings.Join(f.queries, "\n"), "CREATE", "nothing is created")
			}
		}
	})
	t.Run("dialects", func(t *testing.T) {
		f := newFakeDB()
		for _, d := range []sqlstore.Dialect{0, 3} {
			_, err := sqlstore.Open(t.Context(), f.open(t), d)
			assert.ErrorIs(t, err, plexauth.ErrStore)
		}
		_, err := sqlstore.Open(t.Context(), nil, sqlstore.SQLite)
		assert.ErrorIs(t, err, plexauth.ErrStore)
		s, err := sqlstore.Open(t.Context(), f.open(t), sqlstore.SQLite)
		require.NoError(t, err)
		require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"n":1}`)))
		require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"n":2}`)))
		all := strings.Join(f.queries, "\n")
		assert.Contains(t, all, "?4")
		assert.NotContains(t, all, "$")
	})
}

// G16: the write of a faster replica is not overwritten, even if it is the first write.
func TestUpdateConflict(t *testing.T) {
	for _, op := range []string{"insert", "update"} {
		t.Run(op, func(t *testing.T) {
			f := newFakeDB()
			s, other := open(t, f), open(t, f)
			ctx := t.Context()
			if op == "update" {
				require.NoError(t, s.Update(ctx, "plex", becomes(`{"n":10}`)))
			}
			var done atomic.Bool
			f.fault = func(o string) (error, error) {
				if o == op && done.CompareAndSwap(false, true) {
					var calls int
					assert.NoError(t, other.Update(ctx, "plex", counts(&calls)))
				}
				return nil, nil
			}
			before := f.row("plex").version
			var calls int
			require.NoError(t, s.Update(ctx, "plex", counts(&calls)))
			assert.Equal(t, 2, calls)
			assert.Equal(t, before+2, f.row("plex").version)
			v, err := s.Load(ctx, "plex")
			require.NoError(t, err)
			assert.Contains(t, []string{`{"n":2}`, `{"n":12}`}, string(v))
		})
	}
}

// G16: if a document was removed and written again, an Update of the old one starts over.
func TestUpdateRemovedInBetween(t *testing.T) {
	f := newFakeDB()
	s, other := open(t, f), open(t, f)
	ctx := t.Context()
	require.NoError(t, s.Update(ctx, "plex", becomes(`{"n":1}`)))
	var done atomic.Bool
	f.fault = func(op string) (error, error) {
		if op == "update" && done.CompareAndSwap(false, true) {
			assert.NoError(t, other.Update(ctx, "plex", becomes("")))
			assert.Nil(t, f.row("plex").document)
			assert.NoError(t, other.Update(ctx, "plex", becomes(`{"n":7}`)))
		}
		return nil, nil
	}
	var calls int
	require.NoError(t, s.Update(ctx, "plex", counts(&calls)))
	assert.Equal(t, `{"n":8}`, f.row("plex").document)
	assert.EqualValues(t, 4, f.row("plex").version)
}

// G8, G16: if the response to a write is lost, the write still happens exactly once, and
// Update succeeds.
func TestUpdateLostAnswer(t *testing.T) {
	lost := &net.OpError{Op: "read", Net: "tcp", Err: io.ErrUnexpectedEOF}
	for _, c := range []struct {
		name          string
		before, after error
		other         string // written by another replica after the error
		calls         int
		want          string
	}{
		{"response lost", nil, lost, "", 1, `{"n":2}`},
		{"response lost, then another replica", nil, lost, `{"n":100}`, 1, `{"n":100}`},
		{"request lost", lost, nil, "", 2, `{"n":2}`},
		{"request lost, then another replica", lost, nil, `{"n":100}`, 2, `{"n":101}`},
		{"done, then shut down by an administrator", nil, &stateError{"57P01"}, "", 1, `{"n":2}`},
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first write %v", c.name, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakeDB()
					s, other := open(t, f), open(t, f)
					ctx := t.Context()
					want := c.want
					if first {
						want = strings.Replace(want, `:2}`, `:1}`, 1)
					} else {
						require.NoError(t, s.Update(ctx, "plex", becomes(`{"n":1}`)))
					}
					f.failFirstWrite(c.before, c.after, func() {
						if c.other != "" {
							assert.NoError(t, other.Update(ctx, "plex", becomes(c.other)))
						}
					})
					var calls int
					require.NoError(t, s.Update(ctx, "plex", counts(&calls)))
					assert.Equal(t, c.calls, calls)
					assert.Equal(t, want, f.row("plex").document)
				})
			})
		}
	}
}

// G8, G9: if ctx ends before the commit, Update fails; if it ends afterwards, Update succeeds,
// even if the response was lost because ctx ended.
func TestUpdateCancelled(t *testing.T) {
	for _, landed := range []bool{true, false} {
		t.Run(fmt.Sprintf("landed %v", landed), func(t *testing.T) {
			f := newFakeDB()
			s := open(t, f)
			require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"n":1}`)))
			old := f.row("plex")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var done atomic.Bool
			f.fault = func(op string) (before, after error) {
				if op != "update" || !done.CompareAndSwap(false, true) {
					return nil, nil
				}
				if !landed {
					cancel()
					return context.Canceled, nil
				}
				f.afterwards = cancel
				return nil, context.Canceled
			}
			var calls int
			err := s.Update(ctx, "plex", counts(&calls))
			if landed {
				require.NoError(t, err)
				assert.Equal(t, `{"n":2}`, f.row("plex").document)
				return
			}
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, plexauth.ErrStore)
			assert.Equal(t, `{"n":1}`, f.row("plex").document)
			assert.Greater(t, f.row("plex").version, old.version, "a write that has not arrived yet no longer matches")
		})
	}
}

// G8, G16: if a connection breaks during a write and ctx ends before the next read, the write
// can no longer happen.
func TestUpdateCancelledAfterLostAnswer(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	require.NoError(t, s.Update(t.Context(), "plex", becomes(`{"n":1}`)))
	old := f.row("plex")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reads, writes int
	f.fault = func(op string) (before, after error) {
		switch op {
		case "update":
			if writes++; writes == 1 {
				return io.ErrUnexpectedEOF, nil
			}
		case "select":
			if reads++; reads == 2 {
				cancel()
				return context.Canceled, nil
			}
		}
		return nil, nil
	}
	require.ErrorIs(t, s.Update(ctx, "plex", becomes(`{"n":2}`)), context.Canceled)
	assert.Equal(t, `{"n":1}`, f.row("plex").document)
	assert.Greater(t, f.row("plex").version, old.version)
}

// G18: a document that is not an object is an error, and stays in the table.
func TestCorrupt(t *testing.T) {
	for _, doc := range []string{"", " ", "[]", `"TEST_STORED_SECRET"`, `{"account_token":"TEST_STORED_SECRET`, "7", "{\"account_token\":\"TEST_STORED_SECRET\xff\"}"} {
		f := newFakeDB()
		s := open(t, f)
		f.rows["plex"] = fakeRow{document: doc, version: 3}
		_, err := s.Load(t.Context(), "plex")
		require.ErrorIs(t, err, plexauth.ErrCorruptConfig, doc)
		require.ErrorIs(t, err, plexauth.ErrStore, doc)
		checkNoSecret(t, err)
		err = s.Update(t.Context(), "plex", becomes(`{"n":1}`))
		require.ErrorIs(t, err, plexauth.ErrCorruptConfig, doc)
		assert.Equal(t, fakeRow{document: doc, version: 3}, f.row("plex"))
	}
	f := newFakeDB()
	f.rows["plex"] = fakeRow{document: " null\n", version: 3}
	v, err := open(t, f).Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.Nil(t, v)
}

func TestNotUTF8(t *testing.T) {
	f := newFakeDB()
	err := open(t, f).Update(t.Context(), "plex", becomes("{\"a\":\"\xff\"}"))
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "not UTF-8")
	assert.Empty(t, f.rows)
}

// G17: Check reports a database that cannot be written to, and leaves nothing in the table.
func TestCheck(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	require.NoError(t, s.Check(t.Context()))
	assert.Empty(t, f.rows)
	for _, op := range []string{"insert", "update"} {
		f.fault = failsAt(op, &stateError{"25006"})
		assert.ErrorIs(t, s.Check(t.Context()), plexauth.ErrStore)
	}
}

// A row remembers one write each of a bounded number of replicas.
func TestRowStaysSmall(t *testing.T) {
	f := newFakeDB()
	var calls int
	for range 100 {
		s := open(t, f)
		for range 3 {
			require.NoError(t, s.Update(t.Context(), "plex", counts(&calls)))
		}
	}
	assert.Equal(t, `{"n":300}`, f.row("plex").document)
	assert.Len(t, strings.Fields(f.row("plex").writes), 32)
}
