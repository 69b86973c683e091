package memstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/memstore"
)

var errEdit = errors.New("not today")

// An Update keeps what edit returns, removes a document for nil, and changes nothing if
// the result is no object or edit fails.
func TestUpdateJSON(t *testing.T) {
	for name, c := range map[string]struct {
		next  string // "": nil
		edit  error
		after string
		err   error
	}{
		"another object": {`{"b":2}`, nil, `{"b":2}`, nil},
		"empty":          {`{}`, nil, `{}`, nil},
		"removed":        {"", nil, "", nil},
		"an array":       {`[]`, nil, `{"a":1}`, fault.ErrStore},
		"cut short":      {`{"b":`, nil, `{"a":1}`, fault.ErrStore},
		"edit fails":     {`{"b":2}`, errEdit, `{"a":1}`, errEdit},
	} {
		t.Run(name, func(t *testing.T) {
			s := memstore.New()
			write(t, s, `{"a":1}`)
			err := s.UpdateJSON(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
				assert.JSONEq(t, `{"a":1}`, string(current))
				if c.next == "" {
					return nil, c.edit
				}
				return json.RawMessage(c.next), c.edit
			})
			assert.ErrorIs(t, err, c.err)
			now, err := s.LoadJSON(t.Context(), "plex")
			require.NoError(t, err)
			assert.Equal(t, c.after, string(now))
		})
	}
}

// What callers do with their bytes changes nothing in the store.
func TestCopies(t *testing.T) {
	s := memstore.New()
	mine := json.RawMessage(`{"a":1}`)
	require.NoError(t, s.UpdateJSON(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return mine, nil }))
	clear(mine)
	loaded, err := s.LoadJSON(t.Context(), "plex")
	require.NoError(t, err)
	clear(loaded)
	_ = s.UpdateJSON(t.Context(), "plex", func(current json.RawMessage) (json.RawMessage, error) {
		clear(current)
		return nil, errEdit
	})
	loaded, err = s.LoadJSON(t.Context(), "plex")
	require.NoError(t, err)
	assert.Equal(t, `{"a":1}`, string(loaded))
}

// The end of a context is the store's error, also while another Update runs.
func TestContextEnds(t *testing.T) {
	s := memstore.New()
	ctx, cancel := context.WithCancel(t.Context())
	write(t, s, `{"a":1}`)
	err := s.UpdateJSON(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
		cancel()
		err := s.UpdateJSON(ctx, "plex", func(json.RawMessage) (json.RawMessage, error) { return nil, nil })
		assert.ErrorIs(t, err, fault.ErrStore)
		assert.ErrorIs(t, err, context.Canceled)
		return json.RawMessage(`{"b":2}`), nil
	})
	require.NoError(t, err)
	_, err = s.LoadJSON(ctx, "plex")
	assert.ErrorIs(t, err, fault.ErrStore)
	now, err := s.LoadJSON(t.Context(), "plex")
	require.NoError(t, err)
	assert.Equal(t, `{"b":2}`, string(now))
}

// An Update changes nothing if its context has ended before, or ends during the edit.
func TestContextEndsTheUpdate(t *testing.T) {
	s := memstore.New()
	write(t, s, `{"a":1}`)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.UpdateJSON(ctx, "plex", func(json.RawMessage) (json.RawMessage, error) {
		cancel()
		return json.RawMessage(`{"b":2}`), nil
	})
	assert.ErrorIs(t, err, fault.ErrStore)
	for range 50 { // there are two reasons to go on, and one must not count
		err := s.UpdateJSON(ctx, "plex", func(json.RawMessage) (json.RawMessage, error) {
			assert.Fail(t, "edited after the end")
			return json.RawMessage(`{"c":3}`), nil
		})
		assert.ErrorIs(t, err, fault.ErrStore)
	}
	now, err := s.LoadJSON(t.Context(), "plex")
	require.NoError(t, err)
	assert.Equal(t, `{"a":1}`, string(now))
}

// A document that was removed leaves nothing.
func TestRemoved(t *testing.T) {
	s := memstore.New()
	write(t, s, `{"a":1}`)
	documents := reflect.ValueOf(s).Elem().FieldByName("documents")
	assert.Equal(t, 1, documents.Len())
	require.NoError(t, s.UpdateJSON(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return nil, nil }))
	assert.Zero(t, documents.Len())
}

func write(t *testing.T, s *memstore.Store, document string) {
	t.Helper()
	require.NoError(t, s.UpdateJSON(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(document), nil }))
}
