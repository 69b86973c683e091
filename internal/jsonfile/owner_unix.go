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

// OwnerBeside returns the owner that new files beside config should have. The parameter info
// describes config; it is nil if config does not exist.
//
// Like CrossWatch, it returns the owner of config. If the process runs as root, and config
// does not exist or belongs to root, it returns the owner of the directory. It returns false
// if new files should keep the owner that the system gives them.
func OwnerBeside(config string, info fs.FileInfo) (Owner, bool) {
	root := os.Geteuid() == 0
	if info != nil && (!root || OwnerOf(info).UID != 0) {
		return OwnerOf(info), true
	}
	if root {
		if dir, err := os.Stat(filepath.Dir(config)); err == nil && (info == nil || OwnerOf(dir).UID != 0) {
			return OwnerOf(dir), true
		}
	}
	if info != nil {
		return OwnerOf(info), true
	}
	return Owner{}, false
}

// keepOwner gives f the owner and the mode of the file at path, which old describes. If old is
// nil, f gets the owner of a new file. keepOwner returns an error if the owner cannot be kept,
// or the group of a file that the group may use. Otherwise other programs could no longer read
// the config.
func keepOwner(f *os.File, path string, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	want, ok := OwnerBeside(path, old)
	var chownErr error
	if ok && want != OwnerOf(now) {
		chownErr = chown(f, want)
	}
	if old == nil {
		return nil
	}
	if had := OwnerOf(old); chownErr != nil && (had == want || chown(f, had) != nil) {
		if now, err = f.Stat(); err != nil {
			return err
		}
		is := OwnerOf(now)
		ownerLost := is.UID != want.UID && is.UID != had.UID
		groupLost := is.GID != want.GID && is.GID != had.GID && old.Mode()&0o070 != 0
		if ownerLost || groupLost {
			return chownErr
		}
	}
	return keepMode(f, path, old.Mode().Perm())
}

// keepMode gives f the mode and the ACL of the file at path.
func keepMode(f *os.File, path string, mode fs.FileMode) error {
	// If the group has no rights, no entry of an ACL grants any.
	if err := copyACL(f, path); err != nil && mode&0o070 != 0 {
		return err
	}
	now, err := f.Stat()
	if err != nil || now.Mode().Perm() == mode {
		return err
	}
	return f.Chmod(mode)
}

// chown gives f an owner and a group. If that fails, it gives f only the group.
func chown(f *os.File, to Owner) error {
	err := f.Chown(to.UID, to.GID)
	if err != nil {
		_ = f.Chown(-1, to.GID)
	}
	return err
}
