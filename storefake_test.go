package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

type edit = func(jsonRaw) (jsonRaw, error)

// errReadOnly is what a read-only mount answers.
var errReadOnly = errors.New("read-only file system")

// errDisk is what a full disk answers.
var errDisk = &fs.PathError{Op: "write", Path: "config.json", Err: syscall.ENOSPC}

// hook is what a test does inside a call of a store. The call ends with its error.
type hook = func(context.Context) error

// hooks are the places of a hookedStore at which a test acts. A nil one does nothing.
type hooks struct {
	beforeLoad, afterLoad     hook
	beforeUpdate, afterUpdate hook

	// refuse sees what an Update would write. With an error nothing is written.
	refuse func(next jsonRaw) error
}

// hookedStore is a store in whose calls a test acts.
type hookedStore struct {
	plexauth.ConfigStore

	mu    sync.Mutex
	hooks hooks
}

// hooked returns w's store with hooks.
func (w *world) hooked(h hooks) *hookedStore { return &hookedStore{ConfigStore: w.store, hooks: h} }

// set replaces the hooks, for the calls that begin from now on.
func (s *hookedStore) set(h hooks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = h
}

func (s *hookedStore) get() hooks {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hooks
}

func (s *hookedStore) Load(ctx context.Context, ns string) (jsonRaw, error) {
	if before := s.get().beforeLoad; before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	raw, err := s.ConfigStore.Load(ctx, ns)
	if after := s.get().afterLoad; after != nil && err == nil {
		err = after(ctx)
	}
	return raw, err
}

func (s *hookedStore) Update(ctx context.Context, ns string, edit edit) error {
	h := s.get()
	if h.beforeUpdate != nil {
		if err := h.beforeUpdate(ctx); err != nil {
			return err
		}
	}
	if h.refuse != nil {
		next, err := unwritten(s.ConfigStore, ctx, ns, edit)
		if err == nil {
			err = h.refuse(next)
		}
		if err != nil {
			return err
		}
	}
	err := s.ConfigStore.Update(ctx, ns, edit)
	if after := s.get().afterUpdate; after != nil && err == nil {
		err = after(ctx)
	}
	return err
}

// hang returns when ctx ends.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// takes makes a call last for d, or until its context ends.
func takes(d time.Duration) hook {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fails makes a call fail.
func fails(err error) hook { return func(context.Context) error { return err } }

// does makes a call do something else first.
func does(f func()) hook {
	return func(context.Context) error {
		f()
		return nil
	}
}

// calls lets h act in the calls from the first to the last alone, counted from 1.
func calls(first, last int64, h hook) hook {
	var n atomic.Int64
	return func(ctx context.Context) error {
		if i := n.Add(1); i < first || i > last {
			return nil
		}
		return h(ctx)
	}
}

// once does f in the first call.
func once(f func()) hook { return calls(1, 1, does(f)) }

// quotes refuses a write with an error that quotes what it should write.
func quotes(next jsonRaw) error { return fmt.Errorf("cannot write %s", next) }

// checkedStore says beforehand that it cannot be written, unless err is nil.
type checkedStore struct {
	plexauth.ConfigStore
	err error
}

func (s *checkedStore) Check(context.Context) error { return s.err }

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
