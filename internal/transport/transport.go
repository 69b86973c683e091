// Package transport sends a program's own requests with the tokens of a profile.
package transport

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
)

// Login is the login of a profile as requests see it. It is safe for concurrent use.
type Login interface {
	// Credential returns what the profile has for requests.
	Credential(ctx context.Context) (*credential.Credential, error)
	// Fresh returns c, or its successor if c's account token is due for renewal.
	Fresh(ctx context.Context, c *credential.Credential) (*credential.Credential, error)
	// MayRenew reports whether c's account token can be renewed, and a renewal may help.
	MayRenew(c *credential.Credential) bool
	// Renew renews c's account token, which plex.tv has refused.
	Renew(ctx context.Context, c *credential.Credential) error
	// Refused notes that plex.tv has refused a token that was just renewed, too.
	Refused()
	// Reread makes the next Credential read the store: another process may have written.
	Reread()
}

// Transport is an [http.RoundTripper] that puts the tokens of a login on requests. It is
// safe for concurrent use.
type Transport struct {
	client *plextv.Client
	login  Login
	base   http.RoundTripper // sends the requests; nil: the transport of client

	mu         sync.Mutex
	routes     *mediaserver.Routes // to the saved server; they hold its connections
	lastServer string              // last known origin of the saved server, for when the store fails
}

// New returns a Transport that sends by base, or, if that is nil, by the transport of
// client, as it is at each request.
func New(client *plextv.Client, login Login, base http.RoundTripper) *Transport {
	return &Transport{client: client, login: login, base: base}
}

// CloseIdleConnections closes the idle connections of the base and its clones.
// [http.Client.CloseIdleConnections] calls it.
func (t *Transport) CloseIdleConnections() {
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
func (t *Transport) sender() http.RoundTripper {
	if t.base != nil {
		return t.base
	}
	rt := t.client.Transport()
	if own, ok := rt.(*Transport); ok && own.base == nil && own.client == t.client { // it would lead back here
		return http.DefaultTransport
	}
	return rt
}

// serverRoute returns what sends a request to u with the server token.
func (t *Transport) serverRoute(base http.RoundTripper, u *url.URL, c *credential.Credential) (http.RoundTripper, error) {
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
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.roundTrip(req)
	if resp != nil {
		resp.Request = req // the request that was sent has a token in it
	}
	return resp, err
}

func (t *Transport) roundTrip(req *http.Request) (*http.Response, error) {
	base := t.sender()
	if t.client.RedirectedAway(req) {
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
	if !t.isRefused(req, c, resp) {
		return resp, err
	}
	next, renewed := t.repeat(req, c, token, resp)
	if next == nil {
		return resp, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, plextv.MaxBody) // so that the connection can be used again
	resp.Body.Close()
	resp, err = rt.RoundTrip(next)
	if renewed && resp != nil && plextv.MayRefuseToken(resp.StatusCode) {
		t.login.Refused()
	}
	return resp, err
}

// prepare returns the credential and the token's header values that sign req, and what
// sends it. The credential is nil if req gets no token of ours.
func (t *Transport) prepare(req *http.Request, base http.RoundTripper) (c *credential.Credential, header []string, rt http.RoundTripper, err error) {
	toPlexTV, origin := t.client.MayCarryToken(req.URL), netaddr.Origin(req.URL)
	if c, err = t.login.Credential(req.Context()); err != nil {
		if toPlexTV || t.wasServer(origin) {
			return nil, nil, nil, err
		}
		return nil, nil, nil, nil
	}
	t.rememberServer(c.ServerOrigin)
	token := c.For(toPlexTV, origin)
	if token.IsAccount {
		if c, err = t.login.Fresh(req.Context(), c); err != nil {
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

func (t *Transport) rememberServer(origin string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastServer = origin
}

// wasServer reports whether origin is the last known one of the saved server.
func (t *Transport) wasServer(origin string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastServer == origin // no origin is empty
}

// isRefused reports whether resp may refuse the JWT that was put on req.
func (t *Transport) isRefused(req *http.Request, c *credential.Credential, resp *http.Response) bool {
	_, own := req.Header["X-Plex-Token"]
	return resp != nil && resp.Body != nil && !c.CheckAt.IsZero() && plextv.MayRefuseToken(resp.StatusCode) && !own && t.client.MayCarryToken(req.URL)
}

// repeat returns the request to send instead of req, signed with the successor of c,
// after plex.tv has refused c's token with resp. It returns nil if there is no successor,
// or if the body cannot be sent again. plex.tv is asked for a new token (renewed) if the
// old one has expired, or if the answer is plex.tv's own rejection. Any other 401 is
// ambiguous, and is sent again only if another process has renewed the token.
func (t *Transport) repeat(req *http.Request, c *credential.Credential, token []string, resp *http.Response) (next *http.Request, renewed bool) {
	hasBody := req.Body != nil && req.Body != http.NoBody
	repeatable := !hasBody || req.GetBody != nil
	tokenRefused := resp.StatusCode == plextv.StatusJWTExpired || repeatable && plextv.RejectsToken(resp)
	if tokenRefused && t.login.MayRenew(c) {
		if t.login.Renew(req.Context(), c) != nil {
			return nil, false
		}
		renewed = true
	} else {
		t.login.Reread()
	}
	now, err := t.login.Credential(req.Context())
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
