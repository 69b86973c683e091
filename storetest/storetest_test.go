package storetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/storetest"
)

func ExampleCheck() {
	dir, _ := os.MkdirTemp("", "plexauth")
	defer os.RemoveAll(dir)
	n := 0
	err := storetest.Check(context.Background(), func() (first, second plexauth.ConfigStore, err error) {
		n++ // a new file for each rule
		path := filepath.Join(dir, fmt.Sprintf("config-%d.json", n))
		return plexauth.NewFileStore(path), plexauth.NewFileStore(path), nil
	})
	fmt.Println(err)
	// Output: <nil>
}

// Example uses the store that docs/stores.md shows.
func TestDocumentedStore(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "stores.md"))
	require.NoError(t, err)
	example, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	_, store, found := strings.Cut(string(page), "\n// A Service")
	require.True(t, found)
	store, _, found = strings.Cut(store, "\n```")
	require.True(t, found)
	assert.Contains(t, string(example), store)
}

// overNetwork is a Service with slow responses, which are lost if ctx ends.
type overNetwork struct{ *memory }

func (n overNetwork) Swap(ctx context.Context, key string, value []byte, version string) (bool, error) {
	done, err := n.memory.Swap(ctx, key, value, version)
	select {
	case <-time.After(5 * time.Millisecond):
		return done, err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func TestDocumentedStoreOverANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storeErr := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
			service := overNetwork{&memory{values: map[string][]byte{}, versions: map[string]int{}}}
			return &Store{service}, &Store{service}, nil
		})
		assert.NoError(t, storeErr)
	})
}

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) (first, second plexauth.ConfigStore) {
		s := plexauth.NewMemoryStore()
		return s, s
	})
}

// G16: two FileStores of one file keep the rules.
func TestFileStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		path := filepath.Join(t.TempDir(), "config.json")
		return plexauth.NewFileStore(path), plexauth.NewFileStore(path)
	})
}

// G16: they also keep the rules if the file has settings of other programs.
func TestFileStoreShared(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		path := filepath.Join(t.TempDir(), "config.json")
		require.NoError(t, os.WriteFile(path, []byte("{\r\n\t\"version\": 10.0,\"storetest 2\" :null,\r\n\"other\":[ ]}"), 0o600))
		return plexauth.NewFileStore(path), plexauth.NewFileStore(path)
	})
}

// A store that limits the size of an object to 200 kB passes.
func TestStoreWithALimit(t *testing.T) {
	const limit = 200_000
	largest := 0 // only written under the store's lock
	assert.NoError(t, storetest.Check(t.Context(), func() (_, _ plexauth.ConfigStore, err error) {
		first, second := edited(func(_, next json.RawMessage) json.RawMessage {
			largest = max(largest, len(next))
			return next
		})()
		return first, second, nil
	}))
	assert.Less(t, largest, limit)
}

// failed returns the names of the cases in an error of Check.
func failed(err error) []string {
	if err == nil {
		return nil
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^storetest: ([^:]+): `).FindAllStringSubmatch(err.Error(), -1) {
		names = append(names, m[1])
	}
	return names
}

// Each broken store fails exactly the case about its rule. With synctest, a store that stays
// locked costs no time.
func TestEachBrokenStoreIsCaughtByItsCase(t *testing.T) {
	caught := map[string]bool{}
	for _, b := range brokenStores {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				err := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
					first, second = b.open()
					return first, second, nil
				})
				assert.Equal(t, []string{b.caughtBy}, failed(err), "%v", err)
			})
		})
		caught[b.caughtBy] = true
	}
	assert.GreaterOrEqual(t, len(brokenStores), 10)

	// Each case catches at least one broken store.
	none := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
		return nil, nil, errors.New("no store")
	})
	for _, name := range failed(none) {
		assert.True(t, caught[name], "no broken store is caught by the case %q", name)
	}
	assert.NotEmpty(t, failed(none))
}

func TestCheckReportsWhatOpenSays(t *testing.T) {
	mine := errors.New("no such database")
	err := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) { return nil, nil, mine })
	assert.ErrorIs(t, err, mine)
}

// If open returns a nil store, Check returns one error that says what to do.
func TestNoStore(t *testing.T) {
	one := plexauth.NewMemoryStore()
	for name, stores := range map[string][2]plexauth.ConfigStore{"both nil": {}, "first nil": {nil, one}, "second nil": {one, nil}} {
		opened := 0
		err := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
			opened++
			return stores[0], stores[1], nil
		})
		assert.EqualError(t, err, noStore, name)
		assert.Equal(t, 1, opened, name)
	}
}

const noStore = "storetest: open returned a nil store: it must return two handles on one new, empty store, or the same handle twice"

// If open returns a nil store, Run fails one case only. The test runs it in another process.
func TestRunWithoutStore(t *testing.T) {
	const inChild = "PLEXAUTH_TEST_NO_STORE"
	if os.Getenv(inChild) != "" {
		storetest.Run(t, func(*testing.T) (first, second plexauth.ConfigStore) { return nil, nil })
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self, "-test.run=^TestRunWithoutStore$")
	c.Env = append(os.Environ(), inChild+"=1")
	out, err := c.Output()
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, 1, strings.Count(string(out), noStore), "%s", out)
	assert.NotContains(t, string(out), "panic")
	assert.Equal(t, 2, strings.Count(string(out), "--- FAIL"), "the test and one case")
}

// G9: Check ends with ctx.
func TestCheckEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	opened := 0
	err := storetest.Check(ctx, func() (first, second plexauth.ConfigStore, err error) {
		opened++
		cancel()
		s := plexauth.NewMemoryStore()
		return s, s, nil
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, opened)
}

// Check returns an error for a store that panics or does not return.
func TestCheckSurvivesTheStore(t *testing.T) {
	err := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
		return (*plexauth.MemoryStore)(nil), (*plexauth.MemoryStore)(nil), nil
	})
	assert.ErrorContains(t, err, "panic")

	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		err := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
			s := &broken{load: func(context.Context, string) ([]byte, error) {
				<-release // ignores ctx
				return nil, errors.New("late")
			}}
			return s, s, nil
		})
		assert.ErrorContains(t, err, "does not return")
		close(release)
		time.Sleep(time.Second)
	})
}
