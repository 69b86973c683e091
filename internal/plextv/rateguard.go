package plextv

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
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
		g.since, g.guessed = now, now.Add(DefaultSlow)
	} else if until := now.Add(min(d, WaitLimit)); until.After(g.until) {
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

// Clear returns when the guard lets requests through again.
func (g *rateGuard) Clear() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.guessed.After(g.until) {
		return g.guessed
	}
	return g.until
}

// wait waits until the guard lets q through. Where that takes longer than a call
// may wait, or than ctx lasts, it says at once for how long.
func (g *rateGuard) wait(ctx context.Context, q *Call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.Op, err)
	}
	d := time.Until(g.Clear())
	if end, ok := ctx.Deadline(); d > askedWait || ok && d > 0 && time.Until(end) <= d {
		return &Failure{Op: q.Op, Where: "plex.tv", StatusCode: http.StatusTooManyRequests, Message: "it asked to slow down a moment ago", Sentinel: fault.ErrRateLimited, RetryAfter: d}
	}
	q.waited += max(d, 0)
	if err := gate.Sleep(ctx, d); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.Op, err)
	}
	return nil
}
