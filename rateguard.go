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
	mu      sync.Mutex
	until   time.Time // as plex.tv has asked
	guessed time.Time // where it named no time
	since   time.Time // when it was guessed last
}

// slow holds requests back for d, for half a minute at most: a hostile header must
// not stop the program. Where d is 0, plex.tv has named no time.
func (g *rateGuard) slow(d time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if d <= 0 {
		g.since, g.guessed = now, now.Add(defaultSlow)
	} else if until := now.Add(min(d, waitLimit)); until.After(g.until) {
		g.until = until
	}
}

// answered ends a guess: plex.tv has taken a request that was sent after it.
func (g *rateGuard) answered(sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if sent.After(g.since) {
		g.guessed = time.Time{}
	}
}

// clear returns when the guard lets requests through again.
func (g *rateGuard) clear() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.guessed.After(g.until) {
		return g.guessed
	}
	return g.until
}

// wait waits until the guard lets q through. Where that takes longer than a call
// may wait, or than ctx lasts, it says at once for how long.
func (g *rateGuard) wait(ctx context.Context, q *call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.op, err)
	}
	d := time.Until(g.clear())
	if end, ok := ctx.Deadline(); d > askedWait || ok && d > 0 && time.Until(end) <= d {
		return &failure{Op: q.op, where: "plex.tv", StatusCode: http.StatusTooManyRequests, Message: "it asked to slow down a moment ago", is: ErrRateLimited, RetryAfter: d}
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
