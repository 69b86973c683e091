// Package schedule says when a PIN is polled next, and how long it lives. It makes no
// request and holds no lock.
package schedule

import (
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

const (
	// MaxInterval bounds the interval between polls while plex.tv does not answer.
	MaxInterval = 10 * time.Second
	// PollMaxAge bounds how long the result of a poll counts for other callers.
	PollMaxAge = time.Second

	expiryPrecision = 2 * time.Second         // of an expiresIn, which has whole seconds
	datePause       = 15 * time.Second        // between two dates for the store, for a plex.tv whose expiresIn does not count down
	longestRequest  = 3 * plextv.AttemptLimit // limit of a request after repeated timeouts
)

// Schedule is the schedule of one PIN. It is not safe for concurrent use.
type Schedule struct {
	began         time.Time
	lastPoll      time.Time     // when the last poll ended: when it reached plex.tv is not known
	next          time.Time     // earliest time of the next poll
	interval      time.Duration // between polls
	leastInterval time.Duration
	request       time.Duration // limit of one request

	deadline      elapsed.Instant // when the PIN expires
	latest        elapsed.Instant // bound of deadline
	date          time.Time       // of deadline, as others are told
	dateUnsaved   bool            // the store has another date
	dateTaken     elapsed.Instant // when TakeUnsaved has returned a date; 0: never
	dateUnsure    bool            // the stored date is past, by a clock that may have been set, and plex.tv has not answered since
	lifetimeKnown bool            // plex.tv has said how long the PIN lives
}

// New returns the schedule of a PIN that expires at that instant, and on that date as
// others are told. lifetimeKnown says that plex.tv has told how long the PIN lives. The
// first poll is due after one leastInterval.
func New(leastInterval time.Duration, expires elapsed.Instant, date time.Time, lifetimeKnown bool) Schedule {
	now := time.Now()
	s := Schedule{
		began: now, next: now.Add(gate.Jitter(leastInterval)), interval: leastInterval, leastInterval: leastInterval, request: plextv.AttemptLimit,
		latest: elapsed.Now().Add(plextv.MaxPINLifetime), date: date, lifetimeKnown: lifetimeKnown,
	}
	s.deadline = min(expires, s.latest)
	s.dateUnsure = s.Left() <= 0
	return s
}

// Left returns how long the PIN still lives, negative once it has expired.
func (s *Schedule) Left() time.Duration { return s.deadline.Left() }

// Age returns how long ago the schedule was made.
func (s *Schedule) Age() time.Duration { return time.Since(s.began) }

// RequestLimit returns how long one request may take.
func (s *Schedule) RequestLimit() time.Duration { return s.request }

// LastPoll returns when the last poll ended, zero if there was none.
func (s *Schedule) LastPoll() time.Time { return s.lastPoll }

// Due returns when the next poll is due: after the interval, and not before guard, until
// which plex.tv takes no request. It is due at the deadline at the latest, unless the last
// poll is less than PollMaxAge ago then. guard counts for half a minute at most.
func (s *Schedule) Due(guard time.Time) time.Time {
	t := s.next
	if guard = s.boundGuard(guard); guard.After(t) {
		t = guard
	}
	if left := s.Left(); time.Until(t)+PollMaxAge > left { // rather at the deadline than just before it
		t = time.Now().Add(left)
	}
	if least := s.lastPoll.Add(PollMaxAge); t.Before(least) {
		t = least
	}
	return t
}

// MayPoll reports whether a caller that wants a poll now may have one. Otherwise the
// result of the last one counts. guard is as for Due.
func (s *Schedule) MayPoll(guard time.Time) bool {
	now := time.Now()
	switch {
	case now.Sub(s.lastPoll) < PollMaxAge:
		return false
	case s.Left() <= 0:
		return true
	}
	return !now.Before(s.boundGuard(guard))
}

// boundGuard returns guard, but at most plextv.RetryWaitLimit after the last poll: that
// plex.tv slows other callers down must not stop this login (G12).
func (s *Schedule) boundGuard(guard time.Time) time.Time {
	last := s.lastPoll
	if last.IsZero() {
		last = s.began
	}
	if most := last.Add(plextv.RetryWaitLimit); guard.After(most) {
		return most
	}
	return guard
}

// NotePoll records a poll that has ended now, and whose result is not known.
func (s *Schedule) NotePoll() { s.lastPoll = time.Now() }

// RecordPending updates the deadline, and when the next poll is due, after a poll that left
// at sent and found the PIN still pending. final says that there is no other poll unless
// the deadline has moved. expired reports that the PIN has expired.
func (s *Schedule) RecordPending(sent time.Time, r plextv.PINReply, final bool) (expired bool) {
	s.dateUnsure = false
	s.NotePoll()
	s.next = time.Now().Add(gate.Jitter(s.interval)) // counted from the answer, so that a slow network cannot bring two polls within a second
	switch {
	case r.ExpiresIn < 0 && s.lifetimeKnown:
		return true // it is past its life, and plex.tv still answers
	case r.Expires && (r.ExpiresIn > 0 || s.lifetimeKnown):
		s.lifetimeKnown = true
		at := min(elapsed.At(sent).Add(max(r.ExpiresIn, PollMaxAge)), s.latest) // 0 is less than a second
		if off := time.Duration(at - s.deadline); off.Abs() > expiryPrecision {
			s.deadline = at
		}
	}
	s.Expiry()
	return final && s.Left() <= 0
}

// Expiry returns the deadline as an instant and as the date that others are told. It
// corrects that date first, if the deadline has moved or a clock was set.
func (s *Schedule) Expiry() (elapsed.Instant, time.Time) {
	if date := s.deadline.Date(); date.Sub(s.date).Abs() > expiryPrecision { // it has moved, or a clock was set
		s.date, s.dateUnsaved = date, true
	}
	return s.deadline, s.date
}

// TakeUnsaved returns the date that the store is to be told, once; ok is false if it has
// been told, or was told another one in the last datePause.
func (s *Schedule) TakeUnsaved() (date time.Time, ok bool) {
	if !s.dateUnsaved || s.dateTaken != 0 && -s.dateTaken.Left() < datePause {
		return s.date, false
	}
	s.dateUnsaved, s.dateTaken = false, elapsed.Now()
	return s.date, true
}

// Postpone moves the deadline of a PIN whose stored date is past, because only plex.tv can
// tell whether it lives. It reports whether it has done so: not once plex.tv has answered,
// nor longer than a PIN usually lives.
func (s *Schedule) Postpone() bool {
	if !s.dateUnsure || s.Age() >= profile.DefaultLifetime {
		return false
	}
	s.deadline = elapsed.Now().Add(MaxInterval)
	return true
}

// Extend moves the deadline by d.
func (s *Schedule) Extend(d time.Duration) { s.deadline = s.deadline.Add(d) }

// RecordFailure doubles the interval, to MaxInterval at most, after a poll that failed.
func (s *Schedule) RecordFailure() {
	s.NotePoll()
	s.setInterval(max(s.interval, min(2*s.interval, MaxInterval)))
}

// RecordRateLimit lengthens the interval after a poll to which plex.tv has answered that
// it wants fewer requests: to retryAfter at least, and to half a minute at most.
func (s *Schedule) RecordRateLimit(retryAfter time.Duration) {
	s.NotePoll()
	s.setInterval(max(s.interval+plextv.GuessedPause, retryAfter))
}

func (s *Schedule) setInterval(interval time.Duration) {
	longest := max(plextv.RetryWaitLimit, s.leastInterval)
	s.interval = min(interval, longest)
	s.next = time.Now().Add(min(gate.Jitter(s.interval), longest))
}

// Recover restores the interval once plex.tv answers again. If it wanted fewer requests,
// the interval stays longer, but not longer than MaxInterval.
func (s *Schedule) Recover(wantedFewer bool) {
	if wantedFewer {
		s.interval = min(s.interval, max(MaxInterval, s.leastInterval))
	} else {
		s.interval = s.leastInterval
	}
}

// Rest makes the next poll due after a pause from now.
func (s *Schedule) Rest(pause time.Duration) { s.next = time.Now().Add(gate.Jitter(pause)) }

// AllowLonger gives the requests after one that has timed out more time, up to three
// times [plextv.AttemptLimit].
func (s *Schedule) AllowLonger() { s.request = min(s.request+plextv.AttemptLimit, longestRequest) }
