package integration_test

import (
	"context"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// mountedFile is in a mount of its own, and cannot be replaced.
var mountedFile = scenario("filestore on a mounted file", func(t *childT, dir string) {
	path, source := filepath.Join(dir, "a b", "config.json"), filepath.Join(dir, "source.json")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(source, []byte(before), 0o600))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	mount(t, source, path, "", syscall.MS_BIND, "")
	refuses(t, path, "mounted", "mount its directory instead", "-rw-------")
	require.NoError(t, syscall.Unmount(path, 0))
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	works(t, path)
})

// G17: a single file that is mounted is refused with advice.
func TestFileStoreMountedFile(t *testing.T) { mounted(t, mountedFile) }

// readOnly is a read-only mount, with a lock file in it and without.
var readOnly = scenario("filestore on a read-only mount", func(t *childT, dir string) {
	path := filepath.Join(dir, "config.json")
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
	remount := func(flags uintptr) {
		require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"))
	}
	remount(syscall.MS_RDONLY)
	refuses(t, path, "read-only", "mount "+dir+" writable", "-rw-r-----")
	refuses(t, filepath.Join(dir, "new.json"), "read-only")
	refuses(t, filepath.Join(dir, "sub", "new.json"), "read-only")
	_, err := plexauth.NewFileStore(path).Load(context.Background(), "plex")
	assert.NoError(t, err, "a read-only config can be read")
	remount(0)
	works(t, path)
	remount(syscall.MS_RDONLY)
	refuses(t, path, "read-only", "mount "+dir+" writable")
})

// G17: a read-only mount is refused with advice, and can be read.
func TestFileStoreReadOnlyMount(t *testing.T) { mounted(t, readOnly) }

// fullDisk has no room for a second copy of the config.
var fullDisk = scenario("filestore on a full disk", func(t *childT, dir string) {
	path := filepath.Join(dir, "config.json")
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=32k")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	require.NoError(t, os.WriteFile(path+".lock", nil, 0o660))
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 1024))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	refuses(t, path, "disk is full", "make room on the file system of "+dir)
	refuses(t, filepath.Join(dir, "new.json"), "disk is full")

	// One free page takes only the beginning of the temporary file.
	require.NoError(t, os.Truncate(filler, 20*1024))
	big := strings.Replace(before, "on_disk", strings.Repeat("x", 6000), 1)
	require.NoError(t, os.WriteFile(path, []byte(big), 0o600))
	require.NoError(t, os.Truncate(filler, 0))
	f, err = os.OpenFile(filler, os.O_WRONLY, 0)
	require.NoError(t, err)
	for range 5 { // of the 32k the config has 8k, and 4k stay free
		_, err = f.Write(make([]byte, 4096))
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	store := plexauth.NewFileStore(path)
	assert.ErrorContains(t, store.Check(context.Background()), "disk is full")
	assert.ErrorContains(t, store.Update(context.Background(), "other", becomes(`{}`)), "disk is full")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, big, string(data))

	require.NoError(t, os.Remove(filler))
	works(t, path)
})

// G15, G17: on a full disk an Update is refused and the config stays.
func TestFileStoreFullDisk(t *testing.T) { mounted(t, fullDisk) }

// fileLimit limits the size of files at each byte of the new config.
var fileLimit = scenario("filestore under a file-size limit", func(t *childT, dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	path := filepath.Join(dir, "config.json")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	store := plexauth.NewFileStore(path)
	require.NoError(t, store.Check(context.Background())) // makes the lock file
	var old syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	want := "{\n  \"plex\": {\n    \"n\": 1\n  }\n}\n"
	for limit := range len(want) + 1 {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(limit), Max: old.Max}))
		err := store.Update(context.Background(), "plex", becomes(`{"n":1}`))
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
		data, _ := os.ReadFile(path)
		if limit == len(want) {
			require.NoError(t, err)
			assert.Equal(t, want, string(data))
			break
		}
		require.ErrorIs(t, err, plexauth.ErrStore)
		require.ErrorContains(t, err, "limit on the size of files")
		require.Equal(t, before, string(data), "at byte %d", limit)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "the config and its lock: %v", entries)
})

// G15: if the new config can be written only in part, the old one stays.
func TestFileStoreFileLimit(t *testing.T) {
	assert.NoError(t, child(t, fileLimit, t.TempDir()).Run())
}

