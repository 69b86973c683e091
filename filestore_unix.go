//go:build unix

package plexauth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/plexauth/plexauth/internal/confdir"
)

func openFile(path string) (*os.File, error) { return os.Open(path) }

func replaceFile(temp, path string) error { return os.Rename(temp, path) }

// keepOwner gives f the owner and the mode that path has or shall have.
func keepOwner(f *os.File, path string, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if want, ok := confdir.Reference(path, old); ok && want != confdir.OwnerOf(now) {
		err := f.Chown(want.UID, want.GID)
		// It matters where the owner that path had would be lost, or a group
		// that the mode gives something to.
		had := old != nil && want == confdir.OwnerOf(old)
		if err != nil && had && (want.UID != confdir.OwnerOf(now).UID || old.Mode()&0o070 != 0) {
			return err
		}
	}
	if old == nil {
		return nil
	}
	mode := old.Mode().Perm()
	if !copyACL(f, path) {
		mode &^= 0o070 // the most that an ACL gives to anybody: what the group has is not known
	}
	if now, err = f.Stat(); err != nil || now.Mode().Perm() == mode {
		return err
	}
	return f.Chmod(mode)
}

// shareLock gives a new lock file to all who may replace path, as far as
// possible.
func shareLock(f *os.File, path string) {
	old, _ := os.Lstat(path)
	if want, ok := confdir.Reference(path, old); ok {
		_ = f.Chown(want.UID, want.GID)
	}
	_ = f.Chmod(0o660)
}

// shareDir gives a new directory to the owner of the one that it is in, if root
// made it; else they could not reach what is made in it for them.
func shareDir(dir string) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if want, ok := confdir.Reference(dir, nil); ok {
		_ = f.Chown(want.UID, want.GID)
	}
}

// diagnose says who and what is involved in an error, and what helps.
func diagnose(path string, err error) (facts, remedy string) {
	dir, lock := filepath.Dir(path), path+lockSuffix
	describe := func(name string) string {
		info, err := os.Stat(name)
		if err != nil {
			return ""
		}
		o := confdir.OwnerOf(info)
		return fmt.Sprintf(", %s is %s of %d:%d", name, info.Mode(), o.UID, o.GID)
	}
	seen := "" // the directory, or the nearest one above that can be seen
	for at := dir; seen == ""; at = filepath.Dir(at) {
		if seen = describe(at); at == filepath.Dir(at) {
			break
		}
	}
	lockSeen, op := "", ""
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
		op = failed.Op
		if failed.Path == lock {
			lockSeen = describe(lock)
		}
	}
	facts = fmt.Sprintf("run by uid %d gid %d%s%s%s", os.Geteuid(), os.Getegid(), seen, describe(path), lockSeen)
	is := func(errnos ...syscall.Errno) bool {
		for _, e := range errnos {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, errMounted), is(syscall.EBUSY, syscall.EXDEV):
		remedy = "a single file mounted into a container cannot be replaced, mount its directory instead"
	case is(syscall.EROFS):
		remedy = "the file system is read-only, mount " + dir + " writable"
	case is(syscall.ENOSPC, syscall.EDQUOT):
		remedy = "the disk is full or a quota is used up, make room on the file system of " + dir
	case is(syscall.EFBIG):
		remedy = "a limit on the size of files is too low, see ulimit -f"
	case is(syscall.EBADF, syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.ENOSYS):
		remedy = "the file system of " + dir + " has no working locks, use a local disk or mount it with locks"
	case is(syscall.EACCES) && lockSeen != "":
		remedy = fmt.Sprintf("let uid %d open the lock file: give it to the owner and group of the file, with mode 0660", os.Geteuid())
	case is(syscall.EPERM) && (op == "open" || os.Geteuid() == 0 && op != "chown" && op != "chmod"):
		remedy = "it or its directory is immutable, see lsattr: undo it with chattr -i -a, on macOS with chflags nouchg"
	case is(syscall.EACCES, syscall.EPERM):
		remedy = fmt.Sprintf("let uid %d read the file, write to its directory and keep its owner and group: chown both to that user, or run as the owner", os.Geteuid())
	case is(syscall.ENOTDIR, syscall.ENOENT):
		remedy = "see that " + dir + " is a directory"
	}
	return facts, remedy
}

// findImmutable is what the system says of a file that not even its owner may
// replace, be it by chattr +i or +a; nil for any other. Whether its mode lets it be
// written (EACCES) says nothing: a rename asks the directory.
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

// isMountPoint reports whether path itself is mounted, which only Linux tells.
func isMountPoint(path string) bool {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(mounts)) {
		// id, parent, device, root, mount point, …: proc(5)
		if fields := strings.Fields(line); len(fields) > 4 && unescape.Replace(fields[4]) == path {
			return true
		}
	}
	return false
}

// lockHolder names the process that has the lock, where Linux tells; "" else.
func lockHolder(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	locks, _ := os.ReadFile("/proc/locks")
	st := info.Sys().(*syscall.Stat_t)
	dev := uint64(st.Dev) // as makedev(3) packs it
	major, minor := dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff
	inode := fmt.Sprintf("%02x:%02x:%d", major, minor, st.Ino)
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[5] != inode || fields[4] == "0" || fields[4] == "-1" {
			continue
		}
		if fields[4] == strconv.Itoa(os.Getpid()) {
			return "this process itself"
		}
		command, _ := os.ReadFile("/proc/" + fields[4] + "/comm")
		return fmt.Sprintf("process %s (%s)", fields[4], strings.TrimSpace(string(command)))
	}
	return ""
}
