package signin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// startWindow is how long a start counts.
	startWindow         = maxAttemptAge
	maxStartsPerBrowser = 5
)

// startLimit bounds how many attempts start in this process within startWindow.
type startLimit struct {
	max int // for all clients together

	mu     sync.Mutex // guards starts
	starts []start    // oldest first
}

// start is an attempt that was started in this process.
type start struct {
	at     time.Time
	client string
}

// countStart counts a start for the browser that has the attempt before, and for client.
// If they must wait first, it returns how long, and counts nothing.
func (h *Handler) countStart(before *attempt, client string) (wait time.Duration) {
	if wait := browserWait(before.Starts); wait > 0 {
		return wait
	}
	if wait := h.pause.left(); wait > 0 {
		return wait
	}
	return h.starts.count(client)
}

// count counts a start for client, or returns how long client must wait. One client may
// use up half of the starts, so that it cannot lock the others out.
func (l *startLimit) count(client string) (wait time.Duration) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starts = slices.DeleteFunc(l.starts, func(s start) bool { return countsFor(s.at, now) <= 0 })
	var own []time.Time
	for _, s := range l.starts {
		if s.client == client {
			own = append(own, s.at)
		}
	}
	switch {
	case len(l.starts) >= l.max:
		return countsFor(l.starts[0].at, now)
	case len(own) >= (l.max+1)/2:
		return countsFor(own[0], now)
	}
	l.starts = append(l.starts, start{now, client})
	return 0
}

// giveBack removes the latest start of client.
func (l *startLimit) giveBack(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range slices.Backward(l.starts) {
		if s.client == client {
			l.starts = slices.Delete(l.starts, i, i+1)
			return
		}
	}
}

// browserWait returns how long a browser with these starts must wait for its next one.
func browserWait(starts []int64) time.Duration {
	now := wallClock()
	if recent := recentStarts(starts, now); len(recent) >= maxStartsPerBrowser {
		return countsFor(time.Unix(recent[0], 0), now)
	}
	return 0
}

// recentStarts returns the starts that still count. A start in the future is from before
// the clock was set back; it would count for too long and is left out.
func recentStarts(starts []int64, now time.Time) []int64 {
	var recent []int64
	for _, s := range starts {
		if left := countsFor(time.Unix(s, 0), now); left > 0 && left <= startWindow {
			recent = append(recent, s)
		}
	}
	return recent
}

// countsFor returns how much longer a start at the time at counts.
func countsFor(at, now time.Time) time.Duration { return at.Add(startWindow).Sub(now) }

// remoteAddress is the default of Options.ClientKey. It returns the client's address
// without the port. For IPv6 it returns the /64 network, because a single home has 2^64
// addresses.
func remoteAddress(r *http.Request) string {
	host := r.RemoteAddr
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return host
	}
	addr = addr.Unmap()
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}
