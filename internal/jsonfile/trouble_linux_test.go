package jsonfile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/jsonfile"
)

// G15: a change of the files during an edit is an error, and leaves no temporary file.
func TestTroubleDuringTheEdit(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, path string)
		same   bool // the edit returns what was there
		want   string
		left   []string
	}{
		"the directory is gone": {func(t *testing.T, path string) { require.NoError(t, os.RemoveAll(filepath.Dir(path))) }, false, "open ", nil},
		"a directory is in the file's place": {func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}, false, "rename ", []string{"config.json", "config.json.lock"}},
		"the file is gone": {func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, true, "no such file", []string{"config.json.lock"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileWith(t, `{"plex":{"a":1}}`)
			err := open(path).Update(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
				tc.change(t, path)
				if tc.same {
					return current, nil
				}
				return json.RawMessage(`{"a":2}`), nil
			})
			require.ErrorIs(t, err, fault.ErrStore)
			assert.ErrorContains(t, err, path)
			assert.ErrorContains(t, err, tc.want)
			if tc.left != nil {
				checkNoLitter(t, path, tc.left...)
			}
		})
	}
}

// A file that cannot be opened or read is an error of the system, and not a first run. proc(5)
// has such files, for root as well.
func TestUnreadableFile(t *testing.T) {
	for path, errno := range map[string]error{
		"/proc/sys/vm/drop_caches": unix.EACCES, // write only
		"/proc/self/clear_refs":    unix.EINVAL, // has no read
	} {
		_, err := open(path).Load(t.Context(), "plex")
		if os.Geteuid() != 0 {
			errno = unix.EACCES
		}
		require.ErrorIs(t, err, errno, path)
		require.ErrorIs(t, err, fault.ErrStore)
		assert.NotErrorIs(t, err, fault.ErrCorruptConfig)
	}
}

// The error says what was tried in a place in which nothing can be made, as proc(5) is for root
// as well.
func TestNothingCanBeMade(t *testing.T) {
	for path, want := range map[string]string{
		"/proc/self/clear_refs":               "cannot make the lock file",
		"/proc/self/nothing/config.json":      "mkdir /proc/self/nothing: ",
		"/proc/self/nothing/more/config.json": "mkdir /proc/self/nothing: ",
	} {
		f := open(path)
		for _, err := range []error{f.Update(t.Context(), "plex", becomes(`{}`)), f.Check(t.Context())} {
			require.ErrorIs(t, err, fault.ErrStore)
			assert.ErrorContains(t, err, want)
		}
	}
	assert.Empty(t, open("/proc/self/nothing.json").Exposed())
}

// A link in a directory that cannot be written to is followed, without a lock beside it.
func TestLinkWhereNothingCanBeMade(t *testing.T) {
	path := fileWith(t, "{}")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	link := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	require.NoError(t, open(link).Update(t.Context(), "plex", becomes(`{"a":1}`)))
	assert.Contains(t, content(t, path), `"a": 1`)

	f2, err := os.Open(path)
	require.NoError(t, err)
	defer f2.Close()
	holdLock(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = open("/proc/self/fd/"+strconv.Itoa(int(f2.Fd()))).Update(ctx, "plex", becomes(`{}`))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// The error for a busy lock says who has it, as far as that is known. What was locked until then
// is released.
func TestBusyWithinTheProcess(t *testing.T) {
	path := fileWith(t, "{}")
	link := filepath.Join(t.TempDir(), "link.json")
	require.NoError(t, os.Symlink(path, link))
	for name, tc := range map[string]struct {
		change func() error
		want   string
	}{
		"the lock is there": {func() error { return nil }, "is locked by this process itself: "},
		"the lock is gone":  {func() error { return os.Remove(path + ".lock") }, "is locked by another program: "},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, open(path).Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				assert.NoError(t, tc.change())
				for _, busy := range []string{path, link} {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					err := open(busy).Check(ctx)
					cancel()
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					assert.ErrorContains(t, err, tc.want)
				}
				return nil, nil
			}))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			require.NoError(t, open(link).Check(ctx))
		})
	}
}

