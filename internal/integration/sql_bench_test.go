//go:build unix

package integration_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/sqlstore"
)

// BenchmarkSQLStoreUpdate compares an Update with the bare UPDATE that it ends in, one at a
// time and with others that write the same row.
func BenchmarkSQLStoreUpdate(b *testing.B) {
	document := func(n int) string {
		return fmt.Sprintf(`{"n":%d,"rest":%q}`, n, strings.Repeat("x", 1000))
	}
	for _, c := range []struct {
		name, update string
		open         func(b *testing.B) (*sqlstore.Store, *sql.DB)
	}{
		{"PostgreSQL", `UPDATE plexauth_config SET document = $1 WHERE namespace = 'plex'`, func(b *testing.B) (*sqlstore.Store, *sql.DB) {
			server := startPostgres(b)
			store, db, err := openPostgresStore(b.Context(), server.DSN, server.schema(b))
			require.NoError(b, err)
			return store, db
		}},
		{"SQLite", `UPDATE plexauth_config SET document = ?1 WHERE namespace = 'plex'`, func(b *testing.B) (*sqlstore.Store, *sql.DB) {
			store, db, err := openSQLite(b.Context(), filepath.Join(b.TempDir(), "plexauth.db"), recommended)
			require.NoError(b, err)
			return store, db
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			store, db := c.open(b)
			defer db.Close()
			require.NoError(b, store.Update(b.Context(), "plex", becomes(document(0))))
			b.Run("Update", func(b *testing.B) {
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					require.NoError(b, store.Update(b.Context(), "plex", becomes(document(n))))
				}
			})
			b.Run("Update, contended", func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(2)
				b.RunParallel(func(pb *testing.PB) {
					for n := 0; pb.Next(); n++ {
						require.NoError(b, store.Update(b.Context(), "plex", becomes(document(n))))
					}
				})
			})
			b.Run("bare UPDATE", func(b *testing.B) {
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					_, err := db.ExecContext(b.Context(), c.update, document(n))
					require.NoError(b, err)
				}
			})
		})
	}
}
