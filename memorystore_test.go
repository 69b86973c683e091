package plexauth_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// G11: errors of a MemoryStore match ErrStore, wherever ctx ends.
func TestMemoryStoreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := plexauth.NewMemoryStore()
		check := func(what string, want, err error) {
			t.Helper()
			assert.ErrorIs(t, err, plexauth.ErrStore, what)
			assert.ErrorIs(t, err, want, what)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Load(ended, "plex")
		check("Load", context.Canceled, err)
		check("Update", context.Canceled, s.Update(ended, "plex", becomes(`{}`)))

		ends, cancel := context.WithCancel(t.Context())
		check("in edit", context.Canceled, s.Update(ends, "plex", func(json.RawMessage) (json.RawMessage, error) {
			cancel()
			return json.RawMessage(`{}`), nil
		}))

		assert.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			waited := make(chan error)
			go func() { waited <- s.Update(soon, "plex", becomes(`{}`)) }()
			check("waiting", context.DeadlineExceeded, <-waited)
			return json.RawMessage(`{}`), nil
		}))
	})
}

// Load returns the error of a context that has ended.
func TestMemoryStoreZeroContext(t *testing.T) {
	s := plexauth.NewMemoryStore()
	c, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Load(c, "plex")
	require.ErrorIs(t, err, context.Canceled)
}
