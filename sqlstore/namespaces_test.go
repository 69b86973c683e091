package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/sqlstore"
)

// people fills f with n documents, and returns their names in order.
func people(f *fakeDB, n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("plex/%05d", i))
		f.rows[names[i]] = fakeRow{document: `{}`, version: 1}
	}
	return names
}

// listed returns the names of a sequence, and the errors in it.
func listed(names iter.Seq2[string, error]) (all []string, errs []error) {
	for name, err := range names {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, name)
	}
	return all, errs
}

func requireListed(t *testing.T, want []string, s *sqlstore.Store, prefix string) {
	t.Helper()
	got, errs := listed(s.Namespaces(t.Context(), prefix))
	require.Empty(t, errs)
	require.Equal(t, want, got)
}

func TestNamespaces(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	requireListed(t, nil, s, "")
	for _, name := range []string{"plex", "plex/é", "plex/z", "plex/Z", "plex/😀", "plex/\uffff", "plex/%", "plex/_", "plex0", "Plex/a", "plex/gone"} {
		require.NoError(t, s.Update(t.Context(), name, becomes(`{}`)))
	}
	require.NoError(t, s.Update(t.Context(), "plex/gone", becomes("")))
	inOrder := []string{"plex/%", "plex/Z", "plex/_", "plex/z", "plex/é", "plex/\uffff", "plex/😀"}
	requireListed(t, inOrder, s, "plex/")
	requireListed(t, slices.Concat([]string{"plex"}, inOrder, []string{"plex0"}), s, "plex")
	requireListed(t, slices.Concat([]string{"Plex/a", "plex"}, inOrder, []string{"plex0"}), s, "")
	requireListed(t, []string{"plex/%"}, s, "plex/%")
	requireListed(t, []string{"plex/_"}, s, "plex/_")
	requireListed(t, nil, s, "plex/gone")
	requireListed(t, nil, s, "q")
}

// Every name comes once, however the pages fall, and removed namespaces do not count.
func TestNamespacesPages(t *testing.T) {
	for _, n := range []int{999, 1000, 1001, 1999, 2000, 3500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := newFakeDB()
			s := open(t, f)
			names := people(f, n)
			f.rows["plex0"] = fakeRow{document: `{}`, version: 1}
			requireListed(t, names, s, "plex/")
			var kept []string
			for i, name := range names {
				if i >= 100 && i < n-100 {
					f.rows[name] = fakeRow{document: nil, version: 2}
				} else {
					kept = append(kept, name)
				}
			}
			requireListed(t, kept, s, "plex/")
		})
	}
}

// What is there all the time is listed once, although the loop removes what it gets and adds
// names before and after it.
func TestNamespacesWhileTheyChange(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	names := people(f, 2500)
	seen := map[string]int{}
	for name, err := range s.Namespaces(t.Context(), "plex/") {
		require.NoError(t, err)
		seen[name]++
		if len(seen)%100 == 0 {
			require.NoError(t, s.Update(t.Context(), name, becomes("")))
			require.NoError(t, s.Update(t.Context(), "plex/"+fmt.Sprintf("! %d", len(seen)), becomes(`{}`)))
			require.NoError(t, s.Update(t.Context(), name+" later", becomes(`{}`)))
		}
	}
	for _, name := range names {
		assert.Equal(t, 1, seen[name], name)
	}
	for name, times := range seen {
		assert.Equal(t, 1, times, name)
	}
}

// A loop uses the store although the database has one connection, and a loop that ends early
// leaves it free.
func TestNamespacesHoldsNoConnection(t *testing.T) {
	f := newFakeDB()
	db := f.open(t)
	db.SetMaxOpenConns(1)
	s, err := sqlstore.Open(t.Context(), db, sqlstore.PostgreSQL)
	require.NoError(t, err)
	people(f, 1500)
	n := 0
	for name, err := range s.Namespaces(t.Context(), "plex/") {
		require.NoError(t, err)
		assert.Zero(t, db.Stats().InUse)
		if _, err := s.Load(t.Context(), name); !assert.NoError(t, err) {
			break
		}
		if n++; n == 1200 {
			break
		}
	}
	assert.Equal(t, 1200, n)
	assert.Zero(t, db.Stats().InUse)
}

// An error comes once and last. A page that fails for a moment is read again.
func TestNamespacesFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeDB()
		s := open(t, f)
		defer f.open(t).Close()
		names := people(f, 1500)
		pages := 0
		f.fault = func(op string) (before, after error) {
			if op != "list" {
				return nil, nil
			}
			if pages++; pages > 1 {
				return &stateError{"42501"}, nil
			}
			return nil, nil
		}
		got, errs := listed(s.Namespaces(t.Context(), "plex/"))
		assert.Equal(t, names[:1000], got)
		require.Len(t, errs, 1)
		require.ErrorIs(t, errs[0], plexauth.ErrStore)
		assert.ErrorContains(t, errs[0], "grant")
		checkNoSecret(t, errs[0])

		pages = 0
		f.fault = func(op string) (before, after error) {
			if pages++; pages == 2 {
				return sql.ErrConnDone, nil
			}
			return nil, nil
		}
		requireListed(t, names, s, "plex/")
	})
}

// G9: the end of ctx ends the sequence, also in the middle of a page.
func TestNamespacesCancelled(t *testing.T) {
	f := newFakeDB()
	s := open(t, f)
	names := people(f, 1500)
	for _, after := range []int{0, 1, 999, 1000, 1001, 1499} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got, errs := []string{}, []error{}
			if after == 0 {
				cancel()
			}
			for name, err := range s.Namespaces(ctx, "plex/") {
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if got = append(got, name); len(got) == after {
					cancel()
				}
			}
			assert.Equal(t, names[:after], got)
			require.Len(t, errs, 1)
			assert.ErrorIs(t, errs[0], plexauth.ErrStore)
			assert.ErrorIs(t, errs[0], context.Canceled)
		})
	}
}

// A prefix that cannot be in a name is an error, on every database.
func TestNamespacesOddPrefix(t *testing.T) {
	for _, prefix := range []string{"plex/\xff", "plex/\xf0\x9f", "plex/\x00"} {
		f := newFakeDB()
		_, errs := listed(open(t, f).Namespaces(t.Context(), prefix))
		require.Len(t, errs, 1)
		assert.ErrorIs(t, errs[0], plexauth.ErrStore)
	}
}
