package plexauth

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	attemptLimit   = 10 * time.Second // for one attempt, its body included
	waitLimit      = 30 * time.Second // for all the waiting between the attempts of one call
	askedWait      = 2 * time.Second  // of it, what plex.tv asks for: a person may be waiting for this call
	defaultSlow    = 5 * time.Second  // after a 429 that names no time
	maxBody        = 1 << 20          // of an answer
	maxServers     = 8 << 20          // of the list of servers, which grows with what is shared
	maxIdentity    = 64 << 10         // of what says who is at an address
	maxRedirects   = 3
	maxHeaderBytes = 255 // of one identity header's value
)

// client is the one way a request leaves. It is safe for concurrent use.
type client struct {
	httpClient *http.Client // the caller's; nil: http.DefaultTransport, as it is at each request
	retries    int
	plexTV     string // origin of the API
	clients    string // origin of resources and auth
	app        string // origin of the web sign-in page
	link       string // origin of the pages a person types a code into
	sameOrigin bool   // all of them are one, Options.BaseURL
	identity   identity
	guard      rateGuard
	way        wayOut
	keys       keyset // plex.tv's, to verify JWTs with
	clock      clock  // plex.tv's
	log        *slog.Logger
}

func newClient(o Options) *client {
	c := &client{
		httpClient: o.HTTPClient,
		retries:    o.maxRetries(),
		plexTV:     "https://plex.tv",
		clients:    "https://clients.plex.tv",
		app:        "https://app.plex.tv",
		link:       "https://plex.tv",
		identity:   o.identity(),
		log:        o.logger(),
	}
	if o.BaseURL != "" {
		u, _ := url.Parse(o.BaseURL) // New has checked it
		base := origin(u)
		c.plexTV, c.clients, c.app, c.link, c.sameOrigin = base, base, base, base, true
	}
	return c
}

var (
	jsonOnly  = []string{"application/json"}[:1:1] // with "*/*" behind it plex.tv answers XML
	userAgent = []string{"plexauth"}[:1:1]
)

// call is one request and how its answer is to be judged.
type call struct {
	op       string
	method   string
	url      string
	clientID string
	token    secretValue
	body     []byte        // JSON, or nil
	once     bool          // no second attempt
	limit    time.Duration // of one attempt; 0: attemptLimit
	most     int           // bytes of the answer; 0: maxBody
	// attempt, where it is set, bounds the one attempt of a look at a PIN,
	// which keeps its own pace. ctx still tells whether the caller has gone.
	attempt  context.Context
	account  bool          // a 401 of plex.tv speaks of the token
	secrets  []string      // besides the token: what no error may quote
	server   *serverRoutes // how to reach the media server that is asked; nil: plex.tv is
	insecure bool          // its certificate is not checked
	direct   directOwners  // whose plex.direct certificates will do, too
	// decode reads the body of a 2xx answer. Its error means that this is not
	// the answer that was asked for. nil: the body does not matter.
	decode func(body []byte) error
	// refine corrects the verdict on an answer that means something else to this
	// call than to others. nil: it does not.
	refine func(*failure)

	sent    time.Time         // when the last attempt left
	via     http.RoundTripper // what sent it; nil for a media server
	dialled dialled
	repeats int
	waited  time.Duration // between attempts
	pause   time.Duration // before the next one
	err     *failure      // its outcome
	client  *client
	tls     *tls.ConnectionState // of the last answer
}

// do carries a call out and returns nil, ctx's error or an [*Error].
func (c *client) do(ctx context.Context, q *call) error {
	q.client = c
	if q.attempt != nil {
		return c.doOnce(ctx, q)
	}
	if q.server == nil {
		q.limit = cmp.Or(q.limit, attemptLimitOf(ctx))
		if err := c.guard.wait(ctx, q); err != nil {
			return err
		}
	}
	var body any
	if q.body != nil {
		body = q.body
	}
	req, err := retryablehttp.NewRequestWithContext(q.dialled.trace(ctx), q.method, q.url, body)
	if err != nil {
		return fmt.Errorf("plexauth: %s: the address could not be used", q.op)
	}
	req.Header = c.header(q)
	hc := c.clientFor(q)
	if q.server != nil {
		route, err := q.server.to(req.URL, q.insecure, q.direct, !q.token.IsZero())
		if err != nil {
			return fmt.Errorf("plexauth: %s: %w", q.op, err)
		}
		hc.Transport, hc.CheckRedirect = roundTripper{route}, refuseRedirect
	}
	retries := c.retries
	if q.once {
		retries = 0
	}
	rc := retryablehttp.Client{
		HTTPClient:   hc,
		RetryMax:     retries,
		CheckRetry:   q.settle,
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return q.pause },
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	rc.PrepareRetry = func(*http.Request) error {
		q.sent = time.Now()
		return nil
	}
	q.sent = time.Now()
	resp, err := rc.Do(req)
	if resp != nil {
		resp.Body.Close()
	}
	return q.outcome(ctx, err)
}

