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
)

const noFollow = unix.O_NOFOLLOW

// tryLock takes the lock on a file, and returns how to give it back. unlock is
// nil if another program has it.
func tryLock(name string) (unlock func(), err error) {
	f, err := openLocked(name, os.O_RDONLY)
	if errors.Is(err, unix.EBADF) { // NFS wants it open for writing
		f, err = openLocked(name, os.O_RDWR)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !isNamed(f, name) { // deleted and made again: this one excludes no other program
		f.Close()
		return nil, nil
	}
	return func() {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close() // gives the lock back even if that failed
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

// isNamed reports whether f is the file that others find under name.
func isNamed(f *os.File, name string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(held, now)
}

// lockRights is the error for a lock file that the owner of the config, or the
// group that may write it, could not open.
type lockRights struct {
	who  string
	lock string // mode and owner
}

func (e *lockRights) Error() string {
	return fmt.Sprintf("%s could not open the lock file (%s), and would go on without a lock", e.who, e.lock)
}

// checkLock returns a *lockRights if a lock file with this info keeps out who
// may write the file at path. A file of root's says nothing: root gets in.
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

// repairLock puts right a lock file that others cannot open. It leaves alone
// what may be a link to another user's file: one with a second name.
func repairLock(name, path string, info fs.FileInfo) error {
	trouble := checkLock(info, path)
	if trouble == nil {
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	held, err := f.Stat()
	if err != nil || !os.SameFile(held, info) || held.Sys().(*syscall.Stat_t).Nlink != 1 {
		return trouble
	}
	return shareLock(f, path)
}

// shareLock gives a lock file to all who may replace path.
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

// lockHolder names the process that has the lock, if Linux tells; "" else.
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
