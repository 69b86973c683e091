package jsonfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeDir makes a directory and those above it, and syncs their entries to the disk. It
// returns false if the directory existed.
func makeDir(dir string) (made bool, err error) {
	if _, err := os.Stat(dir); err == nil {
		return false, nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return false, nil
	}
	if _, err := makeDir(parent); err != nil {
		return false, err
	}
	if err := mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	f, err := os.Open(parent)
	if err != nil {
		return true, nil // a directory that cannot be read is not one that makeDir has made
	}
	defer f.Close()
	return true, Sync(f)
}

// openDir opens the directory of path for listing and syncing.
func openDir(path string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, explain(path, err)
	}
	return dir, nil
}
