package gate

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Turns lets callers take turns at some work until it has ended. It takes memory of its own
// only while someone waits. The zero Turns is free. A Turns is safe for concurrent use.
type Turns struct {
	mu      sync.Mutex // not held while waiting
	changed Signal     // sent when the work or a Waiter has ended, and to those who wait for their turn
	queued  int32      // callers that wait for their turn
	busy    bool       // it is a caller's turn
	ended   bool
}

// Enter waits until it is no one's turn, and takes it if may returns true. entered is false
// as well if the work has ended. Leave must follow if it is true. The error is ctx's. may
// must not use t.
func (t *Turns) Enter(ctx context.Context, may func() bool) (entered bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.busy && !t.ended {
		if err := t.waitInLine(ctx); err != nil {
			return false, err
		}
	}
	if t.ended || !may() {
		return false, nil
	}
	t.busy = true
	return true, nil
}

// waitInLine waits until it may be the caller's turn. mu must be held, and is free while
// the caller waits.
func (t *Turns) waitInLine(ctx context.Context) error {
	t.queued++
	changed := t.changed.Next()
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.queued--
	}()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave ends the turn of a caller that has entered.
func (t *Turns) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	if t.queued > 0 {
		t.changed.Send()
	}
}

// IsBusy reports whether it is a caller's turn.
func (t *Turns) IsBusy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.busy
}

// End ends the work for all who wait.
func (t *Turns) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.changed.Send()
}

// Work is work that takes many steps.
type Work interface {
	// Due returns when the next step is due. It must not use the Turns.
	Due() time.Time
	// Step makes a step. over says that the caller need not make another one; err is then
	// why.
	Step(ctx context.Context) (over bool, err error)
	// Result returns how the work has ended.
	Result() error
}

// Waiter makes the steps of a Work, on goroutines of their own, for a caller that waits until
// it has ended. Thousands may wait, so a Waiter is small. The caller's goroutine does nothing
// but wait: a stack that has grown stays large as long as the caller waits.
type Waiter struct {
	turns   *Turns
	work    Work
	ctx     context.Context
	timer   *time.Timer          // makes the next step
	changed <-chan struct{}      // of turns
	end     func() (bool, error) // how the Waiter has ended; nil: it has not
}

// NewWaiter returns a Waiter that makes steps of w until the Turns t have ended, or ctx has.
// The caller must call Wait, and then Result.
func (t *Turns) NewWaiter(ctx context.Context, w Work) *Waiter {
	waiter := &Waiter{turns: t, work: w, ctx: ctx}
	t.mu.Lock()
	defer t.mu.Unlock()
	waiter.timer = time.AfterFunc(time.Until(w.Due()), waiter.step)
	return waiter
}

// Wait waits until a step is over, the work has ended, or the context has.
func (w *Waiter) Wait() {
	gone := w.ctx.Done()
	for !w.hasEnded() {
		select {
		case <-w.changed:
		case <-gone:
			gone = nil
		}
	}
}

// Result returns how the Waiter has ended: with a step or with the work, and the error of
// that. over is false if the context has ended; err is then the context's. A panic in a step is
// the caller's.
func (w *Waiter) Result() (over bool, err error) { return w.end() }

// hasEnded reports whether the Waiter has ended. It ends it if there is a reason, unless a
// step is under way, which does that when it is done.
func (w *Waiter) hasEnded() bool {
	w.turns.mu.Lock()
	defer w.turns.mu.Unlock()
	if w.end != nil {
		return true
	}
	if why := w.reason(); why != nil && w.timer.Stop() {
		w.end = why
		return true
	}
	w.changed = w.turns.changed.Next()
	return false
}

// reason returns why the Waiter must end; nil if it need not. The lock must be held.
func (w *Waiter) reason() func() (bool, error) {
	switch {
	case w.turns.ended:
		return func() (bool, error) { return true, w.work.Result() }
	case w.ctx.Err() != nil:
		return func() (bool, error) { return false, w.ctx.Err() }
	}
	return nil
}

// step makes a step, and then rests until the next one.
func (w *Waiter) step() {
	end := func() (bool, error) { runtime.Goexit(); return false, nil } // if Step does not return
	defer func() {
		if v := recover(); v != nil {
			end = func() (bool, error) { panic(v) }
		}
		w.rest(end)
	}()
	end = ending(w.work.Step(w.ctx))
}

// ending returns how a Waiter ends after a step with these results; nil if it does not.
func ending(over bool, err error) func() (bool, error) {
	if !over {
		return nil
	}
	return func() (bool, error) { return over, err }
}

// rest waits for the next step, unless the Waiter ends as end says, or for another reason.
func (w *Waiter) rest(end func() (bool, error)) {
	w.turns.mu.Lock()
	defer w.turns.mu.Unlock()
	if end == nil {
		end = w.reason()
	}
	if end == nil {
		w.timer.Reset(time.Until(w.work.Due()))
		return
	}
	w.end = end
	w.turns.changed.Send()
}
