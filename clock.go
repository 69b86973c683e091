package plexauth

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// clock knows how far plex.tv's clock is from this machine's. The zero value
// trusts the machine. It is safe for concurrent use.
type clock struct {
	offset   atomic.Int64 // plex.tv's time minus ours, in nanoseconds
	measured atomic.Bool
	warned   atomic.Bool
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
	sent, now := sent.Round(0), time.Now().Round(0)
	var offset time.Duration
	if date.Before(sent.Add(-2*time.Second)) || date.After(now.Add(2*time.Second)) {
		offset = date.Sub(now)
	}
	c.offset.Store(int64(offset))
	c.measured.Store(true)
}

// recall takes what was measured before a restart, until there is something
// better.
func (c *clock) recall(offset time.Duration) {
	if offset != 0 && !c.measured.Load() {
		c.offset.Store(int64(offset))
	}
}

// now is plex.tv's time. It has no monotonic part: that stops in suspend.
func (c *clock) now() time.Time { return time.Now().Round(0).Add(c.skew()) }

func (c *clock) skew() time.Duration { return time.Duration(c.offset.Load()) }
