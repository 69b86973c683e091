package jsonfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const aclName = "system.posix_acl_access"

// copyACL gives f the access ACL of the file at path. If that file has no ACL, it removes the
// ACL of f. The mode alone is not enough: if there is an ACL, the group bits of the mode are its
// mask and not the rights of the group.
func copyACL(f *os.File, path string) error {
	acl, err := readACL(func(value []byte) (int, error) { return unix.Getxattr(path, aclName, value) })
	if err != nil {
		return &os.PathError{Op: "getxattr", Path: path, Err: err}
	}
	if acl != nil {
		if err := unix.Fsetxattr(int(f.Fd()), aclName, acl, 0); err != nil {
			return &os.PathError{Op: "setxattr", Path: f.Name(), Err: err}
		}
		return nil
	}
	inherited, err := readACL(func(value []byte) (int, error) { return unix.Fgetxattr(int(f.Fd()), aclName, value) })
	if err == nil && inherited != nil {
		err = unix.Fremovexattr(int(f.Fd()), aclName)
	}
	if err != nil {
		return &os.PathError{Op: "removexattr", Path: f.Name(), Err: err}
	}
	return nil
}

// readACL returns an ACL with get, a getxattr call. It returns nil if the file has no ACL, or if
// the file system does not support them.
func readACL(get func(value []byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil) // the length
		if err == nil {
			value := make([]byte, n)
			n, err = get(value)
			if err == nil {
				return value[:n], nil
			}
		}
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS):
			return nil, nil
		case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINTR): // the ACL has changed between the calls, or a signal came
		default:
			return nil, err
		}
	}
}
