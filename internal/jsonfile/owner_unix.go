//go:build unix

package jsonfile

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

// OwnerBeside returns the owner that new files beside config should have. The
// parameter now is the info of config, or nil if config does not exist.
//
// As in CrossWatch, it is the owner of config. If the process runs as root, and
// config is missing or belongs to root, it is the owner of the directory.
// OwnerBeside returns false if new files should keep the owner that the system
// gives them.
func OwnerBeside(config string, now fs.FileInfo) (Owner, bool) {
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

// keepOwner gives f the owner, the group and the mode that path has (old), or
// those of a new file. What path had is kept or an error: a group that can read
// the config can also read the next one.
func keepOwner(f *os.File, path string, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	want, ok := OwnerBeside(path, old)
	var failed error
	if ok && want != OwnerOf(now) {
		failed = chown(f, want)
	}
	if old == nil {
		return nil
	}
	had := OwnerOf(old)
	if failed != nil && had != want {
		if chown(f, had) == nil {
			failed = nil
		}
	}
	if failed != nil {
		if now, err = f.Stat(); err != nil {
			return err
		}
		is := OwnerOf(now)
		ownerLost := is.UID != want.UID && is.UID != had.UID
		groupLost := is.GID != want.GID && is.GID != had.GID && old.Mode()&0o070 != 0
		if ownerLost || groupLost {
			return failed
		}
	}
	return keepMode(f, path, old.Mode().Perm())
}

// keepMode gives f the ACL of path and its mode.
func keepMode(f *os.File, path string, mode fs.FileMode) error {
	// Without any right of the group no entry of an ACL grants anything.
	if err := copyACL(f, path); err != nil && mode&0o070 != 0 {
		return err
	}
	now, err := f.Stat()
	if err != nil || now.Mode().Perm() == mode {
		return err
	}
	return f.Chmod(mode)
}

// chown gives f an owner and a group, or at least the group.
func chown(f *os.File, to Owner) error {
	err := f.Chown(to.UID, to.GID)
	if err != nil {
		_ = f.Chown(-1, to.GID)
	}
	return err
}
