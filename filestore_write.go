package plexauth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plexauth/plexauth/internal/confdir"
)

// errMounted stands for the errors of a rename over a mount point.
var errMounted = errors.New("it is mounted as a single file, so it cannot be replaced")

// writeTemp writes data to a new file beside path, with the mode and owner
// that path has (old, nil where there is none) or shall have, synced to the
// disk. After an error there is no such file.
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

// removeLitter removes what processes killed in an Update of path have left.
// Whoever calls it holds the lock, so none of it is in use.
func removeLitter(dir *os.File, path string) {
	names, _ := dir.Readdirnames(-1) // a directory that cannot be listed keeps its litter
	for _, name := range names {
		if !confdir.IsTemp(path, name) {
			continue
		}
		full := filepath.Join(filepath.Dir(path), name)
		if info, err := os.Lstat(full); err == nil && info.Mode().IsRegular() {
			os.Remove(full)
		}
	}
}

// makeDir makes a directory and those above it, for the owner of the one that
// is there if root makes it, and syncs what names them. It reports whether
// there was something to make.
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
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		shareDir(dir)
	case !errors.Is(err, fs.ErrExist):
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
	return fmt.Errorf("%w: %s: %w%s%s", ErrStore, path, err, facts, remedy)
}
