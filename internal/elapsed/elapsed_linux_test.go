package elapsed_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/elapsed"
)

// G7: a suspension is noticed at once, and the system is asked only if the wall clock has
// moved beside Go's.
func TestAsleep(t *testing.T) {
	var slept, lead time.Duration
	asked := 0
	system := elapsed.NewAsleep(func() time.Duration { asked++; return slept }, func(time.Time) time.Duration { return lead })
	asleep := func() time.Duration { return system(time.Now()) }
	assert.Zero(t, asleep())
	lead += time.Millisecond // the network's time slows the clock down or speeds it up
	assert.Zero(t, asleep())
	assert.Equal(t, 1, asked)
	slept += time.Second
	lead += time.Second
	assert.Equal(t, time.Second, asleep())
	assert.Equal(t, time.Second, asleep())
	assert.Equal(t, 2, asked)
	lead -= time.Hour // the clock was set
	assert.Equal(t, time.Second, asleep())
	assert.Equal(t, 3, asked)
	lead += time.Second / 2 // a suspension may be twice as long
	slept += time.Second
	assert.Equal(t, 2*time.Second, asleep())
}
