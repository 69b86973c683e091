//go:build unix

package integration_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/sqlstore"
)

// postgresServer is a PostgreSQL server that the test starts on a free port of the loopback
// address, or the one that PLEXAUTH_TEST_POSTGRES names.
type postgresServer struct {
	dsn     string
	process *exec.Cmd     // nil if the test has not started it
	exited  chan struct{} // closed when process has ended
	stderr  bytes.Buffer
	run     func(name string, args ...string) *exec.Cmd
	dir     string
}

// startPostgres starts a server for the test.
func startPostgres(t testing.TB) *postgresServer {
	t.Helper()
	if dsn := os.Getenv("PLEXAUTH_TEST_POSTGRES"); dsn != "" {
		return &postgresServer{dsn: dsn}
	}
	bin := postgresBin()
	if bin == "" {
		missing(t, "PostgreSQL (Debian's package postgresql, or the DSN of a server in PLEXAUTH_TEST_POSTGRES)")
	}
	// Only this user can reach t.TempDir, and the server refuses to run as root.
	dir, err := os.MkdirTemp("", "plexauth-postgres-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &postgresServer{dir: filepath.Join(dir, "data")}
	s.run = func(name string, args ...string) *exec.Cmd {
		c := exec.Command(filepath.Join(bin, name), args...)
		c.Dir = dir
		if os.Geteuid() == 0 {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: unprivileged(t)}
		}
		return c
	}
	if os.Geteuid() == 0 {
		who := unprivileged(t)
		require.NoError(t, os.Chown(dir, int(who.Uid), int(who.Gid)))
	}
	out, err := s.run("initdb", "-D", s.dir, "-U", "plexauth", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput()
	require.NoError(t, err, string(out))

	t.Cleanup(s.stop)
	for range 5 { // another process may take the port before the server does
		s.dsn = fmt.Sprintf("postgres://plexauth@127.0.0.1:%d/postgres?sslmode=disable", freePort(t))
		if err = s.start(t); err == nil {
			return s
		}
	}
	require.NoError(t, err)
	return nil
}

// freePort returns a port of the loopback address that is free now.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().(*net.TCPAddr).Port
}

// start starts the server and waits until it answers or has ended.
func (s *postgresServer) start(t testing.TB) error {
	t.Helper()
	config, err := pgx.ParseConfig(s.dsn)
	require.NoError(t, err)
	s.stderr.Reset()
	s.process = s.run("postgres", "-D", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(int(config.Port)), "-k", "", "-c", "max_connections=200")
	s.process.Stderr = &s.stderr
	require.NoError(t, s.process.Start())
	s.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) {
		_ = process.Wait() // its standard error says why
		close(exited)
	}(s.process, s.exited)
	for end := time.Now().Add(patience); ; {
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err == nil {
			return conn.Close(t.Context())
		}
		select {
		case <-s.exited:
			s.process = nil
			return fmt.Errorf("the server has ended: %s", s.stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			s.stop()
			return fmt.Errorf("%w: %s", err, s.stderr.String())
		}
	}
}

// stop stops the server without losing data, and waits until it has ended.
func (s *postgresServer) stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGINT) // it may have ended
	kill := time.AfterFunc(slack, func() { _ = s.process.Process.Kill() })
	defer kill.Stop()
	<-s.exited
	s.process = nil
}

// postgresBin returns the directory of the newest server that is installed, or "".
func postgresBin() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	best, version := "", -1.0
	for _, name := range found {
		bin := filepath.Dir(name)
		if v, err := strconv.ParseFloat(filepath.Base(filepath.Dir(bin)), 64); err == nil && v > version {
			best, version = bin, v
		}
	}
	if name, err := exec.LookPath("initdb"); best == "" && err == nil {
		best = filepath.Dir(name)
	}
	return best
}

// unprivileged returns a user as whom root can run the server.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	missing(t, "a user that PostgreSQL can run as")
	return nil
}

// openPostgres connects to a database of which only one schema is seen.
func openPostgres(dsn, schema string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["search_path"] = schema
	config.RuntimeParams["application_name"] = schema
	return stdlib.OpenDB(*config), nil
}

// openPostgresStore opens the store in a schema.
func openPostgresStore(ctx context.Context, dsn, schema string) (*sqlstore.Store, *sql.DB, error) {
	db, err := openPostgres(dsn, schema)
	if err != nil {
		return nil, nil, err
	}
	return openStore(ctx, db, sqlstore.PostgreSQL)
}

var schemas atomic.Int64

// schema makes a schema, which is dropped at the end of the test.
func (s *postgresServer) schema(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("plexauth_test_%d_%d", os.Getpid(), schemas.Add(1))
	s.exec(t, "CREATE SCHEMA "+name)
	t.Cleanup(func() {
		if s.process != nil || s.dir == "" {
			s.exec(t, "DROP SCHEMA "+name+" CASCADE")
		}
	})
	return name
}

// exec executes a statement as the administrator.
func (s *postgresServer) exec(t testing.TB, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, query)
	require.NoError(t, err)
}

// store opens the store in a schema, over a connection pool of its own.
func (s *postgresServer) store(t testing.TB, schema string) *sqlstore.Store {
	t.Helper()
	store, db, err := openPostgresStore(t.Context(), s.dsn, schema)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return store
}
