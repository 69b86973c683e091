package plextv

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/secret"
)

// errTooLong: an answer has more bytes than its call reads.
var errTooLong = errors.New("the answer is too long")

// readBody reads at most most bytes of an answer.
func readBody(resp *http.Response, most int) ([]byte, error) {
	// ContentLength is but a hint: mocks leave it at 0, middleware changes bodies.
	size := resp.ContentLength + 1 // one more, to find the end there
	if size < 2 || size > int64(most) {
		size = bytes.MinRead
	}
	b := make([]byte, 0, size)
	for {
		n, err := resp.Body.Read(b[len(b):min(cap(b), most+1)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && len(b) <= most:
			return b, nil
		case err != nil && err != io.EOF:
			return b, err
		case len(b) > most:
			return nil, errTooLong
		case len(b) == cap(b):
			b = slices.Grow(b, len(b))
		}
	}
}

// failed is the outcome of an attempt that brought no answer. It lets no URL
// through: a device JWT travels in one.
func (q *Call) failed(err error) *Failure {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	secrets := append([]string{q.Token.Secret(), q.Url}, q.secrets...)
	return &Failure{Op: q.Op, Where: q.where(), Sentinel: fault.ErrUnavailable, Transient: true, Cause: newCause(q.misdirected(err), secrets...)}
}

func (q *Call) where() string {
	if q.Route != nil {
		return "the server"
	}
	if q.account || q.client == nil || strings.HasPrefix(q.Url, q.client.PlexTV) || strings.HasPrefix(q.Url, q.client.clients) {
		return "plex.tv"
	}
	return "the server"
}

// judge is the one place that decides what an answer means; nil is success.
func (q *Call) judge(resp *http.Response, body []byte) *Failure {
	status := resp.StatusCode
	if status >= 200 && status < 300 {
		if q.Decode == nil {
			return nil
		}
		if err := q.Decode(body); err != nil {
			return &Failure{Op: q.Op, Where: q.where(), StatusCode: status, Sentinel: fault.ErrUnavailable, Transient: true, Message: notTheAnswer(body, err)}
		}
		return nil
	}
	env, ours := ParseEnvelope(body)
	e := &Failure{Op: q.Op, Where: q.where(), StatusCode: status, Code: env.Code,
		Message: secret.Redact(env.message, append([]string{q.Token.Secret()}, q.secrets...)...)}
	if !ours && len(body) > 0 && status != http.StatusTooManyRequests {
		e.Message = notTheAnswer(body, nil)
	}
	switch {
	case q.Route == nil:
		q.classify(e, resp.Header, env, ours)
	case !q.Token.IsZero() && refusesToken(resp, body):
		e.Sentinel, e.Message = fault.ErrServerToken, "it refuses the token"
	default:
		e.Sentinel, e.Transient, e.State = fault.ErrUnavailable, true, stateOf(resp, ours)
		if e.State != ServerUnknown && !ours {
			e.Message = ""
		}
	}
	return e
}

// classify sets what kind of failure an answer of plex.tv is.
func (q *Call) classify(e *Failure, h http.Header, env envelope, ours bool) {
	status := e.StatusCode
	switch {
	case status == http.StatusTooManyRequests || env.Code == 1003:
		e.Sentinel, e.RetryAfter = fault.ErrRateLimited, retryAfter(h)
	case q.account && status == StatusJWTExpired:
		e.Sentinel = fault.ErrTokenExpired
	case q.account && ours && rejectsToken(status, env):
		e.Sentinel = fault.ErrTokenRejected
	case !ours || passes(status):
		e.Sentinel, e.Transient = fault.ErrUnavailable, true
	case q.account: // a verdict, but not on the token
		e.Sentinel = fault.ErrUnavailable
	}
	if status == http.StatusServiceUnavailable {
		e.RetryAfter = retryAfter(h)
	}
}

// rejectsToken recognizes plex.tv's verdict on a token. Older parts of it answer
// 422, which speaks of other things as well.
func rejectsToken(status int, env envelope) bool {
	switch status {
	case http.StatusUnauthorized:
		return env.Code == 0 || env.Code == 1001
	case http.StatusUnprocessableEntity:
		return NamesToken(env.message)
	}
	return false
}

// passes reports whether a status says nothing but that now is not the time.
func passes(status int) bool {
	return status >= 500 || status < 400 || status == http.StatusRequestTimeout || status == http.StatusTooEarly
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

// NamesToken recognizes the 422 by which older parts of plex.tv reject a
// token; other 422s speak of other things.
func NamesToken(message string) bool {
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

// retryAfter returns the first pause in h's Retry-After headers that says one, an
// hour at most, 0 where none does.
func retryAfter(h http.Header) time.Duration {
	for _, v := range h.Values("Retry-After") {
		if d := pauseOf(strings.TrimSpace(v), h.Get("Date")); d > 0 {
			return min(d, time.Hour)
		}
	}
	return 0
}

// pauseOf reads one Retry-After, seconds or a date. A date counts from that of the
// answer, since this machine's clock may be wrong.
func pauseOf(v, answered string) time.Duration {
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s > 0) { // also NaN
			return 0
		}
		return time.Duration(min(s, time.Hour.Seconds()) * float64(time.Second))
	}
	until, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	if from, err := http.ParseTime(answered); err == nil {
		return until.Sub(from)
	}
	return time.Until(until)
}
