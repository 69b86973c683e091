package plexauth

import (
	"context"
	"time"

	"github.com/plexauth/plexauth/internal/profile"
)

// redate brings the date of the deadline up to date, after the deadline has moved or
// a clock was set. mu must be held.
func (l *login) redate() time.Time {
	if date := l.deadline.Date(); date.Sub(l.date).Abs() > rounding {
		l.date, l.undated = date, true
	}
	return l.date
}

// left returns how long the PIN still lives, as far as this process knows.
func (l *login) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline.Left()
}

// left returns how long a stored PIN still lives: by the login where this process
// looks after it, else by the stored date.
func (p *PlexAuth) left(v *profile.PendingPIN) time.Duration {
	if l := p.loginOf(v.Id); l != nil {
		return l.left()
	}
	return v.Ends.Left()
}

// lives reports whether there is a PIN that can still bring a token, or has.
func (p *PlexAuth) lives(v *profile.PendingPIN) bool {
	return v != nil && (!v.Token.IsZero() || p.left(v) > 0)
}

// shown returns the PIN with the end of its life as it is known now, by the clock as
// it is now.
func (l *login) shown() *Pin {
	l.mu.Lock()
	defer l.mu.Unlock()
	pin := *l.pin
	pin.ends, pin.ExpiresAt = l.deadline, l.redate()
	return &pin
}

// shown returns a stored PIN as [login.shown] does, where this process looks after it.
func (p *PlexAuth) shown(v *profile.PendingPIN) *Pin {
	if l := p.loginOf(v.Id); l != nil {
		return l.shown()
	}
	return p.newPin(*v)
}

// noteExpiry writes down a corrected expiry, for the countdowns of others.
func (p *PlexAuth) noteExpiry(ctx context.Context, l *login) {
	l.mu.Lock()
	at := l.date
	l.undated = false
	l.mu.Unlock()
	err := p.update(ctx, func(b *profile.Profile) error {
		if v := b.Pending(); v != nil && v.Id == l.pin.ID {
			b.SetPendingExpiry(at)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		p.warn(ctx, "the PIN's expiry was not saved", err)
	}
}
