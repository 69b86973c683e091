package plexauth

import (
	"fmt"
	"os"
	"syscall"
)

// copyACL gives f, a new file, the access ACL of path, or none where that has none,
// and reports whether it could. The mode cannot stand in for it: what stat shows as
// the group's is then the most that anybody has whom the ACL names.
func copyACL(f *os.File, path string) bool {
	const name = "system.posix_acl_access"
	acl, ok := readXattr(path, name)
	given, _ := readXattr(f.Name(), name)           // by the directory
	self := fmt.Sprintf("/proc/self/fd/%d", f.Fd()) // f, whatever its name leads to by now
	switch {
	case !ok:
		return false
	case acl != nil:
		return syscall.Setxattr(self, name, acl, 0) == nil
	case given != nil:
		return syscall.Removexattr(self, name) == nil
	}
	return true
}

// readXattr returns an attribute, nil where there is none or can be none.
func readXattr(path, name string) (value []byte, ok bool) {
	n, err := syscall.Getxattr(path, name, nil) // how long it is
	if err == nil {
		value = make([]byte, n)
		n, err = syscall.Getxattr(path, name, value)
	}
	switch err {
	case nil:
		return value[:n], true
	case syscall.ENODATA, syscall.ENOTSUP, syscall.ENOSYS:
		return nil, true
	}
	return nil, false
}
