package signin

import (
	"context"
	"errors"
	"net"
	"net/http"
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

	mu     sync.Mutex // guards the rest, never held while waiting
	starts []int64
	until  time.Time       // plex.tv asked for a pause until then
	flows  map[string]*use // by flow.ID
}

// use is how a sign-in is being finished, or was.
type use struct {
	expires  time.Time
	next     time.Time     // no further look at the PIN before
	over     chan struct{} // closed when whoever finishes it lets go; nil: nobody does
	finished bool
}

// begin counts a new sign-in of f's browser, or says how long it must wait.
func (c *counter) begin(f *flow) time.Duration {
	now := time.Now()
	if mine := recent(f.Starts, now); len(mine) >= mostPerBrowser {
		return time.Unix(mine[0], 0).Add(lifetime).Sub(now)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.until) {
		return c.until.Sub(now)
	}
	if c.starts = recent(c.starts, now); len(c.starts) >= c.most {
		return time.Unix(c.starts[0], 0).Add(lifetime).Sub(now)
	}
	c.starts = append(c.starts, now.Unix())
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

// takeBack forgets the last sign-in that was counted.
func (c *counter) takeBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.starts); n > 0 {
		c.starts = c.starts[:n-1]
	}
}

// notBegun reports whether plex.tv certainly made no PIN for a start that has
// failed: no connection came about, or plex.tv itself refused. Of any other the
// answer may only have been lost.
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

// claim makes the caller the only one who finishes f, after whoever does so
// now, and at the pace at which a PIN may be looked at. False: it is finished.
func (c *counter) claim(ctx context.Context, f *flow) bool {
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

func (c *counter) take(f *flow) (use, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for id, u := range c.flows {
		if now.After(u.expires) && u.over == nil {
			delete(c.flows, id)
		}
	}
	u := c.flows[f.ID]
	if u == nil {
		u = &use{expires: time.Unix(f.Expires, 0).Add(lifetime)}
		c.flows[f.ID] = u
	}
	if u.finished || u.over != nil || now.Before(u.next) {
		return *u, false
	}
	u.over = make(chan struct{})
	return *u, true
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
