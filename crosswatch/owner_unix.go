//go:build unix

package crosswatch

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/plexauth/plexauth/internal/jsonfile"
)

// giveToOwner gives f the owner of CrossWatch's files. CrossWatch could not read a key file
// that belongs to root. If that fails, the error says that the owner of config.json could not
// read f. Without a config, and without root's rights, the owner is usually right already.
func giveToOwner(f *os.File) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(f.Name()), configName)
	config, _ := os.Stat(path) // nil if it does not exist
	want, ok := jsonfile.OwnerBeside(path, config)
	if !ok || want == jsonfile.OwnerOf(now) {
		return nil
	}
	err = f.Chown(want.UID, want.GID)
	if err == nil || config == nil {
		return nil
	}
	reader := jsonfile.OwnerOf(config).UID
	if reader == 0 || reader == jsonfile.OwnerOf(now).UID {
		return nil
	}
	return fmt.Errorf("uid %d, who owns %s, could not read it: run this program as uid %d, or start CrossWatch once: %w", reader, path, reader, err)
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
	_ = giveToOwner(f) // like CrossWatch
}
