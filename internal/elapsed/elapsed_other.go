//go:build !linux

package elapsed

import "time"

// Asleep is 0 where the system does not tell, or Go's clock runs in suspend.
var Asleep = func() time.Duration { return 0 }
