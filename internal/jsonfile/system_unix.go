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

// isExposed reports whether the mode lets others than the owner use a file.
func isExposed(mode fs.FileMode) bool { return mode&0o077 != 0 }

// syncFile syncs the file at path.
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

// findImmutable returns an error if even the owner cannot replace the file at path, as after
// chattr +i or +a. EACCES is not such an error: a rename needs rights only for the directory.
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
