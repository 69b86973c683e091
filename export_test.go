package plexauth

import (
	"context"
	"net/http"
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
