package elapsed

import (
	"time"

	"golang.org/x/sys/unix"
)

// Asleep returns for how long the machine has been suspended since it was started: how
// far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, which stops in suspend and which Go's
// timers use (clock_gettime(2)). Only tests set it.
var Asleep = func() time.Duration {
	var boot, awake unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - awake.Nano())
}
