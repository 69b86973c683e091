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

// Plan says when one profile's token is renewed or checked in this process. The zero value
// is ready to use. A Plan is safe for concurrent use.
type Plan struct {
	mu       sync.Mutex // guards the rest
	id       string     // of the token
	token    Token
	failures int // of checks, in a row
	retry    elapsed.Instant
	rejected bool // plex.tv has rejected the token
}

// about makes p speak of the token id. mu must be held.
func (p *Plan) about(id string, now time.Time) {
	if p.id != id {
		p.id, p.token = id, Token{Since: now, Draw: rand.Float64()}
		p.failures, p.retry, p.rejected = 0, 0, false
	}
}

// RenewIn returns how long it is until the token id is renewed, zero or less if that is
// due. See [NextRenewal].
func (p *Plan) RenewIn(id string, due, unusable, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.about(id, now)
	return NextRenewal(due, unusable, p.token).Sub(now)
}

// CheckIn returns how long it is until the next check of the token id, zero or less if it is
// due. stored says when the token was last checked, by this process or another.
func (p *Plan) CheckIn(share float64, id string, stored, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.about(id, now)
	t := p.token
	if stored.After(t.Checked) && plausible(stored, now) {
		t.Checked = stored
	}
	due := NextCheck(share, t, now).Sub(now)
	if p.rejected { // the rejection is not saved yet
		due = 0
	}
	if p.retry.Ahead() {
		due = max(due, p.retry.Left())
	}
	return due
}

// Succeeded notes that plex.tv has accepted the token id.
func (p *Plan) Succeeded(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.about(id, now)
	p.token.Checked, p.failures, p.retry = now, 0, 0
}

// Failed notes that plex.tv could not be asked about the token id, or that its answer
// could not be saved. retryAfter is how long plex.tv has asked to wait.
func (p *Plan) Failed(id string, retryAfter time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.about(id, now)
	pause := min(shortestBackoff<<min(p.failures, 10), longestBackoff)
	p.failures++
	p.retry = elapsed.Now().Add(gate.Jitter(max(pause, retryAfter)))
}

// SetRejected notes that plex.tv has rejected the token id.
func (p *Plan) SetRejected(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.about(id, now)
	p.rejected = true
}

// Rejected reports whether plex.tv has rejected the token id. The store may not say so.
func (p *Plan) Rejected(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rejected && p.id == id
}
