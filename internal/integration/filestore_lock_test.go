package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

func init() {
	// Prints "locked" when it has the lock, and keeps it until its input ends.
	children["filestore hold"] = func(args []string) error {
		return plexauth.NewFileStore(args[0]).Update(context.Background(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
			fmt.Println("locked")
			_, err := io.Copy(io.Discard, os.Stdin)
			return current, err
		})
	}
}

// holder starts a program that takes the lock, prints "locked" and keeps the lock until its
// input ends. release ends the input and the program.
func holder(t *testing.T, c *exec.Cmd) (release func()) {
	t.Helper()
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", said)
	return func() {
		require.NoError(t, in.Close())
		_ = c.Wait()
	}
}

// refusedUntilReleased requires that an Update waits while c has the lock, no longer than
// its context lasts, and succeeds after release.
func refusedUntilReleased(t *testing.T, path string, c *exec.Cmd, release func()) {
	t.Helper()
	store := plexauth.NewFileStore(path)
	began := time.Now()
	for what, try := range map[string]func(context.Context) error{
		"Check":  store.Check,
		"Update": func(ctx context.Context) error { return store.Update(ctx, "plex", becomes(`{}`)) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := try(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, what)
		require.ErrorIs(t, err, plexauth.ErrStore, what)
		assert.Contains(t, err.Error(), path, what)
		if runtime.GOOS == "linux" {
			assert.Contains(t, err.Error(), fmt.Sprintf("locked by process %d (", c.Process.Pid), "%s must name the process", what)
		}
	}
	assert.Less(t, time.Since(began), slack, "G9: the calls must end with their contexts")
	_, err := store.Load(t.Context(), "plex")
	assert.NoError(t, err, "reading needs no lock")

	done := make(chan error, 1)
	go func() { done <- store.Update(t.Context(), "plex", becomes(`{"n":1}`)) }()
	time.Sleep(60 * time.Millisecond)
	assert.Empty(t, done, "Update must wait for the lock")
	release()
	assert.NoError(t, receive(t, done, "Update got the lock that no process holds any more"))
	works(t, path)
}

// G9, G16: another process holds the lock for a long time.
func TestFileStoreLockHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	c := child(t, "filestore hold", path)
	refusedUntilReleased(t, path, c, holder(t, c))
}

// G16: a process that is killed gives the lock back.
func TestFileStoreLockHolderKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	c := child(t, "filestore hold", path)
	release := holder(t, c)
	refusedUntilReleased(t, path, c, func() {
		require.NoError(t, c.Process.Kill())
		release()
	})
}

const pythonHold = `
import fcntl, sys
f = open(sys.argv[1], "a+")
fcntl.flock(f, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
`

const pythonTry = `
import fcntl, sys
f = open(sys.argv[1], "a+")
try:
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("free")
except BlockingIOError:
    print("busy")
`

// G16: FileStore and Python's fcntl.flock, which CrossWatch uses, exclude each other.
func TestFileStoreLockOfPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil || runtime.GOOS == "windows" {
		missing(t, "python3 and flock(2)")
	}
	path := filepath.Join(t.TempDir(), "config.json")

	try := func() string {
		out, err := exec.CommandContext(t.Context(), python, "-c", pythonTry, path+".lock").CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.NoError(t, plexauth.NewFileStore(path).Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
		assert.Equal(t, "busy\n", try(), "during an Update")
		return nil, nil
	}))
	assert.Equal(t, "free\n", try(), "after it")

	c := exec.CommandContext(t.Context(), python, "-c", pythonHold, path+".lock")
	c.Stderr = os.Stderr
	refusedUntilReleased(t, path, c, holder(t, c))
}
