package plexauth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/renewal"
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
	return &transport{s: &p.session, base: base}
}

type transport struct {
	s    *session
	base http.RoundTripper // nil: see Transport

	mu         sync.Mutex
	routes     *mediaserver.Routes // to the saved server; they hold its connections
	lastServer string              // last known origin of the saved server, for when the store fails
}

// CloseIdleConnections closes the idle connections of the base and its clones.
// [http.Client.CloseIdleConnections] calls it.
func (t *transport) CloseIdleConnections() {
	if base, ok := t.sender().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.routes != nil {
		t.routes.Close()
	}
}

// sender returns the RoundTripper that sends requests.
func (t *transport) sender() http.RoundTripper {
	if t.base != nil {
		return t.base
	}
	rt := t.s.client.Transport()
	if own, ok := rt.(*transport); ok && own.base == nil && own.s.client == t.s.client { // it would lead back here
		return http.DefaultTransport
	}
	return rt
}

// serverRoute returns what sends a request to u with the server token.
func (t *transport) serverRoute(base http.RoundTripper, u *url.URL, c *credential.Credential) (http.RoundTripper, error) {
	if _, ok := base.(*http.Transport); !ok {
		return (&mediaserver.Routes{Base: base}).To(u, c.Insecure, c.Direct, true)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.routes == nil || t.routes.Base != base {
		if t.routes != nil {
			t.routes.Close()
		}
		t.routes = &mediaserver.Routes{Base: base}
	}
	return t.routes.To(u, c.Insecure, c.Direct, true)
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.roundTrip(req)
	if resp != nil {
		resp.Request = req // the request that was sent has a token in it
	}
	return resp, err
}

func (t *transport) roundTrip(req *http.Request) (*http.Response, error) {
	base := t.sender()
	if t.s.client.RedirectedAway(req) {
		return base.RoundTrip(req)
	}
	c, token, rt, err := t.prepare(req, base)
	switch {
	case err != nil:
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	case c == nil:
		return base.RoundTrip(req)
	}
	resp, err := rt.RoundTrip(c.Sign(req, token))
	if err != nil || !t.isRefused(req, c, resp) {
		return resp, err
	}
	next, renewed := t.repeat(req, c, token, resp)
	if next == nil {
		return resp, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, plextv.MaxBody) // so that the connection can be used again
	resp.Body.Close()
	resp, err = rt.RoundTrip(next)
	if renewed && err == nil && resp != nil && plextv.MayRefuseToken(resp.StatusCode) {
		t.s.noteRenewal((*renewal.History).Futile)
	}
	return resp, err
}

// prepare returns the credential and the token's header values that sign req, and what
// sends it. The credential is nil if req gets no token of ours.
func (t *transport) prepare(req *http.Request, base http.RoundTripper) (c *credential.Credential, header []string, rt http.RoundTripper, err error) {
	toPlexTV, origin := t.s.client.MayCarryToken(req.URL), netaddr.Origin(req.URL)
	if c, err = t.s.credential(req.Context()); err != nil {
		if toPlexTV || t.wasServer(origin) {
			return nil, nil, nil, err
		}
		return nil, nil, nil, nil
	}
	t.rememberServer(c.ServerOrigin)
	token := c.For(toPlexTV, origin)
	if token.IsAccount {
		if c, err = t.s.freshCredential(req.Context(), c); err != nil {
			return nil, nil, nil, err
		}
		token = c.For(toPlexTV, origin) // another server may have been chosen during a renewal
	}
	switch {
	case token.Err != nil:
		return nil, nil, nil, token.Err
	case token.Header == nil:
		return nil, nil, nil, nil
	case toPlexTV:
		return c, token.Header, base, nil
	}
	rt, err = t.serverRoute(base, req.URL, c)
	return c, token.Header, rt, err
}

func (t *transport) rememberServer(origin string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastServer = origin
}

// wasServer reports whether origin is the last known one of the saved server.
func (t *transport) wasServer(origin string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastServer != "" && t.lastServer == origin
}

// isRefused reports whether resp may refuse the JWT that was put on req.
func (t *transport) isRefused(req *http.Request, c *credential.Credential, resp *http.Response) bool {
	_, own := req.Header["X-Plex-Token"]
	return resp != nil && resp.Body != nil && !c.RenewAt.IsZero() && plextv.MayRefuseToken(resp.StatusCode) && !own && t.s.client.MayCarryToken(req.URL)
}

// repeat returns the request to send instead of req, signed with the successor of c,
// after plex.tv has refused c's token with resp. It returns nil if there is no successor,
// or if the body cannot be sent again. plex.tv is asked for a new token (renewed) if the
// old one has expired, or if the answer is plex.tv's own rejection. Any other 401 is
// ambiguous, and is sent again only if another process has renewed the token.
func (t *transport) repeat(req *http.Request, c *credential.Credential, token []string, resp *http.Response) (next *http.Request, renewed bool) {
	hasBody := req.Body != nil && req.Body != http.NoBody
	repeatable := !hasBody || req.GetBody != nil
	tokenRefused := resp.StatusCode == plextv.StatusJWTExpired || repeatable && plextv.RejectsToken(resp)
	if tokenRefused && c.Life.Renewable() && !t.s.isFutile() {
		if t.s.renew(req.Context(), c.Life.Token, renewal.Required) != nil {
			return nil, false
		}
		renewed = true
	} else {
		t.s.inUse.Wrote(t.s.namespace) // perhaps by another process
	}
	now, err := t.s.credential(req.Context())
	if err != nil || !repeatable {
		return nil, renewed
	}
	successor := now.For(true, "").Header
	if len(successor) == 0 || successor[0] == token[0] {
		return nil, renewed
	}
	next = now.Sign(req, successor)
	if hasBody {
		if next.Body, err = req.GetBody(); err != nil {
			return nil, renewed
		}
	}
	return next, renewed
}

// freshCredential returns c, or its successor if the account token is due for
// renewal.
func (s *session) freshCredential(ctx context.Context, c *credential.Credential) (*credential.Credential, error) {
	if c.RenewAt.IsZero() || s.client.Clock.Now().Before(c.RenewAt) {
		return c, nil
	}
	renewed, err := s.ensureFresh(ctx, c.Life)
	if err != nil || !renewed {
		return c, err
	}
	return s.credential(ctx)
}

// credential returns what the store has for requests, at most [credential.MaxAge] old.
// One caller reads the store for all.
func (s *session) credential(ctx context.Context) (*credential.Credential, error) {
	e := s.hold()
	defer e.Release()
	cache := &e.Known.credential
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
	if b.ClientID() == "" && b.Unusable() == nil { // another program has written the token
		if b, err = s.ensureClientID(ctx); err != nil {
			return nil, err
		}
		writes = e.Writes()
	}
	c := credential.New(b, s.client.Identity, read)
	if c.Life != nil {
		s.client.Clock.Recall(c.Life.Skew)
	}
	cache.Put(c, writes)
	e.Keep(credential.MaxAge)
	return c, nil
}
