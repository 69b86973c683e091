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
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// errTooLong is the error for an answer with more bytes than its call reads.
var errTooLong = errors.New("the answer is too long")

// readBody reads the body of an answer, of limit bytes at most.
func readBody(resp *http.Response, limit int) ([]byte, error) {
	// ContentLength is only a hint: mocks leave it at 0, and middleware changes bodies.
	size := resp.ContentLength + 1 // one more, to find the end there
	if size < 2 || size > int64(limit) {
		size = bytes.MinRead
	}
	b := make([]byte, 0, size)
	for {
		n, err := resp.Body.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && len(b) <= limit:
			return b, nil
		case err != nil && err != io.EOF:
			return b, err
		case len(b) > limit:
			return nil, errTooLong
		case len(b) == cap(b):
			b = slices.Grow(b, len(b))
		}
	}
}

// noAnswer returns the failure of an attempt that brought no answer. It quotes no URL:
// a device JWT travels in one.
func (q *Call) noAnswer(err error) *Failure {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	f := q.newFailure(0)
	f.Sentinel, f.Temporary = fault.ErrUnavailable, true
	f.Cause = newCause(q.misdirected(err), append([]string{q.Token.Secret(), q.URL}, q.secrets...)...)
	return f
}

// wrongContent returns the failure of a success whose body is not what q asked for.
func (q *Call) wrongContent(status int, message string) *Failure {
	f := q.newFailure(status)
	f.Sentinel, f.Temporary, f.Message = fault.ErrUnavailable, true, message
	return f
}

// newFailure returns a failure without a verdict.
func (q *Call) newFailure(status int) *Failure {
	where := "plex.tv"
	if q.Route != nil {
		where = "the server"
	}
	return &Failure{Op: q.Op, Where: where, StatusCode: status}
}

// judge decides what an answer means; nil is success. Only the refine function of a
// call, which knows its endpoint, changes the verdict.
func (q *Call) judge(resp *http.Response, body []byte) *Failure {
	status := resp.StatusCode
	if status/100 == 2 {
		return q.judgeContent(status, body)
	}
	env, enveloped := parseEnvelope(body)
	f := q.newFailure(status)
	f.Code = env.code
	f.Message = secret.Redact(env.message, append([]string{q.Token.Secret()}, q.secrets...)...)
	if !enveloped && len(body) > 0 && status != http.StatusTooManyRequests {
		f.Message = describeBody(body, nil)
	}
	if q.Route == nil {
		q.judgePlexTV(f, resp.Header, env, enveloped)
	} else {
		q.judgeServer(f, resp, body, enveloped)
	}
	return f
}

// judgeContent judges the body of a 2xx answer.
func (q *Call) judgeContent(status int, body []byte) *Failure {
	if q.Decode == nil {
		return nil
	}
	if err := q.Decode(body); err != nil {
		return q.wrongContent(status, describeBody(body, err))
	}
	return nil
}

// judgePlexTV sets the verdict on an error status of plex.tv.
func (q *Call) judgePlexTV(f *Failure, h http.Header, env envelope, enveloped bool) {
	status, withToken := f.StatusCode, !q.Token.IsZero()
	switch {
	case status == http.StatusTooManyRequests || env.code == codeRateLimited:
		f.Sentinel, f.RetryAfter = fault.ErrRateLimited, retryAfter(h)
	case withToken && status == StatusJWTExpired:
		f.Sentinel = fault.ErrTokenExpired
	case withToken && enveloped && rejectsToken(status, env):
		f.Sentinel = fault.ErrTokenRejected
	case !enveloped || isTemporary(status):
		f.Sentinel, f.Temporary = fault.ErrUnavailable, true
	case withToken: // a verdict, but not on the token
		f.Sentinel = fault.ErrUnavailable
	}
	if status == http.StatusServiceUnavailable {
		f.RetryAfter = retryAfter(h)
	}
}

