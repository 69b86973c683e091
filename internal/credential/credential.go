// Package credential says what a program's own requests carry: which token of a profile
// goes to which origin, and the identity that it was made under. It reads no store and
// sends nothing.
package credential

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Credential is what a profile has for requests. It does not change, and is safe for
// concurrent use. Printing it shows the tokens: keep it behind [secret.Hide].
type Credential struct {
	Read    time.Time         // from the store
	Life    *profile.Lifetime // of the account token; nil if there is none that may be sent
	CheckAt time.Time         // when the account token is due to be renewed or, if it cannot be, ends; by plex.tv's clock; zero: never

	// Of the saved server, for the token that goes there.
	ServerOrigin string // "" if no token is stored for it
	Insecure     bool   // its certificate is not verified
	Direct       mediaserver.DirectOwners

	identity        plextv.Identity
	account, server Token
}

// Token is what a request carries. The zero Token is for an origin that gets none.
type Token struct {
	Header    []string // values of X-Plex-Token, shared by all requests; nil if there is none
	Err       error    // says why the origin's token cannot be sent
	IsAccount bool     // it is the account token, which may have to be renewed first
}

// New returns what b, which was read from the store at that time, has for requests of a
// device with that identity.
func New(b *profile.Profile, identity plextv.Identity, read time.Time) *Credential {
	c := &Credential{Read: read, identity: identity}
	if id := b.ClientID(); id != "" {
		c.identity = identity.Under(id)
	}
	c.account = Token{Err: b.CheckToken(), IsAccount: true}
	if c.account.Err == nil {
		c.account.Header = header(b.AccountToken())
		c.Life = b.Lifetime()
		if c.CheckAt = c.Life.RenewAt(); c.CheckAt.IsZero() { // it cannot be renewed, and is good until its end
			c.CheckAt = c.Life.UnusableAt()
		}
	}
	c.setServer(b.SavedServer(), b.ServerToken())
	return c
}

// setServer sets what requests to the saved server get: its token, or why there is none
// that may be sent. stored is the token that the store has, for this server or another one.
func (c *Credential) setServer(s profile.SavedServer, stored secret.Value) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" {
		return
	}
	switch {
	case !s.Token.IsZero():
		c.server = Token{Header: header(s.Token), IsAccount: devicekey.IsJWT(s.Token.Secret())} // a server has accepted the JWT
	case stored.IsZero():
		return
	case !secret.UsableToken(stored.Secret()):
		c.server.Err = fmt.Errorf("%w: the saved token is damaged and cannot be sent; call Inspect to get a new one", fault.ErrServerToken)
	case devicekey.IsJWT(stored.Secret()): // saved by another program
		c.server.Err = fmt.Errorf("%w: the saved one is a JWT, which media servers do not accept", fault.ErrServerToken)
	default: // another server's
		return
	}
	c.ServerOrigin = netaddr.Origin(u)
	c.Insecure, c.Direct = !s.Verify, choice.Certificate(s)
}

func header(t secret.Value) []string { return []string{t.Secret()}[:1:1] }

// For returns the token of a request to an origin. toPlexTV reports whether that is
// plex.tv's, and may have the account token.
func (c *Credential) For(toPlexTV bool, origin string) Token {
	switch {
	case toPlexTV:
		return c.account
	case origin == c.ServerOrigin:
		return c.server
	}
	return Token{}
}

// Sign returns a copy of req with the header values of a token, and with the identity that
// the token was made under. What the program has set itself stays. A RoundTripper must
// not change the caller's request.
func (c *Credential) Sign(req *http.Request, token []string) *http.Request {
	r := *req
	r.Header = make(http.Header, len(req.Header)+len(c.identity)+2)
	c.identity.PutOn(r.Header)
	r.Header["X-Plex-Token"] = token
	for k, v := range req.Header {
		r.Header[k] = v
	}
	if len(r.Header["Accept"]) == 0 {
		r.Header["Accept"] = plextv.JSONType
	}
	return &r
}
