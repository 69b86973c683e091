package profile

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/secret"
)

// Lifetime says how long an account token is valid, by plex.tv's clock, and how to get the
// next one.
type Lifetime struct {
	Token   secret.Value
	issued  time.Time
	Expires time.Time      // zero if the token does not say
	Scopes  []string       // that it was asked for with
	Device  *devicekey.Key // gets the next token; nil if there is none
	Err     error          // says why the device key cannot be used

	Skew time.Duration // of plex.tv's clock when the token was made
}

// Lifetime returns the life of the account token.
func (s *State) Lifetime() *Lifetime {
	t := s.Token.Value
	l := &Lifetime{Token: t.Value, issued: t.claims.Issued, Expires: t.claims.Expires}
	d := s.boundDevice()
	if d == nil {
		if t.isJWT && s.Device.isDamaged() { // it was perhaps the token's
			l.Err = devicekey.ErrUnreadable
		}
		return l
	}
	l.Device, l.Err = d.Key()
	if d.Scope != "" {
		l.Scopes = strings.Split(d.Scope, ",")
	}
	l.Skew = d.Skew
	return l
}

// Renewable reports whether the token is a device's.
func (l *Lifetime) Renewable() bool { return l.Device != nil }

// RenewAt returns when to get the next token, zero if there is none to get. A device
// exchanges a token that is not a JWT at once.
func (l *Lifetime) RenewAt() time.Time {
	switch {
	case !l.Renewable():
		return time.Time{}
	case l.Expires.IsZero():
		return time.Unix(0, 0)
	}
	return l.issued.Add(time.Duration(float64(l.whole()) * (renewAfter + renewJitter*ownShare(l.Token))))
}

// whole returns the time from the token's issue to its expiry.
func (l *Lifetime) whole() time.Duration { return max(0, l.Expires.Sub(l.issued)) }

// UnusableAt returns when a request can no longer use the token, zero if that never
// happens.
func (l *Lifetime) UnusableAt() time.Time {
	if l.Expires.IsZero() {
		return time.Time{}
	}
	return l.Expires.Add(-min(requestTime, l.whole()/10))
}

// NeedsLogin reports whether only a new login can help, now or soon.
func (l *Lifetime) NeedsLogin(now time.Time) bool {
	return l.Err != nil || !l.Renewable() && Past(l.UnusableAt(), now)
}

// Past reports whether t is not zero and has come.
func Past(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// ProcessSeed seeds the hashes of this process.
var ProcessSeed = maphash.MakeSeed()

// ownShare returns a number from 0 to 1 for a token, the same in all processes.
func ownShare(t secret.Value) float64 {
	sum := sha256.Sum256([]byte(t.Secret()))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}

const (
	// renewAfter is the share of its life after which a token is renewed. Each token adds
	// its own part of renewJitter, so that the tokens of many profiles are not renewed at
	// once.
	renewAfter, renewJitter = 0.70, 0.05
	// requestTime is how long a token must still be valid for a request.
	requestTime = time.Minute
)