// judgeServer sets the verdict on an error status of a media server, or of a proxy in
// front of it.
func (q *Call) judgeServer(f *Failure, resp *http.Response, body []byte, enveloped bool) {
	if !q.Token.IsZero() && serverRefusesToken(resp, body) {
		f.Sentinel, f.Message = fault.ErrServerToken, "it refuses the token"
		return
	}
	f.Sentinel, f.Temporary, f.State = fault.ErrUnavailable, true, stateOf(resp, enveloped)
	if f.State != ServerUnknown && !enveloped {
		f.Message = ""
	}
}

// MayRefuseToken reports whether an answer of plex.tv with this status may refuse the
// token of the request. A 401 may also come from something in between.
func MayRefuseToken(status int) bool {
	return status == StatusJWTExpired || status == http.StatusUnauthorized
}

// RejectsToken reports whether an error answer of plex.tv is its own verdict that the
// token of the request is not valid any more. All of the body can still be read.
func RejectsToken(resp *http.Response) bool {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, maxEnvelope))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	env, enveloped := parseEnvelope(head)
	return enveloped && rejectsToken(resp.StatusCode, env)
}

// maxEnvelope bounds how much of a body RejectsToken reads for plex.tv's verdict, in bytes.
const maxEnvelope = 4 << 10

// rejectsToken is RejectsToken for an answer whose envelope was read. Older parts of
// plex.tv answer 422, which speaks of other things as well.
func rejectsToken(status int, env envelope) bool {
	switch status {
	case http.StatusUnauthorized:
		return env.code == 0 || env.code == codeUnauthorized
	case http.StatusUnprocessableEntity:
		return namesToken(env.message)
	}
	return false
}

// namesToken reports whether a message of plex.tv calls a token invalid.
func namesToken(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "invalid") && strings.Contains(m, "token")
}

// isTemporary reports whether a status says only that a later request may succeed.
func isTemporary(status int) bool {
	return status >= 500 || status < 400 || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// serverRefusesToken recognizes a media server's own verdict on a token: by the header
// that is on all its answers, or by its page. A proxy in front of it has other pages,
// and names the login that it wants.
func serverRefusesToken(resp *http.Response, body []byte) bool {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return false
	}
	if resp.Header.Get("X-Plex-Protocol") != "" || bytes.Contains(body, []byte("<h1>401 Unauthorized</h1>")) {
		return true
	}
	return resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") == "" && !isHTML(body)
}

// describeBody returns what kind of body came instead of the expected one. The text is for
// an error and quotes nothing. err, which may be nil, is why the body was not decoded.
func describeBody(body []byte, err error) string {
	b := bytes.TrimSpace(body)
	switch {
	case len(b) == 0:
		return "an empty answer"
	case isHTML(b):
		return "an HTML page where JSON was asked for"
	case b[0] == '<':
		return "XML where JSON was asked for"
	case err != nil && !isNotJSON(err):
		return err.Error()
	}
	return "not the JSON that was asked for"
}

// isNotJSON reports whether a body was not decoded because of its form.
func isNotJSON(err error) bool {
	return errors.Is(err, lax.ErrNotObject) || errors.As(err, new(*json.SyntaxError)) || errors.As(err, new(*json.UnmarshalTypeError))
}

// isHTML reports whether a body is an HTML page.
func isHTML(body []byte) bool {
	b := bytes.TrimSpace(body)
	b = bytes.ToLower(b[:min(len(b), 100)])
	return bytes.HasPrefix(b, []byte("<!doctype html")) || bytes.HasPrefix(b, []byte("<html"))
}

// retryAfter returns the first pause that h's Retry-After headers name, 0 if none does.
// Both forms of RFC 9110, section 10.2.3, are read.
func retryAfter(h http.Header) time.Duration {
	for _, v := range h.Values("Retry-After") {
		if d := parseRetryAfter(strings.TrimSpace(v), h.Get("Date")); d > 0 {
			return min(d, maxRetryAfter)
		}
	}
	return 0
}

// parseRetryAfter reads one Retry-After: seconds or a date. A date counts from answered,
// the Date of the answer, since this machine's clock may be wrong.
func parseRetryAfter(v, answered string) time.Duration {
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s > 0) { // also NaN
			return 0
		}
		return time.Duration(min(s, maxRetryAfter.Seconds()) * float64(time.Second))
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
