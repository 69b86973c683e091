//go:build unix

package jsonfile

import (
	"errors"
	"os"
	"path/filepath"
)

// mkdir makes a directory of mode 0700. If the process runs as root, the new directory belongs
// to the owner of the directory that it is in. It gets its name when it has its owner.
func mkdir(dir string) error {
	want, ok := OwnerBeside(dir, nil)
	if !ok || want == (Owner{UID: os.Geteuid(), GID: os.Getegid()}) {
		return os.Mkdir(dir, 0o700)
	}
	removeTempDirs(dir)
	temp, err := mkdirTemp(dir)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	_ = os.Lchown(temp, want.UID, want.GID) // not a link: no one else can write to it yet
	err = renameNew(temp, dir)
	if errors.Is(err, errors.ErrUnsupported) {
		err = os.Rename(temp, dir) // can replace only an empty directory
	}
	return err
}

// mkdirTemp creates a directory of mode 0700 beside dir and returns its name.
func mkdirTemp(dir string) (name string, err error) {
	name = tempName(dir)
	return name, os.Mkdir(name, 0o700)
}

// removeTempDirs removes the temporary directories that killed processes have made for dir.
func removeTempDirs(dir string) {
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
