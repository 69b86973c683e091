//go:build unix

package crosswatch

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// giveToOwner gives a file to whom CrossWatch's files belong: the owner of
// config.json, or of the directory where there is none or root made it. Made
// by root and left so, the key could not be read by CrossWatch. As in
// CrossWatch, a failure is not one: then the user is the same, or may not.
func giveToOwner(f *os.File) {
	now, err := f.Stat()
	if err != nil {
		return
	}
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return
	}
	want := ownerOf(dir)
	if config, err := os.Stat(filepath.Join(filepath.Dir(f.Name()), configName)); err == nil {
		if made := ownerOf(config); os.Geteuid() != 0 || made.uid != 0 || want.uid == 0 {
			want = made
		}
	}
	if ownerOf(now) != want {
		_ = f.Chown(want.uid, want.gid)
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

type owner struct{ uid, gid int }

func ownerOf(info fs.FileInfo) owner {
	st := info.Sys().(*syscall.Stat_t)
	return owner{int(st.Uid), int(st.Gid)}
}
