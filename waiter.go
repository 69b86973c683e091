package plexauth

import (
	"context"
	"errors"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
)

// waiterState is what the panel's waiter is doing.
type waiterState int

const (
	idle      waiterState = iota // no login is known to be pending
	reading                      // the store, for a login to look after
	attending                    // a login, whose server it finds when it ends well
)

// wait finishes the profile's logins until ctx ends.
func (h *panel) wait() {
	for pause := refresh; h.ctx.Err() == nil; {
		pause = h.waitForOne(pause)
	}
}

// waitForOne finishes the login that is pending, or waits for one. It returns the
// pause after the next failure, given the one after this.
func (h *panel) waitForOne(pause time.Duration) time.Duration {
	h.setWaiter(reading)
	begun, done := h.logins.nextBegin(h.instance) // before the store is read, so that none is missed
	defer done()
	a, err := h.resume(h.ctx)
	if err == nil {
		h.setWaiter(attending)
		err = a.await(h.ctx)
	}
	switch {
	case h.ctx.Err() != nil:
	case err == nil:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waiter = idle
		h.search() // in one announcement with the end of the login
	case errors.Is(err, fault.ErrPinSuperseded):
		h.over(nil)
		return pause
	case errors.Is(err, fault.ErrPinExpired):
		h.over(problemOf(err))
		h.bury(a.pin)
	case !errors.Is(err, fault.ErrNoPendingPin):
		h.over(problemOf(err))
		_ = gate.Sleep(h.ctx, pause) // what is still pending after this is not to be decided now
		if failureOf(err) != nil {   // plex.tv was asked about an approval that outlives its PIN
			return min(2*pause, refusalPace)
		}
		return min(2*pause, widestPace)
	default:
		h.over(h.outcome())
		select {
		case <-h.wake:
		case <-begun:
		case <-h.ctx.Done():
		}
	}
	return refresh
}

// bury removes an expired PIN from the store, however often that fails, so that no
// other process asks about it.
func (h *panel) bury(pin *Pin) {
	for pause := refresh; h.dropPending(h.ctx, pin.ID) != nil && gate.Sleep(h.ctx, pause) == nil; {
		pause = min(2*pause, widestPace)
	}
}

// search begins a search for the server in the background and announces it. mu must
// be held.
func (h *panel) search() {
	h.searches++
	h.announce(nil)
	go h.complete()
}

// complete finds the server of a new login, as far as no choice is needed. A
// server that is starting, as after a restart of the machine, is looked for once
// more, unless the person has done something since.
func (h *panel) complete() {
	trouble, state := h.searchOnce()
	if state == plextv.ServerStarting && gate.Sleep(h.ctx, whileStarting) == nil && h.searchAgain(trouble) {
		h.searchOnce()
	}
}

// searchAgain announces another search, if trouble is still the latest news.
func (h *panel) searchAgain(trouble *problem) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != trouble {
		return false
	}
	h.searches++
	h.announce(trouble)
	return true
}

// searchOnce does the work of one search and announces what hinders it.
func (h *panel) searchOnce() (trouble *problem, state plextv.ServerState) {
	ctx, cancel := context.WithTimeout(h.ctx, inspectAfter)
	defer cancel()
	err := h.inspectWhileLimited(ctx)
	if err != nil && h.ctx.Err() == nil {
		h.info(ctx, "connected; not all is known yet: "+plain.Short(err.Error()))
		if !errors.Is(err, fault.ErrServerChoice) { // no trouble: a person is to choose
			trouble, state = problemOf(err), stateIn(err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.searches--
	h.announce(trouble)
	return trouble, state
}

// inspectWhileLimited is Inspect, again after a rate limit while ctx leaves the time:
// no person waits for this call.
func (h *panel) inspectWhileLimited(ctx context.Context) error {
	for {
		_, err := h.Inspect(ctx)
		e := failureOf(err)
		if !errors.Is(err, fault.ErrRateLimited) || e == nil {
			return err
		}
		pause := max(e.RetryAfter, pollMaxAge)
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause || gate.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

func (h *panel) setWaiter(to waiterState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiter = to
}

// over announces that the login that was waited for has ended, and how.
func (h *panel) over(ended *problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiter = idle
	h.announce(ended)
}

// news lets everybody who waits look again. ended is how the last login ended.
func (h *panel) news(ended *problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.announce(ended)
}

// announce tells everyone who waits of the news. mu must be held.
func (h *panel) announce(ended *problem) {
	h.ended, h.view = ended, nil
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *panel) outcome() *problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}
