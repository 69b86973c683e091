package gate_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/gate"
)

func always() bool { return true }

// Callers take turns one after the other. When a turn ends, all who wait are asked whether they
// still want one.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns gate.Turns
		began, inside, passed := time.Now(), 0, 0
		for range 5 {
			go func() {
				entered, err := turns.Enter(t.Context(), always)
				if !assert.NoError(t, err) || !assert.True(t, entered) {
					return
				}
				defer turns.Leave()
				inside++
				assert.Equal(t, 1, inside)
				assert.True(t, turns.IsBusy())
				time.Sleep(time.Second)
				inside--
				passed++
			}()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		assert.Equal(t, 5, passed)
		assert.Equal(t, 5*time.Second, time.Since(began), "no pause between two callers")
		assert.False(t, turns.IsBusy())

		entered, err := turns.Enter(t.Context(), func() bool { return false })
		assert.NoError(t, err)
		assert.False(t, entered, "it may not")
		assert.False(t, turns.IsBusy())
	})
}

// G9: the end of a context ends the wait for a turn at once, and so does the end of the work.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns gate.Turns
		entered, err := turns.Enter(t.Context(), always)
		require.NoError(t, err)
		require.True(t, entered)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		entered, err = turns.Enter(ctx, always)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.False(t, entered)
		assert.Equal(t, time.Second, time.Since(began))

		time.AfterFunc(time.Second, turns.End)
		entered, err = turns.Enter(t.Context(), always)
		assert.NoError(t, err)
		assert.False(t, entered)
		assert.Equal(t, 2*time.Second, time.Since(began))
		turns.Leave()
		entered, err = turns.Enter(t.Context(), always)
		assert.NoError(t, err)
		assert.False(t, entered, "the work has ended")
		turns.End() // no one waits
	})
}

// steps is a Work with a step each ten seconds.
type steps struct {
	turns  gate.Turns
	made   atomic.Int64
	step   func(ctx context.Context, n int64) (over bool, err error)
	result error
}

func (s *steps) Due() time.Time { return time.Now().Add(10 * time.Second) }
func (s *steps) Result() error  { return s.result }
func (s *steps) Step(ctx context.Context) (over bool, err error) {
	return s.step(ctx, s.made.Add(1))
}

func (s *steps) wait(ctx context.Context) (over bool, err error) {
	w := s.turns.NewWaiter(ctx, s)
	w.Wait()
	return w.Result()
}

var (
	errStep   = errors.New("of a step")
	errResult = errors.New("of the work")
)

// A step takes four seconds; the third one is over.
func lastOfThree(_ context.Context, n int64) (over bool, err error) {
	time.Sleep(4 * time.Second)
	return n == 3, errStep
}

// slow takes four seconds, or what is left of a context.
func slow(ctx context.Context, _ int64) (over bool, err error) {
	return false, gate.Sleep(ctx, 4*time.Second)
}

// stubborn takes four seconds in any case.
func stubborn(context.Context, int64) (over bool, err error) {
	time.Sleep(4 * time.Second)
	return false, nil
}

// asked is a context that counts how often it is asked whether it has ended, which each
// Waiter does that wakes.
type asked struct {
	context.Context
	times atomic.Int64
}

func (a *asked) Err() error {
	a.times.Add(1)
	return a.Context.Err()
}

// A turn that no one waits for wakes no Waiter: thousands may wait.
func TestTurnsWakeNoWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &steps{step: slow}
		ctx := &asked{Context: t.Context()}
		w := s.turns.NewWaiter(ctx, s)
		go w.Wait()
		enter := func() {
			entered, err := s.turns.Enter(t.Context(), always)
			assert.NoError(t, err)
			assert.True(t, entered)
		}
		enter()
		go func() {
			enter() // after the first one
			s.turns.Leave()
		}()
		synctest.Wait()
		s.turns.Leave()
		synctest.Wait()
		before := ctx.times.Load()
		assert.Positive(t, before)
		for range 5 {
			enter()
			s.turns.Leave()
			synctest.Wait()
		}
		assert.Equal(t, before, ctx.times.Load())
		s.turns.End()
		synctest.Wait()
	})
}

// A Waiter makes a step at a time, and ends with a step that is over, with the work, or with
// its context. A step that is under way comes to its end first (G9).
func TestWaiter(t *testing.T) {
	for name, c := range map[string]struct {
		step   func(ctx context.Context, n int64) (over bool, err error)
		cancel time.Duration // of the context; 0: never
		end    time.Duration // of the work; 0: never
		over   bool
		err    error
		took   time.Duration
		steps  int64
	}{
		"a step is over":                  {step: lastOfThree, over: true, err: errStep, took: 42 * time.Second, steps: 3},
		"cancelled during a rest":         {step: slow, cancel: 15 * time.Second, err: context.Canceled, took: 15 * time.Second, steps: 1},
		"cancelled during a step":         {step: slow, cancel: 12 * time.Second, err: context.Canceled, took: 12 * time.Second, steps: 1},
		"cancelled during a long step":    {step: stubborn, cancel: 12 * time.Second, err: context.Canceled, took: 14 * time.Second, steps: 1},
		"cancelled before":                {step: slow, cancel: time.Nanosecond, err: context.Canceled, took: time.Nanosecond},
		"the work ends during a rest":     {step: slow, end: 15 * time.Second, over: true, err: errResult, took: 15 * time.Second, steps: 1},
		"the work ends during a step":     {step: slow, end: 25 * time.Second, over: true, err: errResult, took: 28 * time.Second, steps: 2},
		"a step over as the context ends": {step: lastOfThree, cancel: 40 * time.Second, over: true, err: errStep, took: 42 * time.Second, steps: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &steps{step: c.step, result: errResult}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.end > 0 {
					time.AfterFunc(c.end, s.turns.End)
				}
				if c.cancel > 0 {
					time.AfterFunc(c.cancel, cancel)
				}
				began := time.Now()
				over, err := s.wait(ctx)
				assert.Equal(t, c.took, time.Since(began))
				assert.Equal(t, c.over, over)
				assert.Equal(t, c.err, err)
				assert.Equal(t, c.steps, s.made.Load())
				time.Sleep(time.Hour)
				assert.Equal(t, c.steps, s.made.Load(), "no step after the end")
			})
		})
	}
}

// Waiters of the same work end together when the work ends, and each by itself otherwise.
func TestWaitersOfOneWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &steps{step: slow, result: errResult}
		began := time.Now()
		ended := make(chan time.Duration)
		wait := func(ctx context.Context) {
			_, _ = s.wait(ctx)
			ended <- time.Since(began)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go wait(ctx)
		go wait(t.Context())
		go wait(t.Context())
		time.AfterFunc(30*time.Second, s.turns.End)
		assert.Equal(t, 5*time.Second, <-ended)
		assert.Equal(t, 30*time.Second, <-ended)
		assert.Equal(t, 30*time.Second, <-ended)
	})
}

// A panic in a step is the caller's, and so is runtime.Goexit, as a test's FailNow calls it.
func TestWaiterPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &steps{step: func(context.Context, int64) (bool, error) { panic("of the program") }}
		assert.PanicsWithValue(t, "of the program", func() { _, _ = s.wait(t.Context()) })

		s.step = func(context.Context, int64) (bool, error) { runtime.Goexit(); return false, nil }
		ended := make(chan bool)
		go func() {
			defer close(ended)
			_, _ = s.wait(t.Context())
			ended <- true
		}()
		_, went := <-ended
		assert.False(t, went, "the caller ends as well")
	})
}
