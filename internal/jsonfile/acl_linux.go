package jsonfile

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const aclName = "system.posix_acl_access"

// copyACL gives f the access ACL of the file at path, or none if that has none.
// The mode cannot stand in for it: in the presence of an ACL the group's bits
// are the most that any entry grants.
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

// readACL returns an ACL by a getxattr call, nil if there is none or the file
// system has none.
func readACL(get func(value []byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil) // its length
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
		case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINTR): // changed between the calls
		default:
			return nil, err
		}
	}
}
