package plexauth

import (
	"fmt"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
)

// lifeOf reads the life of a profile's token.
func (p *PlexAuth) lifeOf(b *profile.Profile) *profile.Life {
	l := b.Life()
	p.client.Clock.Recall(l.Skew)
	return l
}

// expiredError says that a token is past its life, and why there is no next.
func expiredError(why error) error {
	if why == nil {
		return fmt.Errorf("%w, and there is no device key to renew it: sign in again", fault.ErrTokenExpired)
	}
	return fmt.Errorf("%w, and there is no new one yet: %w", fault.ErrTokenExpired, fault.Inside(why))
}
