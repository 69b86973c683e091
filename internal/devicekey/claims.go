package devicekey

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// plexJWTLife is how long a Plex JWT lives, as Plex documents. It counts for one
	// that does not say when it was issued.
	plexJWTLife = 7 * 24 * time.Hour
	// maxSeconds bounds a time in a JWT: a larger number is a mistake.
	maxSeconds = 1 << 40
)

// Claims are what a Plex JWT says, as far as it matters here (RFC 7519, and Plex's own
// "thumbprint" and "user").
type Claims struct {
	Issued  time.Time
	Expires time.Time // zero: it does not say
	Account ClaimedAccount

	issuer     string
	audience   []string
	thumbprint string // kid of the device key that it was made for
}

// ClaimedAccount is the account that a JWT names. Only ID and UUID are always there; the
// others need scopes.
type ClaimedAccount struct {
	ID                                  int64
	UUID, Username, Email, FriendlyName string
}

// ReadClaims reads a JWT without asking whether it is genuine. ok is false for any other
// token.
func ReadClaims(t secret.Value) (c Claims, ok bool) {
	raw := t.Secret()
	if !IsJWT(raw) {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		return c, false
	}
	c, err = parseClaims(payload)
	return c, err == nil
}

// parseClaims reads the payload of a JWT. Each field may have any shape.
func parseClaims(payload []byte) (c Claims, err error) {
	var j struct {
		Issuer     json.RawMessage `json:"iss"`
		Audience   json.RawMessage `json:"aud"`
		Thumbprint json.RawMessage `json:"thumbprint"`
		Issued     json.RawMessage `json:"iat"`
		Expires    json.RawMessage `json:"exp"`
		User       json.RawMessage `json:"user"`
	}
	if err := json.Unmarshal(payload, &j); err != nil {
		return c, err
	}
	var list []json.RawMessage
	if json.Unmarshal(j.Audience, &list) != nil {
		list = []json.RawMessage{j.Audience}
	}
	for _, v := range list {
		c.audience = append(c.audience, lax.Text(v))
	}
	c.issuer, c.thumbprint = lax.Text(j.Issuer), lax.Text(j.Thumbprint)
	c.Issued, c.Expires = timeOf(j.Issued), timeOf(j.Expires)
	if c.Issued.IsZero() || !c.Issued.Before(c.Expires) {
		c.Issued = c.Expires.Add(-plexJWTLife)
	}
	var user struct {
		ID           json.RawMessage `json:"id"`
		UUID         json.RawMessage `json:"uuid"`
		Username     json.RawMessage `json:"username"`
		Email        json.RawMessage `json:"email"`
		FriendlyName json.RawMessage `json:"friendly_name"`
	}
	_ = json.Unmarshal(j.User, &user) // anything but an object leaves user empty
	c.Account = ClaimedAccount{lax.Int(user.ID), lax.Text(user.UUID), lax.Text(user.Username), lax.Text(user.Email), lax.Text(user.FriendlyName)}
	return c, nil
}

// issuer is who issues Plex's JWTs. It is in their audience, too.
const issuer = "plex.tv"

// ClientID returns the client identifier of the device that the JWT is for, "" if it
// names none.
func (c Claims) ClientID() string {
	for _, a := range c.audience {
		if a != issuer {
			return a
		}
	}
	return ""
}

// timeOf reads seconds since 1970; anything else is the zero time.
func timeOf(v json.RawMessage) time.Time {
	s, ok := lax.Number(v)
	if !ok || s <= 0 || s > maxSeconds {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}

// check returns an error if the claims are not plex.tv's word to the device of k. It
// does not look at the age.
func (c Claims) check(k *Key) error {
	switch {
	case c.issuer != issuer:
		return errors.New("the token was not issued by plex.tv")
	case !slices.Contains(c.audience, k.ClientID):
		return errors.New("the token is for another device")
	case c.thumbprint != k.Kid:
		return errors.New("the token is for another key")
	case c.Expires.IsZero():
		return errors.New("the token does not expire")
	}
	return nil
}
