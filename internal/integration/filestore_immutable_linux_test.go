package integration_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

const immutable, appendOnly = 0x10, 0x20 // chattr +i, +a

// setFlags sets the flags of a file, as chattr does. 0 removes them.
func setFlags(path string, value int) error {
	const set = 0x40086602 // FS_IOC_SETFLAGS
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), set, uintptr(unsafe.Pointer(&value))); errno != 0 {
		return errno
	}
	return nil
}

// flaggedDir returns a directory whose files can have these flags.
func flaggedDir(t *testing.T) string {
	t.Helper()
	var reason error
	for _, parent := range []string{"", "/dev/shm"} {
		dir, err := os.MkdirTemp(parent, "plexauth")
		if reason = err; err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if reason = setFlags(dir, immutable); reason == nil {
			require.NoError(t, setFlags(dir, 0))
			return dir
		}
	}
	missing(t, "root and a file system with immutable files: "+reason.Error())
	return ""
}

// G17: a file that not even root may replace is refused with advice.
func TestFileStoreImmutable(t *testing.T) {
	dir := flaggedDir(t)
	path := filepath.Join(dir, "config.json")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	works(t, path)
	for name, row := range map[string]struct {
		path  string
		value int
	}{
		"file":             {path, immutable},
		"append-only file": {path, appendOnly},
		"directory":        {dir, immutable},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, setFlags(row.path, row.value))
			defer func() { require.NoError(t, setFlags(row.path, 0)) }()
			refuses(t, path, "operation not permitted", "chattr -i -a")
		})
		works(t, path)
	}
	require.NoError(t, setFlags(dir, appendOnly))
	err := plexauth.NewFileStore(path).Check(t.Context())
	require.NoError(t, setFlags(dir, 0))
	require.ErrorContains(t, err, "chattr -i -a")
	works(t, path) // and removes what Check could not
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}
