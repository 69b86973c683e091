package jsonfile

// KeepsLocksLocal reports whether locks are local on the mount of a line of mountinfo.
func KeepsLocksLocal(line string) (local, ok bool) {
	m, ok := parseMount(line)
	return m.locksLocally(), ok
}
