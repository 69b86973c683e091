package plexauth_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

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

// G9: so is one that a process takes up after the end of its PIN and leaves alone: after seven minutes.
func TestIdleLoginTakenUpLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start(t, w)
		time.Sleep(16 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		p := w.open(t, withStore(w.hooked(hooks{afterLoad: does(cancel)})))
		require.ErrorIs(t, errOf(p.Finish(ctx)), context.Canceled)
		time.Sleep(7*time.Minute - time.Second)
		assert.Equal(t, 1, plexauth.ProfilesInUse(p))
		time.Sleep(2 * time.Second)
		assert.Zero(t, plexauth.ProfilesInUse(p))
	})
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
				w := newWorld(t, func(o *plexauth.Options) { o.PollInterval = 7 * time.Second }) // the last poll comes later
				w.plex.SetPinLifetime(2*time.Hour, 0)
				seconds := 15 * 60
				w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds}) // less than it lives, as the polls tell
				pin := start(t, w)
				w.plex.SetQuirks(plextest.Quirks{})
				var wg sync.WaitGroup
				wg.Go(func() { assert.NoError(t, errOf(w.Wait(t.Context()))) })
				synctest.Wait()
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

// G8: a call may begin to wait at the very moment at which its login would have been forgotten, had
// plex.tv not said since that its PIN lives for longer.
func TestWaitWhenTheLoginWouldBeForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const logins = 30
		w := newWorld(t)
		w.plex.SetPinLifetime(2*time.Hour, 2*time.Hour)
		seconds := 15 * 60
		w.plex.SetQuirks(plextest.Quirks{ExpiresIn: &seconds}) // less than they live
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		for i := range logins {
			document := w.document(p, i)
			pin, err := document.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			plexauth.MoveDeadline(document, 30*time.Minute)
		}
		w.plex.SetQuirks(plextest.Quirks{})
		time.Sleep(22*time.Minute - time.Second)
		store.set(hooks{beforeLoad: takes(time.Second)})
		var wg sync.WaitGroup
		for i := range logins {
			wg.Go(func() {
				s, err := w.document(p, i).Wait(t.Context())
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
		}
		wg.Wait()
	})
}

// G9: nothing of a login that has ended stays in memory, and nothing of what the program has handed
// in for it.
func TestEndedLoginIsLetGo(t *testing.T) {
	w := newWorld(t)
	store := weak.Make(func() *plexauth.MemoryStore {
		own := plexauth.NewMemoryStore()
		p := w.open(t, withStore(own))
		require.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{})))
		require.NoError(t, p.Cancel(t.Context()))
		return own
	}())
	assert.Eventually(t, func() bool {
		runtime.GC()
		return store.Value() == nil
	}, 10*time.Second, time.Millisecond)
}

// G9: Cancel does not wait for an account of a plex.tv that hangs, also if it was called while the token
// was saved.
func TestCancelWhileTheTokenIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		pin, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		require.NoError(t, w.plex.Approve(pin.Code, w.alice))
		w.plex.Inject(plextest.Fault{Path: accountPath, Hang: true, Times: -1})
		store.set(hooks{beforeUpdate: calls(1, 1, takes(2*time.Second))})
		var wg sync.WaitGroup
		wg.Go(func() {
			s, err := p.Wait(t.Context())
			assert.NoError(t, err)
			assert.True(t, s.Connected)
		})
		time.Sleep(2 * time.Second) // the token is being saved
		began := time.Now()
		require.NoError(t, p.Cancel(t.Context()))
		assert.Less(t, time.Since(began), 3*time.Second)
		wg.Wait()
	})
}

// G6: a login that Wait and Verify finish at the same time ends once. The next one, which has begun
// between, is not lost to this process.
func TestFinishedByTwoCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		w.park(t, p, w.alice, plexauth.PinOptions{})
		var all sync.WaitGroup
		finishes := func(call func(context.Context) (plexauth.Status, error), savingTakes time.Duration) {
			saving := make(chan struct{})
			store.set(hooks{beforeUpdate: calls(1, 1, func(ctx context.Context) error {
				close(saving)
				return takes(savingTakes)(ctx)
			})})
			all.Go(func() {
				s, err := call(t.Context())
				assert.NoError(t, err)
				assert.True(t, s.Connected)
			})
			<-saving
		}
		finishes(p.Wait, 10*time.Second)
		finishes(p.Verify, time.Second)
		time.Sleep(2 * time.Second)
		pin, err := p.Start(t.Context(), plexauth.PinOptions{SwitchAccount: true})
		require.NoError(t, err)
		all.Wait()
		assert.Equal(t, 1, plexauth.ProfilesInUse(p))
		require.NoError(t, w.plex.Approve(pin.Code, w.bob))
		require.NoError(t, errOf(p.Wait(t.Context())))
		assert.Equal(t, "bob", must(p.Status(t.Context())).User)
		assert.Zero(t, plexauth.ProfilesInUse(p))
	})
}

// A login that another process has cancelled fails, although a program has written a token during a
// Start that was slow to show its PIN again.
func TestCancelledAfterASlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := linked(t, false)
		w.replicas = true
		store := w.hooked(hooks{})
		p := w.open(t, withStore(store))
		begin := func() { assert.NoError(t, errOf(p.Start(t.Context(), plexauth.PinOptions{}))) }
		begin()
		var all sync.WaitGroup
		all.Go(func() { assert.ErrorIs(t, errOf(p.Wait(t.Context())), plexauth.ErrNoPendingPin) })
		time.Sleep(2 * time.Second)
		store.set(hooks{afterUpdate: once(func() { time.Sleep(20 * time.Second) })})
		all.Go(begin)
		time.Sleep(time.Second)
		w.edit(t, map[string]any{"account_token": "TEST_of-a-program"})
		time.Sleep(30 * time.Second)
		require.NoError(t, w.open(t).Cancel(t.Context()))
		w.plex.Inject(pinRequests(plextest.Fault{Status: 503, Times: -1})) // which would tell more
		all.Wait()
	})
}
