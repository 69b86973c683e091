package signin

import (
	"context"
	"sync"
	"time"
)

// minPollInterval is the least time between two polls of one PIN.
const minPollInterval = time.Second

// claims makes sure that an attempt is finished by one request at a time, and only
// once in this process. The zero claims is ready to use.
type claims struct {
	mu   sync.Mutex // guards byID and what it holds
	byID map[string]*claim
}

// claimState is the state of an attempt in this process.
type claimState int

const (
	unclaimed claimState = iota
	claimed              // a request is finishing the attempt
	finished             // a token was obtained: the attempt cannot be used again
)

// claim is what this process knows about one attempt.
type claim struct {
	state    claimState
	released chan struct{} // closed when the request that is finishing the attempt ends; nil unless claimed
	pollAt   time.Time     // when the PIN may be polled again
	end      time.Time     // of the attempt, by a clock that cannot be set
}

// acquire waits until no other request is finishing a, and until the PIN may be polled
// again. It returns false if a is already finished, or if ctx or a ends first. After true
// the caller must call release.
func (c *claims) acquire(ctx context.Context, a *attempt) bool {
	ctx, cancel := context.WithDeadline(ctx, a.end)
	defer cancel()
	for {
		found, acquired := c.tryAcquire(a)
		if acquired || found.state == finished {
			return acquired
		}
		if found.state == claimed {
			select {
			case <-found.released:
			case <-ctx.Done():
			}
		} else {
			sleep(ctx, time.Until(found.pollAt))
		}
		if ctx.Err() != nil {
			return false
		}
	}
}

// tryAcquire claims a if that is possible now. Otherwise it returns the claim as it is.
func (c *claims) tryAcquire(a *attempt) (found claim, acquired bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of(a)
	if known.state != unclaimed || time.Now().Before(known.pollAt) {
		return *known, false
	}
	known.state, known.released = claimed, make(chan struct{})
	return *known, true
}

// release ends the caller's claim of a. The new state must be unclaimed or finished.
func (c *claims) release(a *attempt, state claimState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.byID[a.ID]
	known.state, known.pollAt = state, time.Now().Add(minPollInterval)
	close(known.released)
	known.released = nil
}

// register remembers when a ends. The attempt was started in this process.
func (c *claims) register(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(a).end = a.end
}

// endOf returns when a ends. It uses a's date only if another process started a.
func (c *claims) endOf(a *attempt) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.byID[a.ID]; known != nil {
		return known.end
	}
	return a.endByDate()
}

// isFinished reports whether this process has finished a.
func (c *claims) isFinished(a *attempt) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.byID[a.ID]
	return known != nil && known.state == finished
}

// of returns the claim for a. If it makes a new one, it also removes claims that ended
// long ago. c.mu must be held.
func (c *claims) of(a *attempt) *claim {
	if known := c.byID[a.ID]; known != nil {
		return known
	}
	for id, old := range c.byID {
		if time.Since(old.end) > maxAttemptAge && old.state != claimed {
			delete(c.byID, id)
		}
	}
	if c.byID == nil {
		c.byID = map[string]*claim{}
	}
	known := &claim{end: a.end}
	c.byID[a.ID] = known
	return known
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
