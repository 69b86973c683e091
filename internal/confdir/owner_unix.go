//go:build unix

package confdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Owner is who a file belongs to.
type Owner struct{ UID, GID int }

// OwnerOf is whom the file belongs to that info is of.
func OwnerOf(info fs.FileInfo) Owner {
	st := info.Sys().(*syscall.Stat_t)
	return Owner{int(st.Uid), int(st.Gid)}
}

// Reference is whom files beside config shall belong to, as in CrossWatch: the
// owner of config, whose present info is now, nil where there is none. For
// root it is the owner of the directory where there is no config, or only one
// that root has left there. False: whoever makes them.
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
