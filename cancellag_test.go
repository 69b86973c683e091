package plexauth_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// laggingStore is a store whose reads come from a replica. An Update sees what is stored.
type laggingStore struct {
	plexauth.ConfigStore
	replica atomic.Pointer[jsonRaw] // nil: it does not lag
	reads   atomic.Int64
}

func (s *laggingStore) Load(ctx context.Context, namespace string) (jsonRaw, error) {
	if s.reads.Add(1) > 1000 {
		return nil, errors.New("read without end")
	}
	if replica := s.replica.Load(); replica != nil {
		return *replica, nil
	}
	return s.ConfigStore.Load(ctx, namespace)
}

// lag keeps what is stored as the replica for d.
func (s *laggingStore) lag(t *testing.T, d time.Duration) {
	t.Helper()
	replica, err := s.ConfigStore.Load(t.Context(), "plex")
	require.NoError(t, err)
	s.replica.Store(&replica)
	time.AfterFunc(d, func() { s.replica.Store(nil) })
}

// G8, G23: another process ends a login that Cancel still reads from a replica that lags. Cancel
// returns without many reads or requests, leaves the other process's login alone, and tells
// those who wait how theirs has ended.
func TestCancelOverAReplicaThatLags(t *testing.T) {
	for name, c := range map[string]struct {
		linked bool // another login of alice is at stake
		end    func(t *testing.T, w *world, code string)
		want   error
	}{
		"cancelled": {false, func(t *testing.T, w *world, _ string) {
			require.NoError(t, w.Cancel(t.Context()))
		}, plexauth.ErrNoPendingPin},
		"finished": {false, func(t *testing.T, w *world, code string) {
			require.NoError(t, w.plex.Approve(code, w.alice))
			require.NoError(t, errOf(w.Finish(t.Context())))
		}, nil},
		"finished, over a login": {true, func(t *testing.T, w *world, code string) {
			require.NoError(t, w.plex.Approve(code, w.alice))
			require.NoError(t, errOf(w.Finish(t.Context())))
		}, nil},
		"cancelled, over a login": {true, func(t *testing.T, w *world, _ string) {
			require.NoError(t, w.Cancel(t.Context()))
		}, plexauth.ErrNoPendingPin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.replicas = true
				if c.linked {
					w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
				}
				store := &laggingStore{ConfigStore: w.store}
				p := w.open(t, withStore(store))
				pin, err := p.Start(t.Context(), plexauth.PinOptions{})
				require.NoError(t, err)
				result := make(chan error, 1)
				go func() { result <- errOf(p.Wait(t.Context())) }()
				time.Sleep(1500 * time.Millisecond)
				store.lag(t, 3*time.Second)
				c.end(t, w, pin.Code)
				store.reads.Store(0)
				asked := w.fromNow()
				require.NoError(t, p.Cancel(t.Context()))
				assert.LessOrEqual(t, store.reads.Load(), int64(30))
				assert.LessOrEqual(t, len(asked()), 8)
				assert.Empty(t, only(asked(), http.MethodGet, accountPath), "the other process has settled it")
				synctest.Wait()
				require.Len(t, result, 1, "those who wait are told at once")
				assert.ErrorIs(t, <-result, c.want)
				time.Sleep(3 * time.Second)
				s, err := w.Status(t.Context())
				require.NoError(t, err)
				assert.Nil(t, s.Pending)
				if c.linked || c.want == nil {
					require.NoError(t, errOf(w.Verify(t.Context())))
				}
			})
		})
	}
}

// G10: Cancel finds that plex.tv has rejected the parked token, and the store cannot be written.
// It says so, and does not ask plex.tv again and again.
func TestCancelOfARejectedApprovalOverAReadOnlyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.park(t, p, w.bob, plexauth.PinOptions{})
		w.plex.Inject(plextest.Fault{Path: accountPath, Code: 1001, Times: -1})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		updates := 0
		store.set(hooks{beforeUpdate: func(context.Context) error {
			if updates++; updates > 100 {
				cancel()
			}
			return errReadOnly
		}})
		asked := w.fromNow()
		require.ErrorIs(t, p.Cancel(ctx), plexauth.ErrStore)
		assert.LessOrEqual(t, len(asked()), 2)
	})
}
