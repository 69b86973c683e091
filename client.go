package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	attemptLimit   = 10 * time.Second // for one attempt, its body included
	waitLimit      = 30 * time.Second // for all the waiting between the attempts of one call
	defaultSlow    = 5 * time.Second  // after a 429 that names no time
	maxBody        = 1 << 20
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

// identity is the headers by which plex.tv knows and lists a device. They are
// on many requests, so their values are shared and must not be changed.
type identity []identityHeader

type identityHeader struct {
	name  string
	value [1]string
}

func (id identity) putOn(h http.Header) {
	for i := range id {
		h[id[i].name] = id[i].value[:]
	}
}

// identity builds the headers. All their values are fit for the wire, whatever
// a product or a host is called.
func (o Options) identity() identity {
	host, _ := os.Hostname()
	id := make(identity, 0, 7)
	for _, f := range []struct{ name, value, otherwise string }{
		{"X-Plex-Product", o.Product, ""},
		{"X-Plex-Version", o.Version, "0"},
		{"X-Plex-Platform", o.Platform, runtime.GOOS},
		{"X-Plex-Platform-Version", o.PlatformVersion, ""},
		{"X-Plex-Device", o.Device, runtime.GOOS},
		{"X-Plex-Device-Name", o.DeviceName, host},
		{"X-Plex-Model", o.Model, ""},
	} {
		v := headerSafe(f.value)
		if v == "" {
			v = headerSafe(f.otherwise)
		}
		if v == "" && f.name == "X-Plex-Device-Name" {
			v = headerSafe(o.Product)
		}
		if v != "" {
			id = append(id, identityHeader{f.name, [1]string{v}})
		}
	}
	return id
}

// headerSafe makes a name fit for a header: one line of valid UTF-8 (which
// Plex documents for these headers) that is not too long.
func headerSafe(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError {
			return -1
		}
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxHeaderBytes {
		s = strings.ToValidUTF8(s[:maxHeaderBytes], "")
	}
	return strings.TrimSpace(s)
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
	token    Token
	body     []byte        // JSON, or nil
	once     bool          // no second attempt
	limit    time.Duration // of one attempt; 0: attemptLimit
	// attempt, where it is set, bounds the one attempt of a look at a PIN,
	// which keeps its own pace. ctx still tells whether the caller has gone.
	attempt  context.Context
	account  bool          // a 401 of plex.tv speaks of the token
	secrets  []string      // besides the token: what no error may quote
	server   *serverRoutes // how to reach the media server that is asked; nil: plex.tv is
	insecure bool          // its certificate is not checked
	// decode reads the body of a 2xx answer. Its error means that this is not
	// the answer that was asked for. nil: the body does not matter.
	decode func(body []byte) error

	sent    time.Time // when the last attempt left
	repeats int
	waited  time.Duration // between attempts
	pause   time.Duration // before the next one
	err     *Error        // its outcome
	client  *client
}

