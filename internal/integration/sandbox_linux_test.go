package integration_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scenario defines a test that runs in a child process, as another user or with mounts of
// its own. dir is a directory that both processes see.
func scenario(name string, run func(t *childT, dir string)) string {
	children[name] = func(args []string) error {
		t := &childT{}
		t.run(func() { run(t, args[0]) })
		return errors.Join(t.errs...)
	}
	return name
}

// childT is testify's TestingT in a child process.
type childT struct{ errs []error }

func (t *childT) Errorf(format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf(format, args...))
}

func (t *childT) FailNow() { panic(t) }

func (t *childT) run(f func()) {
	defer func() {
		if p := recover(); p != nil && p != t {
			panic(p)
		}
	}()
	f()
}

// mounted runs a scenario in a mount namespace of its own.
func mounted(t *testing.T, name string) {
	t.Helper()
	c := child(t, name, t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	c.Stdout = os.Stdout
	if err := c.Start(); errors.Is(err, fs.ErrPermission) {
		missing(t, "the right to make a mount namespace")
	} else {
		require.NoError(t, err)
	}
	assert.NoError(t, c.Wait())
}

// mount mounts a file system in a scenario. Other processes do not see it.
func mount(t *childT, source, target, kind string, flags uintptr, options string) {
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	require.NoError(t, syscall.Mount(source, target, kind, flags, options))
}

// openDir returns a directory that all users can reach.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// as runs a scenario as another user.
func as(t *testing.T, uid uint32, name, dir string) {
	t.Helper()
	requireRoot(t)
	self, err := os.Executable() // that user may not be able to reach it
	require.NoError(t, err)
	binary, err := os.ReadFile(self)
	require.NoError(t, err)
	c := child(t, name, dir)
	c.Path = filepath.Join(openDir(t), "child")
	require.NoError(t, os.WriteFile(c.Path, binary, 0o755))
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	assert.NoError(t, c.Run())
}

// withoutChown runs a scenario as root without the right to change the owner of a file.
func withoutChown(t *testing.T, name, dir string, groups ...string) {
	t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	if os.Geteuid() != 0 || err != nil {
		missing(t, "root and setpriv (util-linux)")
	}
	c := child(t, name, dir)
	c.Args = append(append([]string{setpriv, "--bounding-set=-chown", "--inh-caps=-all"}, groups...), append([]string{c.Path}, c.Args[1:]...)...)
	c.Path = setpriv
	assert.NoError(t, c.Run())
}

// owned makes a file with that owner, group and mode.
func owned(t *testing.T, path, content string, uid, gid int, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chown(path, uid, gid))
	require.NoError(t, os.Chmod(path, mode))
}
