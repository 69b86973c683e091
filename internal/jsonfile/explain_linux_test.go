package jsonfile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/jsonfile"
)

// G17: an error of the system names the user and the files, and says what to do.
func TestExplain(t *testing.T) {
	path := fileWith(t, "{}")
	dir := filepath.Dir(path)
	require.NoError(t, os.Chmod(dir, 0o700))
	info, err := os.Stat(path)
	require.NoError(t, err)
	o := jsonfile.OwnerOf(info)
	facts := fmt.Sprintf(" (run by uid %d gid %d, %s is drwx------ of %d:%d, %s is -rw------- of %d:%d)", os.Geteuid(), os.Getegid(), dir, o.UID, o.GID, path, o.UID, o.GID)
	const (
		noLocks = "has no working locks"
		rights  = "read the file, write to its directory and keep its owner and group"
	)
	isRoot := os.Geteuid() == 0
	ifRoot := func(yes, no string) string {
		if isRoot {
			return yes
		}
		return no
	}
	failed := func(op string, errno syscall.Errno) error { return &fs.PathError{Op: op, Path: path, Err: errno} }
	rename := func(errno syscall.Errno) error {
		return &os.LinkError{Op: "rename", Old: path + "~", New: path, Err: errno}
	}
	for _, tc := range []struct {
		err  error
		want string // the remedy, "" for no remedy
	}{
		{jsonfile.ErrMounted, "mount its directory instead"},
		{rename(syscall.EBUSY), "mount its directory instead"},
		{rename(syscall.EXDEV), "mount its directory instead"},
		{failed("open", syscall.EROFS), "the file system is read-only, mount " + dir + " writable"},
		{failed("write", syscall.ENOSPC), "the disk is full"},
		{failed("write", syscall.EDQUOT), "the disk is full"},
		{failed("write", syscall.EFBIG), "ulimit -f"},
		{rename(syscall.EEXIST), "cannot replace a file in one step"},
		{rename(syscall.EIO), ""},
		{failed("open", syscall.EEXIST), ""},
		{failed("lock", syscall.ENOLCK), noLocks},
		{failed("lock", syscall.EBADF), noLocks},
		{failed("lock", syscall.ENOSYS), noLocks},
		{failed("lock", syscall.EOPNOTSUPP), noLocks},
		{failed("getxattr", syscall.ENOSYS), ""},
		{failed("open", syscall.ENOTDIR), "check that " + dir + " is a directory"},
		{failed("open", syscall.ENOENT), "check that " + dir + " is a directory"},
		{failed("open", syscall.EACCES), rights},
		{failed("open", syscall.EPERM), "is immutable"},
		{failed("fsync", syscall.EPERM), ifRoot("is immutable", rights)},
		{failed("chown", syscall.EPERM), rights},
		{failed("chmod", syscall.EPERM), rights},
		{failed("write", syscall.EIO), ""},
		{errors.New("something else"), ""},
	} {
		err := jsonfile.Explain(path, tc.err)
		require.ErrorIs(t, err, fault.ErrStore)
		require.ErrorIs(t, err, tc.err)
		text, remedy, ok := strings.Cut(err.Error(), facts)
		require.True(t, ok, err.Error())
		assert.Equal(t, fmt.Sprintf("%v: %s: %v", fault.ErrStore, path, tc.err), text)
		if tc.want == "" {
			assert.Empty(t, remedy, tc.err)
			continue
		}
		assert.True(t, strings.HasPrefix(remedy, ": "), remedy)
		assert.Contains(t, remedy, tc.want, tc.err)
	}
}

// An error with the lock file describes it as well, if it is there.
func TestExplainTheLock(t *testing.T) {
	path := fileWith(t, "{}")
	failed := &fs.PathError{Op: "lock", Path: path + ".lock", Err: syscall.EACCES}
	err := jsonfile.Explain(path, failed)
	assert.ErrorContains(t, err, "read the file, write to its directory")
	require.NoError(t, os.WriteFile(path+".lock", nil, 0o400))
	err = jsonfile.Explain(path, failed)
	assert.ErrorContains(t, err, path+".lock is -r-------- of")
	assert.ErrorContains(t, err, "open the lock file: give it to the owner and group of the file, with mode 0660")
	failed.Err = syscall.EIO
	assert.NotContains(t, jsonfile.Explain(path, failed).Error(), "open the lock file")
}

// The nearest directory that can be seen is described.
func TestExplainMissingDirectories(t *testing.T) {
	dir := t.TempDir()
	err := jsonfile.Explain(filepath.Join(dir, "not", "there", "config.json"), fs.ErrNotExist)
	assert.ErrorContains(t, err, ", "+dir+" is d")
	assert.NotContains(t, err.Error(), "there is")
	err = jsonfile.Explain("/config.json", fs.ErrNotExist)
	assert.ErrorContains(t, err, ", / is d")
	assert.NotContains(t, err.Error(), "config.json is")
}
