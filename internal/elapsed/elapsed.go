// Package elapsed has a clock that cannot be set.
package elapsed

import (
	"sync/atomic"
	"time"
)

// Instant is a moment by a clock that cannot be set: lifetimes and pauses within
// this process go by it, while dates are for the store and for people. It counts the
// time that the machine was suspended on Linux; on Windows Go's own clock does. On
// other systems no call without cgo tells, so there an instant stands still with the
// machine, and plex.tv's next answer corrects what hangs on it.
type Instant time.Duration

// wallClock returns the date by this machine's clock. Tests set it.
var Wall = func() time.Time { return time.Now().Round(0) }

var processBegan = time.Now()

// Now returns the present instant.
func Now() Instant { return Instant(time.Since(processBegan) + suspended()) }

// At returns the instant of t, which time.Now has returned.
func At(t time.Time) Instant { return Now().Add(-time.Since(t)) }

func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Left returns how long it is until i, negative once i has passed.
func (i Instant) Left() time.Duration { return time.Duration(i - Now()) }

// Ahead reports whether i, if it is set, is still to come.
func (i Instant) Ahead() bool { return i != 0 && i.Left() > 0 }

// Date returns i by the wall clock as it is now.
func (i Instant) Date() time.Time { return Wall().Add(i.Left()) }

// knownSleep is the time that the machine was suspended, as last noticed.
var knownSleep atomic.Int64

// suspended returns for how long the machine has been suspended since it was
// started. A difference of less than a second is the time between two readings of
// the system's clocks.
func suspended() time.Duration {
	kept := knownSleep.Load()
	if d := Asleep(); d-time.Duration(kept) >= time.Second && knownSleep.CompareAndSwap(kept, int64(d)) {
		return d
	}
	return time.Duration(knownSleep.Load())
}
