//go:build !linux

package elapsed

import "time"

// Asleep returns 0, because the system does not tell, or Go's clock runs in suspend.
// Only tests set it.
var Asleep = func(time.Time) time.Duration { return 0 }
