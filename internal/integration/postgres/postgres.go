//go:build unix

// Package postgres runs a PostgreSQL server for tests and benchmarks.
package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// ErrMissing says that there is no server to start.
var ErrMissing = errors.New("install Debian's package postgresql, or set PLEXAUTH_TEST_POSTGRES to the DSN of a server")

const (
	startLimit = 2 * time.Minute  // for a start on a busy machine
	stopLimit  = 20 * time.Second // before the server is killed
)

// Server is a server on a free port of the loopback address, or the one that
// PLEXAUTH_TEST_POSTGRES names.
type Server struct {
	DSN string

	home    string // empty: Start has not started the server
	bin     string
	as      *syscall.Credential // nil: this process's user
	process *exec.Cmd           // nil: stopped
	exited  chan struct{}       // closed when process has ended
	stderr  bytes.Buffer
}

// Start starts a server with a new database. The caller calls Close. The error is
// [ErrMissing] if there is no server to start.
func Start() (*Server, error) {
	if dsn := os.Getenv("PLEXAUTH_TEST_POSTGRES"); dsn != "" {
		return &Server{DSN: dsn}, nil
	}
	s := &Server{bin: installed()}
	if s.bin == "" {
		return nil, ErrMissing
	}
	var err error
	if s.home, err = os.MkdirTemp("", "plexauth-postgres-"); err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// create makes the database, and starts the server.
func (s *Server) create() error {
	if os.Geteuid() == 0 { // the server refuses to run as root
		var err error
		if s.as, err = unprivileged(); err != nil {
			return err
		}
		if err := os.Chown(s.home, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return err
		}
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", "plexauth", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	for range 5 { // another process may take the port before the server does
		port, portErr := freePort()
		if portErr != nil {
			return portErr
		}
		s.DSN = fmt.Sprintf("postgres://plexauth@127.0.0.1:%d/postgres?sslmode=disable", port)
		if err = s.Restart(); err == nil {
			return nil
		}
	}
	return err
}

func (s *Server) data() string { return filepath.Join(s.home, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.home
	if s.as != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	}
	return c
}

// IsOurs reports whether Start has started the server, so that it may be stopped.
func (s *Server) IsOurs() bool { return s.home != "" }

// IsStopped reports whether the server was stopped.
func (s *Server) IsStopped() bool { return s.IsOurs() && s.process == nil }

// Restart starts a server that was stopped, and waits until it answers or has ended.
func (s *Server) Restart() error {
	config, err := pgx.ParseConfig(s.DSN)
	if err != nil {
		return err
	}
	s.stderr.Reset()
	s.process = s.command("postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(int(config.Port)), "-k", "", "-c", "max_connections=200")
	s.process.Stderr = &s.stderr
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}
	s.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) {
		_ = process.Wait() // its standard error says why
		close(exited)
	}(s.process, s.exited)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			s.process = nil
			return fmt.Errorf("the server has ended: %s", s.stderr.String())
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("%w: %s", err, s.stderr.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop stops the server without losing data, and waits until it has ended.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGINT) // it may have ended
	kill := time.AfterFunc(stopLimit, func() { _ = s.process.Process.Kill() })
	defer kill.Stop()
	<-s.exited
	s.process = nil
}

// Close stops a server that Start has started, and removes its data.
func (s *Server) Close() {
	s.Stop()
	if s.home != "" {
		os.RemoveAll(s.home)
	}
}

var schemas atomic.Int64

// Schema makes a schema, and returns its name. drop removes it.
func (s *Server) Schema(ctx context.Context) (name string, drop func(context.Context) error, err error) {
	name = fmt.Sprintf("plexauth_test_%d_%d", os.Getpid(), schemas.Add(1))
	drop = func(ctx context.Context) error {
		if s.IsStopped() {
			return nil
		}
		return s.Exec(ctx, "DROP SCHEMA "+name+" CASCADE")
	}
	return name, drop, s.Exec(ctx, "CREATE SCHEMA "+name)
}

// Exec executes a statement as the administrator.
func (s *Server) Exec(ctx context.Context, query string) error {
	conn, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, query)
	return err
}

// Open connects to a database of which only one schema is seen.
func Open(dsn, schema string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["search_path"] = schema
	config.RuntimeParams["application_name"] = schema
	return stdlib.OpenDB(*config), nil
}

// freePort returns a port of the loopback address that is free now.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// installed returns the directory of the newest server that is installed, or "".
func installed() string {
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
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("%w, and a user other than root who can run it", ErrMissing)
}
