package elapsed

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepOfMachine is how far CLOCK_BOOTTIME, which runs in suspend, is ahead of
// CLOCK_MONOTONIC, which Go's timers use and which does not.
var Asleep = func() time.Duration {
	var boot, awake unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - awake.Nano())
}
