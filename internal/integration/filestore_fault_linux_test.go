package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// Most of these children call one method in one thread, because strace counts the calls of
// each thread.
func init() {
	children["filestore update"] = func(args []string) error {
		runtime.LockOSThread()
		return plexauth.NewFileStore(args[0]).Update(context.Background(), "plex", becomes(`{"account_token":"TEST_TOKEN_new"}`))
	}
	children["filestore two stores"] = func(args []string) error {
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				path := args[0]
				if i%2 == 1 { // by another name, if there is one
					path = strings.Replace(path, "/real/", "/link/", 1)
				}
				errs[i] = addKeys(io.Discard, plexauth.NewFileStore(path), fmt.Sprint("s", i), 10)
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	children["filestore two updates"] = func(args []string) error {
		runtime.LockOSThread()
		defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would close files that were forgotten
		store := plexauth.NewFileStore(args[0])
		ctx, cancel := context.WithTimeout(context.Background(), slack)
		defer cancel()
		for _, value := range []string{`{"n":1}`, `{"n":2}`} {
			if err := store.Update(ctx, "plex", becomes(value)); err != nil {
				return err
			}
		}
		return nil
	}
	children["filestore same"] = func(args []string) error {
		runtime.LockOSThread()
		return plexauth.NewFileStore(args[0]).Update(context.Background(), "plex", func(current json.RawMessage) (json.RawMessage, error) { return current, nil })
	}
	children["filestore check"] = func(args []string) error {
		runtime.LockOSThread()
		return plexauth.NewFileStore(args[0]).Check(context.Background())
	}
}

// G15: the order of writing makes a power cut harmless. The new file is complete on the disk
// before it gets its name, and its name is on the disk before Update returns.
func TestFileStoreOrderOfWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
	trace, stderr, ok := straced(t, "filestore update", path, "-e", "trace=flock,openat,write,fchmod,fchown,fsync,fdatasync,rename,renameat,renameat2,close")
	require.True(t, ok, stderr)

	dir := regexp.QuoteMeta(filepath.Dir(path))
	temp := dir + `/\.config\.json\.plexauth-[0-9a-f]{16}\.tmp`
	steps := []string{
		`flock\(\d+<` + dir + `/config\.json\.lock>, LOCK_EX\|LOCK_NB\) += 0`,
		`openat\(.*"` + temp + `", O_WRONLY\|O_CREAT\|O_EXCL\|O_CLOEXEC, 0600\) += \d`,
		`write\(\d+<` + temp + `>, `,
		`fchmod\(\d+<` + temp + `>, 0640\) += 0`,
		`fsync\(\d+<` + temp + `>\) += 0`,
		`close\(\d+<` + temp + `>\) += 0`,
		`rename\w*\(.*"` + temp + `".*config\.json".* = 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
		`flock\(\d+<` + dir + `/config\.json\.lock>, LOCK_UN\) += 0`,
	}
	seen := inOrder(t, trace, filepath.Dir(path), steps)
	for _, line := range seen {
		assert.NotRegexp(t, `openat\(.*/config\.json", O_(WRONLY|RDWR)`, line, "the config is written in place")
		assert.NotContains(t, line, "O_TRUNC")
	}
}

// G15: a config in new directories is found again after a power cut, because each directory
// that names one of them is on the disk too.
func TestFileStoreOrderOfMadeDirectories(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "made", "deeper", "config.json")
	trace, stderr, ok := straced(t, "filestore update", path, "-e", "trace=mkdir,mkdirat,fsync,rename,renameat,renameat2")
	require.True(t, ok, stderr)
	dir := regexp.QuoteMeta(top)
	inOrder(t, trace, top, []string{
		`mkdir\w*\(.*"` + dir + `/made", 0700\) += 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
		`mkdir\w*\(.*"` + dir + `/made/deeper", 0700\) += 0`,
		`fsync\(\d+<` + dir + `/made>\) += 0`,
		`rename\w*\(.*/made/deeper/config\.json".* = 0`,
		`fsync\(\d+<` + dir + `/made/deeper>\) += 0`,
	})
}

// G15: an error in any step leaves the old file and no temporary file. After an error in the
// last step the new file is there, and the error says so.
func TestFileStoreErrorInEachStep(t *testing.T) {
	for _, row := range []struct {
		name, inject, says string
		saved              bool
		check              bool // Check finds it too
	}{
		{"mode", "fchmod:error=EPERM", "operation not permitted", false, true},
		{"sync", "fsync:error=EIO:when=1", "input/output error", false, true},
		{"sync, full disk", "fsync:error=ENOSPC:when=1", "disk is full", false, true},
		{"sync, quota", "fsync:error=EDQUOT:when=1", "quota", false, true},
		{"ACL", "getxattr:error=EACCES", "permission denied", false, true},
		{"rename", "rename,renameat,renameat2:error=EIO", "input/output error", false, true},
		{"rename, mounted file", "rename,renameat,renameat2:error=EBUSY", "mount its directory", false, true},
		{"rename, other device", "rename,renameat,renameat2:error=EXDEV", "mount its directory", false, true},
		{"rename that replaces nothing", "rename,renameat,renameat2:error=EEXIST", "cannot replace a file in one step", false, true},
		{"sync of the directory", "fsync:error=EIO:when=2", "is saved, but", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.json")
			require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
			inject := []string{"-e", "trace=" + strings.SplitN(row.inject, ":", 2)[0], "-e", "inject=" + row.inject}
			_, stderr, ok := straced(t, "filestore update", path, inject...)
			assert.False(t, ok, "Update must fail")
			assert.Contains(t, stderr, "plexauth: config store")
			assert.Contains(t, stderr, row.says)
			assert.Contains(t, stderr, path)
			assert.NotContains(t, stderr, "TEST_TOKEN") // G13
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			if row.saved {
				assert.Contains(t, string(data), "TEST_TOKEN_new")
			} else {
				assert.Equal(t, before, string(data))
			}
			checkNames(t, filepath.Dir(path), "config.json", "config.json.lock")

			if row.check {
				_, stderr, ok := straced(t, "filestore check", path, inject...)
				assert.False(t, ok)
				assert.Contains(t, stderr, row.says)
			}
			// The next Update succeeds.
			works(t, path)
		})
	}
}