// No call leaves a file open.
func TestNoFileStaysOpen(t *testing.T) {
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	path := fileWith(t, "{}")
	release := holdLock(t, path)
	before := files()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, open(path).Check(ctx), "the lock is busy")
	assert.Equal(t, before, files())
	release()
	before = files()
	require.NoError(t, os.Remove(path+".lock"))
	require.NoError(t, open(path).Check(t.Context()))
	require.NoError(t, open(path).Update(t.Context(), "plex", becomes(`{"a":1}`)))
	require.NoError(t, open(path).Update(t.Context(), "plex", becomes(`{"a":1}`)))
	_, err := open(path).Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.Equal(t, before, files())
}

// G16: a lock file that the group of the config cannot open is repaired, unless it has a second
// name, which may be another user's file.
func TestLockFileIsRepaired(t *testing.T) {
	for name, tc := range map[string]struct {
		config, before, after fs.FileMode
		second                bool // name
		ok                    bool
	}{
		"closed to the group":         {0o660, 0o600, 0o660, false, true},
		"the group may not write":     {0o640, 0o600, 0o600, false, true},
		"open to everyone":            {0o660, 0o666, 0o666, false, true},
		"closed, with a second name":  {0o660, 0o600, 0o600, true, false},
		"open, with a second name":    {0o660, 0o660, 0o660, true, true},
		"of a config that is missing": {0, 0o600, 0o600, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := fileWith(t, "{}")
			require.NoError(t, os.Chmod(path, tc.config))
			if tc.config == 0 {
				require.NoError(t, os.Remove(path))
			}
			lock := path + ".lock"
			require.NoError(t, os.WriteFile(lock, nil, 0o600))
			require.NoError(t, os.Chmod(lock, tc.before))
			if tc.second {
				require.NoError(t, os.Link(lock, filepath.Join(t.TempDir(), "second")))
			}
			err := open(path).Check(t.Context())
			assert.Equal(t, tc.ok, err == nil, "%v", err)
			if !tc.ok {
				assert.ErrorContains(t, err, "would go on without a lock")
				assert.ErrorContains(t, err, ": give "+lock+" to the owner and group of the config, with mode 0660")
			}
			info, err := os.Stat(lock)
			require.NoError(t, err)
			assert.Equal(t, tc.after, info.Mode().Perm())
		})
	}
}

// Links may be absolute and many. What ".." means in one is known only to the system.
func TestUnusualLinks(t *testing.T) {
	dir := t.TempDir()
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	require.NoError(t, os.MkdirAll(in("data", "sub"), 0o700))
	for _, name := range []string{in("real.json"), in("data", "real.json")} {
		require.NoError(t, os.WriteFile(name, []byte("{}"), 0o600))
	}
	require.NoError(t, os.Symlink(in("real.json"), in("absolute.json")))
	require.NoError(t, open(in("absolute.json")).Update(t.Context(), "plex", becomes(`{"a":1}`)))
	assert.Contains(t, content(t, in("real.json")), `"a": 1`)

	require.NoError(t, os.Symlink(filepath.Join("data", "sub"), in("into")))
	require.NoError(t, os.Symlink("into/../real.json", in("up.json")))
	require.NoError(t, open(in("up.json")).Update(t.Context(), "plex", becomes(`{"b":1}`)))
	assert.Contains(t, content(t, in("data", "real.json")), `"b": 1`)
	assert.NotContains(t, content(t, in("real.json")), `"b": 1`)
	checkNoLitter(t, in("data", "real.json"), "real.json", "real.json.lock", "sub")

	to := "real.json"
	for n := range 41 {
		name := fmt.Sprintf("link-%d.json", n+1)
		require.NoError(t, os.Symlink(to, in(name)))
		to = name
	}
	raw, err := open(in("link-40.json")).Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.JSONEq(t, `{"a":1}`, string(raw))
	_, err = open(in("link-41.json")).Load(t.Context(), "plex")
	require.ErrorContains(t, err, "too many links")
}

// Sync ignores that something cannot be synced at all, and returns any other error.
func TestSync(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, jsonfile.Sync(r))
	require.NoError(t, r.Close())
	assert.ErrorIs(t, jsonfile.Sync(r), os.ErrClosed)
}

// A relative path in a directory that is gone stays a path.
func TestRelativePathNowhere(t *testing.T) {
	dir, err := os.MkdirTemp(t.TempDir(), "gone")
	require.NoError(t, err)
	t.Chdir(dir)
	require.NoError(t, os.Remove(dir))
	err = open("config.json").Update(t.Context(), "plex", becomes(`{}`))
	require.ErrorIs(t, err, fault.ErrStore)
	assert.NotContains(t, err.Error(), "no path")
}
