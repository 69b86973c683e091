package plexauth

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// readAgain is how old the settings may be that a Transport goes by.
const readAgain = 2 * time.Second

// Transport returns a RoundTripper for a program's own requests. A request to
// plex.tv or one of its subdomains (or to BaseURL) over https gets the account
// token and the X-Plex-* identity. One to the exact origin of the saved server
// gets its server token. Both ask for JSON unless they have an Accept of their
// own. Every other request passes untouched. A header that the program has set
// itself stays. A stored pms_token that names no pms_token_server, as other
// programs may leave it, is not used until Inspect has found out which server
// answers at server_url.
//
// A redirect is followed without credentials, so that no other host decides what
// they are used for. Redirects within one origin, and between plex.tv and
// clients.plex.tv, keep them. The Request of an answer is the caller's own, in
// which there is no token.
//
// Over plain http the server token goes to a loopback, link-local or private
// address only, whatever name it has: the address that is dialled counts. A
// stored verify_ssl of false is honoured for the one address that a person typed,
// see [Settings].VerifySSL. Where the
// resolver withholds the server's plex.direct name, the address in the name is
// dialled, and TLS verified against the name. All this needs an
// [*http.Transport] as base, of which a clone is made; over any other the
// token does not go to a name by plain http, and the request fails.
//
// A new login reaches every holder of a Transport: at once if it is made by
// this PlexAuth or one of its Instances, else within two seconds. A request to
// plex.tv without a login fails with [ErrNotConnected], and with
// [ErrTokenRejected] once plex.tv has rejected the token.
//
// The request that notices a JWT is due renews it (about every five days). It
// waits at most 800 ms; renewal then continues in the background until its context
// ends, and all other requests go on with the old JWT. Where plex.tv answers 498,
// because the JWT has expired after all, or rejects it by a 401 of its own, it is
// renewed and the request made once more, if its body can be sent again (it has
// none, or GetBody). Where that does not help it is not done again for a minute.
// An expired JWT that cannot be renewed is [ErrTokenExpired].
//
// base does the sending; nil is the transport of [Options].HTTPClient, or
// http.DefaultTransport where that has none, as they are at each request. The
// result is safe for concurrent use.
func (p *PlexAuth) Transport(base http.RoundTripper) http.RoundTripper {
	return &transport{p: p, base: base}
}

type transport struct {
	p    *PlexAuth
	base http.RoundTripper

	mu     sync.Mutex
	routes *mediaserver.ServerRoutes // to the saved server; kept, since connections are
	server string                    // its last known origin
}

// CloseIdleConnections makes http.Client's method of that name reach the base
// and its clones.
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

// sender returns what requests are sent with.
func (t *transport) sender() http.RoundTripper {
	if t.base != nil {
		return t.base
	}
	rt := t.p.client.Transport()
	if own, ok := rt.(*transport); ok && own.base == nil && own.p.client == t.p.client { // it would lead back here
		return http.DefaultTransport
	}
	return rt
}

