//go:build unix

package confdir

import (
	"errors"
	"os"
	"syscall"
)

// Sync writes the entries of an open directory to the disk. It returns nil on a
// file system that cannot sync directories.
func Sync(dir *os.File) error {
	err := dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
