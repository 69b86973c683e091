//go:build unix

package integration_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/integration/postgres"
	"github.com/plexauth/plexauth/sqlstore"
)

// postgresServer is a server that a test uses.
type postgresServer struct{ *postgres.Server }

// startPostgres starts a server for the test.
func startPostgres(t testing.TB) *postgresServer {
	t.Helper()
	s, err := postgres.Start()
	if errors.Is(err, postgres.ErrMissing) {
		missing(t, "a PostgreSQL server ("+err.Error()+")")
	}
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return &postgresServer{s}
}

// openPostgresStore opens the store in a schema.
func openPostgresStore(ctx context.Context, dsn, schema string) (*sqlstore.Store, *sql.DB, error) {
	db, err := postgres.Open(dsn, schema)
	if err != nil {
		return nil, nil, err
	}
	return openStore(ctx, db, sqlstore.PostgreSQL)
}

// schema makes a schema, which is dropped at the end of the test.
func (s *postgresServer) schema(t testing.TB) string {
	t.Helper()
	name, drop, err := s.Schema(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, drop(ctx))
	})
	return name
}

// exec executes a statement as the administrator.
func (s *postgresServer) exec(t testing.TB, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, s.Exec(ctx, query))
}

// store opens the store in a schema, over a connection pool of its own.
func (s *postgresServer) store(t testing.TB, schema string) *sqlstore.Store {
	t.Helper()
	store, db, err := openPostgresStore(t.Context(), s.DSN, schema)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return store
}
