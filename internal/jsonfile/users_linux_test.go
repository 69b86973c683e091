package jsonfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/jsonfile"
)

// guest is a user without rights, who belongs to another group as well.
var guest = jsonfile.Owner{UID: 65534, GID: 65534}

const guestsOtherGroup = 3000

// asGuest calls do as guest if root runs the test, else as the user of the test. It changes
// the user of one thread alone, to which do must keep.
func asGuest(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do()
		return
	}
	const same = ^uintptr(0)
	set := func(call, id uintptr) {
		_, _, errno := syscall.RawSyscall(call, same, id, same)
		require.Zero(t, errno)
	}
	setGroups := func(groups ...uint32) {
		_, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
		require.Zero(t, errno)
	}
	had, err := unix.Getgroups()
	require.NoError(t, err)
	var roots []uint32
	for _, g := range had {
		roots = append(roots, uint32(g))
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setGroups(guestsOtherGroup)
	set(unix.SYS_SETRESGID, uintptr(guest.GID))
	set(unix.SYS_SETRESUID, uintptr(guest.UID))
	defer func() {
		set(unix.SYS_SETRESUID, 0)
		set(unix.SYS_SETRESGID, 0)
		setGroups(roots...)
	}()
	do()
}

// dirOf makes a directory of guest, or of the user of the test, that has the mode.
func dirOf(t *testing.T, mode fs.FileMode) (dir string, of jsonfile.Owner) {
	t.Helper()
	dir = t.TempDir()
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		require.NoError(t, os.Chmod(up, 0o755))
	}
	of = give(t, dir, guest)
	require.NoError(t, os.Chmod(dir, mode))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	return dir, of
}

// ownerOf returns the owner of the file at path.
func ownerOf(t *testing.T, path string) jsonfile.Owner {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return jsonfile.OwnerOf(info)
}

// A directory that cannot be listed cannot be used, because it cannot be synced. A new one in it
// can.
func TestDirectoryThatCannotBeListed(t *testing.T) {
	dir, _ := dirOf(t, 0o300)
	asGuest(t, func() {
		err := open(filepath.Join(dir, "config.json")).Update(t.Context(), "plex", becomes(`{}`))
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorIs(t, err, fault.ErrStore)
		require.NoError(t, open(filepath.Join(dir, "made", "config.json")).Update(t.Context(), "plex", becomes(`{}`)))
	})
	require.NoError(t, os.Chmod(dir, 0o700))
	checkNoLitter(t, filepath.Join(dir, "x"), "config.json.lock", "made")
}

// G17: what a user may not do is told with the user and the remedy.
func TestRightsOfTheUser(t *testing.T) {
	dir, _ := dirOf(t, 0o700)
	path := filepath.Join(dir, "config.json")
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	give(t, path, guest)
	require.NoError(t, os.WriteFile(path+".lock", nil, 0o600))
	give(t, path+".lock", guest)
	asGuest(t, func() {
		for name, change := range map[string]func(fs.FileMode) error{
			"its directory": func(mode fs.FileMode) error { return os.Chmod(dir, 0o500|mode) },
			"the file":      func(mode fs.FileMode) error { return os.Chmod(path, mode) },
			"the lock":      func(mode fs.FileMode) error { return os.Chmod(path+".lock", mode) },
		} {
			require.NoError(t, change(0))
			err := open(path).Check(t.Context())
			require.ErrorIs(t, err, fs.ErrPermission, name)
			assert.ErrorContains(t, err, "let uid ")
			require.NoError(t, change(0o700))
		}
		require.NoError(t, open(path).Check(t.Context()))
	})
	const immutable, rights = "is immutable", "keep its owner and group"
	for op, want := range map[string]string{"open": immutable, "fsync": rights, "chown": rights} {
		asGuest(t, func() {
			assert.ErrorContains(t, jsonfile.Explain(path, &fs.PathError{Op: op, Path: path, Err: syscall.EPERM}), want, op)
		})
	}
}

// G15: a config keeps its owner. What root makes in another user's directory belongs to that
// user.
func TestOwnerIsKept(t *testing.T) {
	dir, of := dirOf(t, 0o700)
	path := filepath.Join(dir, "config.json")
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o640))
	config := give(t, path, jsonfile.Owner{UID: 1001, GID: 2001})
	require.NoError(t, open(path).Update(t.Context(), "plex", becomes(`{"a":1}`)))
	assert.Equal(t, config, ownerOf(t, path))
	assert.Equal(t, config, ownerOf(t, path+".lock"))

	made := filepath.Join(dir, "made", "deeper", "config.json")
	left := filepath.Join(dir, ".made.plexauth-0123456789abcdef.tmp")
	require.NoError(t, os.Mkdir(left, 0o700))
	require.NoError(t, open(made).Update(t.Context(), "plex", becomes(`{"a":1}`)))
	for name := made; name != dir; name = filepath.Dir(name) {
		assert.Equal(t, of, ownerOf(t, name), name)
	}
	assert.Contains(t, content(t, path), `"a": 1`)
	if os.Geteuid() == 0 { // who else makes directories needs no temporary one
		assert.NoDirExists(t, left)
	}
}

// G15: a config that cannot keep its owner, or a group that may use it, stays as it is.
func TestOwnerCannotBeKept(t *testing.T) {
	isRoot := os.Geteuid() == 0 // who else runs the test has only files of their own
	other := jsonfile.Owner{UID: 1001, GID: 2001}
	for name, tc := range map[string]struct {
		of   jsonfile.Owner
		mode fs.FileMode
		ok   bool
	}{
		"another owner":                {jsonfile.Owner{UID: other.UID, GID: guest.GID}, 0o666, false},
		"another group":                {jsonfile.Owner{UID: guest.UID, GID: other.GID}, 0o660, false},
		"another group without rights": {jsonfile.Owner{UID: guest.UID, GID: other.GID}, 0o600, true},
		"one's own":                    {guest, 0o660, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := dirOf(t, 0o700)
			path := filepath.Join(dir, "config.json")
			require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
			of, ok := give(t, path, tc.of), tc.ok || !isRoot
			require.NoError(t, os.Chmod(path, tc.mode))
			require.NoError(t, os.WriteFile(path+".lock", nil, 0o600))
			give(t, path+".lock", guest)
			require.NoError(t, os.Chmod(path+".lock", 0o666))
			asGuest(t, func() {
				err := open(path).Update(t.Context(), "plex", becomes(`{"a":1}`))
				assert.Equal(t, ok, err == nil, "%v", err)
			})
			if !ok {
				assert.Equal(t, "{}", content(t, path))
				assert.Equal(t, of, ownerOf(t, path))
			}
			checkNoLitter(t, path, "config.json", "config.json.lock")
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, tc.mode, info.Mode().Perm())
		})
	}
}

// G16: a lock file gets the group of the config, even if it cannot get its owner.
func TestGroupOfTheLock(t *testing.T) {
	dir, _ := dirOf(t, 0o700)
	path := filepath.Join(dir, "config.json")
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	of := give(t, path, jsonfile.Owner{UID: 1001, GID: guestsOtherGroup})
	require.NoError(t, os.Chmod(path, 0o660))
	asGuest(t, func() {
		err := open(path).Check(t.Context())
		assert.Equal(t, of.UID == os.Geteuid(), err == nil, "the config cannot keep another owner: %v", err)
	})
	assert.Equal(t, of.GID, ownerOf(t, path+".lock").GID)
}
