package elapsed

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Asleep returns for how long the machine has been suspended since it was started. Only tests
// set it.
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

// wallLead returns how far the wall clock is ahead of Go's, in nanoseconds. Both are read
// without a system call.
func wallLead() time.Duration {
	now := time.Now()
	return time.Duration(now.UnixNano()) - now.Sub(processBegan)
}

// newAsleep returns a function that calls read only if the machine may have been suspended
// since the last time: that moves the wall clock, by lead, and so does setting it.
func newAsleep(read, lead func() time.Duration) func() time.Duration {
	type reading struct{ lead, asleep time.Duration }
	const precision = time.Second / 2 // less than suspended notices
	var last atomic.Pointer[reading]
	return func() time.Duration {
		now := lead()
		if r := last.Load(); r != nil && (now-r.lead).Abs() < precision {
			return r.asleep
		}
		r := &reading{now, read()}
		last.Store(r)
		return r.asleep
	}
}
