//go:build unix

package jsonfile

import (
	"errors"
	"os"
	"path/filepath"
)

// mkdir makes a directory for the owner of the one that it is in, if root makes
// it. It has its name only once it is theirs.
func mkdir(dir string) error {
	want, ok := OwnerBeside(dir, nil)
	if !ok || want == (Owner{UID: os.Geteuid(), GID: os.Getegid()}) {
		return os.Mkdir(dir, 0o700)
	}
	removeUnnamed(dir)
	temp, err := mkdirTemp(dir)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	_ = os.Lchown(temp, want.UID, want.GID) // as it is not writable by others yet, it is no link
	err = renameNew(temp, dir)
	if errors.Is(err, errors.ErrUnsupported) {
		err = os.Rename(temp, dir) // replaces an empty directory at most
	}
	return err
}

// removeUnnamed removes the directories that killed processes have made for dir.
func removeUnnamed(dir string) {
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return
	}
	defer parent.Close()
	names, _ := parent.Readdirnames(-1)
	for _, name := range names {
		if isTemp(dir, name) {
			os.Remove(filepath.Join(filepath.Dir(dir), name))
		}
	}
}
