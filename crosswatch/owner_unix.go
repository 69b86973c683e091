//go:build unix

package crosswatch

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// giveToOwner gives a file to whom CrossWatch's files belong: made by root and
// left so, the key could not be read by CrossWatch. As in CrossWatch, a failure
// is not one: then the user is the same, or may not.
func giveToOwner(f *os.File) {
	now, err := f.Stat()
	if err != nil {
		return
	}
	path := filepath.Join(filepath.Dir(f.Name()), configName)
	config, _ := os.Stat(path) // nil where there is none
	if want, ok := jsonfile.OwnerBeside(path, config); ok && want != jsonfile.OwnerOf(now) {
		_ = f.Chown(want.UID, want.GID)
	}
}

// protect gives a key file that is there mode 0600 and its owner, as far as
// possible. A file that has another name, too, is left as it is: whoever owns
// the directory could have root give away any file by a link.
func protect(f *os.File) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	named, err := os.Lstat(f.Name())
	if err != nil || !named.Mode().IsRegular() || !os.SameFile(info, named) {
		return
	}
	if info.Sys().(*syscall.Stat_t).Nlink != 1 {
		return
	}
	if info.Mode() != 0o600 {
		_ = f.Chmod(0o600)
	}
	giveToOwner(f)
}