// do carries a call out and returns nil, ctx's error or an [*Error].
func (c *client) do(ctx context.Context, q *call) error {
	q.client = c
	if q.attempt != nil {
		return c.doOnce(ctx, q)
	}
	if q.server == nil {
		if err := c.guard.wait(ctx, q); err != nil {
			return err
		}
	}
	var body any
	if q.body != nil {
		body = q.body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, q.method, q.url, body)
	if err != nil {
		return fmt.Errorf("plexauth: %s: the address could not be used", q.op)
	}
	req.Header = c.header(q)
	hc := c.copyOfClient(q.limit)
	if q.server != nil {
		route, err := q.server.to(req.URL, q.insecure, !q.token.IsZero())
		if err != nil {
			return fmt.Errorf("plexauth: %s: %w", q.op, err)
		}
		hc.Transport, hc.Jar, hc.CheckRedirect = roundTripper{route}, nil, refuseRedirect
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
	if ctxErr := ctx.Err(); ctxErr != nil && (q.err != nil || err != nil) {
		return fmt.Errorf("plexauth: %s: %w", q.op, ctxErr)
	}
	if q.err != nil {
		return q.err
	}
	if err != nil { // retryablehttp's own, before any attempt
		return q.failed(err)
	}
	return nil
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
	resp, err := c.transport().RoundTrip(req)
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
			resp, err = c.copyOfClient(0).Do(req)
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

// attemptLimit is the time that one attempt may take: the least of limit (0 is
// none), our own and that of the caller's client.
func (c *client) attemptLimit(limit time.Duration) time.Duration {
	if limit <= 0 || limit > attemptLimit {
		limit = attemptLimit
	}
	if c.httpClient != nil && c.httpClient.Timeout > 0 {
		limit = min(limit, c.httpClient.Timeout)
	}
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

// roundTripper hides everything of a transport but RoundTrip, because
// retryablehttp closes idle connections, and these are the caller's.
type roundTripper struct{ http.RoundTripper }

// copyOfClient takes the caller's client as it is now, with our limits.
func (c *client) copyOfClient(limit time.Duration) *http.Client {
	hc := &http.Client{}
	if c.httpClient != nil {
		*hc = *c.httpClient
	}
	hc.Transport = roundTripper{c.transport()}
	hc.Timeout = c.attemptLimit(limit)
	hc.CheckRedirect = c.checkRedirect
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
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

// settle reads the answer of one attempt to its end, judges it, and decides
// whether there is to be another. It is retryablehttp's CheckRetry.
func (q *call) settle(ctx context.Context, resp *http.Response, err error) (bool, error) {
	var body []byte
	if err == nil {
		if resp.StatusCode != http.StatusNoContent && (q.decode != nil || resp.StatusCode >= 300) { // else the status says it all
			body, err = readBody(resp)
		}
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	switch {
	case err == errTooLong:
		q.err = &Error{Op: q.op, where: q.where(), StatusCode: resp.StatusCode, is: ErrUnavailable, transient: true, Message: err.Error()}
	case err != nil:
		q.err = q.failed(err)
	default:
		if q.where() == "plex.tv" {
			q.client.clock.note(q.sent, resp.Header)
		}
		q.err = q.judge(resp, body)
	}
	if q.err == nil || ctx.Err() != nil {
		return false, nil
	}
	if q.err.is == ErrRateLimited {
		q.client.guard.slow(q.err.RetryAfter)
	}
	if !q.mayRepeat() {
		return false, nil
	}
	q.pause = 500*time.Millisecond<<q.repeats + rand.N(250*time.Millisecond)
	q.repeats++
	if q.err.RetryAfter > 0 {
		q.pause = q.err.RetryAfter
	} else if q.err.is == ErrRateLimited {
		q.pause = defaultSlow
	}
	if q.waited += q.pause; q.waited > waitLimit {
		return false, nil
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= q.pause {
		return false, nil // better this answer now than "deadline exceeded" later
	}
	return true, nil
}

// mayRepeat tells whether a second attempt can help and do no harm: a GET on
// weather; a write only where it certainly had no effect.
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

var errTooLong = errors.New("an answer of more than 1 MiB")

func readBody(resp *http.Response) ([]byte, error) {
	// ContentLength is but a hint: mocks leave it at 0, middleware changes bodies.
	size := resp.ContentLength + 1 // one more, to find the end there
	if size < 2 || size > maxBody {
		size = bytes.MinRead
	}
	b := make([]byte, 0, size)
	for {
		n, err := resp.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) > maxBody:
			return nil, errTooLong
		case len(b) == cap(b):
			b = slices.Grow(b, len(b))
		}
	}
}

// failed is the outcome of an attempt that brought no answer. It lets no URL
// through: a device JWT travels in one.
func (q *call) failed(err error) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	secrets := append([]string{q.token.Secret(), q.url}, q.secrets...)
	return &Error{Op: q.op, where: q.where(), is: ErrUnavailable, transient: true, cause: newCause(err, secrets...)}
}

func (q *call) where() string {
	if q.server != nil {
		return "the server"
	}
	if q.account || q.client == nil || strings.HasPrefix(q.url, q.client.plexTV) || strings.HasPrefix(q.url, q.client.clients) {
		return "plex.tv"
	}
	return "the server"
}

// judge is the one place that decides what an answer means; nil is success.
func (q *call) judge(resp *http.Response, body []byte) *Error {
	status := resp.StatusCode
	if status >= 200 && status < 300 {
		if q.decode == nil {
			return nil
		}
		if err := q.decode(body); err != nil {
			return &Error{Op: q.op, where: q.where(), StatusCode: status, is: ErrUnavailable, transient: true, Message: notTheAnswer(body, err)}
		}
		return nil
	}
	env, ours := parseEnvelope(body)
	e := &Error{Op: q.op, where: q.where(), StatusCode: status, Code: env.code,
		Message: redact(env.message, append([]string{q.token.Secret()}, q.secrets...)...)}
	if !ours && len(body) > 0 && status != http.StatusTooManyRequests {
		e.Message = notTheAnswer(body, nil)
	}
	switch {
	case q.server != nil:
		e.is, e.transient = ErrUnavailable, true
		if !q.token.IsZero() && refusesToken(resp, body) {
			e.is, e.transient, e.Message = ErrServerToken, false, "it refuses the token"
		}
	case status == http.StatusTooManyRequests || env.code == 1003:
		e.is, e.RetryAfter = ErrRateLimited, retryAfter(resp.Header.Get("Retry-After"))
	case q.account && status == statusJWTExpired:
		e.is = ErrTokenExpired
	case q.account && ours && status == http.StatusUnauthorized && (env.code == 0 || env.code == 1001),
		q.account && ours && status == http.StatusUnprocessableEntity && namesToken(env.message):
		e.is = ErrTokenRejected
	case status == http.StatusServiceUnavailable:
		e.is, e.transient, e.RetryAfter = ErrUnavailable, true, retryAfter(resp.Header.Get("Retry-After"))
	case !ours || status >= 500 || status < 400 || status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		e.is, e.transient = ErrUnavailable, true
	case q.account: // a verdict, but not on the token
		e.is = ErrUnavailable
	}
	return e
}

// refusesToken recognizes a media server's own verdict on a token, by the header
// that is on all its answers or by its page. A proxy before it has other pages,
// and names the login that it wants.
func refusesToken(resp *http.Response, body []byte) bool {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return false
	}
	if resp.Header.Get("X-Plex-Protocol") != "" || bytes.Contains(body, []byte("<h1>401 Unauthorized</h1>")) {
		return true
	}
	return resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") == "" && !isPage(body)
}

// namesToken recognizes the 422 by which older parts of plex.tv reject a
// token; other 422s speak of other things.
func namesToken(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "invalid") && strings.Contains(m, "token")
}

// notTheAnswer describes a body that is not what was asked for, without
// quoting it.
func notTheAnswer(body []byte, err error) string {
	b := bytes.TrimSpace(body)
	switch {
	case len(b) == 0:
		return "an empty answer"
	case isPage(b):
		return "an HTML page where JSON was asked for"
	case b[0] == '<':
		return "XML where JSON was asked for"
	case err != nil && !errors.As(err, new(*json.SyntaxError)) && !errors.As(err, new(*json.UnmarshalTypeError)):
		return err.Error()
	}
	return "not the JSON that was asked for"
}

// isPage reports whether a body is HTML.
func isPage(body []byte) bool {
	b := bytes.TrimSpace(body)
	b = bytes.ToLower(b[:min(len(b), 100)])
	return bytes.HasPrefix(b, []byte("<!doctype html")) || bytes.HasPrefix(b, []byte("<html"))
}

// retryAfter reads the header's two forms. What is no time at all is 0; what
// is hostile is cut.
func retryAfter(v string) time.Duration {
	const most = time.Hour
	if v = strings.TrimSpace(v); v == "" {
		return 0
	}
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s > 0) {
			return 0
		}
		return time.Duration(min(s, most.Seconds()) * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), most)
	}
	return 0
}

// rateGuard slows every caller of one client after a 429.
type rateGuard struct {
	mu    sync.Mutex
	until time.Time
}

// slow holds requests back for d, half a minute at most, so that a hostile
// header parks nobody.
func (g *rateGuard) slow(d time.Duration) {
	if d <= 0 {
		d = defaultSlow
	}
	until := time.Now().Add(min(d, waitLimit))
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

// clear returns when the guard lets requests through again.
func (g *rateGuard) clear() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until
}

// wait waits for that moment, as a part of the waiting that a call may do. If
// ctx ends before, it says at once why.
func (g *rateGuard) wait(ctx context.Context, q *call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.op, err)
	}
	d := time.Until(g.clear())
	if end, ok := ctx.Deadline(); ok && d > 0 && time.Until(end) <= d {
		return &Error{Op: q.op, where: "plex.tv", StatusCode: http.StatusTooManyRequests, Message: "it asked to slow down a moment ago", is: ErrRateLimited, RetryAfter: d}
	}
	q.waited += max(d, 0)
	if err := sleep(ctx, d); err != nil {
		return fmt.Errorf("plexauth: %s: %w", q.op, err)
	}
	return nil
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
