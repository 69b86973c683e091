//go:build unix

package crosswatch

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// giveToOwner gives a new file to whom CrossWatch's files belong: the owner of
// config.json, or of the directory where there is none or root made it. Made
// by root and left so, the key could not be read by CrossWatch. As in
// CrossWatch, a failure is not one: then the user is the same, or may not.
func giveToOwner(f *os.File) {
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return
	}
	uid, gid := ownerOf(dir)
	if info, err := os.Stat(filepath.Join(filepath.Dir(f.Name()), configName)); err == nil {
		u, g := ownerOf(info)
		if !(os.Geteuid() == 0 && u == 0 && uid != 0) {
			uid, gid = u, g
		}
	}
	_ = f.Chown(uid, gid)
}

func ownerOf(info fs.FileInfo) (uid, gid int) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid), int(s.Gid)
	}
	return -1, -1
}
