package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/storetest"
)

// A Service stores values by key, with compare and swap.
type Service interface {
	// Get returns a copy of the value and its version. The value is nil if it does not exist.
	Get(ctx context.Context, key string) (value []byte, version string, err error)
	// Swap writes the value, or removes it if it is nil, unless the version has changed.
	Swap(ctx context.Context, key string, value []byte, version string) (done bool, err error)
}

type Store struct{ service Service }

var _ plexauth.ConfigStore = (*Store)(nil)

func (s *Store) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	value, _, err := s.service.Get(ctx, namespace)
	return value, err
}

func (s *Store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	for {
		current, version, err := s.service.Get(ctx, namespace)
		if err != nil {
			return err
		}
		next, err := edit(bytes.Clone(current))
		if err != nil {
			return err
		}
		if (next == nil) == (current == nil) && bytes.Equal(next, current) {
			return nil
		}
		if next != nil && (!json.Valid(next) || bytes.TrimSpace(next)[0] != '{') {
			return fmt.Errorf("%w: the edit returned no JSON object", plexauth.ErrStore)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// Do not cancel the commit: it might happen although Update returned an error.
		commit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		done, err := s.service.Swap(commit, namespace, next, version)
		cancel()
		if done || err != nil {
			return err
		}
	}
}

// Store uses a service with compare and swap. The example tests whether it keeps the rules.
func Example() {
	err := storetest.Check(context.Background(), func() (first, second plexauth.ConfigStore, err error) {
		service := &memory{values: map[string][]byte{}, versions: map[string]int{}}
		return &Store{service}, &Store{service}, nil
	})
	fmt.Println(err)
	// Output: <nil>
}

// memory is a Service for tests.
type memory struct {
	mu       sync.Mutex
	values   map[string][]byte
	versions map[string]int
}

func (m *memory) Get(ctx context.Context, key string) (value []byte, version string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.values[key]), strconv.Itoa(m.versions[key]), ctx.Err()
}

func (m *memory) Swap(ctx context.Context, key string, value []byte, version string) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil || version != strconv.Itoa(m.versions[key]) {
		return false, err
	}
	m.values[key] = bytes.Clone(value)
	m.versions[key]++
	return true, nil
}
