package plexauth_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// G8: the store fails when the token is in hand.
func TestSaveFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := approved(t, newWorld(t))
		flaky := &flakyStore{ConfigStore: w.store}
		flaky.fail.Store(20)
		s, err := w.open(t, func(o *plexauth.Options) { o.Store = flaky }).Wait(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		assert.NotContains(t, w.log.String(), "FAKE_", "G13: the store's careless error is not passed on")
	})
}

// G8: a store that stays broken ends the wait with its error after five
// minutes, and the login can still be finished.
func TestSaveFailsForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := approved(t, newWorld(t))
		flaky := &flakyStore{ConfigStore: w.store}
		p := w.open(t, func(o *plexauth.Options) { o.Store = flaky })
		flaky.fail.Store(1 << 30)
		began := time.Now()
		s, err := p.Wait(t.Context())
		require.ErrorIs(t, err, plexauth.ErrStore)
		assert.False(t, s.Connected)
		assert.NotContains(t, err.Error(), "FAKE_")
		assert.InDelta(t, 5*time.Minute, time.Since(began), float64(10*time.Second))
		flaky.fail.Store(0)
		s, err = p.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// flakyStore fails its next Updates, and puts what it should save into the
// error.
type flakyStore struct {
	plexauth.ConfigStore
	fail atomic.Int64
}

func (s *flakyStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.fail.Add(-1) < 0 {
		s.fail.Store(0)
		return s.ConfigStore.Update(ctx, ns, edit)
	}
	raw, err := s.Load(ctx, ns)
	if err != nil {
		return err
	}
	if raw, err = edit(raw); err != nil {
		return err
	}
	return fmt.Errorf("cannot write %s", raw)
}

// G8: the caller's context ends while the token is on its way: it is saved all
// the same, within a second.
func TestContextEndsWithTheTokenInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		slow := &slowStore{ConfigStore: w.store, started: cancel}
		p := w.open(t, func(o *plexauth.Options) { o.Store = slow })
		pin, err := p.Start(ctx, plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		slow.on.Store(true)
		s, err := p.Wait(ctx)
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// slowStore takes half a second, and tells when it began.
type slowStore struct {
	plexauth.ConfigStore
	on      atomic.Bool
	started func()
}

func (s *slowStore) Update(ctx context.Context, ns string, edit func(jsonRaw) (jsonRaw, error)) error {
	if s.on.Load() {
		s.started()
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.ConfigStore.Update(ctx, ns, edit)
}
