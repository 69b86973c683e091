package signin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	mostPerBrowser = 5
	shortestPause  = 5 * time.Second // after a 429 of plex.tv
	longestPause   = time.Minute
)

// counter limits what this process begins, and lets each sign-in be finished
// once.
type counter struct {
	most int // sign-ins in one lifetime

	mu     sync.Mutex      // guards the rest, never held while waiting
	starts []start         // oldest first
	until  time.Time       // plex.tv asked for a pause until then
	flows  map[string]*use // by flow.ID
}

// start is a sign-in that was begun in this process.
type start struct {
	at     time.Time
	client string
}

// use is how a sign-in is being finished, or was.
type use struct {
	end      time.Time     // of the sign-in, whatever this machine's clock is set to
	next     time.Time     // no further look at the PIN before
	over     chan struct{} // closed when the request that finishes it lets go; nil: none does
	finished bool
}

// begin counts a new sign-in of f's browser at client, or says how long it must
// wait. One client gets half of what all may begin, so that it alone cannot
// close the app to the others.
func (c *counter) begin(f *flow, client string) time.Duration {
	now := time.Now()
	if mine := recent(f.Starts, wallClock()); len(mine) >= mostPerBrowser {
		return untilForgotten(time.Unix(mine[0], 0), wallClock())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.until) {
		return c.until.Sub(now)
	}
	c.starts = slices.DeleteFunc(c.starts, func(s start) bool { return untilForgotten(s.at, now) <= 0 })
	var mine []time.Time
	for _, s := range c.starts {
		if s.client == client {
			mine = append(mine, s.at)
		}
	}
	switch {
	case len(c.starts) >= c.most:
		return untilForgotten(c.starts[0].at, now)
	case len(mine) >= (c.most+1)/2:
		return untilForgotten(mine[0], now)
	}
	c.starts = append(c.starts, start{now, client})
	return 0
}

// failed keeps the pause that plex.tv asks for.
func (c *counter) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, plexauth.ErrRateLimited) {
		pause := shortestPause
		var e *plexauth.Error
		if errors.As(err, &e) {
			pause = min(max(pause, e.RetryAfter), longestPause)
		}
		if until := time.Now().Add(pause); until.After(c.until) {
			c.until = until
		}
	}
}

// pause is how long plex.tv still wants to be left alone.
func (c *counter) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, time.Until(c.until))
}

// takeBack forgets the last sign-in that was counted for client.
func (c *counter) takeBack(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range slices.Backward(c.starts) {
		if s.client == client {
			c.starts = slices.Delete(c.starts, i, i+1)
			return
		}
	}
}

// notBegun reports whether plex.tv certainly made no PIN for a start that has
// failed: there was no connection, or plex.tv itself refused. The answer to any
// other may only have been lost.
func notBegun(err error) bool {
	var e *plexauth.Error
	if !errors.As(err, &e) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect"
	}
	return errors.Is(err, plexauth.ErrRateLimited) || e.StatusCode == http.StatusServiceUnavailable || e.StatusCode/100 == 4 && !errors.Is(err, plexauth.ErrUnavailable)
}

// claim makes the caller the only one to finish f, after the request that does
// so now, and at the pace at which a PIN may be looked at. It returns false when
// f has been finished, and when ctx or f itself has ended.
func (c *counter) claim(ctx context.Context, f *flow) bool {
	ctx, cancel := context.WithDeadline(ctx, f.end)
	defer cancel()
	for {
		u, mine := c.take(f)
		if mine || u.finished {
			return mine
		}
		pause := time.NewTimer(time.Until(u.next))
		ready := pause.C
		if u.over != nil {
			ready = nil
		}
		select {
		case <-u.over:
		case <-ready:
		case <-ctx.Done():
		}
		pause.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}

// take claims f at once if it may be claimed, and returns how it stands.
func (c *counter) take(f *flow) (use, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.use(f)
	if u.finished || u.over != nil || time.Now().Before(u.next) {
		return *u, false
	}
	u.over = make(chan struct{})
	return *u, true
}

// began remembers when a sign-in ends that was begun here.
func (c *counter) began(f *flow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(f).end = f.end
}

// end returns when f ends, by its date only where another process has begun it.
func (c *counter) end(f *flow) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.flows[f.ID]; u != nil {
		return u.end
	}
	return f.endByDate()
}

// use returns what is known of f, and forgets sign-ins that are long over. c.mu must
// be held.
func (c *counter) use(f *flow) *use {
	u := c.flows[f.ID]
	if u == nil {
		for id, old := range c.flows {
			if time.Since(old.end) > lifetime && old.over == nil {
				delete(c.flows, id)
			}
		}
		u = &use{end: f.end}
		c.flows[f.ID] = u
	}
	return u
}

// release ends a claim. done: f has been finished, and never will be again.
func (c *counter) release(f *flow, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.flows[f.ID]
	u.finished, u.next = done, time.Now().Add(time.Second)
	close(u.over)
	u.over = nil
}

// finished reports whether f has been finished here.
func (c *counter) finished(f *flow) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.flows[f.ID]
	return u != nil && u.finished
}
