package watch

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

const (
	// checkInterval is the time between two checks of a token.
	checkInterval = 24 * time.Hour
	// catchUp is the time over which programs that start spread the work that fell due
	// while they were not running.
	catchUp = 30 * time.Minute
	// forgottenAfter is how old a stored check may be when a program starts. The store of
	// an older one can perhaps not be written.
	forgottenAfter = 7 * checkInterval
	// clockLeeway is how far ahead another process's clock may be.
	clockLeeway = time.Hour
)

// Share returns a number from 0 to 1 for a profile of a document, the same in all
// processes.
func Share(namespace, instance string) float64 {
	sum := sha256.Sum256([]byte(namespace + "\x00" + instance))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

// Token is what is known of a token that is watched.
type Token struct {
	Checked time.Time // when it was last checked; zero if unknown
	Since   time.Time // when this process first saw it
	Draw    float64   // from 0 to 1, at random
}

// NextRenewal returns when a token is renewed that is due for it: then, or soon after this
// process first saw the token, so that a program that starts does not renew the tokens of
// all its profiles at once. A token is renewed before it is unusable, if that is not zero.
func NextRenewal(due, unusable time.Time, t Token) time.Time {
	if !due.Before(t.Since) {
		return due
	}
	next := t.Since.Add(part(catchUp, t.Draw))
	if unusable.IsZero() {
		return next
	}
	return earlier(next, unusable)
}

// NextCheck returns when the token is to be checked next: at the profile's own time of
// day, which share says. If that has passed before this process saw the token, the check
// is made soon after. If it is not known when the token was last checked, as with a store
// that cannot be written, Draw may bring the check forward, so that a program that never
// runs at that time of day does check.
func NextCheck(share float64, t Token, now time.Time) time.Time {
	if !plausible(t.Checked, now) || t.Since.Sub(t.Checked) > forgottenAfter {
		return earlier(timeOfDayAfter(t.Since, share), t.Since.Add(part(checkInterval, t.Draw)))
	}
	due := timeOfDayAfter(t.Checked, share)
	if due.Before(t.Since) {
		return t.Since.Add(part(catchUp, t.Draw))
	}
	return due
}

// plausible reports whether t can be the time of a check in the past.
func plausible(t, now time.Time) bool { return !t.After(now.Add(clockLeeway)) }

// timeOfDayAfter returns the first time after t at which that share of a day, in UTC, is
// over. It has whole seconds, as the time of a check has when it is stored.
func timeOfDayAfter(t time.Time, share float64) time.Time {
	next := t.Truncate(checkInterval).Add(part(checkInterval, share).Truncate(time.Second))
	if !next.After(t) {
		next = next.Add(checkInterval)
	}
	return next
}

func part(d time.Duration, share float64) time.Duration { return time.Duration(share * float64(d)) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
