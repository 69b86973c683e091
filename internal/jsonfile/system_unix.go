//go:build unix

package jsonfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
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
	return Sync(f)
}

// Sync writes an open file, or the entries of an open directory, to the disk. It
// returns nil on a file system that cannot sync directories.
func Sync(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
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
