package jsonfile

// KeepsLocksLocal reports what a line of mountinfo says about locks.
func KeepsLocksLocal(line string) (local, ok bool) {
	m, ok := parseMount(line)
	return m.locksLocally(), ok
}
