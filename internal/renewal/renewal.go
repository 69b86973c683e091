// Package renewal remembers the recent renewals of each profile in this process. It
// answers one question: may a renewal be tried now?
package renewal

import (
	"context"
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

// History is what is known of the renewals of each profile. Tokens are kept as
// fingerprints, and a profile is forgotten once its renewals no longer matter. The
// zero value is ready to use, and safe for concurrent use.
type History struct {
	gates gate.Map // entered to renew

	mu     sync.Mutex // guards the rest, never held while waiting
	ended  int        // counts the exchanges of all profiles
	byName map[string]*record
}

// record is the history of one profile.
type record struct {
	changes int // tells whether a timer that removes the record is out of date

	ended    int // History.ended after the last exchange
	at       elapsed.Instant
	old, got string
	err      error

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

// Enter waits until no other caller renews the profile's token. leave lets the next
// one in. The error is ctx's.
func (h *History) Enter(ctx context.Context, profile string) (leave func(), err error) {
	return h.gates.Enter(ctx, profile)
}

// TryEnter enters if no other caller renews the profile's token.
func (h *History) TryEnter(profile string) (leave func(), ok bool) { return h.gates.TryEnter(profile) }

// Count returns how many exchanges have ended.
func (h *History) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

// Len returns how many profiles have a history.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.byName)
}

// ResultFor returns the last exchange's result if it concerns t, and either ended
// after Count returned arrived or brought a token within reuseLimit.
func (h *History) ResultFor(profile string, t secret.Value, arrived int) (err error, ok bool) {
	r, f := h.read(profile), secret.Fingerprint(t)
	return r.err, (r.old == f || r.got == f) && (r.ended > arrived || r.err == nil && r.at.Add(reuseLimit).Left() > 0)
}

// Paused returns the last failure if t may not be renewed yet.
func (h *History) Paused(profile string, t secret.Value, u Urgency) error {
	r := h.read(profile)
	if u != Forced && r.failing == secret.Fingerprint(t) && r.pause[u].Ahead() {
		return r.last.Err
	}
	return nil
}

// Succeeded notes that an exchange has brought got in the place of old.
func (h *History) Succeeded(profile string, old, got secret.Value) {
	h.edit(profile, func(r *record) {
		h.end(r, old, got, nil)
		r.failing = ""
	})
}

// Failed notes that a renewal of t has failed. It reports whether it is the first
// failure for t.
func (h *History) Failed(profile string, t secret.Value, f Failure) (first bool) {
	h.edit(profile, func(r *record) {
		h.end(r, t, secret.Value{}, f.Err)
		r.concern(t)
		r.cutShort = false
		first = r.fail(f)
	})
	return first
}

// CutShort notes that a renewal has ended with its caller's context. The next caller
// in line renews instead. If that is cut short too, all rest as after a failure
// without an answer; callers in the background rest at once. err is what they get.
func (h *History) CutShort(profile string, t secret.Value, u Urgency, err error) (first bool) {
	h.edit(profile, func(r *record) {
		r.concern(t)
		again := r.cutShort
		r.cutShort = true
		if again || u == Background {
			first = r.fail(Failure{Err: err})
		}
	})
	return first
}

// Futile notes that plex.tv has refused the new token as well.
func (h *History) Futile(profile string) {
	h.edit(profile, func(r *record) { r.futile = elapsed.Now().Add(futileLimit) })
}

// IsFutile reports whether that happened a moment ago, so that another renewal would
// not help.
func (h *History) IsFutile(profile string) bool {
	r := h.read(profile)
	return r.futile.Ahead()
}

func (h *History) read(profile string) record {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.byName[profile]; r != nil {
		return *r
	}
	return record{}
}

// edit changes a profile's record, and removes it once it no longer matters.
func (h *History) edit(profile string, change func(*record)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.byName[profile]
	if r == nil {
		if h.byName == nil {
			h.byName = map[string]*record{}
		}
		r = &record{}
		h.byName[profile] = r
	}
	change(r)
	r.changes++
	changes, age := r.changes, futileLimit
	if r.failing != "" {
		age = 2 * longestBackoff
	}
	time.AfterFunc(age, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.byName[profile] == r && r.changes == changes {
			delete(h.byName, profile)
		}
	})
}

// end notes the result of an exchange. h.mu must be held.
func (h *History) end(r *record, old, got secret.Value, err error) {
	h.ended++
	r.ended, r.at = h.ended, elapsed.Now()
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
