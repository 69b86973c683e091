package plextv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
)

// rateGuard holds all requests of one client back after a 429.
type rateGuard struct {
	mu        sync.Mutex
	asked     time.Time // until when plex.tv has asked to wait
	guessed   time.Time // until when to wait after a 429 that named no time
	guessedAt time.Time
}

// slow holds requests back for d, for [RetryWaitLimit] at most: a hostile header must
// not stop the program. If d is 0, plex.tv has named no time.
func (g *rateGuard) slow(d time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if d <= 0 {
		g.guessedAt, g.guessed = now, now.Add(GuessedPause)
	} else if until := now.Add(min(d, RetryWaitLimit)); until.After(g.asked) {
		g.asked = until
	}
}

// answered ends a guessed pause if plex.tv has accepted a request that was sent after
// the guess.
func (g *rateGuard) answered(sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if sent.After(g.guessedAt) {
		g.guessed = time.Time{}
	}
}

// OpenAt returns when requests may be sent again; a time in the past if they may now.
func (g *rateGuard) OpenAt() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.guessed.After(g.asked) {
		return g.guessed
	}
	return g.asked
}

// RepeatAt returns when an attempt may be repeated that has failed. A guessed pause ends
// sooner for it than for a new request, as for the attempts of a call.
func (g *rateGuard) RepeatAt() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := g.guessedAt.Add(askedWaitLimit); !g.guessed.IsZero() && at.After(g.asked) {
		return at
	}
	return g.asked
}

// wait waits until q may be sent. If that takes longer than a call may wait, or than
// ctx lasts, it returns at once with a failure that says how long.
func (g *rateGuard) wait(ctx context.Context, q *Call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.Op, err)
	}
	d := time.Until(g.OpenAt())
	if end, ok := ctx.Deadline(); d > askedWaitLimit || ok && time.Until(end) <= d {
		return HeldBack(q.Op, d)
	}
	q.waited += max(d, 0)
	if err := gate.Sleep(ctx, d); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.Op, err)
	}
	return nil
}
