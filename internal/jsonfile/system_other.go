//go:build !unix

package jsonfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
)

const noFollow = 0

const (
	// openWait bounds the wait for another program to close a file.
	openWait     = 2 * time.Second
	openInterval = 25 * time.Millisecond // between two tries
)

// retryOpen calls try until it succeeds. It fails while another program has the file open.
func retryOpen(ctx context.Context, try func() error) error {
	for end := time.Now().Add(openWait); ; {
		err := try()
		if err == nil || errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(openInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func openFile(ctx context.Context, path string) (f *os.File, err error) {
	err = retryOpen(ctx, func() error {
		f, err = os.Open(path)
		return err
	})
	return f, err
}

func replaceFile(ctx context.Context, temp, path string) error {
	return retryOpen(ctx, func() error { return os.Rename(temp, path) })
}

func renameNew(string, string) error { return errors.ErrUnsupported }

// isExposed returns false: here the mode does not say who may read a file.
func isExposed(fs.FileMode) bool { return false }

// Sync does nothing: this system cannot sync a directory.
func Sync(*os.File) error { return nil }

// syncFile syncs the file at path.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil // another program has it open, and syncs it
	}
	defer f.Close()
	return f.Sync()
}

// tryLock takes the lock on the file at name. If another program has it, unlock is nil.
func tryLock(name string) (unlock func(), err error) {
	l := flock.New(name, flock.SetFlag(os.O_RDONLY))
	locked, err := l.TryLock()
	if err != nil || !locked {
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}

func repairLock(string, string, fs.FileInfo) error { return nil }

func shareLock(*os.File, string) error { return nil }

func keepOwner(*os.File, string, fs.FileInfo) error { return nil }

func mkdir(dir string) error { return os.Mkdir(dir, 0o700) }

func findImmutable(string) error { return nil }

func isMountPoint(string) bool { return false }

func localLocks(string) string { return "" }

func mayBeShared(string) bool { return false }

func lockHolder(string) string { return "" }

func diagnose(path string, err error) (facts, remedy string) {
	if errors.Is(err, fs.ErrPermission) {
		return "", "let the user that runs this program read the file and write to its directory, and close it in other programs"
	}
	return "", ""
}
