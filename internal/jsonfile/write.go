package jsonfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/plexauth/plexauth/internal/confdir"
	"github.com/plexauth/plexauth/internal/fault"
)

// errMounted stands for the errors of a rename over a mount point.
var errMounted = errors.New("it is mounted as a single file, so it cannot be replaced")

// writeTemp writes data to a new file beside path, synced to the disk, with
// the mode and owner of path, or those that a new one gets if old is nil. After
// an error there is no such file.
func writeTemp(path string, data []byte, old fs.FileInfo) (name string, err error) {
	f, err := confdir.CreateTemp(path)
	if err != nil {
		return "", explain(path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = keepOwner(f, path, old)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(f.Name())
		return "", explain(path, err)
	}
	return f.Name(), nil
}

// litterAge is how old a temporary file must be on a file system that other
// machines may share, where a writer need not have our lock.
const litterAge = 10 * time.Minute

// removeLitter removes what processes killed in an Update of path have left.
// The lock must be held, so that none of it is in use.
func removeLitter(dir *os.File, path string) {
	names, _ := dir.Readdirnames(-1) // a directory that cannot be listed keeps its litter
	for _, name := range names {
		if !confdir.IsTemp(path, name) {
			continue
		}
		full := filepath.Join(filepath.Dir(path), name)
		info, err := os.Lstat(full)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if time.Since(info.ModTime()) >= litterAge || !mayBeShared(path) {
			os.Remove(full)
		}
	}
}

// makeDir makes a directory and those above it, and syncs what names them. It
// reports whether there was something to make.
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
		return true, nil // not ours to read: it was there before
	}
	defer f.Close()
	return true, confdir.Sync(f)
}

// openDir opens the directory of path, to list and to sync it.
func openDir(path string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, explain(path, err)
	}
	return dir, nil
}

// explain makes of an error of the operating system one that says what to do.
func explain(path string, err error) error {
	facts, remedy := diagnose(path, err)
	if facts != "" {
		facts = " (" + facts + ")"
	}
	if remedy != "" {
		remedy = ": " + remedy
	}
	return fmt.Errorf("%w: %s: %w%s%s", fault.ErrStore, path, err, facts, remedy)
}
