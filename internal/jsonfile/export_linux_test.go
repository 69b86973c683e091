package jsonfile

// KeepsLocksLocal reports whether locks are local on the mount of a line of mountinfo.
func KeepsLocksLocal(line string) (local, ok bool) {
	m, ok := parseMount(line)
	return m.locksLocally(), ok
}

// MountOf returns the point and the kind of the mount that path is on.
func MountOf(path string) (point, kind string) {
	m := mountOf(path)
	return m.point, m.kind
}

// A test asks these directly, because it cannot fill a disk or mount a file system.
var (
	Explain   = explain
	Existing  = existing
	CheckLock = checkLock
	ReadACL   = readACL
	Exposes   = isExposed
)

// ErrMounted is the error for a file that is mounted.
var ErrMounted = errMounted
