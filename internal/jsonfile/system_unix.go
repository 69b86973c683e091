//go:build unix

package jsonfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/plexauth/plexauth/internal/confdir"
)

func openFile(_ context.Context, path string) (*os.File, error) { return os.Open(path) }

func replaceFile(_ context.Context, temp, path string) error { return os.Rename(temp, path) }

// isExposed reports whether a mode lets others than the owner in.
func isExposed(mode fs.FileMode) bool { return mode&0o077 != 0 }

// syncFile syncs the file at path, as far as a reader can.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return confdir.Sync(f)
}

// keepOwner gives f the owner, the group and the mode that path has (old), or
// those of a new file. What path had is kept or an error: a group that can read
// the config can also read the next one.
func keepOwner(f *os.File, path string, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	want, ok := confdir.Reference(path, old)
	var failed error
	if ok && want != confdir.OwnerOf(now) {
		failed = chown(f, want)
	}
	if old == nil {
		return nil
	}
	had := confdir.OwnerOf(old)
	if failed != nil && had != want {
		if chown(f, had) == nil {
			failed = nil
		}
	}
	if failed != nil {
		if now, err = f.Stat(); err != nil {
			return err
		}
		is := confdir.OwnerOf(now)
		ownerLost := is.UID != want.UID && is.UID != had.UID
		groupLost := is.GID != want.GID && is.GID != had.GID && old.Mode()&0o070 != 0
		if ownerLost || groupLost {
			return failed
		}
	}
	return keepMode(f, path, old.Mode().Perm())
}

// keepMode gives f the ACL of path and its mode.
func keepMode(f *os.File, path string, mode fs.FileMode) error {
	// Without any right of the group no entry of an ACL grants anything.
	if err := copyACL(f, path); err != nil && mode&0o070 != 0 {
		return err
	}
	now, err := f.Stat()
	if err != nil || now.Mode().Perm() == mode {
		return err
	}
	return f.Chmod(mode)
}

// chown gives f an owner and a group, or at least the group.
func chown(f *os.File, to confdir.Owner) error {
	err := f.Chown(to.UID, to.GID)
	if err != nil {
		_ = f.Chown(-1, to.GID)
	}
	return err
}

// mkdir makes a directory for the owner of the one that it is in, if root makes
// it. It has its name only once it is theirs.
func mkdir(dir string) error {
	want, ok := confdir.Reference(dir, nil)
	if !ok || want == (confdir.Owner{UID: os.Geteuid(), GID: os.Getegid()}) {
		return os.Mkdir(dir, 0o700)
	}
	removeUnnamed(dir)
	temp, err := confdir.MkdirTemp(dir)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	_ = os.Lchown(temp, want.UID, want.GID) // as it is not writable by others yet, it is no link
	err = renameNew(temp, dir)
	if errors.Is(err, errors.ErrUnsupported) {
		err = os.Rename(temp, dir) // replaces an empty directory at most
	}
	return err
}

// removeUnnamed removes the directories that killed processes have made for dir.
func removeUnnamed(dir string) {
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return
	}
	defer parent.Close()
	names, _ := parent.Readdirnames(-1)
	for _, name := range names {
		if confdir.IsTemp(dir, name) {
			os.Remove(filepath.Join(filepath.Dir(dir), name))
		}
	}
}

// diagnose says who and what is involved in an error, and what helps.
func diagnose(path string, err error) (facts, remedy string) {
	op, lock := "", ""
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		op = failed.Op
		if failed.Path == path+lockSuffix {
			lock = describe(failed.Path)
		}
	}
	if failed := (*os.LinkError)(nil); errors.As(err, &failed) {
		op = failed.Op
	}
	facts = fmt.Sprintf("run by uid %d gid %d%s%s%s", os.Geteuid(), os.Getegid(), describeNearest(filepath.Dir(path)), describe(path), lock)
	return facts, remedyFor(path, err, op, lock != "")
}

// describe tells the mode and owner of what has that name, "" if it cannot be
// seen.
func describe(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	o := confdir.OwnerOf(info)
	return fmt.Sprintf(", %s is %s of %d:%d", name, info.Mode(), o.UID, o.GID)
}

// describeNearest describes a directory, or the nearest one above it that can
// be seen.
func describeNearest(dir string) string {
	for {
		if seen := describe(dir); seen != "" || dir == filepath.Dir(dir) {
			return seen
		}
		dir = filepath.Dir(dir)
	}
}

func remedyFor(path string, err error, op string, ofLock bool) string {
	dir, lock := filepath.Dir(path), path+lockSuffix
	is := func(errnos ...syscall.Errno) bool {
		for _, e := range errnos {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	if rights := (*lockRights)(nil); errors.As(err, &rights) {
		return fmt.Sprintf("give %s to the owner and group of the config, with mode 0660, or run this program as that owner", lock)
	}
	switch {
	case errors.Is(err, errMounted), is(syscall.EBUSY, syscall.EXDEV):
		return "a single file mounted into a container cannot be replaced, mount its directory instead"
	case is(syscall.EROFS):
		return "the file system is read-only, mount " + dir + " writable"
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return "the disk is full or a quota is used up, make room on the file system of " + dir
	case is(syscall.EFBIG):
		return "a limit on the size of files is too low, see ulimit -f"
	case op == "rename" && errors.Is(err, fs.ErrExist):
		return "the file system of " + dir + " cannot replace a file in one step, use another one"
	case op != "getxattr" && is(syscall.EBADF, syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.ENOSYS):
		return "the file system of " + dir + " has no working locks, use a local disk or mount it with locks"
	case is(syscall.EACCES) && ofLock:
		return fmt.Sprintf("let uid %d open the lock file: give it to the owner and group of the file, with mode 0660", os.Geteuid())
	case is(syscall.EPERM) && (op == "open" || os.Geteuid() == 0 && op != "chown" && op != "chmod"):
		return "it or its directory is immutable, see lsattr: undo it with chattr -i -a, on macOS with chflags nouchg"
	case is(syscall.EACCES, syscall.EPERM):
		return fmt.Sprintf("let uid %d read the file, write to its directory and keep its owner and group: chown both to that user, or run as the owner", os.Geteuid())
	case is(syscall.ENOTDIR, syscall.ENOENT):
		return "see that " + dir + " is a directory"
	}
	return ""
}

// findImmutable returns the system's error for a file that not even its owner
// may replace, as after chattr +i or +a; nil for any other. A mode that forbids
// writing (EACCES) says nothing: a rename asks the directory.
func findImmutable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, syscall.EPERM):
		return err
	}
	return nil
}
