package plexauth

import (
	"fmt"
	"hash/maphash"
	"time"
)

// life is how long a profile's account token is good, by plex.tv's clock, and
// how the next one is got.
type life struct {
	token   secretValue
	issued  time.Time
	expires time.Time // zero: it does not say
	scopes  []string  // that were asked for with it
	device  *device   // gets the next one; nil where nothing can
	err     error     // the device key is there, and no use

	skew time.Duration // of plex.tv's clock when the token was got
}

// renewable reports whether the token is a device's.
func (l *life) renewable() bool { return l.device != nil }

// lifeOf reads the life of a profile's token.
func (p *PlexAuth) lifeOf(b *profile) *life {
	l := b.life()
	p.client.clock.recall(l.skew)
	return l
}

// due is when to get the next token; zero: never. What a device has for a token
// that is no JWT is to be exchanged for one at once.
func (l *life) due() time.Time {
	switch {
	case !l.renewable():
		return time.Time{}
	case l.expires.IsZero():
		return time.Unix(0, 0)
	}
	return l.issued.Add(time.Duration(float64(l.whole()) * (renewAfter + renewJitter*ownShare(l.token))))
}

// whole is the life from its begin to its end.
func (l *life) whole() time.Duration { return max(0, l.expires.Sub(l.issued)) }

// over is when the token is no longer good for a request; zero: never.
func (l *life) over() time.Time {
	if l.expires.IsZero() {
		return time.Time{}
	}
	return l.expires.Add(-min(lastMinute, l.whole()/10))
}

// lost reports whether only a new login can help, now or soon.
func (l *life) lost(now time.Time) bool {
	return l.err != nil || !l.renewable() && past(l.over(), now)
}

// past reports whether a time has come that is not zero.
func past(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

var processSeed = maphash.MakeSeed()

// ownShare is a number from 0 to 1 that is this process's own for a token.
func ownShare(t secretValue) float64 {
	return float64(maphash.String(processSeed, t.Secret())>>11) / (1 << 53)
}

// expiredError says that a token is past its life, and why there is no next.
func expiredError(why error) error {
	if why == nil {
		return fmt.Errorf("%w, and there is no device key to renew it: sign in again", ErrTokenExpired)
	}
	return fmt.Errorf("%w, and there is no new one yet: %w", ErrTokenExpired, inner{why})
}
