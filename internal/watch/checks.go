package watch

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/gate"
)

// A check that failed is tried again after shortestBackoff, which doubles up to
// longestBackoff.
const shortestBackoff, longestBackoff = time.Minute, time.Hour

// Checks plans the checks of one profile's token in this process. The zero value is ready
// to use. Checks is safe for concurrent use.
type Checks struct {
	mu       sync.Mutex // guards the rest
	id       string     // of the token
	token    Token
	failures int // in a row
	retry    elapsed.Instant
	rejected bool // plex.tv has rejected the token
}

// about makes c speak of the token id. mu must be held.
func (c *Checks) about(id string, now time.Time) {
	if c.id != id {
		c.id, c.token = id, Token{Since: now, Draw: rand.Float64()}
		c.failures, c.retry, c.rejected = 0, 0, false
	}
}

// Due returns how long it is until the next check of the token id, zero or less if it is
// due. stored says when the token was last checked, by this process or another.
func (c *Checks) Due(share float64, id string, stored, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about(id, now)
	t := c.token
	if stored.After(t.Checked) && plausible(stored, now) {
		t.Checked = stored
	}
	due := NextCheck(share, t, now).Sub(now)
	if c.retry.Ahead() {
		due = max(due, c.retry.Left())
	}
	return due
}

// Succeeded notes that plex.tv has accepted the token id.
func (c *Checks) Succeeded(id string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about(id, now)
	c.token.Checked, c.failures, c.retry = now, 0, 0
}

// Failed notes that plex.tv could not be asked about the token id, or that its answer
// could not be saved. retryAfter is how long plex.tv has asked to wait.
func (c *Checks) Failed(id string, retryAfter time.Duration, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about(id, now)
	pause := min(shortestBackoff<<min(c.failures, 10), longestBackoff)
	c.failures++
	c.retry = elapsed.Now().Add(gate.Jitter(max(pause, retryAfter)))
}

// SetRejected notes that plex.tv has rejected the token id.
func (c *Checks) SetRejected(id string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about(id, now)
	c.rejected = true
}

// Rejected reports whether plex.tv has rejected the token id. The store may not say so.
func (c *Checks) Rejected(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rejected && c.id == id
}
