// Package renewbackoff remembers the recent renewals of one profile in this process. It
// answers one question: may a renewal be tried now? When a token is due is a rule of
// package profile.
package renewbackoff

import (
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/secret"
)

// Urgency says why a caller wants a new token.
type Urgency int

const (
	Background Urgency = iota // the old one still works
	Required                  // the old one no longer works
	Forced                    // the program asks for one, whatever failed before
)

const (
	// A renewal that failed is not tried again before shortestBackoff, which doubles
	// up to longestBackoff: plex.tv counts the nonces that it gives out.
	shortestBackoff, longestBackoff = time.Minute, 15 * time.Minute
	// offlineBackoff takes the place of shortestBackoff if there was no answer. A
	// caller without a good token waits for offlineLimit at most, so that it gets one
	// soon after the network is back.
	offlineBackoff, offlineLimit = 2 * time.Second, 15 * time.Second
	// retryAfterLimit bounds how long plex.tv can make a caller without a good token
	// wait.
	retryAfterLimit = 30 * time.Second

	reuseLimit  = time.Second // how long a new token also answers later callers
	futileLimit = time.Minute // how long a refusal causes no renewal after one that did not help
)

// History is what is known of a profile's renewals. Tokens are kept as fingerprints. The
// zero value is ready to use, and safe for concurrent use. A caller that has edited one
// keeps it for as long as Matters says.
type History struct {
	Gate gate.Gate // entered to renew

	mu sync.Mutex // guards the rest, never held while waiting
	r  *record    // nil before the first use: few profiles have a JWT
}

// record is what a History holds.
type record struct {
	exchanges int // that have ended
	at        elapsed.Instant
	old, got  string
	err       error

	failing  string // the token that could not be renewed
	last     Failure
	failures int                     // in a row, all with or all without an answer
	cutShort bool                    // the last renewal ended with its caller's context
	pause    [Forced]elapsed.Instant // by urgency

	futile elapsed.Instant // until then a refusal causes no renewal
}

// Failure is why a renewal failed.
type Failure struct {
	Err        error
	Answered   bool          // by plex.tv; otherwise the network failed, or the store
	RetryAfter time.Duration // as plex.tv asked; 0: it did not
}

// record returns what is known. mu must be held.
func (h *History) record() *record {
	if h.r == nil {
		h.r = &record{}
	}
	return h.r
}

// Matters returns for how long the history still matters if nothing is added.
func (h *History) Matters() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	if r.failing != "" {
		return 2 * longestBackoff
	}
	return futileLimit
}

// Count returns how many exchanges have ended.
func (h *History) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	return r.exchanges
}

// ResultFor returns the error of the last exchange, nil if it brought a token. isKnown
// reports whether that answers a caller who wants to renew t: the exchange concerned t, and
// either ended after Count returned arrived or brought a token within reuseLimit.
func (h *History) ResultFor(t secret.Value, arrived int) (isKnown bool, err error) {
	f := secret.Fingerprint(t)
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	concernsT := r.old == f || r.got == f
	return concernsT && (r.exchanges > arrived || r.err == nil && r.at.Add(reuseLimit).Left() > 0), r.err
}

// Paused returns the last failure if t may not be renewed yet.
func (h *History) Paused(t secret.Value, u Urgency) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	if u != Forced && r.failing == secret.Fingerprint(t) && r.pause[u].Ahead() {
		return r.last.Err
	}
	return nil
}

// Succeeded notes that an exchange has brought got in the place of old.
func (h *History) Succeeded(old, got secret.Value) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	r.end(old, got, nil)
	r.failing = ""
}

// Failed notes that a renewal of t has failed. It reports whether it is the first
// failure for t.
func (h *History) Failed(t secret.Value, f Failure) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	r.end(t, secret.Value{}, f.Err)
	r.concern(t)
	r.cutShort = false
	return r.fail(f)
}

// CutShort notes that a renewal has ended with its caller's context. The next caller
// in line renews instead. If that is cut short too, all rest as after a failure
// without an answer; callers in the background rest at once. err is what they get.
func (h *History) CutShort(t secret.Value, u Urgency, err error) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	r.concern(t)
	again := r.cutShort
	r.cutShort = true
	return (again || u == Background) && r.fail(Failure{Err: err})
}

// Futile notes that plex.tv has refused the new token as well.
func (h *History) Futile() {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	r.futile = elapsed.Now().Add(futileLimit)
}

// IsFutile reports whether that happened a moment ago, so that another renewal would
// not help.
func (h *History) IsFutile() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record()
	return r.futile.Ahead()
}

// end notes the result of an exchange.
func (r *record) end(old, got secret.Value, err error) {
	r.exchanges++
	r.at = elapsed.Now()
	r.old, r.got, r.err = secret.Fingerprint(old), secret.Fingerprint(got), err
}

// concern starts counting again if another token than t failed before.
func (r *record) concern(t secret.Value) {
	if f := secret.Fingerprint(t); r.failing != f {
		r.failing, r.last, r.failures, r.cutShort, r.pause = f, Failure{}, 0, false, [Forced]elapsed.Instant{}
	}
}

// fail starts the pauses after f. It reports whether f is the first failure.
func (r *record) fail(f Failure) (first bool) {
	if r.last.Answered != f.Answered {
		r.failures = 0
	}
	background, required := pauses(f, r.failures)
	r.pause = [Forced]elapsed.Instant{Background: elapsed.Now().Add(gate.Jitter(background)), Required: elapsed.Now().Add(gate.Jitter(required))}
	r.failures++
	first = r.last.Err == nil
	r.last = f
	return first
}

// pauses returns how long callers of each urgency rest after f. failures counts the
// earlier ones of its kind in a row.
func pauses(f Failure, failures int) (background, required time.Duration) {
	first := offlineBackoff
	if f.Answered {
		first = min(max(shortestBackoff, f.RetryAfter), longestBackoff)
	}
	background = min(first<<min(failures, 10), longestBackoff)
	switch {
	case !f.Answered:
		return background, min(background, offlineLimit)
	case f.RetryAfter > 0:
		return background, min(f.RetryAfter, retryAfterLimit)
	}
	return background, background
}
