package plexauth

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/transport"
)

// Transport returns a RoundTripper for a program's own requests. A request to
// plex.tv or one of its subdomains (or to BaseURL) over https gets the account
// token and the X-Plex-* identity. A request to the exact origin of the saved
// server gets the server token. Both ask for JSON unless they have an Accept
// header. Every other request passes unchanged, and so does every header that the
// program has set itself. A stored pms_token without a pms_token_server, as other
// programs may leave it, is not used until Inspect has found out which server
// answers at server_url.
//
// A redirect to another origin is followed without credentials. Redirects within
// one origin, and between plex.tv and clients.plex.tv, keep them. The Request of a
// response is the caller's own, without a token.
//
// Over plain http the server token goes only to a loopback, link-local or private
// address, whatever the name: the address that is dialled counts. A stored
// verify_ssl of false counts only for the address that a person typed, see
// [Settings].VerifySSL. If the resolver does not resolve the server's plex.direct
// name, the address in the name is dialled, and TLS is verified against the name.
// All this needs an [*http.Transport] as base, which is cloned. With any other
// base, a request by plain http to a host name fails instead of sending the token.
//
// Every Transport uses a new login: at once if it is made by this PlexAuth or one
// of its Instances, else within two seconds. A request to plex.tv fails with
// [ErrNotConnected] if there is no login, and with [ErrTokenRejected] once plex.tv
// has rejected the token.
//
// The request that notices a JWT is due renews it (about every five days). It
// waits at most 800 ms; renewal then continues in the background until its context
// ends, and all other requests use the old JWT. If plex.tv answers 498 because the
// JWT has expired, or rejects it by a 401 of its own, the JWT is renewed. The
// request is then repeated once, if its body can be sent again (it has none, or
// GetBody). If plex.tv refuses the new JWT too, a refusal causes no renewal for a
// minute. An expired JWT that cannot be renewed is [ErrTokenExpired].
//
// base sends the requests. nil stands for the transport of [Options].HTTPClient, or
// http.DefaultTransport if that has none, as they are at each request. The result
// is safe for concurrent use.
func (p *PlexAuth) Transport(base http.RoundTripper) http.RoundTripper {
	return transport.New(p.client, requestLogin{&p.session}, base)
}

// requestLogin is the login of a profile as its Transports see it. It implements
// [transport.Login].
type requestLogin struct{ *session }

// Credential returns what the store has for requests, at most [credential.MaxAge] old.
// One caller reads the store for all.
func (s requestLogin) Credential(ctx context.Context) (*credential.Credential, error) {
	e := s.hold()
	defer e.Release()
	cache := &e.Known.token().credential
	if c := cache.Get(e.Writes()); c != nil {
		return c, nil
	}
	leave, err := cache.Reading.Enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	writes := e.Writes()
	if c := cache.Get(writes); c != nil {
		return c, nil
	}
	read := time.Now()
	b, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if b.ClientID() == "" && b.CheckToken() == nil { // another program has written the token
		if b, err = s.ensureClientID(ctx); err != nil {
			return nil, err
		}
	}
	c := credential.New(b, s.client.Identity, read)
	if c.Life != nil {
		s.client.Clock.Recall(c.Life.Skew)
	}
	cache.Put(c, writes)
	e.Keep(credential.MaxAge)
	return c, nil
}

// Fresh renews an account token that is due.
func (s requestLogin) Fresh(ctx context.Context, c *credential.Credential) (*credential.Credential, error) {
	if c.CheckAt.IsZero() || s.client.Clock.Now().Before(c.CheckAt) {
		return c, nil
	}
	renewed, err := s.ensureFresh(ctx, c.Life)
	if err != nil || !renewed {
		return c, err
	}
	return s.Credential(ctx)
}

// MayRenew reports whether a device key gets the next token, and the last one helped.
func (s requestLogin) MayRenew(c *credential.Credential) bool {
	return c.Life.Renewable() && !s.isFutile()
}

// Renew renews an account token that plex.tv has refused.
func (s requestLogin) Renew(ctx context.Context, c *credential.Credential) error {
	return s.renew(ctx, c.Life.Token, renewbackoff.Required)
}

// Refused notes that the renewal did not help.
func (s requestLogin) Refused() { s.noteRenewal((*renewbackoff.History).Futile) }

// Reread drops what is kept of the document.
func (s requestLogin) Reread() { s.inUse.Wrote(s.namespace) }