// A file system that cannot sync a directory can be used.
func TestFileStoreNoDirectorySync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	_, stderr, ok := straced(t, "filestore update", path, "-e", "trace=fsync", "-e", "inject=fsync:error=EINVAL:when=2")
	assert.True(t, ok, stderr)
	assert.FileExists(t, path)
}

// G16: a file system without locks is refused, because two programs could write at once.
func TestFileStoreNoLocks(t *testing.T) {
	for _, errno := range []string{"EBADF", "ENOLCK", "EOPNOTSUPP", "ENOSYS", "EIO"} {
		for _, method := range []string{"update", "check"} {
			t.Run(errno+" "+method, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "config.json")
				require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
				_, stderr, ok := straced(t, "filestore "+method, path, "-e", "trace=flock", "-e", "inject=flock:error="+errno)
				assert.False(t, ok)
				assert.Contains(t, stderr, "plexauth: config store")
				assert.Contains(t, stderr, path+".lock")
				assert.Contains(t, stderr, fmt.Sprintf("uid %d", os.Geteuid()))
				if errno != "EIO" {
					assert.Contains(t, stderr, "has no working locks")
				}
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				assert.Equal(t, before, string(data))
			})
		}
	}
	t.Run("a signal does no harm", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.json")
		_, stderr, ok := straced(t, "filestore update", path, "-e", "trace=flock", "-e", "inject=flock:error=EINTR:when=1")
		assert.True(t, ok, stderr)
	})
	t.Run("NFS needs the lock file open for writing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.json")
		_, stderr, ok := straced(t, "filestore update", path, "-e", "trace=flock", "-e", "inject=flock:error=EBADF:when=1")
		assert.True(t, ok, stderr)
		assert.FileExists(t, path)
	})
}

// G16: on some network file systems a lock belongs to the process and not to the open file,
// and does not stop a second FileStore of the same process. FileStore does that itself.
func TestFileStoreLockOfTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	_, stderr, ok := straced(t, "filestore two stores", path, "-e", "trace=flock", "-e", "inject=flock:retval=0")
	require.True(t, ok, stderr)
	assert.Len(t, keys(t, plexauth.NewFileStore(path)), 80)

	// The same by two names of a directory that does not exist yet.
	top := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(top, "real"), 0o700))
	require.NoError(t, os.Symlink("real", filepath.Join(top, "link")))
	path = filepath.Join(top, "real", "new", "config.json")
	_, stderr, ok = straced(t, "filestore two stores", path, "-e", "trace=flock", "-e", "inject=flock:retval=0")
	require.True(t, ok, stderr)
	assert.Len(t, keys(t, plexauth.NewFileStore(path)), 80)
}

// G16: another program deletes the lock file and makes a new one after FileStore has opened
// it and before FileStore locks it. The lock of the deleted file excludes no other program,
// so the new one counts.
func TestFileStoreLockFileDeleted(t *testing.T) {
	needsStrace(t) // before it is used in another goroutine
	for delay := 8 * time.Second; !lockFileDeleted(t, delay); delay *= 3 {
		require.Less(t, delay, patience, "the other process never had the new lock file before FileStore locked the old one")
	}
}