// outcome is how the attempts of a call have ended. err is retryablehttp's.
func (q *call) outcome(ctx context.Context, err error) error {
	switch ctxErr := ctx.Err(); {
	case q.err == nil && err == nil:
		return nil
	case ctxErr != nil:
		return fmt.Errorf("plexauth: %s: %w", q.op, ctxErr)
	case q.err == nil: // before any attempt
		return q.failed(err)
	}
	if q.err.is == ErrRateLimited && q.err.RetryAfter == 0 { // until then no other request is made either
		q.err.RetryAfter = max(0, time.Until(q.client.guard.clear()))
	}
	return q.err
}

// doOnce makes a look at a PIN, of which there are many, straight through the
// transport: no retries, no cookies, no second timer.
func (c *client) doOnce(ctx context.Context, q *call) error {
	req, err := http.NewRequestWithContext(q.attempt, q.method, q.url, nil)
	if err != nil {
		return fmt.Errorf("plexauth: %s: the address could not be used", q.op)
	}
	req.Header = c.header(q)
	q.sent = time.Now()
	resp, err := toPlexTV{q}.RoundTrip(req)
	switch {
	case err == nil && resp == nil: // as net/http tells careless transports
		err = errors.New("the transport returned neither an answer nor an error")
	case err == nil && resp.Body == nil:
		resp.Body = http.NoBody
	}
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		if to, bad := resp.Location(); bad == nil && c.isAPI(to) {
			resp.Body.Close()
			req = req.Clone(q.attempt)
			req.URL, req.Host = to, ""
			resp, err = c.clientFor(q).Do(req)
		}
	}
	_, _ = q.settle(ctx, resp, err)
	switch {
	case q.err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %s: %w", q.op, ctx.Err())
	}
	return q.err
}

// attemptLimit is the time that one attempt may take: limit (0: the usual), or what
// the caller's client allows if that is less.
func (c *client) attemptLimit(limit time.Duration) time.Duration {
	if limit <= 0 {
		limit = attemptLimit
	}
	if c.httpClient != nil && c.httpClient.Timeout > 0 {
		limit = min(limit, c.httpClient.Timeout)
	}
	return limit
}

type attemptLimitKey struct{}

// withAttemptLimit returns ctx for requests to plex.tv of which each attempt may take
// that long.
func withAttemptLimit(ctx context.Context, limit time.Duration) context.Context {
	return context.WithValue(ctx, attemptLimitKey{}, limit)
}

// attemptLimitOf returns the limit that withAttemptLimit has set, or 0.
func attemptLimitOf(ctx context.Context) time.Duration {
	limit, _ := ctx.Value(attemptLimitKey{}).(time.Duration)
	return limit
}

// transport is what the caller's client sends with, as it is now.
func (c *client) transport() http.RoundTripper {
	if c.httpClient != nil && c.httpClient.Transport != nil {
		return c.httpClient.Transport
	}
	return http.DefaultTransport
}

// header builds the headers of one attempt. The values are shared between
// requests, the map is not.
func (c *client) header(q *call) http.Header {
	h := make(http.Header, len(c.identity)+6)
	if q.server == nil || !q.token.IsZero() { // half an identity would register a device
		c.identity.putOn(h)
	}
	h["Accept"] = jsonOnly
	h["User-Agent"] = userAgent
	if q.clientID != "" {
		h["X-Plex-Client-Identifier"] = []string{q.clientID}
	}
	if !q.token.IsZero() {
		h["X-Plex-Token"] = []string{q.token.Secret()}
	}
	if q.body != nil {
		h["Content-Type"] = jsonOnly
	}
	return h
}

