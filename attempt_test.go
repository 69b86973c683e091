package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G9: a login that no one waits for is forgotten seven minutes after its PIN has ended, however
// it was used before, and not earlier.
func TestIdleLoginIsForgotten(t *testing.T) {
	waits := func(limits ...time.Duration) func(t *testing.T, w *world) {
		return func(t *testing.T, w *world) {
			var wg sync.WaitGroup
			for _, limit := range limits {
				wg.Go(func() { assert.ErrorIs(t, waitFor(t, w.PlexAuth, limit), context.DeadlineExceeded) })
			}
			wg.Wait()
		}
	}
	for name, c := range map[string]struct {
		use   func(t *testing.T, w *world)
		after time.Duration
	}{
		"left alone":       {func(*testing.T, *world) {}, 22 * time.Minute},
		"waited for":       {waits(time.Minute), 22 * time.Minute},
		"waited for twice": {waits(time.Minute, 10*time.Minute), 22 * time.Minute},
		"its PIN lives for longer": {func(_ *testing.T, w *world) {
			plexauth.MoveDeadline(w.PlexAuth, 30*time.Minute)
		}, 52 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin := start(t, w)
				c.use(t, w)
				time.Sleep(time.Until(pin.CreatedAt.Add(c.after - 5*time.Second)))
				assert.Equal(t, 1, plexauth.ProfilesInUse(w.PlexAuth))
				time.Sleep(10 * time.Second)
				assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
			})
		})
	}
}

// G8: a login that is about to be forgotten is polled, and the answer has its token.
func TestPolledWhenItWouldBeForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.SetPinLifetime(2*time.Hour, 2*time.Hour)
		seconds := 15 * 60
		w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds}) // less than it lives
		pin := start(t, w)
		w.plex.SetQuirks(plextest.Quirks{})
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		time.Sleep(22*time.Minute - 5*time.Second)
		w.plex.Inject(pinRequests(plextest.Fault{Delay: 8 * time.Second}))
		s, err := w.Finish(t.Context())
		require.NoError(t, err)
		assert.True(t, s.Connected)
		time.Sleep(15 * time.Minute)
		assert.Zero(t, plexauth.ProfilesInUse(w.PlexAuth))
	})
}

// G8: a login that someone waits for is not forgotten when the machine wakes up after its end. Its
// last poll has the token.
func TestWaitedForWhenItWouldBeForgotten(t *testing.T) {
	for name, beside := range map[string]bool{"alone": false, "beside a caller that leaves": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.plex.SetPinLifetime(2*time.Hour, 0)
				seconds := 15 * 60
				w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds}) // less than it lives, as the polls tell
				pin := start(t, w)
				w.plex.SetQuirks(plextest.Quirks{})
				w.plex.Inject(pinRequests(plextest.Fault{Delay: 300 * time.Millisecond})) // no poll comes when it would be forgotten
				var wg sync.WaitGroup
				wg.Go(func() { assert.NoError(t, errOf(w.Wait(t.Context()))) })
				if beside {
					assert.ErrorIs(t, waitFor(t, w.PlexAuth, 200*time.Millisecond), context.DeadlineExceeded)
				}
				time.Sleep(time.Until(pin.CreatedAt.Add(22*time.Minute - 500*time.Millisecond)))
				require.NoError(t, w.plex.Approve(pin.Code, w.alice))
				plexauth.Suspend(t, 3*time.Hour)
				wg.Wait()
			})
		})
	}
}

// G8: another process finishes the login before the first poll here. plex.tv gives its token
// once only, and the profile had another one before.
func TestFinishedElsewhereBeforeTheFirstPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.plex.SetQuirks(plextest.Quirks{ConsumeOnRead: true})
		s, err := w.Login(t.Context(), plexauth.PinOptions{SwitchAccount: true}, func(pin *plexauth.Pin) error {
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			return errOf(w.open(t).Finish(t.Context()))
		})
		require.NoError(t, err)
		assert.True(t, s.Connected)
	})
}

// The PIN that is shown is the stored one, also if this process still waits for another one
// that it has replaced.
func TestShownPINIsTheStoredOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		newer, err := w.open(t).Start(t.Context(), plexauth.PinOptions{Strong: true})
		require.NoError(t, err)
		assert.Equal(t, newer.Code, must(w.Status(t.Context())).Pending.Code)
	})
}

// G7, G12: Start shows a PIN again as long as it lives, whatever the clock was set to.
func TestStartAfterTheClockWasSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pin := start(t, w)
		plexauth.SetClock(t, time.Hour)
		assert.Equal(t, pin.ID, start(t, w).ID)
	})
}

// Cancel changes nothing if the store cannot be read, even once.
func TestCancelWithoutTheStore(t *testing.T) {
	for nth := int64(1); nth <= 3; nth++ {
		t.Run(fmt.Sprint("read ", nth), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				store := w.hooked(hooks{})
				p := w.open(t, withStore(store))
				require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
				store.set(hooks{beforeLoad: calls(nth, nth, fails(errDisk))})
				require.ErrorIs(t, p.Cancel(t.Context()), plexauth.ErrStore)
				assert.NotNil(t, must(w.Status(t.Context())).Pending)
			})
		})
	}
}

// G8, G9: a Cancel whose context ends while it waits for a poll leaves the login as it was.
func TestCancelGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &deafStore{ConfigStore: w.store}
		p := w.open(t, withStore(store), func(o *plexauth.Options) { o.PollInterval = 5 * time.Second })
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		store.before.Store(2) // one when the login is resumed, one of the poll
		var wg sync.WaitGroup
		wg.Go(func() {
			s, err := p.Wait(t.Context())
			assert.NoError(t, err)
			assert.True(t, s.Connected)
		})
		time.Sleep(6 * time.Second) // the poll reads the store for two seconds
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.Cancel(ctx), context.DeadlineExceeded)
		time.Sleep(5 * time.Second)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		wg.Wait()
	})
}

// A login whose token is parked is finished without another question about its PIN.
func TestParkedTokenNeedsNoPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.park(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		asked := w.fromNow()
		require.NoError(t, errOf(w.open(t).Finish(t.Context())))
		assert.Empty(t, only(asked(), http.MethodGet, "/api/v2/pins/{id}"))
	})
}

// countedContext counts what waits for its end.
type countedContext struct {
	context.Context
	waiting atomic.Int32
}

// Value hides the context below, whose own AfterFunc would be used.
func (c *countedContext) Value(any) any { return nil }

func (c *countedContext) AfterFunc(f func()) func() bool {
	c.waiting.Add(1)
	stop := context.AfterFunc(c.Context, f)
	return func() bool {
		c.waiting.Add(-1)
		return stop()
	}
}

// G27: a long Wait, which reads the store again and again, leaves nothing with its context. Nor
// does the wait for a token that another process may have.
func TestWaitLeavesNothingWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.open(t, withStore(w.hooked(hooks{})))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		ctx := &countedContext{Context: t.Context()}
		time.AfterFunc(12*time.Minute, func() { assert.NoError(t, w.plex.Expire(pin.Code)) })
		require.ErrorIs(t, errOf(p.Wait(ctx)), plexauth.ErrPinExpired)
		assert.Zero(t, ctx.waiting.Load())
	})
}
