package signin

import (
	"errors"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	minPause = 5 * time.Second
	maxPause = time.Minute
)

// pause is the time in which no visitor's sign-in asks plex.tv, because plex.tv has
// answered one of them with 429.
type pause struct {
	mu    sync.Mutex // guards until
	until time.Time
}

// record prolongs the pause if err says that plex.tv asked for one.
func (p *pause) record(err error) {
	if !errors.Is(err, plexauth.ErrRateLimited) {
		return
	}
	length := minPause
	var e *plexauth.Error
	if errors.As(err, &e) {
		length = min(max(minPause, e.RetryAfter), maxPause)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(length); until.After(p.until) {
		p.until = until
	}
}

// left returns how long the pause still lasts, 0 if there is none.
func (p *pause) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, time.Until(p.until))
}
