package profile

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/plexauth/plexauth/internal/plain"
)

// ClientID returns the identifier that the profile's token was made under: the
// device's for a device's token, that which an adopted JWT names, else that of long-lived
// tokens. It is "" if unknown. The field of the same name is what the profile stores for
// long-lived tokens.
func (p *Profile) ClientID() string {
	if id := p.Token.Value.claims.ClientID(); p.isForeign() && plain.IsHeaderValue(id) {
		return id
	}
	if d := p.boundDevice(); d != nil && plain.IsHeaderValue(d.ClientID) {
		return d.ClientID
	}
	return p.longLivedID()
}

// longLivedID returns the identifier of the profile's long-lived tokens, "" if unknown.
func (p *Profile) longLivedID() string {
	for _, id := range []string{p.State.ClientID, p.base().State.ClientID} {
		if plain.IsHeaderValue(id) {
			return id
		}
	}
	return ""
}

// EnsureClientID returns the identifier for the next PIN. It makes one and stores it in
// the default profile if there is none. want is the program's own, or "". An identifier
// that another profile's device key has taken over is replaced, even if it is want.
//
// While the default profile's long-lived token lives under the identifier that is
// replaced, that one stays and the new one is stored beside it. A token that is being
// moved over to a device key counts as such, because plex.tv may still refuse the move.
func (p *Profile) EnsureClientID(want string) string {
	isFit := func(id string) bool { return plain.IsHeaderValue(id) && !p.isMovedOver(id) }
	if p.isMovedOver(want) {
		want = ""
	}
	base := p.base()
	id := base.State.ClientID
	if !isFit(id) {
		next := want
		if want == "" {
			next = firstFit(isFit, base.NextClientID, p.State.ClientID)
		} else if !isFit(want) {
			next = NewClientID()
		}
		if plain.IsHeaderValue(id) && base.needsClientID() {
			base.NextClientID = next
		} else {
			base.setClientID(next)
		}
		id = next
	}
	if want != "" {
		return want
	}
	return id
}

// firstFit returns the first of ids that is fit, or a new one.
func firstFit(isFit func(string) bool, ids ...string) string {
	for _, id := range ids {
		if isFit(id) {
			return id
		}
	}
	return NewClientID()
}

// needsClientID reports whether a token lives under the profile's own identifier.
func (p *Profile) needsClientID() bool {
	return !p.AccountToken().IsZero() && !(p.Lifetime().Renewable() && p.Token.Value.isJWT)
}

// setClientID stores the identifier of the profile's next token. Other profiles that
// use the default one's old identifier for their token get a copy of it first.
func (p *Profile) setClientID(id string) {
	if p.ID == DefaultInstance {
		if old := p.State.ClientID; old != id && plain.IsHeaderValue(old) {
			for other := range p.othersThat(func(f *facts) bool { return f.token != 0 }) {
				if other.State.ClientID == "" && !other.AccountToken().IsZero() {
					other.State.ClientID = old
				}
			}
		}
		p.NextClientID = ""
	}
	p.State.ClientID = id
}

// isMovedOver reports whether another profile's login under this identifier was moved
// over to a device key.
func (p *Profile) isMovedOver(clientID string) bool {
	hash := hashOf(clientID)
	for other := range p.othersThat(func(f *facts) bool { return f.device == hash }) {
		if l := other.Lifetime(); l.Renewable() && l.Device.ClientID == clientID {
			return true
		}
	}
	return false
}

// NewClientID makes an identifier of 24 hex digits, the form that CrossWatch uses.
func NewClientID() string {
	b := make([]byte, 12)
	rand.Read(b)
	return hex.EncodeToString(b)
}
