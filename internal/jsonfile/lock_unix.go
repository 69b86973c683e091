//go:build unix

package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/plexauth/plexauth/internal/plain"
)

const noFollow = unix.O_NOFOLLOW

// tryLock takes the lock on the file at name. If another program has it, unlock is nil.
func tryLock(name string) (unlock func(), err error) {
	f, err := openLocked(name, os.O_RDONLY)
	if errors.Is(err, unix.EBADF) { // NFS requires the file to be open for writing
		f, err = openLocked(name, os.O_RDWR)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !isNamed(f, name) { // it was deleted, so others lock another file
		f.Close()
		return nil, nil
	}
	return func() {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close() // releases the lock even if Flock failed
	}, nil
}

// openLocked opens a file and takes its lock.
func openLocked(name string, flag int) (*os.File, error) {
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// isNamed reports whether name still refers to f.
func isNamed(f *os.File, name string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(held, now)
}

// lockRights is the error for a lock file that the owner of the config, or the group that may
// write it, cannot open.
type lockRights struct {
	who  string // cannot open it
	lock string // its mode and owner
}

func (e *lockRights) Error() string {
	return fmt.Sprintf("%s could not open the lock file (%s), and would go on without a lock", e.who, e.lock)
}

// checkLock returns a *lockRights if someone who may write the file at path cannot open the lock
// file that info describes. root can open every file.
func checkLock(info fs.FileInfo, path string) error {
	config, err := os.Stat(path)
	if err != nil {
		return nil
	}
	mode, is, want := info.Mode().Perm(), OwnerOf(info), OwnerOf(config)
	byGroup := is.GID == want.GID && mode&0o060 == 0o060
	byAll := mode&0o006 == 0o006
	lock := fmt.Sprintf("%v of %d:%d", mode, is.UID, is.GID)
	if want.UID != 0 && !byGroup && !byAll && (is.UID != want.UID || mode&0o600 != 0o600) {
		return &lockRights{fmt.Sprintf("uid %d, who owns the config,", want.UID), lock}
	}
	if config.Mode()&0o020 != 0 && !byGroup && !byAll {
		return &lockRights{fmt.Sprintf("group %d, which may write the config,", want.GID), lock}
	}
	return nil
}

// repairLock repairs the owner and mode of a lock file that others cannot open. A file with a
// second name is left as it is, because it may be a link to another user's file.
func repairLock(name, path string, info fs.FileInfo) error {
	rightsErr := checkLock(info, path)
	if rightsErr == nil {
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	held, err := f.Stat()
	if err != nil || !os.SameFile(held, info) || held.Sys().(*syscall.Stat_t).Nlink != 1 {
		return rightsErr
	}
	return shareLock(f, path)
}

// shareLock sets the owner and mode of a lock file, so that everyone who may replace path can
// open it.
func shareLock(f *os.File, path string) error {
	config, err := os.Stat(path)
	if err != nil {
		config = nil
	}
	if want, ok := OwnerBeside(path, config); ok {
		_ = chown(f, want)
	}
	_ = f.Chmod(0o660)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return checkLock(info, path)
}

// lockHolder returns the process that holds the lock, or "" if it is not known. It is known only
// on Linux.
func lockHolder(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	locks, _ := os.ReadFile("/proc/locks")
	st := info.Sys().(*syscall.Stat_t)
	dev := uint64(st.Dev) // in the format of makedev(3)
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
		return fmt.Sprintf("process %s (%s)", fields[4], plain.Short(strings.TrimSpace(string(command))))
	}
	return ""
}
