//go:build unix

package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

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
	o := OwnerOf(info)
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
