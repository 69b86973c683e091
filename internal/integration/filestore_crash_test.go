package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
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

func init() {
	children["filestore add"] = adder(func(args []string) (plexauth.ConfigStore, error) {
		return plexauth.NewFileStore(args[0]), nil
	})
}

// adder is a child that adds keys to the store that open gives for its
// arguments but the last two: the keys' prefix, and how many.
func adder(open func(args []string) (plexauth.ConfigStore, error)) func(args []string) error {
	return func(args []string) error {
		n := len(args) - 2
		times, err := strconv.Atoi(args[n+1])
		if err != nil {
			return err
		}
		store, err := open(args[:n])
		if err != nil {
			return err
		}
		return addKeys(os.Stdout, store, args[n], times)
	}
}

// addKeys adds the keys <prefix>-0, <prefix>-1, … to the namespace "plex", one
// an Update, and prints each one that was acknowledged. 0 times is for ever.
func addKeys(w io.Writer, store plexauth.ConfigStore, prefix string, times int) error {
	for n := 0; times == 0 || n < times; n++ {
		key := fmt.Sprintf("%s-%d", prefix, n)
		if err := store.Update(context.Background(), plexauth.Namespace, adds(key)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, key); err != nil {
			return err
		}
	}
	return nil
}

// adds is an edit that adds a key.
func adds(key string) func(json.RawMessage) (json.RawMessage, error) {
	return func(current json.RawMessage) (json.RawMessage, error) {
		all := map[string]json.RawMessage{}
		if current != nil {
			if err := json.Unmarshal(current, &all); err != nil {
				return nil, err
			}
		}
		all[key] = json.RawMessage("true")
		return json.Marshal(all)
	}
}

// becomes is an edit that returns value, whatever there was.
func becomes(value string) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(value), nil }
}

// works requires that Check and an Update succeed.
func works(t assert.TestingT, path string) {
	store := plexauth.NewFileStore(path)
	assert.NoError(t, store.Check(context.Background()))
	assert.NoError(t, store.Update(context.Background(), "plex", becomes(`{"n":1}`)))
	data, err := os.ReadFile(path)
	assert.NoError(t, err)
	assert.Contains(t, string(data), `"n": 1`)
}

// keys are those of the namespace "plex".
func keys(t testing.TB, store plexauth.ConfigStore) map[string]bool {
	t.Helper()
	raw, err := store.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	all := map[string]bool{}
	if raw != nil {
		require.NoError(t, json.Unmarshal(raw, &all))
	}
	return all
}

// checkNames requires that the directory holds these names and no others.
func checkNames(t testing.TB, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	assert.ElementsMatch(t, names, have)
}

// G15: a writing process is killed 1,000 times at random moments. Every time
// the file parses, holds all that was acknowledged and what others have in it,
// and in the end the next Update leaves no litter.
func TestFileStoreKilled(t *testing.T) {
	times := 1000
	if testing.Short() {
		times = 50
	}
	const (
		files = 2  // at the same time, each with its own victims
		fresh = 20 // victims, then the file is begun anew
		other = "{\n\t\"version\" : 10.0,\r\n"
	)
	var littered atomic.Int64
	var acknowledged atomic.Int64
	t.Run("files", func(t *testing.T) {
		for f := range files {
			t.Run(fmt.Sprint(f), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path := filepath.Join(dir, "config.json")
				store := plexauth.NewFileStore(path)
				random := rand.New(rand.NewPCG(uint64(f), 1))
				var known []string
				for n := range times / files {
					begin := n%fresh == 0
					if begin {
						known = nil
						require.NoError(t, os.RemoveAll(path))
					}
					if n%(2*fresh) == fresh { // in every other file somebody else was first
						require.NoError(t, os.WriteFile(path, []byte(other+"\"z\":[ ]}"), 0o600))
					}
					known = append(known, killed(t, path, fmt.Sprint("n", n), begin, random)...)

					have := keys(t, store) // it parses
					for _, key := range known {
						require.True(t, have[key], "lost %s, which was acknowledged", key)
					}
					if n/fresh%2 == 1 {
						data, err := os.ReadFile(path)
						require.NoError(t, err)
						require.True(t, strings.HasPrefix(string(data), other))
					}
					found, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
					require.NoError(t, err)
					littered.Add(int64(len(found)))
				}
				acknowledged.Add(int64(len(known)))
				require.NoError(t, addKeys(io.Discard, store, "last", 1))
				checkNames(t, dir, "config.json", "config.json.lock")
			})
		}
	})
	t.Logf("%d kills; after %d of them a file was left for the next Update to remove", times, littered.Load())
	assert.NotZero(t, littered.Load(), "no kill has hit a write, so this proves nothing")
	assert.NotZero(t, acknowledged.Load(), "nothing was acknowledged, so this proves nothing")
}

// killed starts a process that adds keys, kills it at a random moment and
// returns what it has acknowledged.
func killed(t *testing.T, path, prefix string, early bool, random *rand.Rand) (acknowledged []string) {
	t.Helper()
	c := child(t, "filestore add", path, prefix, "0")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	scan := bufio.NewScanner(out)
	if early { // perhaps before its first write, or in it
		time.Sleep(time.Duration(random.Int64N(int64(40 * time.Millisecond))))
	} else {
		require.True(t, scan.Scan(), "the child has written nothing")
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

// G16: 8 processes with 100 updates each, from no file on: none is lost.
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
