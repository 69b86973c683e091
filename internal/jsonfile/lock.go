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
	// lockWait bounds the wait for a lock: CrossWatch may hold it across a
	// call to plex.tv, for up to 20 seconds.
	lockWait = 30 * time.Second
	// lockPace is the time between two bursts of lockTries tries. Others may
	// wait inside flock(2), and get the lock the moment it is free. A single
	// try now and then would never come between two of them.
	lockPace  = time.Millisecond
	lockTries = 16
)

// errLockBusy ends the wait for a lock if ctx does not.
var errLockBusy = fmt.Errorf("gave up after %v", lockWait)

// gates are this process's locks, by path. They hold also on a file system
// whose locks belong to the process (NFS).
var gates gate.Map

// lock makes the file's directory if it is missing, and waits for the lock. It
// returns the path of the file, as it is once the lock is held.
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
		if names.fromCluster() {
			return "", nil, explain(path, errFromCluster)
		}
		if reason := localLocks(path); reason != "" {
			return "", nil, explain(path, errors.New(reason))
		}
		if made, err := makeDir(filepath.Dir(path)); err != nil {
			return "", nil, explain(path, err)
		} else if made {
			continue // the name may be another one, now that the directory can be resolved
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
		unlock() // a link was changed during the wait
		if err != nil {
			return "", nil, err
		}
	}
}

// busy is the error of a lock that another program did not give back. ended is
// the error of the caller's context, if that ended the wait.
func busy(path string, ended error) error {
	if ended == nil {
		ended = errLockBusy
	}
	holder := lockHolder(path + lockSuffix)
	if holder == "" {
		holder = "another program"
	}
	return fmt.Errorf("%w: %s is locked by %s: see whether that hangs, and try again: %w", fault.ErrStore, path, holder, ended)
}

// lock locks every name in turn. A program that knows a file by a link locks
// beside the link (CrossWatch); another may know it by its own name.
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
			// Beside a link in a directory that is not ours to write to.
		default:
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

// errNoLockFile is matched if a lock file is missing and may not be made.
var errNoLockFile = errors.New("cannot make the lock file")

// lockFile waits for the lock that other processes see.
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
			if errors.Is(err, fs.ErrNotExist) { // deleted just now
				break
			}
			if err != nil {
				return nil, explain(path, &fs.PathError{Op: "lock", Path: name, Err: err})
			}
		}
		select {
		case <-time.After(lockPace):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ensureLockFile makes the lock file if it is missing, for all who may replace
// path. A CrossWatch that cannot open it goes on without a lock. So it gets its
// name once it has its owner and mode, and one that is there is put right.
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
	err = os.Link(temp.Name(), name)
	switch {
	case err == nil, errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist): // taken for litter; the caller tries again
		return nil
	}
	return makeLockFile(name, path)
}

// makeLockFile makes the lock file on a file system that has no hard links.
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
