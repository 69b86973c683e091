//go:build unix

package confdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Owner is the user and the group of a file.
type Owner struct{ UID, GID int }

// OwnerOf returns the owner of the file that info describes.
func OwnerOf(info fs.FileInfo) Owner {
	st := info.Sys().(*syscall.Stat_t)
	return Owner{int(st.Uid), int(st.Gid)}
}

// Reference returns the owner that new files beside config should have. The
// parameter now is the info of config, or nil if config does not exist.
//
// As in CrossWatch, it is the owner of config. If the process runs as root, and
// config is missing or belongs to root, it is the owner of the directory.
// Reference returns false if new files should keep the owner that the system
// gives them.
func Reference(config string, now fs.FileInfo) (Owner, bool) {
	root := os.Geteuid() == 0
	if now != nil && (!root || OwnerOf(now).UID != 0) {
		return OwnerOf(now), true
	}
	if root {
		if dir, err := os.Stat(filepath.Dir(config)); err == nil && (now == nil || OwnerOf(dir).UID != 0) {
			return OwnerOf(dir), true
		}
	}
	if now != nil {
		return OwnerOf(now), true
	}
	return Owner{}, false
}