// lockFileDeleted is TestFileStoreLockFileDeleted where FileStore waits before its first lock. It
// returns false if the machine was too busy for the other process to be first.
func lockFileDeleted(t *testing.T, delay time.Duration) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	lock := path + ".lock"
	deleted := lock + " (deleted)"
	failure := make(chan string, 1) // "" if there was none
	go func() {
		_, stderr, ok := straced(t, "filestore update", path, "-e", "trace=flock", "-e", fmt.Sprintf("inject=flock:delay_enter=%d:when=1", delay.Microseconds()))
		if ok {
			failure <- ""
		} else {
			failure <- "FileStore failed: " + stderr
		}
	}()
	eventually(t, "FileStore opens the lock file", func() bool { return isOpen(lock) || len(failure) > 0 })
	if len(failure) > 0 {
		require.Empty(t, <-failure)
		return false
	}
	require.NoError(t, os.Remove(lock))
	c := child(t, "filestore hold", path)
	release := holder(t, c)
	if !isOpen(deleted) {
		release()
		require.Empty(t, receive(t, failure, "FileStore ended"))
		return false
	}
	eventually(t, "FileStore closes the deleted file", func() bool { return !isOpen(deleted) })
	time.Sleep(200 * time.Millisecond)
	assert.Empty(t, failure, "FileStore must wait for the other process")
	assert.NoFileExists(t, path)
	release()
	assert.Empty(t, receive(t, failure, "FileStore got the lock"))
	assert.FileExists(t, path)
	return true
}

// isOpen reports whether a process has the file of that name open.
func isOpen(name string) bool {
	open, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	return slices.ContainsFunc(open, func(fd string) bool {
		target, _ := os.Readlink(fd)
		return target == name
	})
}

// G16: if the unlocking fails, the process does not hold the lock for the rest of its life.
func TestFileStoreUnlockFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	_, stderr, ok := straced(t, "filestore two updates", path, "-e", "trace=flock", "-e", "inject=flock:error=EIO:when=2")
	assert.True(t, ok, stderr)
	raw, err := plexauth.NewFileStore(path).Load(t.Context(), "plex")
	require.NoError(t, err)
	assert.JSONEq(t, `{"n":2}`, string(raw))
}

// G15: an Update that changes nothing syncs what is there. The process that wrote it may
// have been killed before it synced the directory.
func TestFileStoreSyncsWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	trace, stderr, ok := straced(t, "filestore same", path, "-e", "trace=fsync")
	require.True(t, ok, stderr)
	dir := regexp.QuoteMeta(filepath.Dir(path))
	inOrder(t, trace, filepath.Dir(path), []string{
		`fsync\(\d+<` + dir + `/config\.json>\) += 0`,
		`fsync\(\d+<` + dir + `>\) += 0`,
	})
	_, stderr, ok = straced(t, "filestore same", path, "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=2")
	assert.False(t, ok)
	assert.Contains(t, stderr, "a power cut may undo that")
}

