package plextv

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
)

// dateLeeway is how far a Date, which has whole seconds, may be off without saying that
// this machine's clock is wrong.
const dateLeeway = 2 * time.Second

// serverClock knows how far plex.tv's clock is from this machine's. The zero value
// trusts this machine. It is safe for concurrent use.
type serverClock struct {
	// Warned tells callers whether a wrong clock was logged already. They set it.
	Warned atomic.Bool

	measured atomic.Pointer[measurement]
	recalled atomic.Int64 // plex.tv's time minus ours before a restart, in nanoseconds
}

// measurement is plex.tv's time at an instant.
type measurement struct {
	at   elapsed.Instant
	time time.Time
}

// note learns from the Date of an answer to a request that left at sent. Date has whole
// seconds, and was written between then and now. For an answer from a cache, Age says
// how long ago (RFC 9111, section 5.1).
func (c *serverClock) note(sent time.Time, h http.Header) {
	if h.Get("Date") == "" { // parsing it would allocate an error at each poll of a PIN
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
	began := now.Add(-time.Since(sent)) // even if the clock was set in between
	if date.Before(began.Add(-dateLeeway)) || date.After(now.Add(dateLeeway)) {
		now = date
	}
	c.measured.Store(&measurement{at, now})
}

// Recall takes up the skew that was stored before a restart, until an answer of plex.tv
// says better.
func (c *serverClock) Recall(skew time.Duration) {
	if skew != 0 {
		c.recalled.Store(int64(skew))
	}
}

// Now returns plex.tv's time. Once plex.tv has told it, setting this machine's clock
// does not change it.
func (c *serverClock) Now() time.Time {
	if m := c.measured.Load(); m != nil {
		return m.time.Add(-m.at.Left())
	}
	return elapsed.Wall().Add(time.Duration(c.recalled.Load()))
}

// Skew returns how far plex.tv's time is ahead of this machine's, in whole seconds.
func (c *serverClock) Skew() time.Duration { return c.Now().Sub(elapsed.Wall()).Round(time.Second) }
