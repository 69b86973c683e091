package elapsed

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Asleep returns for how long the machine has been suspended since it was started, until now,
// the present time. Only tests set it.
var Asleep = newAsleep(readAsleep, wallLead)

// readAsleep returns how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, which stops in
// suspend and which Go's timers use (clock_gettime(2)).
func readAsleep() time.Duration {
	var boot, awake unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - awake.Nano())
}

// wallLead returns how far the wall clock is ahead of Go's, in nanoseconds.
func wallLead(now time.Time) time.Duration {
	return time.Duration(now.UnixNano()) - now.Sub(processBegan)
}

// newAsleep returns a function that calls read, which takes two system calls, only if the machine
// may have been suspended since the last time: that changes lead, and so does setting the clock.
func newAsleep(read func() time.Duration, lead func(now time.Time) time.Duration) func(now time.Time) time.Duration {
	type reading struct{ lead, asleep time.Duration }
	const precision = time.Second / 2 // less than suspended notices
	var last atomic.Pointer[reading]
	return func(now time.Time) time.Duration {
		d := lead(now)
		if r := last.Load(); r != nil && (d-r.lead).Abs() < precision {
			return r.asleep
		}
		r := &reading{d, read()}
		last.Store(r)
		return r.asleep
	}
}
