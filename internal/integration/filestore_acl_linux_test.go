package integration_test

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

const accessACL, defaultACL = "system.posix_acl_access", "system.posix_acl_default"

// acl returns an ACL in the kernel's format: user 0 may read and write, the owning group
// may do nothing. See acl(5).
func acl() (b []byte) {
	b = binary.LittleEndian.AppendUint32(b, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 6, ^uint32(0)}, {0x02, 6, 0}, {0x04, 0, ^uint32(0)}, {0x10, 6, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// withACL has configs with ACLs. The mode of such a file shows the mask of the ACL in place
// of the group's rights.
var withACL = scenario("filestore with ACLs", func(t *childT, dir string) {
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
	rights := func(path string) (os.FileMode, []byte) {
		info, err := os.Stat(path)
		require.NoError(t, err)
		b := make([]byte, 1000)
		n, err := syscall.Getxattr(path, accessACL, b)
		if err != nil {
			require.ErrorIs(t, err, syscall.ENODATA)
			return info.Mode().Perm(), nil
		}
		return info.Mode().Perm(), b[:n]
	}
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	named, plain := write("named.json", 0o600), write("plain.json", 0o640)
	require.NoError(t, syscall.Setxattr(named, accessACL, acl(), 0))
	for range 2 {
		works(t, named)
		mode, now := rights(named)
		assert.Equal(t, os.FileMode(0o660), mode)
		assert.Equal(t, acl(), now)
		require.NoError(t, plexauth.NewFileStore(named).Update(context.Background(), "plex", becomes(`{}`)))
	}

	// New files in the directory get an ACL. The config that is replaced had none.
	require.NoError(t, syscall.Setxattr(dir, defaultACL, acl(), 0))
	works(t, plain)
	mode, now := rights(plain)
	assert.Equal(t, os.FileMode(0o640), mode)
	assert.Empty(t, now)
	works(t, filepath.Join(dir, "new.json"))
	mode, _ = rights(filepath.Join(dir, "new.json"))
	assert.Equal(t, os.FileMode(0o600), mode)
	require.NoError(t, syscall.Removexattr(dir, defaultACL))

	// The same without /proc.
	require.NoError(t, syscall.Mount("tmpfs", "/proc", "tmpfs", 0, ""))
	works(t, named)
	mode, now = rights(named)
	assert.Equal(t, os.FileMode(0o660), mode)
	assert.Equal(t, acl(), now)
})

// G15: an Update keeps the rights that an ACL gives, and adds none.
func TestFileStoreACL(t *testing.T) {
	probe, err := os.CreateTemp("/dev/shm", "plexauth")
	if err == nil {
		defer os.Remove(probe.Name())
		defer probe.Close()
		err = syscall.Setxattr(probe.Name(), accessACL, acl(), 0)
	}
	if err != nil {
		missing(t, "a tmpfs with ACLs: "+err.Error())
	}
	mounted(t, withACL)
}
