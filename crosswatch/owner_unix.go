//go:build unix

package crosswatch

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// giveToOwner gives f the owner of CrossWatch's files. CrossWatch could not read a key file
// that belongs to root. Like CrossWatch, it ignores errors: without root's rights, the owner
// is usually right already.
func giveToOwner(f *os.File) {
	now, err := f.Stat()
	if err != nil {
		return
	}
	path := filepath.Join(filepath.Dir(f.Name()), configName)
	config, _ := os.Stat(path) // nil if it does not exist
	if want, ok := jsonfile.OwnerBeside(path, config); ok && want != jsonfile.OwnerOf(now) {
		_ = f.Chown(want.UID, want.GID)
	}
}

// restoreRights gives an existing key file mode 0600 and the right owner, if possible. It does
// not change a file that has a second name. Otherwise the owner of the directory could get any
// file by making a link to it, if this process runs as root.
func restoreRights(f *os.File) {
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