// G16: the lock file has its owner and its mode before it gets its name. So a process that
// is killed leaves no lock file that others cannot open.
func TestFileStoreOrderOfMakingTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
	require.NoError(t, os.Chown(path, 1234, 1235))
	dir := regexp.QuoteMeta(filepath.Dir(path))
	temp := dir + `/\.config\.json\.plexauth-[0-9a-f]{16}\.tmp`
	trace, stderr, ok := straced(t, "filestore check", path, "-e", "trace=openat,fchown,fchmod,link,linkat,unlink,unlinkat,flock")
	require.True(t, ok, stderr)
	inOrder(t, trace, filepath.Dir(path), []string{
		`openat\(.*"` + temp + `", O_WRONLY\|O_CREAT\|O_EXCL\|O_CLOEXEC, 0600\) += \d`,
		`fchown\(\d+<` + temp + `>, 1234, 1235\) += 0`,
		`fchmod\(\d+<` + temp + `>, 0660\) += 0`,
		`link\w*\(.*"` + temp + `".*/config\.json\.lock".* = 0`,
		`unlink\w*\(.*"` + temp + `".* = 0`,
		`openat\(.*/config\.json\.lock", O_RDONLY\|O_NONBLOCK\|O_NOFOLLOW\|O_CLOEXEC\) += \d`,
		`flock\(\d+<` + dir + `/config\.json\.lock>, LOCK_EX\|LOCK_NB\) += 0`,
	})

	// On a file system without hard links it is renamed.
	noLinks := []string{"-e", "trace=openat,fchown,fchmod,link,linkat,renameat2,flock", "-e", "inject=link,linkat:error=EPERM"}
	require.NoError(t, os.Remove(path+".lock"))
	trace, stderr, ok = straced(t, "filestore check", path, noLinks...)
	require.True(t, ok, stderr)
	inOrder(t, trace, filepath.Dir(path), []string{
		`fchown\(\d+<` + temp + `>, 1234, 1235\) += 0`,
		`fchmod\(\d+<` + temp + `>, 0660\) += 0`,
		`renameat2\(.*"` + temp + `".*/config\.json\.lock", RENAME_NOREPLACE\) += 0`,
		`flock\(\d+<` + dir + `/config\.json\.lock>, LOCK_EX\|LOCK_NB\) += 0`,
	})

	// If that does not work either, it is made under its name, but never replaces another one.
	require.NoError(t, os.Remove(path+".lock"))
	trace, stderr, ok = straced(t, "filestore check", path, append(noLinks, "-e", "inject=renameat2:error=EINVAL")...)
	require.True(t, ok, stderr)
	inOrder(t, trace, filepath.Dir(path), []string{
		`openat\(.*/config\.json\.lock", O_RDWR\|O_CREAT\|O_EXCL\|O_NOFOLLOW\|O_CLOEXEC, 0660\) += \d`,
		`fchown\(\d+<` + dir + `/config\.json\.lock>, 1234, 1235\) += 0`,
		`fchmod\(\d+<` + dir + `/config\.json\.lock>, 0660\) += 0`,
		`flock\(\d+<` + dir + `/config\.json\.lock>, LOCK_EX\|LOCK_NB\) += 0`,
	})
	info, err := os.Stat(path + ".lock")
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o660), info.Mode().Perm())
}

// G15: a directory that root makes in another user's directory has its owner before it gets
// its name.
func TestFileStoreOrderOfMadeDirectoriesOfOthers(t *testing.T) {
	requireRoot(t)
	top := t.TempDir()
	require.NoError(t, os.Chown(top, 1234, 1235))
	// A process that was killed has left this.
	litter := filepath.Join(top, ".made.plexauth-0123456789abcdef.tmp")
	require.NoError(t, os.Mkdir(litter, 0o700))
	trace, stderr, ok := straced(t, "filestore update", filepath.Join(top, "made", "config.json"), "-e", "trace=mkdir,mkdirat,chown,lchown,fchownat,rename,renameat,renameat2")
	require.True(t, ok, stderr)
	dir := regexp.QuoteMeta(top)
	temp := dir + `/\.made\.plexauth-[0-9a-f]{16}\.tmp`
	inOrder(t, trace, top, []string{
		`mkdir\w*\(.*"` + temp + `", 0700\) += 0`,
		`l?f?chown\w*\(.*"` + temp + `", 1234, 1235.* = 0`,
		`rename\w*\(.*"` + temp + `".*/made".*RENAME_NOREPLACE\) += 0`,
	})
	checkNames(t, top, "made")
}

// G15: some file systems report only at the close of a file that it is incomplete, such as
// NFS over its quota. The old file stays then.
func TestFileStoreCloseFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
	works(t, path) // makes the lock file
	require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
	ofTemp := regexp.MustCompile(`^(\d+) .*close\(\d+<.*\.plexauth-[0-9a-f]{16}\.tmp>\)`)
	// nth returns which of its thread's calls closes the new file.
	nth := func(trace []string) (n int) {
		for _, line := range trace {
			if m := ofTemp.FindStringSubmatch(line); m != nil {
				for _, earlier := range trace {
					if strings.HasPrefix(earlier, m[1]+" ") && strings.Contains(earlier, "close(") {
						n++
					}
					if earlier == line {
						return n
					}
				}
			}
		}
		return 0
	}
	for range 30 {
		trace, stderr, ok := straced(t, "filestore update", path, "-e", "trace=close")
		require.True(t, ok, stderr)
		require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
		n := nth(trace)
		require.NotZero(t, n, strings.Join(trace, "\n"))
		trace, stderr, ok = straced(t, "filestore update", path, "-e", "trace=close", "-e", fmt.Sprintf("inject=close:error=EDQUOT:when=%d", n))
		hit := slices.ContainsFunc(trace, func(line string) bool { return ofTemp.MatchString(line) && strings.Contains(line, "INJECTED") })
		if !hit { // this run's nth call was another one
			require.NoError(t, os.WriteFile(path, []byte(before), 0o640))
			continue
		}
		assert.False(t, ok)
		assert.Contains(t, stderr, "quota")
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, before, string(data))
		checkNames(t, filepath.Dir(path), "config.json", "config.json.lock")
		return
	}
	t.Fatal("in thirty runs the error has never struck the close of the new file")
}
