//go:build unix

package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// diagnose returns facts about an error with the file at path: the user of the process, and the
// modes and owners of the files involved. It also returns a remedy, or "" if it knows none.
func diagnose(path string, err error) (facts, remedy string) {
	f := failure{path: path, err: err}
	lock := ""
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		f.op = failed.Op
		if failed.Path == path+lockSuffix {
			lock = describe(failed.Path)
			f.ofLock = lock != ""
		}
	}
	if failed := (*os.LinkError)(nil); errors.As(err, &failed) {
		f.op = failed.Op
	}
	facts = fmt.Sprintf("run by uid %d gid %d%s%s%s", os.Geteuid(), os.Getegid(), describeNearest(filepath.Dir(path)), describe(path), lock)
	if remedy = f.fileSystemRemedy(); remedy == "" {
		remedy = f.permissionRemedy()
	}
	return facts, remedy
}

// describe returns the mode and owner of the file at name, or "" if it cannot be seen.
func describe(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	o := OwnerOf(info)
	return fmt.Sprintf(", %s is %s of %d:%d", name, info.Mode(), o.UID, o.GID)
}

// describeNearest describes dir, or the nearest directory above it that can be seen.
func describeNearest(dir string) string {
	for {
		if text := describe(dir); text != "" || dir == filepath.Dir(dir) {
			return text
		}
		dir = filepath.Dir(dir)
	}
}

// failure is an error of the operating system with the file at path, or beside it.
type failure struct {
	path   string
	err    error
	op     string // the operation of a PathError or LinkError
	ofLock bool   // the lock file exists, and the error is about it
}

// is reports whether the error is one of these.
func (f failure) is(errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(e syscall.Errno) bool { return errors.Is(f.err, e) })
}

// fileSystemRemedy returns a remedy for an error of the mount, the disk or the file system.
func (f failure) fileSystemRemedy() string {
	dir := filepath.Dir(f.path)
	switch {
	case errors.Is(f.err, errMounted), f.is(syscall.EBUSY, syscall.EXDEV):
		return "a single file that is mounted into a container cannot be replaced, mount its directory instead"
	case f.is(syscall.EROFS):
		return "the file system is read-only, mount " + dir + " writable"
	case f.is(syscall.ENOSPC, syscall.EDQUOT):
		return "the disk is full or a quota is used up, make room on the file system of " + dir
	case f.is(syscall.EFBIG):
		return "the limit on the size of files is too low, see ulimit -f"
	case f.op == "rename" && errors.Is(f.err, fs.ErrExist):
		return "the file system of " + dir + " cannot replace a file in one step, use another one"
	case f.op != "getxattr" && f.is(syscall.EBADF, syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.ENOSYS):
		return "the file system of " + dir + " has no working locks, use a local disk or mount it with locks"
	case f.is(syscall.ENOTDIR, syscall.ENOENT):
		return "check that " + dir + " is a directory"
	}
	return ""
}

// permissionRemedy returns a remedy for an error of owners, modes and attributes.
func (f failure) permissionRemedy() string {
	lock, uid := f.path+lockSuffix, os.Geteuid()
	rights := (*lockRights)(nil)
	switch {
	case errors.As(f.err, &rights):
		return fmt.Sprintf("give %s to the owner and group of the config, with mode 0660, or run this program as that owner", lock)
	case f.is(syscall.EACCES) && f.ofLock:
		return fmt.Sprintf("let uid %d open the lock file: give it to the owner and group of the file, with mode 0660", uid)
	case f.is(syscall.EPERM) && (f.op == "open" || uid == 0 && f.op != "chown" && f.op != "chmod"):
		return "the file or its directory is immutable, see lsattr: undo it with chattr -i -a, on macOS with chflags nouchg"
	case f.is(syscall.EACCES, syscall.EPERM):
		return fmt.Sprintf("let uid %d read the file, write to its directory and keep its owner and group: chown both to that user, or run as the owner", uid)
	}
	return ""
}
