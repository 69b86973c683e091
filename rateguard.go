package plexauth

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// rateGuard slows every caller of one client after a 429.
type rateGuard struct {
	mu    sync.Mutex
	until time.Time
}

// slow holds requests back for d, half a minute at most, so that a hostile
// header parks nobody.
func (g *rateGuard) slow(d time.Duration) {
	if d <= 0 {
		d = defaultSlow
	}
	until := time.Now().Add(min(d, waitLimit))
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

// clear returns when the guard lets requests through again.
func (g *rateGuard) clear() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until
}

// wait waits for that moment, as a part of the waiting that a call may do. If
// ctx ends before, it says at once why.
func (g *rateGuard) wait(ctx context.Context, q *call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.op, err)
	}
	d := time.Until(g.clear())
	if end, ok := ctx.Deadline(); ok && d > 0 && time.Until(end) <= d {
		return &Error{Op: q.op, where: "plex.tv", StatusCode: http.StatusTooManyRequests, Message: "it asked to slow down a moment ago", is: ErrRateLimited, RetryAfter: d}
	}
	q.waited += max(d, 0)
	if err := sleep(ctx, d); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.op, err)
	}
	return nil
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
