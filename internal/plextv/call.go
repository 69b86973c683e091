package plextv

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/secret"
)

// Call is one request, with all that is needed to send it and to judge its answer. It
// is used for one [Client.Do] only.
type Call struct {
	Op       string // what is tried, for errors: "read account"
	Method   string
	URL      string
	ClientID string        // X-Plex-Client-Identifier; "": none is sent
	Token    secret.Value  // X-Plex-Token; zero: none is sent
	Once     bool          // no second attempt
	Limit    time.Duration // of one attempt; 0: AttemptLimit
	MaxBody  int           // bytes of the answer; 0: MaxBody

	// Route returns what sends the request to a media server. nil: it goes to plex.tv.
	Route func(*url.URL) (http.RoundTripper, error)
	// Decode reads the body of a 2xx answer. Its error says that the body is not what
	// the call asked for. nil: the body does not matter.
	Decode func(body []byte) error

	body    []byte   // JSON, or nil
	secrets []string // what no error may quote, besides the token
	// mode says how the request is sent.
	mode mode
	// attempt bounds the request of a poll. The context of Do still tells whether the
	// caller has gone. nil in the other modes.
	attempt context.Context
	// refine corrects the verdict on an answer that means something else to this call
	// than to others. It returns nil if the answer is a success. nil: nothing is special.
	refine func(*Failure) *Failure

	TLS *tls.ConnectionState // of the last answer

	client   *Client
	sent     time.Time         // when the last attempt left
	via      http.RoundTripper // what sent it; nil for a media server
	dialled  dialledAddress
	attempts int           // that have failed
	waited   time.Duration // in all pauses
	pause    time.Duration // before the next attempt
	failure  *Failure      // of the last attempt
}

// mode is how a call is sent.
type mode int

const (
	// modeCall waits for a pause that plex.tv has asked for, and then repeats an attempt
	// that fails as often as that can help.
	modeCall mode = iota
	// modePoll makes one attempt without a wait. The polls of a PIN have an interval of
	// their own, which serves as the pause.
	modePoll
)

// Do sends q and judges the answer. The error is a [*Failure] if something was tried.
// Otherwise it wraps that of ctx or of Route, or says that the URL cannot be used. A read
// is repeated after a failure that will pass, a write only if it certainly had no effect.
func (c *Client) Do(ctx context.Context, q *Call) error {
	q.client = c
	if q.mode == modeCall && q.Route == nil {
		q.Limit = cmp.Or(q.Limit, attemptLimitOf(ctx))
		if err := c.Guard.wait(ctx, q); err != nil {
			return err
		}
	}
	err := q.send(ctx)
	switch {
	case q.failure == nil && err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %s: %w", q.Op, ctx.Err())
	case q.failure == nil:
		return err
	}
	if q.mode == modeCall && q.failure.Sentinel == fault.ErrRateLimited && q.failure.RetryAfter == 0 { // until then no other request is made either
		q.failure.RetryAfter = max(0, time.Until(c.Guard.OpenAt()))
	}
	return q.failure
}

// send makes the attempts of a call. Few calls to plex.tv need a second one, so the first goes
// straight through the transport: retryablehttp and http.Client would double what it
// allocates. The error is one from before the first attempt.
func (q *Call) send(ctx context.Context) error {
	if q.Route != nil {
		return q.sendWithRetries(ctx, q.client.retries)
	}
	again, err := q.sendOnce(ctx)
	if !again || q.mode == modePoll || q.client.retries == 0 || gate.Sleep(ctx, q.pause) != nil {
		return err
	}
	return q.sendWithRetries(ctx, q.client.retries-1)
}

// sendWithRetries makes one attempt, and others after it. The error is one from before the
// first.
func (q *Call) sendWithRetries(ctx context.Context, retries int) error {
	var body any
	if q.body != nil {
		body = q.body
	}
	req, err := retryablehttp.NewRequestWithContext(q.dialled.trace(ctx), q.Method, q.URL, body)
	if err != nil {
		return q.badAddress()
	}
	req.Header = q.client.header(q)
	hc := q.client.clientFor(q)
	hc.Timeout = q.client.LimitAttempt(q.Limit)
	if q.Route != nil {
		route, err := q.Route(req.URL)
		if err != nil {
			return fmt.Errorf("plexauth: %s: %w", q.Op, err)
		}
		hc.Transport, hc.CheckRedirect = sender{route}, keepRedirect
	}
	rc := retryablehttp.Client{
		HTTPClient:   hc,
		RetryMax:     retries,
		CheckRetry:   q.checkRetry,
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return q.pause },
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		PrepareRetry: func(*http.Request) error {
			q.sent = time.Now()
			return nil
		},
	}
	q.sent = time.Now()
	resp, err := rc.Do(req)
	if resp != nil {
		resp.Body.Close()
	}
	if err != nil && q.failure == nil { // before any attempt
		return q.noAnswer(err)
	}
	return nil
}

