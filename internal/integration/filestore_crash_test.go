package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// killsPerFile is the number of kills until the test starts with a new file.
const killsPerFile = 20

// foreignHead is how a config begins that another program has made.
const foreignHead = "{\n\t\"version\" : 10.0,\r\n"

// G15: a process that writes is killed 1,000 times at random moments. After each time the
// file can be read, and has every key whose Update had succeeded and what other programs
// wrote. At the end the next Update removes the temporary files.
func TestFileStoreKilled(t *testing.T) {
	times := 1000
	if testing.Short() {
		times = 50
	}
	const files = 2 // at the same time
	var littered, acknowledged atomic.Int64
	t.Run("files", func(t *testing.T) {
		for f := range files {
			t.Run(fmt.Sprint(f), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				v := &victims{T: t, path: filepath.Join(dir, "config.json"), random: rand.New(rand.NewPCG(uint64(f), 1))}
				for n := range times / files {
					v.kill(n)
					found, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
					require.NoError(t, err)
					littered.Add(int64(len(found)))
				}
				acknowledged.Add(int64(len(v.known)))
				require.NoError(t, addKeys(io.Discard, plexauth.NewFileStore(v.path), "last", 1))
				checkNames(t, dir, "config.json", "config.json.lock")
			})
		}
	})
	t.Logf("%d kills; after %d of them a temporary file was left for the next Update", times, littered.Load())
	assert.NotZero(t, littered.Load(), "no kill has struck a write, so this proves nothing")
	assert.NotZero(t, acknowledged.Load(), "no Update has succeeded, so this proves nothing")
}

// victims are the processes that write one config and are killed.
type victims struct {
	*testing.T
	path   string
	random *rand.Rand
	known  []string // keys whose Update has succeeded
}

// kill starts and kills the nth process, and checks what it has left.
func (v *victims) kill(n int) {
	fresh := n%killsPerFile == 0
	foreign := n/killsPerFile%2 == 1 // every other file was made by another program
	if fresh {
		v.known = nil
		require.NoError(v, os.RemoveAll(v.path))
	}
	if fresh && foreign {
		require.NoError(v, os.WriteFile(v.path, []byte(foreignHead+`"z":[ ]}`), 0o600))
	}
	v.known = append(v.known, killed(v.T, v.path, fmt.Sprint("n", n), fresh, v.random)...)

	have := keys(v, plexauth.NewFileStore(v.path))
	for _, key := range v.known {
		require.True(v, have[key], "the file has lost %s, whose Update had succeeded", key)
	}
	if foreign {
		data, err := os.ReadFile(v.path)
		require.NoError(v, err)
		require.True(v, strings.HasPrefix(string(data), foreignHead), "the file has lost what another program wrote: %s", data)
	}
}

// killed starts a process that adds keys, kills it at a random moment and returns the keys
// whose Update had succeeded.
func killed(t *testing.T, path, prefix string, early bool, random *rand.Rand) (acknowledged []string) {
	t.Helper()
	c := child(t, "filestore add", path, prefix, "0")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	scan := bufio.NewScanner(out)
	if early { // perhaps before its first write, or during it
		time.Sleep(time.Duration(random.Int64N(int64(40 * time.Millisecond))))
	} else {
		require.True(t, scan.Scan(), "the child has ended without a write")
		acknowledged = append(acknowledged, scan.Text())
		time.Sleep(time.Duration(random.Int64N(int64(6 * time.Millisecond))))
	}
	require.NoError(t, c.Process.Kill())
	for scan.Scan() {
		acknowledged = append(acknowledged, scan.Text())
	}
	assert.Error(t, c.Wait())
	return acknowledged
}

// G16: eight processes start without a file and make 100 updates each. No update is lost.
func TestFileStoreProcesses(t *testing.T) {
	const processes, updates = 8, 100
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "config.json")
	var wg sync.WaitGroup
	for p := range processes {
		c := child(t, "filestore add", path, fmt.Sprint("p", p), strconv.Itoa(updates))
		wg.Go(func() { assert.NoError(t, c.Run()) })
	}
	wg.Wait()
	have := keys(t, plexauth.NewFileStore(path))
	assert.Len(t, have, processes*updates)
	checkNames(t, filepath.Dir(path), "config.json", "config.json.lock")
}
