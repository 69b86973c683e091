package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	saveGrace = 800 * time.Millisecond // for writing what must be written when its context has ended
	saveLimit = 5 * time.Minute        // for a token that exists nowhere else

	storeLimit = 30 * time.Second // for one call of the store
)

// hung returns err, or what it means where the store has not answered within limit.
// No context of the caller's has ended then, so the error matches none.
func hung(limited context.Context, limit time.Duration, err error) error {
	if limited.Err() == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("no answer in %s: %v", limit, err)
}

// save carries out an update that must not be lost: also past the end of ctx,
// for saveGrace, and again while the store fails, until limit.
func (p *PlexAuth) save(ctx context.Context, limit time.Duration, t secret.Value, edit func(*profile.Profile) error) error {
	lasts, end := gate.Outlive(ctx, saveGrace)
	defer end()
	late, cancel := context.WithTimeout(lasts, limit)
	defer cancel()
	warned := false
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := p.update(late, edit, t)
		if late.Err() != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return newStoreError(fmt.Errorf("no answer in %s: %w", limit, err))
		}
		if err != nil && late.Err() != nil && ctx.Err() != nil {
			return fmt.Errorf("plexauth: saving the token: %w", ctx.Err())
		}
		if !errors.Is(err, ErrStore) {
			return err
		}
		if !warned {
			warned = true
			p.warn(ctx, "the token could not be saved, trying again", err)
		}
		if gate.Sleep(late, pause) != nil {
			return err
		}
	}
}
