package jsonfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/self/mountinfo; see proc(5).
type mount struct {
	point   string
	kind    string // "ext4", "nfs4", "fuse.sshfs"
	options []string
}

// mountOf returns the mount that path is on, or the zero mount if it is not known.
func mountOf(path string) (found mount) {
	lines, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(lines)) {
		m, ok := parseMount(line)
		// If several mounts have the same point, the last one is visible.
		if ok && len(m.point) >= len(found.point) && isBelow(path, m.point) {
			found = m
		}
	}
	return found
}

func isBelow(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// parseMount parses "id parent device root point options [optional …] - kind source options".
func parseMount(line string) (mount, bool) {
	fields := strings.Fields(line)
	dash := slices.Index(fields, "-")
	if dash < 6 || len(fields) < dash+2 {
		return mount{}, false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	m := mount{point: unescape.Replace(fields[4]), kind: fields[dash+1]}
	if len(fields) > dash+3 {
		m.options = strings.Split(fields[dash+3], ",")
	}
	return m, true
}

// isMountPoint reports whether path is a mount point.
func isMountPoint(path string) bool { return mountOf(path).point == path }

// localLocks returns a reason and a remedy if other machines do not see a lock on the file at
// path, although flock(2) succeeds. It returns "" if they do, or if that is not known.
func localLocks(path string) string {
	m := mountOf(existing(filepath.Dir(path)))
	if !m.locksLocally() {
		return ""
	}
	return "the file system (" + m.kind + " at " + m.point + ") keeps locks to this machine, so two programs could write at once: mount it with locks (for NFS without nolock and local_lock), or use a local disk"
}

// existing returns dir, or the nearest directory above it that exists.
func existing(dir string) string {
	for dir != filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// remoteFUSE are network file systems for FUSE that leave flock(2) to the kernel of each machine.
// Local ones (mergerfs, unRAID's shfs) do the same, but no other machine writes to them.
var remoteFUSE = []string{
	"sshfs", "rclone", "s3fs", "gcsfuse", "goofys", "mountpoint-s3", "geesefs", "blobfuse", "blobfuse2", "davfs", "curlftpfs", "google-drive-ocamlfuse",
}

// locksLocally reports whether locks on m exclude only programs on this machine.
func (m mount) locksLocally() bool {
	has := func(options ...string) bool {
		return slices.ContainsFunc(m.options, func(o string) bool { return slices.Contains(options, o) })
	}
	switch kind, sub, _ := strings.Cut(m.kind, "."); kind {
	case "nfs", "nfs4":
		return has("nolock", "local_lock=flock", "local_lock=all")
	case "cifs", "smb3":
		return has("nobrl", "forcemandatorylock=0")
	case "lustre":
		return has("localflock")
	case "gfs2", "ocfs2":
		return has("localflocks")
	case "fuse":
		return slices.Contains(remoteFUSE, sub)
	}
	return false
}

// oneMachine are the file systems that only one machine writes to.
var oneMachine = []string{
	"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "tmpfs", "ramfs", "overlay", "aufs", "vfat", "exfat", "ntfs3", "fuseblk",
}

// mayBeShared reports whether other machines may write to the directory of path.
func mayBeShared(path string) bool {
	kind := mountOf(path).kind
	return kind != "" && !slices.Contains(oneMachine, kind)
}

// renameNew renames temp to name. If name exists, it returns an error.
func renameNew(temp, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	switch err {
	case nil:
		return nil
	case unix.EINVAL, unix.ENOSYS:
		return unix.ENOTSUP // matches errors.ErrUnsupported
	}
	return &os.LinkError{Op: "rename", Old: temp, New: name, Err: err}
}
