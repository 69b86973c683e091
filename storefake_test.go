package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

type edit = func(jsonRaw) (jsonRaw, error)

var errDisk = &fs.PathError{Op: "write", Path: "config.json", Err: syscall.ENOSPC}

// failingLoads fails a read when it is told to.
type failingLoads struct {
	plexauth.ConfigStore
	fails func() bool
}

func (s *failingLoads) Load(ctx context.Context, ns string) (jsonRaw, error) {
	if s.fails() {
		return nil, errDisk
	}
	return s.ConfigStore.Load(ctx, ns)
}

// failingUpdates writes nothing when it is told to.
type failingUpdates struct {
	plexauth.ConfigStore
	fails func() bool
}

func (s *failingUpdates) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fails() {
		return errDisk
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

type brokenStore struct{}

var errBroken = errors.New("read-only file system")

func (brokenStore) Load(context.Context, string) (jsonRaw, error) { return nil, errBroken }

func (brokenStore) Update(context.Context, string, func(jsonRaw) (jsonRaw, error)) error {
	return errBroken
}

// betweenStore lets something happen right after a Load.
type betweenStore struct {
	plexauth.ConfigStore
	after func()
}

func (s *betweenStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	raw, err := s.ConfigStore.Load(ctx, ns)
	if after := s.after; after != nil {
		s.after = nil
		after()
	}
	return raw, err
}

// afterStore lets something happen right after an Update.
type afterStore struct {
	plexauth.ConfigStore
	after func()
}

func (s *afterStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	err := s.ConfigStore.Update(ctx, ns, edit)
	if s.after != nil {
		s.after()
	}
	return err
}

// interruptedStore is edited by somebody else just before one of its Updates.
type interruptedStore struct {
	plexauth.ConfigStore
	at int // which one
	by func()
}

func (s *interruptedStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.at--; s.at == 0 {
		s.by()
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// flakyStore fails its next Updates, and puts what it should save into the
// error.
type flakyStore struct {
	plexauth.ConfigStore
	fail atomic.Int64
}

func (s *flakyStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fail.Add(-1) < 0 {
		s.fail.Store(0)
		return s.ConfigStore.Update(ctx, ns, edit)
	}
	raw, err := s.Load(ctx, ns)
	if err != nil {
		return err
	}
	if raw, err = edit(raw); err != nil {
		return err
	}
	return fmt.Errorf("cannot write %s", raw)
}

// lazyStore takes its time, or hangs.
type lazyStore struct {
	plexauth.ConfigStore
	load, update time.Duration
	hangs        func() bool
}

func (s *lazyStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	time.Sleep(s.load)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.ConfigStore.Load(ctx, ns)
}

func (s *lazyStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.hangs != nil && s.hangs() {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(s.update):
		return s.ConfigStore.Update(ctx, ns, edit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hurriedStore takes its time for a read, unless the caller leaves before.
type hurriedStore struct {
	plexauth.ConfigStore
	load time.Duration
}

func (s *hurriedStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	select {
	case <-time.After(s.load):
		return s.ConfigStore.Load(ctx, ns)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// slowStore takes half a second, and tells when it began.
type slowStore struct {
	plexauth.ConfigStore
	on      atomic.Bool
	started func()
}

func (s *slowStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.on.Load() {
		s.started()
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// stuckStore hangs while it is told to: each call returns when its context ends.
type stuckStore struct {
	plexauth.ConfigStore
	load, update atomic.Bool
}

func (s *stuckStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	if s.load.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.ConfigStore.Load(ctx, ns)
}

func (s *stuckStore) Update(ctx context.Context, ns string, edit edit) error {
	if s.update.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}

// unwritten runs the edit, as a store does that fails afterwards, and returns
// what was not written.
func unwritten(s plexauth.ConfigStore, ctx context.Context, ns string, edit edit) (jsonRaw, error) {
	current, err := s.Load(ctx, ns)
	if err != nil {
		return nil, err
	}
	return edit(current)
}

// Files.

// becomes is an edit that returns value, whatever there was.
func becomes(value string) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) {
		if value == "" {
			return nil, nil
		}
		return json.RawMessage(value), nil
	}
}

// fileWith returns the path of a new file with that content.
func fileWith(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// checkNoLitter requires that only these names are in the directory of path.
func checkNoLitter(t *testing.T, path string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	assert.ElementsMatch(t, names, have)
}