const nobody = 65534

// wrongOwner runs as a user who lacks a right. TestFileStoreWrongOwner makes the files.
var wrongOwner = scenario("filestore of another user", func(t *childT, dir string) {
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	refuses(t, in("closed", "config.json"), "permission denied", "0:0", "drwxr-xr-x", "-rw-r--r--", "let uid 65534")
	refuses(t, in("closed", "new.json"), "permission denied", "let uid 65534")
	refuses(t, in("closed", "sub", "new.json"), "permission denied", "let uid 65534")
	refuses(t, in("open", "private.json"), "permission denied", "-rw-------")
	refuses(t, in("open", "foreign.json"), "operation not permitted", "keep its owner", "is -rw-r--r-- of 0:0")
	refuses(t, in("open", "locked.json"), "permission denied", in("open", "locked.json.lock")+" is -rw------- of 0:0", "let uid 65534 open the lock file", "0660")
	refuses(t, in("hidden", "sub", "config.json"), "permission denied", in("hidden")+" is drwx------ of 0:0", "let uid 65534")
	works(t, in("open", "new.json"))
	works(t, in("open", "group.json"))
})

// G17: files and directories of another user are refused with advice.
func TestFileStoreWrongOwner(t *testing.T) {
	requireRoot(t)
	dir := openDir(t)
	open, closed := filepath.Join(dir, "open"), filepath.Join(dir, "closed")
	require.NoError(t, os.Mkdir(closed, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "hidden", "sub"), 0o700))
	require.NoError(t, os.Mkdir(open, 0o755))
	require.NoError(t, os.Chmod(open, 0o777))
	for name, mode := range map[string]os.FileMode{
		filepath.Join(closed, "config.json"):    0o644,
		filepath.Join(open, "private.json"):     0o600,
		filepath.Join(open, "foreign.json"):     0o644,
		filepath.Join(open, "locked.json"):      0o666,
		filepath.Join(open, "locked.json.lock"): 0o600,
		filepath.Join(open, "group.json"):       0o600, // its group cannot be kept, but has no rights
	} {
		require.NoError(t, os.WriteFile(name, []byte(before), mode))
		require.NoError(t, os.Chmod(name, mode))
	}
	require.NoError(t, os.Chown(filepath.Join(open, "group.json"), nobody, 12345))
	as(t, nobody, wrongOwner, dir)
}

// G15: what root makes in another user's directory can be used by that user.
func TestFileStoreRootAsGuest(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	require.NoError(t, os.Chown(dir, 1234, 1235))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "roots.json"), []byte(before), 0o640))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "theirs.json"), []byte(before), 0o640))
	require.NoError(t, os.Chown(filepath.Join(dir, "theirs.json"), 1236, 1237))
	for name, want := range map[string]struct {
		mode     os.FileMode
		uid, gid uint32
	}{
		"new.json":    {0o600, 1234, 1235},
		"roots.json":  {0o640, 1234, 1235},
		"theirs.json": {0o640, 1236, 1237},
	} {
		path := filepath.Join(dir, name)
		works(t, path)
		for path, mode := range map[string]os.FileMode{path: want.mode, path + ".lock": 0o660} {
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode().Perm(), path)
			assert.Equal(t, want.uid, info.Sys().(*syscall.Stat_t).Uid, path)
			assert.Equal(t, want.gid, info.Sys().(*syscall.Stat_t).Gid, path)
		}
	}
	// So can the directories that root makes for it.
	sub := filepath.Join(dir, "sub", "deeper", "new.json")
	works(t, sub)
	for path, mode := range map[string]os.FileMode{sub: 0o600, filepath.Dir(sub): 0o700, filepath.Join(dir, "sub"): 0o700} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), path)
		assert.EqualValues(t, 1234, info.Sys().(*syscall.Stat_t).Uid, path)
		assert.EqualValues(t, 1235, info.Sys().(*syscall.Stat_t).Gid, path)
	}
	// In a directory of root the file belongs to root.
	own := filepath.Join(t.TempDir(), "config.json")
	works(t, own)
	info, err := os.Stat(own)
	require.NoError(t, err)
	assert.Zero(t, info.Sys().(*syscall.Stat_t).Uid)
}

