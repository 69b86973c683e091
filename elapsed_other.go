//go:build !linux

package plexauth

import "time"

// sleepOfMachine is 0 where the system does not tell, or Go's clock runs in suspend.
var sleepOfMachine = func() time.Duration { return 0 }
