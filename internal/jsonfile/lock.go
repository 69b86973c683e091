package jsonfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
)

const (
	lockSuffix = ".lock"
	// lockWait bounds the wait for a lock. CrossWatch may hold it during a call to plex.tv,
	// for up to 20 seconds.
	lockWait = 30 * time.Second
	// lockInterval is the time between two series of lockTries tries. Other programs may
	// wait in flock(2), and get the lock as soon as it is free. Single tries would hardly
	// ever succeed between two of them.
	lockInterval = time.Millisecond
	lockTries    = 16
)

// errLockBusy is the error after lockWait.
var errLockBusy = fmt.Errorf("gave up after %v", lockWait)

// gates are the locks within this process, by path. On some file systems (NFS) a file lock
// excludes only other processes.
var gates gate.Map

// lock waits for the lock, and makes the file's directory if it does not exist. It returns the
// path of the file, with links resolved under the lock.
func (f *File) lock(ctx context.Context) (path string, unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", fault.ErrStore, f.path, err)
	}
	waiting, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		names, err := f.resolve()
		if err != nil {
			return "", nil, err
		}
		path = names.target()
		if names.isKubernetesVolume() {
			return "", nil, explain(path, errKubernetesVolume)
		}
		if reason := localLocks(path); reason != "" {
			return "", nil, explain(path, errors.New(reason))
		}
		if made, err := makeDir(filepath.Dir(path)); err != nil {
			return "", nil, explain(path, err)
		} else if made {
			continue // now that the directory exists, the path may resolve to another one
		}
		unlock, err := names.lock(waiting)
		if err != nil {
			if waiting.Err() != nil {
				err = busy(path, ctx.Err())
			}
			return "", nil, err
		}
		now, err := f.resolve()
		if err == nil && slices.Equal(now, names) {
			return path, unlock, nil
		}
		unlock() // a link has changed during the wait
		if err != nil {
			return "", nil, err
		}
	}
}

// busy returns the error for a lock that another program holds. ctxErr is the error of the
// caller's context, or nil if lockWait ended the wait.
func busy(path string, ctxErr error) error {
	if ctxErr == nil {
		ctxErr = errLockBusy
	}
	holder := lockHolder(path + lockSuffix)
	if holder == "" {
		holder = "another program"
	}
	return fmt.Errorf("%w: %s is locked by %s: check whether it hangs, then try again: %w", fault.ErrStore, path, holder, ctxErr)
}

// lock locks each path of the chain. A program that knows the file by a link locks beside the
// link, as CrossWatch does; another program may know the file by its own path.
func (c chain) lock(ctx context.Context) (unlock func(), err error) {
	var undo []func()
	unlock = func() {
		for _, u := range slices.Backward(undo) {
			u()
		}
	}
	for i, name := range c {
		leave, err := gates.Enter(ctx, name)
		if err != nil {
			unlock()
			return nil, err
		}
		undo = append(undo, leave)
		release, err := lockFile(ctx, name)
		switch {
		case err == nil:
			undo = append(undo, release)
		case i < len(c)-1 && errors.Is(err, errNoLockFile):
			// The link is in a directory that this process cannot write to.
		default:
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

// errNoLockFile is the error if the lock file does not exist and cannot be made.
var errNoLockFile = errors.New("cannot make the lock file")

// lockFile waits for the lock on the lock file of path, which other processes use too.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	name := path + lockSuffix
	for {
		if err := ensureLockFile(name, path); err != nil {
			return nil, explain(path, err)
		}
		for range lockTries {
			unlock, err := tryLock(name)
			if unlock != nil {
				return unlock, nil
			}
			if errors.Is(err, fs.ErrNotExist) { // deleted since ensureLockFile
				break
			}
			if err != nil {
				return nil, explain(path, &fs.PathError{Op: "lock", Path: name, Err: err})
			}
		}
		select {
		case <-time.After(lockInterval):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ensureLockFile makes the lock file if it does not exist. Everyone who may replace path must be
// able to open it, because CrossWatch goes on without a lock otherwise. So a new lock file gets
// its name when it has its owner and mode, and those of an existing one are repaired.
func ensureLockFile(name, path string) error {
	info, err := os.Lstat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return &fs.PathError{Op: "lock", Path: name, Err: errors.New("not a regular file, remove it: a new one is made")}
	case err == nil:
		return repairLock(name, path, info)
	}
	temp, err := CreateTemp(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLockFile, err)
	}
	defer os.Remove(temp.Name())
	err = shareLock(temp, path)
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	err = NameNew(temp.Name(), name)
	switch {
	case err == nil, errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist): // another process removed temp as a left-over file
		return nil // the caller tries again
	}
	return makeLockFile(name, path)
}

// makeLockFile makes the lock file on a file system that cannot name a complete file without
// replacing another one.
func makeLockFile(name, path string) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o660)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLockFile, err)
	}
	defer f.Close()
	if err := shareLock(f, path); err != nil {
		os.Remove(name)
		return err
	}
	return nil
}