// G16: root repairs a lock file that the config's owner or group cannot open. CrossWatch
// would go on without a lock.
func TestFileStoreRepairsTheLock(t *testing.T) {
	requireRoot(t)
	for name, row := range map[string]struct {
		config, mode os.FileMode // of the config, which is 1234:1235, and of the lock
		uid, gid     int         // of the lock
		kept         bool
	}{
		"root's":                      {0o600, 0o640, 0, 0, false},
		"root's, of a killed process": {0o600, 0o600, 0, 0, false},
		"the group may only read":     {0o600, 0o640, 0, 1235, false},
		"the owner may only read":     {0o600, 0o400, 1234, 1235, false},
		"another user's":              {0o600, 0o660, 1236, 1236, false},
		"the group writes the config": {0o660, 0o600, 1234, 1234, false},
		"CrossWatch's":                {0o600, 0o660, 1234, 1235, true},
		"by the group":                {0o660, 0o660, 0, 1235, true},
		"the owner's alone":           {0o600, 0o600, 1234, 1234, true},
		"for all":                     {0o660, 0o666, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			owned(t, path, before, 1234, 1235, row.config)
			owned(t, path+".lock", "", row.uid, row.gid, row.mode)
			works(t, path)
			info, err := os.Stat(path + ".lock")
			require.NoError(t, err)
			st := info.Sys().(*syscall.Stat_t)
			if row.kept {
				assert.Equal(t, []any{row.mode, uint32(row.uid), uint32(row.gid)}, []any{info.Mode().Perm(), st.Uid, st.Gid})
			} else {
				assert.Equal(t, []any{os.FileMode(0o660), uint32(1234), uint32(1235)}, []any{info.Mode().Perm(), st.Uid, st.Gid})
			}
		})
	}
	t.Run("a hard link to another file is left alone", func(t *testing.T) { // G17
		dir := t.TempDir()
		path, other := filepath.Join(dir, "config.json"), filepath.Join(dir, "shadow")
		owned(t, path, before, 1234, 1235, 0o600)
		owned(t, other, "root's secret", 0, 0, 0o600)
		require.NoError(t, os.Link(other, path+".lock"))
		refuses(t, path, "could not open the lock file", "0660")
		info, err := os.Stat(other)
		require.NoError(t, err)
		assert.Zero(t, info.Sys().(*syscall.Stat_t).Uid)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
}

// guest runs as a user who may write to the directory, but does not own the config.
// TestFileStoreGuestLeavesNoLock makes the files.
var guest = scenario("filestore of a guest", func(t *childT, dir string) {
	path := filepath.Join(dir, "config.json")
	refuses(t, path, "uid 1234, who owns the config, could not open the lock file", "with mode 0660", "is -rw-r--r-- of 1234:1235")
	_, err := os.Lstat(path + ".lock")
	assert.ErrorIs(t, err, fs.ErrNotExist)
})

// G16, G17: a Check that fails leaves no lock file that the config's owner cannot open.
func TestFileStoreGuestLeavesNoLock(t *testing.T) {
	requireRoot(t)
	dir := openDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	owned(t, filepath.Join(dir, "config.json"), before, 1234, 1235, 0o644)
	as(t, nobody, guest, dir)
}

// groupLost runs as root without the right to change owners, outside the config's group.
// TestFileStoreKeepsTheGroup makes the files.
var groupLost = scenario("filestore that cannot keep a group", func(t *childT, dir string) {
	refuses(t, filepath.Join(dir, "read.json"), "operation not permitted", "keep its owner and group", "is -rw-r----- of 0:1235")
	works(t, filepath.Join(dir, "private.json")) // the group has no right that it could lose
})

// groupKept is the same in the config's group.
var groupKept = scenario("filestore in the config's group", func(t *childT, dir string) {
	works(t, filepath.Join(dir, "read.json"))
})

// G15: an Update that would take the config from its group is refused.
func TestFileStoreKeepsTheGroup(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chown(dir, 1234, 1235))
	read := filepath.Join(dir, "read.json")
	owned(t, read, before, 0, 1235, 0o640)
	owned(t, filepath.Join(dir, "private.json"), before, 0, 1235, 0o600)
	withoutChown(t, groupLost, dir)
	withoutChown(t, groupKept, dir, "--groups=1235")
	info, err := os.Stat(read)
	require.NoError(t, err)
	assert.EqualValues(t, 1235, info.Sys().(*syscall.Stat_t).Gid)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}
