package plexauth

import (
	"os"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// A renewal that failed is not tried again before a while, which doubles:
	// plex.tv counts the nonces that it gives away.
	shortestBackoff, longestBackoff = time.Minute, 15 * time.Minute
	// offlineBackoff is the first one where nothing came back. While there is no
	// good token it does not get longer than offlineLimit: nobody waits for long
	// once the network is there again.
	offlineBackoff, offlineLimit = 2 * time.Second, 15 * time.Second
)

// urgency says how much a caller wants a new token.
type urgency int

const (
	spare  urgency = iota // the old one still works
	needed                // it is over
	asked                 // by Refresh: now, whatever failed before
)

// renewals are the renewals of this process, one a profile.
type renewals struct {
	mu         sync.Mutex // guards the map, never held while waiting
	byInstance map[string]*renewal
}

// join returns a profile's renewal. Once all who have joined have left, it is kept
// only while it still counts.
func (s *renewals) join(instance string) (r *renewal, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = s.byInstance[instance]
	if r == nil {
		if s.byInstance == nil {
			s.byInstance = map[string]*renewal{}
		}
		r = &renewal{turn: make(chan struct{}, 1)}
		s.byInstance[instance] = r
	}
	r.users++
	return r, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.users--
		s.drop(instance, r)
	}
}

// drop removes a renewal that has no users and does not count any more, or looks
// again later. s.mu must be held.
func (s *renewals) drop(instance string, r *renewal) {
	switch left := r.counts().Left(); {
	case r.users > 0 || r.dropping:
	case left > 0:
		r.dropping = true
		time.AfterFunc(left+time.Second, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			r.dropping = false
			s.drop(instance, r)
		})
	default:
		delete(s.byInstance, instance)
	}
}

// inVain is [renewal.inVain] for a profile.
func (s *renewals) inVain(instance string) {
	r, leave := s.join(instance)
	defer leave()
	r.inVain()
}

// vain is [renewal.vain] for a profile.
func (s *renewals) vain(instance string) bool {
	r, leave := s.join(instance)
	defer leave()
	return r.vain()
}

// renewal lets the callers for one profile take turns: the first one makes the
// exchange, and its result answers the others.
type renewal struct {
	turn chan struct{} // held by whoever renews

	users    int  // who have joined, guarded by renewals.mu, as dropping is
	dropping bool // it is looked at again later

	mu       sync.Mutex      // guards the rest, never held while waiting
	ended    int             // how many exchanges have
	at       elapsed.Instant // when the last one did
	old, got string          // fingerprints of what it was for, and what came of it
	err      error           // how it ended

	failing  string                 // the fingerprint of what cannot be renewed
	since    elapsed.Instant        // when that was last tried
	why      error                  // the last failure of that
	failures int                    // in a row
	alike    int                    // of them those of one kind
	offline  bool                   // nothing came back, or the store failed
	cuts     int                    // in a row that ended with their callers' contexts
	pause    [asked]elapsed.Instant // no other attempt before, by urgency

	useless elapsed.Instant // until then a request that is refused gets no new token
}

func (r *renewal) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// answer is the result of the last exchange, for t or with it, if that answers
// who came when so many had ended: it was under way then, or it brought a token
// just now.
func (r *renewal) answer(t secret.Value, came int) (error, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := secret.Fingerprint(t)
	return r.err, (r.old == f || r.got == f) && (r.ended > came || r.err == nil && r.at.Add(fresh).Left() > 0)
}

// paused is the last failure, while no other attempt is to be made for t.
func (r *renewal) paused(t secret.Value, u urgency) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u != asked && r.failing == secret.Fingerprint(t) && r.pause[u].Ahead() {
		return r.why
	}
	return nil
}

// note keeps the result of an exchange.
func (r *renewal) note(old, got secret.Value, err error) (failures int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	r.at, r.old, r.got, r.err = elapsed.Now(), secret.Fingerprint(old), secret.Fingerprint(got), err
	if err == nil {
		r.failing, r.why = "", nil
		return 0
	}
	r.about(old)
	r.cuts = 0
	return r.rest(err)
}

// cutShort notes that a renewal has ended with its caller's context. Whoever waits
// for the turn does it instead; where that ends so as well, there is a pause for
// all who need it.
func (r *renewal) cutShort(t secret.Value, u urgency) (failures int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.about(t)
	if r.cuts++; r.cuts == 1 && u != spare {
		return 0
	}
	return r.rest(tooLate(plextv.OpRenew, "plex.tv", os.ErrDeadlineExceeded)) // which is no context's error: another one's has ended
}

// about begins to count anew where it is another token that cannot be renewed.
func (r *renewal) about(t secret.Value) {
	r.since = elapsed.Now()
	if f := secret.Fingerprint(t); r.failing != f {
		r.failing, r.failures, r.alike, r.cuts, r.pause = f, 0, 0, 0, [asked]elapsed.Instant{}
	}
}

// rest makes the pause after a failure.
func (r *renewal) rest(err error) (failures int) {
	e := failureOf(err)
	answered := e != nil && e.Cause == nil
	if r.offline == answered {
		r.offline, r.alike = !answered, 0
	}
	for u := range r.pause {
		first, most := offlineBackoff, longestBackoff
		switch {
		case !answered && urgency(u) == needed:
			most = offlineLimit
		case answered && e.RetryAfter > 0 && urgency(u) == needed:
			first = min(max(first, e.RetryAfter), plextv.WaitLimit)
		case answered:
			first = min(max(shortestBackoff, e.RetryAfter), longestBackoff)
		}
		r.pause[u] = elapsed.Now().Add(jitter(min(first<<min(r.alike, 10), most)))
	}
	r.why = err
	r.alike++
	r.failures++
	return r.failures
}

// inVain notes that a request which was refused, and got a new token for that, was
// refused again: it is not the token.
func (r *renewal) inVain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.useless = elapsed.Now().Add(shortestBackoff)
}

// vain reports whether this was so a moment ago.
func (r *renewal) vain() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.useless.Ahead()
}

// counts returns until when what is known of a profile's renewals matters: failures
// make the next pause longer for a while after the last one.
func (r *renewal) counts() elapsed.Instant {
	r.mu.Lock()
	defer r.mu.Unlock()
	var until elapsed.Instant
	if r.ended > 0 {
		until = r.at.Add(fresh)
	}
	if r.failing != "" {
		until = r.since.Add(2 * longestBackoff)
	}
	if r.useless.Ahead() {
		until = max(until, r.useless)
	}
	if until == 0 {
		return elapsed.Now()
	}
	return until
}
