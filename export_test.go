package plexauth

import (
	"context"
	"net/http"
)

// HTTPClientOf gives tests the client that they handed in.
func HTTPClientOf(p *PlexAuth) *http.Client { return p.options.HTTPClient }

// Look makes one look at the pending PIN, whenever the last one was.
func Look(ctx context.Context, p *PlexAuth) error {
	l, err := p.resume(ctx)
	if err != nil {
		return err
	}
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	_, err = p.look(ctx, l)
	return err
}
