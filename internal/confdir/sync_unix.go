//go:build unix

package confdir

import (
	"errors"
	"os"
	"syscall"
)

// Sync puts on the disk what names the files of an open directory have, where the
// file system has such a thing.
func Sync(dir *os.File) error {
	err := dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
