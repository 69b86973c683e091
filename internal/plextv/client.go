// Package plextv speaks plex.tv's HTTP API. It has one way for a request to leave, one
// judge of answers, and one file for each group of endpoints. It stores nothing.
package plextv

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	AttemptLimit = 10 * time.Second // for one attempt, its body included
	WaitLimit    = 30 * time.Second // for all the waiting between the attempts of one call
	askedWait    = 2 * time.Second  // of it, what plex.tv asks for: a person may be waiting for this call
	DefaultSlow  = 5 * time.Second  // after a 429 that names no time
	MaxBody      = 1 << 20          // of an answer
	maxServers   = 8 << 20          // of the list of servers, which grows with what is shared
	MaxIdentity  = 64 << 10         // of what says who is at an address
	maxRedirects = 3
)

// Client is the one way a request leaves. It is safe for concurrent use.
type Client struct {
	httpClient *http.Client // the caller's; nil: http.DefaultTransport, as it is at each request
	retries    int
	PlexTV     string // origin of the API
	clients    string // origin of resources and auth
	App        string // origin of the web sign-in page
	Link       string // origin of the pages a person types a code into
	SameOrigin bool   // all of them are one, Options.BaseURL
	Identity   Identity
	Guard      rateGuard
	way        wayOut
	keys       keyset // plex.tv's, to verify JWTs with
	Clock      clock  // plex.tv's
}

// Config is what a client is made from.
type Config struct {
	HttpClient *http.Client
	Retries    int
	BaseURL    string // one origin in the place of plex.tv's; empty: the real ones
	Device     DeviceInfo
}

func New(o Config) *Client {
	c := &Client{
		httpClient: o.HttpClient,
		retries:    o.Retries,
		PlexTV:     "https://plex.tv",
		clients:    "https://clients.plex.tv",
		App:        "https://app.plex.tv",
		Link:       "https://plex.tv",
		Identity:   newIdentity(o.Device),
	}
	if o.BaseURL != "" {
		u, _ := url.Parse(o.BaseURL) // New has checked it
		base := netaddr.Origin(u)
		c.PlexTV, c.clients, c.App, c.Link, c.SameOrigin = base, base, base, base, true
	}
	return c
}

var (
	JsonOnly  = []string{"application/json"}[:1:1] // with "*/*" behind it plex.tv answers XML
	userAgent = []string{"plexauth"}[:1:1]
)

// Call is one request and how its answer is to be judged.
type Call struct {
	Op       string
	Method   string
	Url      string
	ClientID string
	Token    secret.Value
	body     []byte        // JSON, or nil
	Once     bool          // no second attempt
	Limit    time.Duration // of one attempt; 0: attemptLimit
	Most     int           // bytes of the answer; 0: maxBody
	// attempt, where it is set, bounds the one attempt of a look at a PIN,
	// which keeps its own pace. ctx still tells whether the caller has gone.
	attempt context.Context
	account bool     // a 401 of plex.tv speaks of the token
	secrets []string // besides the token: what no error may quote
	// route returns what sends the request to a media server. nil: plex.tv is asked.
	Route func(*url.URL) (http.RoundTripper, error)
	// decode reads the body of a 2xx answer. Its error means that this is not
	// the answer that was asked for. nil: the body does not matter.
	Decode func(body []byte) error
	// refine corrects the verdict on an answer that means something else to this
	// call than to others. nil: it does not.
	refine func(*Failure)

	sent    time.Time         // when the last attempt left
	via     http.RoundTripper // what sent it; nil for a media server
	dialled dialled
	repeats int
	waited  time.Duration // between attempts
	pause   time.Duration // before the next one
	err     *Failure      // its outcome
	client  *Client
	Tls     *tls.ConnectionState // of the last answer
}