// sendOnce makes the first attempt of a call to plex.tv. again says that another one can
// help, after a pause. The error is one from before the attempt.
func (q *Call) sendOnce(ctx context.Context) (again bool, err error) {
	attempt := q.attempt
	if attempt == nil {
		limited, cancel := context.WithTimeout(ctx, q.client.LimitAttempt(q.Limit))
		defer cancel()
		attempt = q.dialled.trace(limited)
	}
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(attempt, q.Method, q.URL, body)
	if err != nil {
		return false, q.badAddress()
	}
	req.Header = q.client.header(q)
	q.sent = time.Now()
	resp, err := plexTVSender{q}.RoundTrip(req)
	switch {
	case err == nil && resp == nil: // as net/http says of careless transports
		err = errors.New("the transport returned neither an answer nor an error")
	case err == nil && resp.Body == nil:
		resp.Body = http.NoBody
	}
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp, err = q.follow(req, resp)
	}
	return q.checkRetry(ctx, resp, err)
}

// follow lets http.Client follow a redirect, which resp is, as far as it may be followed.
func (q *Call) follow(req *http.Request, resp *http.Response) (*http.Response, error) {
	hc := q.client.clientFor(q)
	hc.Transport = &redirected{resp, hc.Transport}
	return hc.Do(req)
}

// badAddress returns the error for a URL that no request can be made of.
func (q *Call) badAddress() error {
	return fmt.Errorf("plexauth: %s: the address could not be used", q.Op)
}

// checkRetry judges the outcome of one attempt and decides whether to make another.
// It is retryablehttp's CheckRetry.
func (q *Call) checkRetry(ctx context.Context, resp *http.Response, err error) (again bool, _ error) {
	q.failure = q.receive(resp, err)
	if q.failure != nil && q.refine != nil {
		q.failure = q.refine(q.failure)
	}
	if q.failure == nil && q.Route == nil {
		q.client.Guard.answered(q.sent)
	}
	if q.failure == nil {
		return false, nil
	}
	if q.failure.Sentinel == fault.ErrRateLimited { // other callers must wait even if this one has gone
		q.client.Guard.slow(q.failure.RetryAfter)
	}
	return ctx.Err() == nil && q.mayRepeat() && q.mayWait(ctx), nil
}

// receive reads the answer of one attempt to its end and judges it.
func (q *Call) receive(resp *http.Response, err error) *Failure {
	var body []byte
	if err == nil {
		q.TLS = resp.TLS
		if resp.StatusCode != http.StatusNoContent && (q.Decode != nil || resp.StatusCode >= 300) { // else the status says it all
			body, err = readBody(resp, cmp.Or(q.MaxBody, MaxBody))
		}
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	switch {
	case err == errTooLong:
		return q.wrongContent(resp.StatusCode, err.Error())
	case err != nil:
		if time.Since(q.sent) >= deadAfter {
			q.client.senders.avoid(q.via)
		}
		return q.noAnswer(err)
	}
	if q.Route == nil {
		q.client.senders.ownConnections.Store(false)
		q.client.Clock.note(q.sent, resp.Header)
	}
	return q.judge(resp, body)
}

// mayRepeat reports whether a second attempt can help and do no harm: of a GET after a
// failure that will pass, of a write only if it certainly had no effect.
func (q *Call) mayRepeat() bool {
	f := q.failure
	switch {
	case q.Once:
		return false
	case q.Method == http.MethodGet:
		return f.Temporary || f.Sentinel == fault.ErrRateLimited
	case f.Cause != nil:
		var op *net.OpError // there was no connection
		return errors.As(f.Cause, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
	}
	return f.StatusCode == http.StatusTooManyRequests || f.StatusCode == http.StatusServiceUnavailable
}

// mayWait sets the pause before another attempt, and reports whether the call may wait
// for so long.
func (q *Call) mayWait(ctx context.Context) bool {
	q.pause = 500*time.Millisecond<<q.attempts + rand.N(250*time.Millisecond)
	q.attempts++
	limit := RetryWaitLimit
	if f := q.failure; f.Sentinel == fault.ErrRateLimited || f.RetryAfter > 0 {
		q.pause, limit = cmp.Or(f.RetryAfter, askedWaitLimit), askedWaitLimit
	}
	if q.waited += q.pause; q.waited > limit {
		return false
	}
	end, ok := ctx.Deadline()
	return !ok || time.Until(end) > q.pause // better this answer now than "deadline exceeded" later
}