// toServer is the way of a request with the server token.
func (t *transport) toServer(base http.RoundTripper, u *url.URL, s *source) (http.RoundTripper, error) {
	if _, ok := base.(*http.Transport); !ok {
		return (&mediaserver.ServerRoutes{Base: base}).To(u, s.insecure, s.direct, true)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.routes == nil || t.routes.Base != base {
		if t.routes != nil {
			t.routes.Close()
		}
		t.routes = &mediaserver.ServerRoutes{Base: base}
	}
	return t.routes.To(u, s.insecure, s.direct, true)
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.roundTrip(req)
	if resp != nil {
		resp.Request = req // not one of ours, which has a token in it
	}
	return resp, err
}

func (t *transport) roundTrip(req *http.Request) (*http.Response, error) {
	base := t.sender()
	if t.p.ledElsewhere(req) {
		return base.RoundTrip(req)
	}
	s, token, rt, err := t.credential(req, base)
	switch {
	case err != nil:
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	case s == nil:
		return base.RoundTrip(req)
	}
	resp, err := rt.RoundTrip(s.sign(req, token))
	if err != nil || !t.isRefused(req, s, resp) {
		return resp, err
	}
	next, renewed := t.again(req, s, resp)
	if next == nil {
		return resp, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, plextv.MaxBody) // so that the connection is used again
	resp.Body.Close()
	resp, err = rt.RoundTrip(next)
	if renewed && err == nil && resp != nil && isRefusal(resp) {
		t.p.renewals.inVain(t.p.instance)
	}
	return resp, err
}

// credential returns what req is signed with, and what it is sent with. The source
// is nil where req gets nothing of what is stored.
func (t *transport) credential(req *http.Request, base http.RoundTripper) (s *source, token []string, rt http.RoundTripper, err error) {
	ctx, plexTV, at := req.Context(), t.p.isPlexTV(req.URL), netaddr.Origin(req.URL)
	if s, err = t.p.source(ctx); err != nil {
		if !plexTV && !t.wasServer(at) {
			return nil, nil, nil, nil
		}
		return nil, nil, nil, err
	}
	t.noteServer(s.serverOrigin)
	toServer := !plexTV && at == s.serverOrigin
	if !plexTV && !toServer {
		return nil, nil, nil, nil
	}
	if plexTV && !s.due.IsZero() || toServer && s.serverJWT {
		if s, err = t.p.freshSource(ctx, s); err != nil {
			return nil, nil, nil, err
		}
	}
	switch {
	case plexTV:
		return s, s.account, base, s.accountErr
	case at != s.serverOrigin: // another server was chosen during the renewal
		return nil, nil, nil, nil
	case s.serverErr != nil:
		return nil, nil, nil, s.serverErr
	}
	rt, err = t.toServer(base, req.URL, s)
	return s, s.server, rt, err
}

// isRefused reports whether resp may be a refusal of the device's token that
// Transport has put on req.
func (t *transport) isRefused(req *http.Request, s *source, resp *http.Response) bool {
	_, own := req.Header["X-Plex-Token"]
	return resp != nil && resp.Body != nil && !s.due.IsZero() && isRefusal(resp) && !own && t.p.isPlexTV(req.URL)
}

// ledElsewhere reports whether another origin has redirected to req. All hops
// before count: what plex.tv does on a foreign host's behalf is that host's doing.
func (p *PlexAuth) ledElsewhere(req *http.Request) bool {
	for req.Response != nil {
		before := req.Response.Request
		if before == nil || before.URL == nil || // a careless transport does not tell
			netaddr.Origin(before.URL) != netaddr.Origin(req.URL) && !(p.client.IsAPI(before.URL) && p.client.IsAPI(req.URL)) {
			return true
		}
		req = before
	}
	return false
}

// sign returns a copy of req with token and the identity that token was made
// under. A RoundTripper must not change the caller's request.
func (s *source) sign(req *http.Request, token []string) *http.Request {
	r := *req
	r.Header = make(http.Header, len(req.Header)+len(s.identity)+2)
	s.identity.PutOn(r.Header)
	if token != nil {
		r.Header["X-Plex-Token"] = token
	}
	for k, v := range req.Header {
		r.Header[k] = v
	}
	if len(r.Header["Accept"]) == 0 {
		r.Header["Accept"] = plextv.JsonOnly
	}
	return &r
}

// isRefusal reports whether an answer may speak of the token.
func isRefusal(resp *http.Response) bool {
	return resp.StatusCode == plextv.StatusJWTExpired || resp.StatusCode == http.StatusUnauthorized
}

// again returns req once more, signed with the successor of the credential in s;
// nil where there is no successor, or the body is gone. renewed tells that plex.tv
// was asked for one, as it is where the token has expired or is rejected in
// plex.tv's own words. A 401 can mean many things: else another process must have
// renewed.
func (t *transport) again(req *http.Request, s *source, resp *http.Response) (next *http.Request, renewed bool) {
	ctx := req.Context()
	hasBody := req.Body != nil && req.Body != http.NoBody
	once := hasBody && req.GetBody == nil
	cure := resp.StatusCode == plextv.StatusJWTExpired || !once && isVerdict(resp)
	if cure && s.life.Renewable() && !t.p.renewals.vain(t.p.instance) {
		if t.p.renew(ctx, s.life.Token, needed) != nil {
			return nil, false
		}
		renewed = true
	} else {
		t.p.sources.forget()
	}
	now, err := t.p.source(ctx)
	if err != nil || once || len(now.account) == 0 || now.account[0] == s.account[0] {
		return nil, renewed
	}
	next = now.sign(req, now.account)
	if hasBody {
		if next.Body, err = req.GetBody(); err != nil {
			return nil, renewed
		}
	}
	return next, renewed
}

// isVerdict reports whether a 401 is plex.tv's own on the token. What it reads of
// the body is there again for the caller.
func isVerdict(resp *http.Response) bool {
	const most = 4 << 10
	head, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	env, ours := plextv.ParseEnvelope(head)
	return ours && (env.Code == 0 || env.Code == 1001)
}

// isPlexTV reports whether the account token may go to u.
func (p *PlexAuth) isPlexTV(u *url.URL) bool {
	if p.client.SameOrigin {
		return netaddr.Origin(u) == p.client.PlexTV
	}
	host := strings.ToLower(u.Hostname())
	return u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") &&
		(host == "plex.tv" || strings.HasSuffix(host, ".plex.tv") && host != "app.plex.tv") // which is a page for people
}

// source is what a Transport puts on requests.
type source struct {
	read         time.Time
	account      []string // header values, shared by all requests
	accountErr   error
	server       []string
	serverErr    error
	serverJWT    bool // server is the account's JWT, which the server has accepted
	serverOrigin string
	insecure     bool // its certificate is not checked
	direct       mediaserver.DirectOwners
	identity     plextv.Identity

	life *profile.Life // of the account token
	due  time.Time     // when to renew it, by plex.tv's clock; zero: never
}

// sources keeps one source a profile.
type sources struct {
	mu         sync.Mutex                // never held while reading the store
	generation int                       // counts what forget has thrown away
	byInstance map[string]func() *source // hidden
	dropping   bool                      // what is old is dropped later
	reading    gate.Map                  // who reads the store for a profile
}

// noteServer remembers the origin of the saved server, for when the store cannot be
// read.
func (t *transport) noteServer(origin string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server = origin
}

// wasServer reports whether the saved server was last at this origin.
func (t *transport) wasServer(origin string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.server != "" && t.server == origin
}

// forget makes the next request read the store.
func (s *sources) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	clear(s.byInstance)
}