// Do carries a call out and returns nil, ctx's error or an [*Error].
func (c *Client) Do(ctx context.Context, q *Call) error {
	q.client = c
	if q.attempt != nil {
		return c.doOnce(ctx, q)
	}
	if q.Route == nil {
		q.Limit = cmp.Or(q.Limit, attemptLimitOf(ctx))
		if err := c.Guard.wait(ctx, q); err != nil {
			return err
		}
	}
	var body any
	if q.body != nil {
		body = q.body
	}
	req, err := retryablehttp.NewRequestWithContext(q.dialled.trace(ctx), q.Method, q.Url, body)
	if err != nil {
		return fmt.Errorf("plexauth: %s: the address could not be used", q.Op)
	}
	req.Header = c.header(q)
	hc := c.clientFor(q)
	if q.Route != nil {
		route, err := q.Route(req.URL)
		if err != nil {
			return fmt.Errorf("plexauth: %s: %w", q.Op, err)
		}
		hc.Transport, hc.CheckRedirect = roundTripper{route}, refuseRedirect
	}
	retries := c.retries
	if q.Once {
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
func (q *Call) outcome(ctx context.Context, err error) error {
	switch ctxErr := ctx.Err(); {
	case q.err == nil && err == nil:
		return nil
	case ctxErr != nil:
		return fmt.Errorf("plexauth: %s: %w", q.Op, ctxErr)
	case q.err == nil: // before any attempt
		return q.failed(err)
	}
	if q.err.Sentinel == fault.ErrRateLimited && q.err.RetryAfter == 0 { // until then no other request is made either
		q.err.RetryAfter = max(0, time.Until(q.client.Guard.Clear()))
	}
	return q.err
}

// doOnce makes a look at a PIN, of which there are many, straight through the
// transport: no retries, no cookies, no second timer.
func (c *Client) doOnce(ctx context.Context, q *Call) error {
	req, err := http.NewRequestWithContext(q.attempt, q.Method, q.Url, nil)
	if err != nil {
		return fmt.Errorf("plexauth: %s: the address could not be used", q.Op)
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
		if to, bad := resp.Location(); bad == nil && c.IsAPI(to) {
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
		return fmt.Errorf("plexauth: %s: %w", q.Op, ctx.Err())
	}
	return q.err
}

// AttemptLimit is the time that one attempt may take: limit (0: the usual), or what
// the caller's client allows if that is less.
func (c *Client) AttemptLimit(limit time.Duration) time.Duration {
	if limit <= 0 {
		limit = AttemptLimit
	}
	if c.httpClient != nil && c.httpClient.Timeout > 0 {
		limit = min(limit, c.httpClient.Timeout)
	}
	return limit
}

type attemptLimitKey struct{}

// WithAttemptLimit returns ctx for requests to plex.tv of which each attempt may take
// that long.
func WithAttemptLimit(ctx context.Context, limit time.Duration) context.Context {
	return context.WithValue(ctx, attemptLimitKey{}, limit)
}

// attemptLimitOf returns the limit that withAttemptLimit has set, or 0.
func attemptLimitOf(ctx context.Context) time.Duration {
	limit, _ := ctx.Value(attemptLimitKey{}).(time.Duration)
	return limit
}

// Transport is what the caller's client sends with, as it is now.
func (c *Client) Transport() http.RoundTripper {
	if c.httpClient != nil && c.httpClient.Transport != nil {
		return c.httpClient.Transport
	}
	return http.DefaultTransport
}

// header builds the headers of one attempt. The values are shared between
// requests, the map is not.
func (c *Client) header(q *Call) http.Header {
	h := make(http.Header, len(c.Identity)+6)
	if q.Route == nil || !q.Token.IsZero() { // half an identity would register a device
		c.Identity.PutOn(h)
	}
	h["Accept"] = JsonOnly
	h["User-Agent"] = userAgent
	if q.ClientID != "" {
		h["X-Plex-Client-Identifier"] = []string{q.ClientID}
	}
	if !q.Token.IsZero() {
		h["X-Plex-Token"] = []string{q.Token.Secret()}
	}
	if q.body != nil {
		h["Content-Type"] = JsonOnly
	}
	return h
}

// clientFor takes the caller's client as it is now, with our limits. Its cookie
// jar is left out: plex.tv needs no cookies, and one jar would show each account
// those of the others (G23).
func (c *Client) clientFor(q *Call) *http.Client {
	hc := &http.Client{}
	if c.httpClient != nil {
		*hc = *c.httpClient
	}
	hc.Transport, hc.Jar, hc.CheckRedirect = toPlexTV{q}, nil, c.checkRedirect
	if hc.Timeout = 0; q.attempt == nil { // else that bounds it
		hc.Timeout = c.AttemptLimit(q.Limit)
	}
	return hc
}

// checkRedirect follows a redirect only for GET and only to where the token
// may go: net/http takes X-Plex-Token along to any host.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet || len(via) > maxRedirects || !c.IsAPI(req.URL) {
		return http.ErrUseLastResponse
	}
	return nil
}

// refuseRedirect hands a redirect out as the answer that it is.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// IsAPI reports whether u is on one of the two hosts of plex.tv's API (or on
// BaseURL).
func (c *Client) IsAPI(u *url.URL) bool {
	o := netaddr.Origin(u)
	return o == c.PlexTV || o == c.clients
}

// settle takes in the outcome of one attempt, and decides whether there is to be
// another. It is retryablehttp's CheckRetry.
func (q *Call) settle(ctx context.Context, resp *http.Response, err error) (bool, error) {
	q.err = q.receive(resp, err)
	if q.err != nil && q.refine != nil {
		q.refine(q.err)
	}
	if q.err == nil && q.Route == nil {
		q.client.Guard.answered(q.sent)
	}
	if q.err == nil || ctx.Err() != nil {
		return false, nil
	}
	if q.err.Sentinel == fault.ErrRateLimited {
		q.client.Guard.slow(q.err.RetryAfter)
	}
	return q.mayRepeat() && q.mayWait(ctx), nil
}

// receive reads the answer of one attempt to its end and judges it.
func (q *Call) receive(resp *http.Response, err error) *Failure {
	var body []byte
	if err == nil {
		q.Tls = resp.TLS
		if resp.StatusCode != http.StatusNoContent && (q.Decode != nil || resp.StatusCode >= 300) { // else the status says it all
			body, err = readBody(resp, cmp.Or(q.Most, MaxBody))
		}
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	switch {
	case err == errTooLong:
		return &Failure{Op: q.Op, Where: q.where(), StatusCode: resp.StatusCode, Sentinel: fault.ErrUnavailable, Transient: true, Message: err.Error()}
	case err != nil:
		if time.Since(q.sent) >= silence {
			q.client.way.avoid(q.via)
		}
		return q.failed(err)
	}
	if q.Route == nil {
		q.client.way.alone.Store(false)
	}
	if q.where() == "plex.tv" {
		q.client.Clock.note(q.sent, resp.Header)
	}
	return q.judge(resp, body)
}

// mayWait sets the pause before another attempt, and reports whether the call may
// wait for so long.
func (q *Call) mayWait(ctx context.Context) bool {
	q.pause = 500*time.Millisecond<<q.repeats + rand.N(250*time.Millisecond)
	q.repeats++
	most := WaitLimit
	if q.err.Sentinel == fault.ErrRateLimited || q.err.RetryAfter > 0 {
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
func (q *Call) mayRepeat() bool {
	if q.Once {
		return false
	}
	if q.Method == http.MethodGet {
		return q.err.Transient || q.err.Sentinel == fault.ErrRateLimited
	}
	if q.err.Cause != nil { // no connection came about
		var op *net.OpError
		return errors.As(q.err.Cause, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
	}
	return q.err.StatusCode == http.StatusTooManyRequests || q.err.StatusCode == http.StatusServiceUnavailable
}
