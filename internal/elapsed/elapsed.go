// Package elapsed measures time with a clock that cannot be set, and that counts the
// time in which the machine was suspended.
package elapsed

import (
	"sync/atomic"
	"time"
)

// Instant is a moment by that clock. Lifetimes and pauses within this process are
// Instants; the store and people get dates. The time of a suspension counts on Linux and
// Windows. Other systems tell it only with cgo, so there an Instant stands still with
// the machine, and plex.tv's next answer corrects what depends on it.
type Instant time.Duration

// Wall returns the date by this machine's clock. Only tests set it.
var Wall = func() time.Time { return time.Now().Round(0) }

var processBegan = time.Now()

// Now returns the present Instant.
func Now() Instant { return instantAt(time.Now()) }

// instantAt returns the Instant of now, the present time.
func instantAt(now time.Time) Instant { return Instant(now.Sub(processBegan) + suspended(now)) }

// At returns the Instant of t, which must be from time.Now.
func At(t time.Time) Instant {
	now := time.Now()
	return instantAt(now).Add(-now.Sub(t))
}

// Add returns i + d.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Left returns how long it is until i, negative once i has passed.
func (i Instant) Left() time.Duration { return time.Duration(i - Now()) }

// Ahead reports whether i is set and still to come.
func (i Instant) Ahead() bool { return i != 0 && i.Left() > 0 }

// Date returns the date of i by the wall clock as it is now.
func (i Instant) Date() time.Time { return Wall().Add(i.Left()) }

// Countdown returns the seconds to show for a time that is left. They are rounded up, so
// that a countdown ends when the time does.
func Countdown(left time.Duration) int64 {
	return max(0, int64((left+time.Second-1)/time.Second))
}

// knownSleep is for how long the machine has been suspended, as last noticed.
var knownSleep atomic.Int64

// suspended returns for how long the machine has been suspended since it was started, until now. A
// difference of less than a second is the time between two readings of the clocks.
func suspended(now time.Time) time.Duration {
	kept := knownSleep.Load()
	if d := Asleep(now); d-time.Duration(kept) >= time.Second {
		knownSleep.CompareAndSwap(kept, int64(d))
	}
	return time.Duration(knownSleep.Load())
}