func (s *sources) get(instance string) (*source, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byInstance[instance]; v != nil {
		return v(), s.generation
	}
	return nil, s.generation
}

// put keeps what was read, unless something has been written since.
func (s *sources) put(instance string, v *source, generation int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation {
		return
	}
	if s.byInstance == nil {
		s.byInstance = map[string]func() *source{}
	}
	s.byInstance[instance] = secret.Hide(v)
	s.dropLater()
}

// dropLater sees to it that no tokens are kept that no request has asked for in a
// while. mu must be held.
func (s *sources) dropLater() {
	if s.dropping || len(s.byInstance) == 0 {
		return
	}
	s.dropping = true
	time.AfterFunc(readAgain, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.DeleteFunc(s.byInstance, func(_ string, v func() *source) bool { return time.Since(v().read) >= readAgain })
		s.dropping = false
		s.dropLater()
	})
}

// freshSource returns s, or what takes its place where its token is due to be
// renewed.
func (p *PlexAuth) freshSource(ctx context.Context, s *source) (*source, error) {
	if s.accountErr != nil || p.client.Clock.Now().Before(s.due) {
		return s, nil
	}
	renewed, err := p.freshen(ctx, s.life)
	if err != nil || !renewed {
		return s, err
	}
	return p.source(ctx)
}

func (p *PlexAuth) source(ctx context.Context) (*source, error) {
	if s, _ := p.sources.get(p.instance); s != nil && time.Since(s.read) < readAgain {
		return s, nil
	}
	leave, err := p.sources.reading.Enter(ctx, p.instance) // one reads for all
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	s, generation := p.sources.get(p.instance)
	if s != nil && time.Since(s.read) < readAgain {
		return s, nil
	}
	read := time.Now()
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	v := settingsOf(b)
	if v.ClientID == "" && b.Unusable() == nil { // a token that was put there by hand
		if b, err = p.ensureClientID(ctx); err != nil {
			return nil, err
		}
		v = settingsOf(b)
	}
	s = &source{read: read, identity: p.client.Identity}
	if v.ClientID != "" {
		s.identity = s.identity.Under(v.ClientID)
	}
	if s.accountErr = b.Unusable(); s.accountErr == nil {
		s.account = []string{v.AccountToken.Secret()}[:1:1]
		s.life = p.lifeOf(b)
		s.due = s.life.Due()
		if s.due.IsZero() { // nothing renews it: it is good until its end
			s.due = s.life.Over()
		}
	}
	s.addServer(b, v)
	p.sources.put(p.instance, s, generation)
	return s, nil
}

// addServer adds what requests to the saved server get: its token, or why it has
// none that could be sent.
func (s *source) addServer(b *profile.Profile, v Settings) {
	u, err := url.Parse(v.ServerURL)
	if err != nil || u.Host == "" {
		return
	}
	if v.ServerToken.IsZero() {
		switch held := b.ServerToken(); {
		case held.IsZero():
			return
		case !secret.UsableToken(held.Secret()):
			s.serverErr = fmt.Errorf("%w: the one that is saved is damaged and no request can carry it, Inspect gets another", fault.ErrServerToken)
		case devicekey.IsJWT(held.Secret()): // from a program that took it for the server's token
			s.serverErr = fmt.Errorf("%w: what is saved for it is a JWT, which media servers do not take", fault.ErrServerToken)
		default: // another server's
			return
		}
	}
	s.serverOrigin = netaddr.Origin(u)
	s.server = []string{v.ServerToken.Secret()}[:1:1]
	s.insecure = !v.VerifySSL
	s.direct = directOf(b.Server())
	s.serverJWT = devicekey.IsJWT(v.ServerToken.Secret())
}
