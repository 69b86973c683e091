package plexauth

import (
	"context"
	"net/http"
	"time"
)

// HTTPClientOf gives tests the client that they handed in.
func HTTPClientOf(p *PlexAuth) *http.Client { return p.options.HTTPClient }

// Looker takes up the pending login as Wait does, and returns what makes one
// look after the other, without the pauses between them.
func Looker(ctx context.Context, p *PlexAuth) (look func() error, err error) {
	l, err := p.resume(ctx)
	if err != nil {
		return nil, err
	}
	return func() error {
		l.turn <- struct{}{}
		defer func() { <-l.turn }()
		_, err := p.look(ctx, l)
		return err
	}, nil
}

// SetClock makes the pending login see the wall clock set by d: the deadline that it
// remembers by that clock is as far off.
func SetClock(p *PlexAuth, d time.Duration) {
	l := p.logins.find(p.instance)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = l.deadline.Add(-d)
}

// Places is how many profiles are remembered for their logins.
func Places(p *PlexAuth) int { return len(p.logins.byInstance) }