// clientFor takes the caller's client as it is now, with our limits. Its cookie
// jar is left out: plex.tv needs no cookies, and one jar would show each account
// those of the others (G23).
func (c *client) clientFor(q *call) *http.Client {
	hc := &http.Client{}
	if c.httpClient != nil {
		*hc = *c.httpClient
	}
	hc.Transport, hc.Jar, hc.CheckRedirect = toPlexTV{q}, nil, c.checkRedirect
	if hc.Timeout = 0; q.attempt == nil { // else that bounds it
		hc.Timeout = c.attemptLimit(q.limit)
	}
	return hc
}

// checkRedirect follows a redirect only for GET and only to where the token
// may go: net/http takes X-Plex-Token along to any host.
func (c *client) checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet || len(via) > maxRedirects || !c.isAPI(req.URL) {
		return http.ErrUseLastResponse
	}
	return nil
}

// refuseRedirect hands a redirect out as the answer that it is.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// isAPI reports whether u is on one of the two hosts of plex.tv's API (or on
// BaseURL).
func (c *client) isAPI(u *url.URL) bool {
	o := origin(u)
	return o == c.plexTV || o == c.clients
}

// origin is scheme, host and port of u, in the one spelling that can be
// compared.
func origin(u *url.URL) string {
	host := asciiHost(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

// settle takes in the outcome of one attempt, and decides whether there is to be
// another. It is retryablehttp's CheckRetry.
func (q *call) settle(ctx context.Context, resp *http.Response, err error) (bool, error) {
	q.err = q.receive(resp, err)
	if q.err != nil && q.refine != nil {
		q.refine(q.err)
	}
	if q.err == nil && q.server == nil {
		q.client.guard.answered(q.sent)
	}
	if q.err == nil || ctx.Err() != nil {
		return false, nil
	}
	if q.err.is == ErrRateLimited {
		q.client.guard.slow(q.err.RetryAfter)
	}
	return q.mayRepeat() && q.mayWait(ctx), nil
}

// receive reads the answer of one attempt to its end and judges it.
func (q *call) receive(resp *http.Response, err error) *failure {
	var body []byte
	if err == nil {
		q.tls = resp.TLS
		if resp.StatusCode != http.StatusNoContent && (q.decode != nil || resp.StatusCode >= 300) { // else the status says it all
			body, err = readBody(resp, cmp.Or(q.most, maxBody))
		}
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	switch {
	case err == errTooLong:
		return &failure{Op: q.op, where: q.where(), StatusCode: resp.StatusCode, is: ErrUnavailable, transient: true, Message: err.Error()}
	case err != nil:
		if time.Since(q.sent) >= silence {
			q.client.way.avoid(q.via)
		}
		return q.failed(err)
	}
	if q.server == nil {
		q.client.way.alone.Store(false)
	}
	if q.where() == "plex.tv" {
		q.client.clock.note(q.sent, resp.Header)
	}
	return q.judge(resp, body)
}

// mayWait sets the pause before another attempt, and reports whether the call may
// wait for so long.
func (q *call) mayWait(ctx context.Context) bool {
	q.pause = 500*time.Millisecond<<q.repeats + rand.N(250*time.Millisecond)
	q.repeats++
	most := waitLimit
	if q.err.is == ErrRateLimited || q.err.RetryAfter > 0 {
		q.pause, most = cmp.Or(q.err.RetryAfter, askedWait), askedWait
	}
	if q.waited += q.pause; q.waited > most {
		return false
	}
	end, ok := ctx.Deadline()
	return !ok || time.Until(end) > q.pause // better this answer now than "deadline exceeded" later
}

// mayRepeat reports whether a second attempt can help and do no harm: of a GET
// after a failure that passes, of a write only where it certainly had no effect.
func (q *call) mayRepeat() bool {
	if q.once {
		return false
	}
	if q.method == http.MethodGet {
		return q.err.transient || q.err.is == ErrRateLimited
	}
	if q.err.cause != nil { // no connection came about
		var op *net.OpError
		return errors.As(q.err.cause, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
	}
	return q.err.StatusCode == http.StatusTooManyRequests || q.err.StatusCode == http.StatusServiceUnavailable
}
