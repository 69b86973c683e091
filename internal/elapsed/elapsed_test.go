package elapsed_test

import (
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/elapsed"
)

// clockAhead is how far the wall clock was set ahead, and slept for how long the machine
// was suspended, which never shrinks.
var clockAhead, slept atomic.Int64

func TestMain(m *testing.M) {
	elapsed.Wall = func() time.Time { return time.Now().Round(0).Add(time.Duration(clockAhead.Load())) }
	elapsed.Asleep = func(time.Time) time.Duration { return time.Duration(slept.Load()) }
	os.Exit(m.Run())
}

func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := elapsed.Now().Add(time.Minute)
		assert.Equal(t, time.Minute, end.Left())
		assert.True(t, end.Ahead())
		time.Sleep(45 * time.Second)
		assert.Equal(t, 15*time.Second, end.Left())
		assert.True(t, end.Ahead())
		time.Sleep(15 * time.Second)
		assert.Zero(t, end.Left())
		assert.False(t, end.Ahead())
		time.Sleep(5 * time.Second)
		assert.Equal(t, -5*time.Second, end.Left())
		assert.False(t, end.Ahead())
	})
}

// An Instant that was never set is not ahead. The clock of the test is before the process
// began.
func TestZeroIsNotAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		assert.Positive(t, elapsed.Instant(0).Left())
		assert.False(t, elapsed.Instant(0).Ahead())
	})
}

func TestAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		then := time.Now()
		time.Sleep(5 * time.Second)
		assert.Equal(t, -5*time.Second, elapsed.At(then).Left())
	})
}

// G7: a clock that is set moves the date of an Instant, not the Instant.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := elapsed.Now().Add(time.Minute)
				date := end.Date()
				assert.Equal(t, time.Minute, date.Sub(elapsed.Wall()))
				clockAhead.Store(int64(by))
				defer clockAhead.Store(0)
				assert.Equal(t, time.Minute, end.Left())
				assert.Equal(t, by, end.Date().Sub(date))
			})
		})
	}
}

// G7: the time in which the machine was suspended counts. Less than a second is only the
// time between two readings of the clocks.
func TestSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := elapsed.Now().Add(time.Hour)
		slept.Add(int64(time.Second - 1))
		assert.Equal(t, time.Hour, end.Left())
		slept.Add(1)
		assert.Equal(t, time.Hour-time.Second, end.Left())
		slept.Add(int64(time.Hour))
		assert.Equal(t, -time.Second, end.Left())
		assert.Equal(t, -time.Second, end.Left(), "counted once")
	})
}

// A countdown shows its last second until the time is over.
func TestCountdown(t *testing.T) {
	for left, want := range map[time.Duration]int64{-time.Minute: 0, 0: 0, 1: 1, time.Second: 1, time.Second + 1: 2} {
		assert.Equal(t, want, elapsed.Countdown(left))
	}
}
