package jsonfile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
)

// holdLock takes the lock as another program would.
func holdLock(t *testing.T, path string) (release func()) {
	t.Helper()
	l := flock.New(path + ".lock")
	locked, err := l.TryLock()
	require.NoError(t, err)
	require.True(t, locked)
	t.Cleanup(func() { _ = l.Close() })
	return func() { require.NoError(t, l.Close()) }
}

// G9, G16: a call waits for a busy lock until its ctx ends. The error says who holds
// the lock.
func TestFileStoreBusy(t *testing.T) {
	path := fileWith(t, "{}")
	store := open(path)
	release := holdLock(t, path)

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	for _, err := range []error{store.Update(ctx, "plex", becomes(`{}`)), store.Check(ctx)} {
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, fault.ErrStore)
	}
	_, err := store.Load(t.Context(), "plex")
	require.NoError(t, err, "reading needs no lock")
	assert.NotContains(t, store.Check(ctx).Error(), "gave up")
	ended, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(30*time.Millisecond, func() { stop(errors.New("a cause of one's own")) })
	require.ErrorIs(t, store.Update(ended, "plex", becomes(`{}`)), context.Canceled)

	done := make(chan error, 1)
	go func() { done <- store.Update(t.Context(), "plex", becomes(`{"a":1}`)) }()
	select {
	case err := <-done:
		t.Fatal("did not wait", err)
	case <-time.After(60 * time.Millisecond):
	}
	release()
	require.NoError(t, <-done)
}

// A lock that is never released is given up after half a minute.
func TestFileStoreGivesUp(t *testing.T) {
	path := fileWith(t, "{}")
	release := holdLock(t, path)
	store := open(path)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := store.Update(context.Background(), "plex", becomes(`{}`))
		require.ErrorIs(t, err, fault.ErrStore)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "the caller has set no deadline")
		assert.Contains(t, err.Error(), "locked by")
		assert.ErrorContains(t, err, ": gave up after 30s")
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
	release()
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, store.Update(context.Background(), "plex", becomes(`{}`)))
	})
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{}`)), "no channel of the bubble is left")
}

// G16: stores that share a path exclude each other, and all of them make progress.
func TestFileStoreConcurrent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real", "config.json")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	var wg sync.WaitGroup
	const writers, updates = 8, 12
	for i := range writers {
		store := open(path)
		if i%2 == 1 { // by another name
			store = open(filepath.Join(dir, "link", "config.json"))
		}
		wg.Go(func() {
			for j := range updates {
				name := fmt.Sprintf("w%d-%d", i, j)
				assert.NoError(t, store.Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
					return withMember(current, name)
				}))
			}
		})
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := open(path).Load(t.Context(), "plex")
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	raw, err := open(path).Load(t.Context(), "plex")
	require.NoError(t, err)
	var all map[string]bool
	require.NoError(t, json.Unmarshal(raw, &all))
	assert.Len(t, all, writers*updates)
	checkNoLitter(t, path, "config.json", "config.json.lock")
}

// withMember returns a document with one more member.
func withMember(current json.RawMessage, name string) (json.RawMessage, error) {
	all := map[string]bool{}
	if current != nil {
		if err := json.Unmarshal(current, &all); err != nil {
			return nil, err
		}
	}
	all[name] = true
	return json.Marshal(all)
}

// G16: a program that knows the config by a symbolic link locks next to the link. An
// Update waits for such a lock at each link, and for one next to the file.
func TestFileStoreWaitsBesideLinks(t *testing.T) {
	dir := t.TempDir()
	file, near, far := filepath.Join(dir, "data", "real.json"), filepath.Join(dir, "near.json"), filepath.Join(dir, "far", "config.json")
	for _, d := range []string{filepath.Dir(file), filepath.Dir(far)} {
		require.NoError(t, os.Mkdir(d, 0o700))
	}
	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	require.NoError(t, os.Symlink(filepath.Join("data", "real.json"), near))
	require.NoError(t, os.Symlink(filepath.Join("..", "near.json"), far))
	store := open(far)
	for _, path := range []string{far, near, file} {
		release := holdLock(t, path)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := store.Update(ctx, "plex", becomes(`{"a":1}`))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, path)
		assert.Equal(t, "{}", content(t, file))
		release()
	}
	require.NoError(t, store.Update(t.Context(), "plex", becomes(`{"a":1}`)))
	assert.Contains(t, content(t, file), `"a": 1`)
}

// G16: a link that changes while an Update waits for the lock is followed again. What
// was reported as saved is found there.
func TestFileStoreFollowsAChangedLink(t *testing.T) {
	for name, link := range map[string]string{"a directory": "current", "the file": "config.json"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, to := filepath.Join(dir, "current", "config.json"), "v"
			if link == "config.json" {
				path, to = filepath.Join(dir, link), filepath.Join("v", "config.json")
			}
			target := func(n string) string { return strings.Replace(to, "v", "v"+n, 1) }
			for _, n := range []string{"1", "2"} {
				require.NoError(t, os.Mkdir(filepath.Join(dir, "v"+n), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(dir, "v"+n, "config.json"), []byte("{}"), 0o600))
			}
			require.NoError(t, os.Symlink(target("1"), filepath.Join(dir, link)))
			release := holdLock(t, filepath.Join(dir, "v1", "config.json"))
			store := open(path)
			done := make(chan error, 1)
			go func() { done <- store.Update(t.Context(), "plex", becomes(`{"a":1}`)) }()
			select {
			case err := <-done:
				t.Fatal("did not wait", err)
			case <-time.After(30 * time.Millisecond):
			}
			require.NoError(t, os.Symlink(target("2"), filepath.Join(dir, "new")))
			require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, link)))
			release()
			require.NoError(t, <-done)
			raw, err := store.Load(t.Context(), "plex")
			require.NoError(t, err)
			assert.JSONEq(t, `{"a":1}`, string(raw))
			assert.Equal(t, "{}", content(t, filepath.Join(dir, "v1", "config.json")))
		})
	}
}

// G16: a program that takes the lock again as soon as it has released it does not keep
// others out.
func TestFileStoreBesideABusyProgram(t *testing.T) {
	path := fileWith(t, "{}")
	store := open(path)
	require.NoError(t, store.Check(t.Context())) // makes the lock file
	l := flock.New(path + ".lock")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for l.Lock() == nil {
			time.Sleep(20 * time.Millisecond)
			_ = l.Unlock()
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	}()
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		assert.NoError(t, store.Update(ctx, "plex", becomes(`{"a":1}`)))
		assert.NoError(t, store.Update(ctx, "plex", becomes(`{}`)))
		cancel()
	}
	close(stop)
	<-stopped
}
