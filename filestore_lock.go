package plexauth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockSuffix = ".lock"
	// lockWait bounds the wait for a lock: CrossWatch may hold it across a
	// call to plex.tv, for up to 20 seconds.
	lockWait = 30 * time.Second
	lockPace = 25 * time.Millisecond
)

// errLockBusy ends the wait for a lock where ctx does not.
var errLockBusy = fmt.Errorf("gave up after %v", lockWait)

// lock resolves the path, makes its directory if it is missing and waits for
// the lock.
func (s *FileStore) lock(ctx context.Context) (path string, unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", ErrStore, s.path, err)
	}
	path, err = s.resolve()
	if err != nil {
		return "", nil, err
	}
	if made, err := makeDir(filepath.Dir(path)); err != nil {
		return "", nil, explain(path, err)
	} else if made { // which may have a better name now
		if path, err = s.resolve(); err != nil {
			return "", nil, err
		}
	}
	waiting, cancel := context.WithTimeoutCause(ctx, lockWait, errLockBusy)
	defer cancel()
	leave, err := fileTurns.take(waiting, path)
	if err == nil {
		var release func()
		if release, err = lockFile(waiting, path); err == nil {
			return path, func() { release(); leave() }, nil
		}
		leave()
	}
	if waiting.Err() != nil {
		// Not the cause that a caller may have given ctx, which would hide
		// context.Canceled.
		cause := ctx.Err()
		if cause == nil {
			cause = errLockBusy
		}
		holder := lockHolder(path + lockSuffix)
		if holder == "" {
			holder = "another program"
		}
		return "", nil, fmt.Errorf("%w: %s is locked by %s: see whether that hangs, and try again: %w", ErrStore, path, holder, cause)
	}
	return "", nil, err
}

// fileTurns are this process's locks, by path: waiting for one is cheap, and it
// holds where a file system's locks belong to the process (NFS).
var fileTurns turns

// lockFile waits for the lock that other processes see.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	name := path + lockSuffix
	for {
		if err := makeLockFile(name, path); err != nil {
			return nil, explain(path, err)
		}
		l := flock.New(name, flock.SetFlag(os.O_RDONLY), flock.SetPermissions(0o660))
		switch locked, err := l.TryLock(); {
		case errors.Is(err, fs.ErrNotExist): // deleted just now
		case err != nil:
			return nil, explain(path, &fs.PathError{Op: "lock", Path: name, Err: err})
		case locked && sameFile(l, name):
			return func() { _ = l.Close() }, nil
		case locked: // deleted and made anew meanwhile: this one excludes nobody
			_ = l.Close()
		}
		select {
		case <-time.After(lockPace):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// makeLockFile makes the lock file where it is missing, for all who may
// replace path: made 0600 by root it would keep others out, and a CrossWatch
// under another user goes on unlocked then. One that is there is left as it
// is: in a directory of somebody else it may be a link to anything.
func makeLockFile(name, path string) error {
	info, err := os.Lstat(name)
	if err == nil {
		if !info.Mode().IsRegular() {
			return &fs.PathError{Op: "lock", Path: name, Err: errors.New("not a regular file, remove it: it is made anew")}
		}
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o660)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	shareLock(f, path)
	return nil
}

// sameFile reports whether the lock is on the file that others will find.
func sameFile(l *flock.Flock, name string) bool {
	held, err := l.Stat()
	if err != nil {
		return false
	}
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(held, now)
}
