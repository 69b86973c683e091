package integration_test

import (
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

const (
	// patience bounds the wait for a condition. A busy machine needs less.
	patience = 2 * time.Minute
	// slack is what a busy machine may add to a time that a test measures.
	slack = 20 * time.Second
)

// missing ends a test that needs something which is missing here. The test is skipped, or
// fails with PLEXAUTH_CI=1, where everything must be installed.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("PLEXAUTH_CI") == "1" {
		t.Fatalf("needs %s, which must be here with PLEXAUTH_CI=1", what)
	}
	t.Skipf("needs %s", what)
}

// requireRoot ends a test that does not run as root.
func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

// eventually waits until done, and fails with what if that takes too long.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "it never happened that %s", what)
	}
}

// receive returns what comes from c, and fails with what if nothing comes.
func receive[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		require.Fail(t, "it never happened that "+what)
	}
	return v
}

// moments are the times at which something happened.
type moments struct {
	mu  sync.Mutex
	all []time.Time
}

func (m *moments) note() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, time.Now())
}

func (m *moments) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

// closest returns the shortest time between two that follow each other.
func (m *moments) closest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	shortest := time.Duration(1<<63 - 1)
	for i := 1; i < len(m.all); i++ {
		shortest = min(shortest, m.all[i].Sub(m.all[i-1]))
	}
	return shortest
}

// Edits of a store.

// becomes returns an edit that replaces any value by value.
func becomes(value string) func(json.RawMessage) (json.RawMessage, error) {
	return func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(value), nil }
}

// adds returns an edit that adds a key.
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

// keys returns the keys of the namespace "plex".
func keys(t testing.TB, store plexauth.ConfigStore) map[string]bool {
	t.Helper()
	raw, err := store.Load(t.Context(), plexauth.Namespace)
	require.NoError(t, err)
	members := map[string]json.RawMessage{}
	if raw != nil {
		require.NoError(t, json.Unmarshal(raw, &members))
	}
	all := map[string]bool{}
	for key := range members {
		all[key] = true
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
	assert.ElementsMatch(t, names, have, "files in the directory")
}
