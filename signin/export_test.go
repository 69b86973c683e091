package signin

import (
	"sync/atomic"
	"testing"
	"time"
)

var wallOffset atomic.Int64

func init() {
	wallClock = func() time.Time { return time.Now().Round(0).Add(time.Duration(wallOffset.Load())) }
}

// SetClock sets the wall clock of this package by d, until the test ends.
func SetClock(t testing.TB, d time.Duration) {
	wallOffset.Add(int64(d))
	t.Cleanup(func() { wallOffset.Add(int64(-d)) })
}
