package crosswatch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fernet/fernet-go"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/jsonfile"
)

// findOrMakeKey returns the key in use. If there is none, it makes the key file. The lock
// must be held, and the config must have no encrypted value. CrossWatch makes its key file
// without the lock: so the new file gets its name only when it is complete, and never
// replaces another.
func findOrMakeKey(dir string) (*masterKey, error) {
	path := filepath.Join(dir, keyName)
	key, err := findKey(dir)
	write := createFile
	if errors.Is(err, errEmptyKey) && isAbandoned(path) {
		write = replaceFile
	} else if key != nil || err != nil {
		return key, err
	}
	made := new(fernet.Key)
	if err := made.Generate(); err != nil {
		return nil, fmt.Errorf("%w: the key: %w", plexauth.ErrStore, err)
	}
	err = write(path, []byte(made.Encode()))
	if err == nil {
		err = syncFile(dir) // before a value that needs the key is written
	}
	if errors.Is(err, fs.ErrExist) {
		key, err := findKey(dir)
		if err == nil && key == nil {
			err = fmt.Errorf("%w: the key: another program made and removed %s at the same time: try again", plexauth.ErrStore, path)
		}
		return key, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: cannot make the key: %w", plexauth.ErrStore, err)
	}
	return &masterKey{made, path, true}, nil
}

// keyWriteTime is longer than CrossWatch takes to fill a key file that it has created.
const keyWriteTime = 10 * time.Second

// isAbandoned reports whether a killed process has left the empty key file at path. It
// returns false if a process may still be filling the file, and for a symbolic link.
func isAbandoned(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > keyWriteTime
}

// sync syncs the key file, because CrossWatch does not. Otherwise a power cut could lose the
// key but not the values that it encrypts.
func (k *masterKey) sync() error {
	if k.synced {
		return nil
	}
	path, err := filepath.EvalSymlinks(k.source)
	if err == nil {
		err = syncFile(path)
	}
	if err == nil {
		err = syncFile(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("%w: the key: cannot sync %s to the disk: %w", plexauth.ErrStore, k.source, err)
	}
	k.synced = true
	return nil
}

// writeTemp makes a temporary file with content beside path.
func writeTemp(path string, content []byte) (name string, err error) {
	// It is named after config.json, so that the FileStore removes it if this process dies.
	temp, err := jsonfile.CreateTemp(filepath.Join(filepath.Dir(path), configName))
	if err != nil {
		return "", err
	}
	if err := fill(temp, content); err != nil {
		os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

// replaceFile replaces the file at path with a file of mode 0600.
func replaceFile(path string, content []byte) error {
	temp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}

// createFile creates a file of mode 0600 that must not exist yet. Where [jsonfile.NameNew]
// works, the file is complete as soon as it has its name.
func createFile(path string, content []byte) error {
	temp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	err = jsonfile.NameNew(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return createEmpty(path, content)
}

// createEmpty does what createFile does on a file system that cannot name a complete file
// without replacing another one. For a moment the file is empty.
func createEmpty(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := fill(f, content); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

// syncFile syncs a file, or the entries of a directory.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return jsonfile.Sync(f)
}

// fill writes content to f, sets its mode and owner, syncs it and closes it.
func fill(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		err = giveToOwner(f)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
