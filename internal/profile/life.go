package profile

import (
	"hash/maphash"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/secret"
)

// Life is how long a profile's account token is good, by plex.tv's clock, and
// how the next one is got.
type Life struct {
	Token   secret.Value
	issued  time.Time
	Expires time.Time      // zero: it does not say
	Scopes  []string       // that were asked for with it
	Device  *devicekey.Key // gets the next one; nil where nothing can
	Err     error          // the device key is there, and no use

	Skew time.Duration // of plex.tv's clock when the token was got
}

// Renewable reports whether the token is a device's.
func (l *Life) Renewable() bool { return l.Device != nil }

// Due is when to get the next token; zero: never. What a device has for a token
// that is no JWT is to be exchanged for one at once.
func (l *Life) Due() time.Time {
	switch {
	case !l.Renewable():
		return time.Time{}
	case l.Expires.IsZero():
		return time.Unix(0, 0)
	}
	return l.issued.Add(time.Duration(float64(l.whole()) * (renewAfter + renewJitter*ownShare(l.Token))))
}

// whole is the life from its begin to its end.
func (l *Life) whole() time.Duration { return max(0, l.Expires.Sub(l.issued)) }

// Over is when the token is no longer good for a request; zero: never.
func (l *Life) Over() time.Time {
	if l.Expires.IsZero() {
		return time.Time{}
	}
	return l.Expires.Add(-min(lastMinute, l.whole()/10))
}

// Lost reports whether only a new login can help, now or soon.
func (l *Life) Lost(now time.Time) bool {
	return l.Err != nil || !l.Renewable() && Past(l.Over(), now)
}

// Past reports whether a time has come that is not zero.
func Past(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

var ProcessSeed = maphash.MakeSeed()

// ownShare is a number from 0 to 1 that is this process's own for a token.
func ownShare(t secret.Value) float64 {
	return float64(maphash.String(ProcessSeed, t.Secret())>>11) / (1 << 53)
}

const (
	// A token is renewed when renewAfter of its life is over, and up to
	// renewJitter more, each process at its own time.
	renewAfter, renewJitter = 0.70, 0.05
	// lastMinute of a token counts as over: it must last for the request.
	lastMinute = time.Minute
)
