package plexauth

import (
	"sync/atomic"
	"time"
)

// instant is a moment by a clock that cannot be set: lifetimes and pauses within
// this process go by it, while dates are for the store and for people. It counts the
// time that the machine was suspended on Linux; on Windows Go's own clock does. On
// other systems no call without cgo tells, so there an instant stands still with the
// machine, and plex.tv's next answer corrects what hangs on it.
type instant time.Duration

// wallClock returns the date by this machine's clock. Tests set it.
var wallClock = func() time.Time { return time.Now().Round(0) }

var processBegan = time.Now()

// elapsed returns the present instant.
func elapsed() instant { return instant(time.Since(processBegan) + suspended()) }

// elapsedAt returns the instant of t, which time.Now has returned.
func elapsedAt(t time.Time) instant { return elapsed().add(-time.Since(t)) }

func (i instant) add(d time.Duration) instant { return i + instant(d) }

// left returns how long it is until i, negative once i has passed.
func (i instant) left() time.Duration { return time.Duration(i - elapsed()) }

// ahead reports whether i, if it is set, is still to come.
func (i instant) ahead() bool { return i != 0 && i.left() > 0 }

// date returns i by the wall clock as it is now.
func (i instant) date() time.Time { return wallClock().Add(i.left()) }

// knownSleep is the time that the machine was suspended, as last noticed.
var knownSleep atomic.Int64

// suspended returns for how long the machine has been suspended since it was
// started. A difference of less than a second is the time between two readings of
// the system's clocks.
func suspended() time.Duration {
	kept := knownSleep.Load()
	if d := sleepOfMachine(); d-time.Duration(kept) >= time.Second && knownSleep.CompareAndSwap(kept, int64(d)) {
		return d
	}
	return time.Duration(knownSleep.Load())
}
