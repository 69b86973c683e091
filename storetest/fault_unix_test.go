//go:build unix

package storetest_test

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/storetest"
)

// mapped returns a copy of v in memory like that of a database: read-only, or inaccessible as
// after the end of a transaction.
func mapped(t *testing.T, v []byte, gone bool) []byte {
	if v == nil {
		return nil
	}
	page, err := syscall.Mmap(-1, 0, len(v), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	copy(page, v)
	protection := syscall.PROT_READ
	if gone {
		protection = syscall.PROT_NONE
	}
	require.NoError(t, syscall.Mprotect(page, protection))
	t.Cleanup(func() { _ = syscall.Munmap(page) })
	return page
}

const mustCopy = "must be copies"

// A store that returns a database's own memory breaks a rule, and does not end the process.
func TestLentMemory(t *testing.T) {
	for name, row := range map[string]struct {
		load, edit bool
		gone       bool
		caughtBy   []string
	}{
		"Load's, read-only":    {load: true, caughtBy: []string{"Load returns a copy"}},
		"current's, read-only": {edit: true, caughtBy: []string{"edit gets a copy"}},
		"Load's, gone":         {load: true, gone: true},
		"current's, gone":      {edit: true, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			err := storetest.Check(t.Context(), func() (first, second plexauth.ConfigStore, err error) {
				good := plexauth.NewMemoryStore()
				b := &broken{MemoryStore: good}
				if row.load {
					b.load = func(ctx context.Context, namespace string) ([]byte, error) {
						v, err := good.Load(ctx, namespace)
						return mapped(t, v, row.gone), err
					}
				}
				if row.edit {
					b.update = func(ctx context.Context, namespace string, edit editFunc) error {
						return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
							return edit(mapped(t, current, row.gone))
						})
					}
				}
				return b, b, nil
			})
			require.Error(t, err)
			assert.ErrorContains(t, err, mustCopy)
			if row.caughtBy != nil {
				assert.Equal(t, row.caughtBy, failed(err), "%v", err)
			}
		})
	}
}
