package plextv

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
)

// clock knows how far plex.tv's clock is from this machine's. The zero value
// trusts the machine. It is safe for concurrent use.
type clock struct {
	measured atomic.Pointer[measure]
	recalled atomic.Int64 // plex.tv's time minus ours before a restart, in nanoseconds
	Warned   atomic.Bool
}

// measure is plex.tv's time at an instant.
type measure struct {
	at   elapsed.Instant
	time time.Time
}

// note learns from the Date of an answer to a request that was sent then. It
// has full seconds, and was written somewhere between then and now; an answer
// from a cache says how long before.
func (c *clock) note(sent time.Time, h http.Header) {
	if h.Get("Date") == "" { // its error would cost more than the look at a PIN
		return
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	if v := h.Get("Age"); v != "" {
		if age, err := strconv.ParseUint(v, 10, 32); err == nil {
			date = date.Add(time.Duration(age) * time.Second)
		}
	}
	at, now := elapsed.Now(), elapsed.Wall()
	began := now.Add(-time.Since(sent)) // also where the clock was set on the way
	if date.Before(began.Add(-2*time.Second)) || date.After(now.Add(2*time.Second)) {
		now = date
	}
	c.measured.Store(&measure{at, now})
}

// Recall takes what was measured before a restart, until there is something
// better.
func (c *clock) Recall(offset time.Duration) {
	if offset != 0 {
		c.recalled.Store(int64(offset))
	}
}

// Now returns plex.tv's time. Once plex.tv has told it, this machine's clock may be
// set as one likes.
func (c *clock) Now() time.Time {
	if m := c.measured.Load(); m != nil {
		return m.time.Add(-m.at.Left())
	}
	return elapsed.Wall().Add(time.Duration(c.recalled.Load()))
}

// Skew returns how far plex.tv's time is ahead of this machine's, in whole seconds.
func (c *clock) Skew() time.Duration { return c.Now().Sub(elapsed.Wall()).Round(time.Second) }
