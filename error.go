package plexauth

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// statusJWTExpired is plex.tv's own HTTP status for a JWT past its life.
const statusJWTExpired = 498

// What stands behind an [Error]; errors.Is finds it.
var (
	// ErrUnavailable: plex.tv (or a media server) could not be reached, what
	// answered was not its API, or it refuses for a reason that is not the
	// token. It says nothing about the token: try again later.
	ErrUnavailable = errors.New("plexauth: plex.tv is unavailable")
	// ErrRateLimited: plex.tv asks to slow down; see [Error.RetryAfter].
	ErrRateLimited = errors.New("plexauth: rate-limited by plex.tv")
	// ErrTokenRejected: plex.tv itself says that the token is no longer good.
	// Only a new sign-in helps.
	ErrTokenRejected = errors.New("plexauth: plex.tv rejected the token, sign in again")
	// ErrTokenExpired: the token was a JWT past its life. With its device key
	// it can be renewed, later; the error says if there is none.
	ErrTokenExpired = errors.New("plexauth: the token has expired")
)

// Error is a request to plex.tv or to a media server that failed. It holds no
// body, no URL and no secret. Its cause, where nothing came back, is found
// with errors.As: [*net.DNSError], [*net.OpError] (connect, proxy),
// [*tls.CertificateVerificationError], or a [net.Error] whose Timeout is true.
type Error struct {
	Op         string        // what was tried, "check PIN"
	StatusCode int           // HTTP status; 0 where nothing came back
	Code       int           // plex.tv's own code, 1020; 0 where it gave none
	Message    string        // plex.tv's own words, one line; or what was wrong with the answer
	RetryAfter time.Duration // how long to wait, an hour at most: what plex.tv asked for, or with ErrRateLimited how long plexauth asks nothing; else 0

	failure *failure // nil in an Error that is not plexauth's
}

// public returns err as callers see it: a failure becomes an [*Error], and any other
// error stays.
func public(err error) error {
	f, ok := err.(*failure)
	if !ok {
		return err
	}
	return &Error{Op: f.Op, StatusCode: f.StatusCode, Code: f.Code, Message: f.Message, RetryAfter: f.RetryAfter, failure: f}
}

// failureOf returns the failure of a request in err, nil if there is none.
func failureOf(err error) *failure {
	var e *Error
	if errors.As(err, &e) {
		return e.inner()
	}
	return failureIn(err)
}

func (e *Error) inner() *failure {
	if e.failure != nil {
		return e.failure
	}
	return &failure{Op: e.Op, StatusCode: e.StatusCode, Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter}
}

// Error says what was tried, what went wrong and what to do.
func (e *Error) Error() string { return e.inner().Error() }

// Format prints the text of [Error.Error] for every verb.
func (e *Error) Format(f fmt.State, verb rune) { e.inner().Format(f, verb) }

// Is reports whether target is the sentinel that e stands for.
func (e *Error) Is(target error) bool { return e.inner().Is(target) }

// Unwrap returns the cause, nil where an answer came back.
func (e *Error) Unwrap() error { return e.inner().Unwrap() }

// failure is a request that failed, and all that is known of it.
type failure struct {
	Op         string
	StatusCode int
	Code       int
	Message    string
	RetryAfter time.Duration

	where     string      // "plex.tv", or the media server
	is        error       // the sentinel that this error is, or nil
	cause     *cause      // where nothing came back
	state     serverState // of the media server that answered
	transient bool        // it will pass by itself, and says nothing about a PIN or a token
}

// tooLate is outOfTime as callers see it.
func tooLate(op, where string, err error) error { return public(outOfTime(op, where, err)) }

// failureIn returns the failure in err, nil if there is none.
func failureIn(err error) *failure {
	var f *failure
	errors.As(err, &f)
	return f
}

// cause keeps a foreign error matchable, and its text free of secrets. The
// error itself is behind a function, where no dump by reflection finds it, and
// is not unwrapped to those who print a whole chain, as failing tests do.
type cause struct {
	text string
	err  func() error
}

func newCause(err error, secrets ...string) *cause {
	return &cause{redact(err.Error(), secrets...), hide(err)}
}

func (c *cause) Error() string        { return c.text }
func (c *cause) Is(target error) bool { return errors.Is(c.err(), target) }
func (c *cause) As(target any) bool   { return errors.As(c.err(), target) }

// inner is an error that stands inside another one of ours: the prefix that all
// have is there already.
type inner struct{ error }

func (e inner) Error() string { return strings.TrimPrefix(e.error.Error(), "plexauth: ") }
func (e inner) Unwrap() error { return e.error }

// outOfTime returns the failure of work that a limit of ours has ended. It matches no
// error of a context, because the caller's has not ended.
func outOfTime(op, where string, err error) *failure {
	return &failure{Op: op, where: where, is: ErrUnavailable, transient: true, cause: newCause(fmt.Errorf("not in time: %w", err))}
}

// Error says what was tried, what went wrong and what to do.
func (e *failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plexauth: %s: ", e.Op)
	switch {
	case e.cause != nil:
		fmt.Fprintf(&b, "no answer from %s: %s", e.where, e.cause.text)
	case e.Code != 0:
		fmt.Fprintf(&b, "%s answered %d, code %d: %s", e.where, e.StatusCode, e.Code, e.Message)
	case e.Message != "":
		fmt.Fprintf(&b, "%s answered %d: %s", e.where, e.StatusCode, e.Message)
	default:
		fmt.Fprintf(&b, "%s answered %d", e.where, e.StatusCode)
	}
	if advice := e.advice(); advice != "" {
		b.WriteString(" (" + advice + ")")
	}
	return b.String()
}

// Format prints the text of [Error.Error] for every verb.
func (e *failure) Format(f fmt.State, _ rune) { io.WriteString(f, e.Error()) }

// Is reports whether target is the sentinel that e stands for.
func (e *failure) Is(target error) bool { return e.is != nil && e.is == target }

// Unwrap returns the cause, nil where an answer came back.
func (e *failure) Unwrap() error {
	if e.cause == nil {
		return nil
	}
	return e.cause
}

// IsPermanent reports whether plex.tv would answer the same again.
func (f *failure) IsPermanent() bool { return f != nil && !f.transient && f.is != ErrRateLimited }

// IsTaken reports whether plex.tv does not take a key, mostly because another device
// has it.
func (f *failure) IsTaken() bool {
	return f != nil && f.StatusCode == http.StatusUnprocessableEntity && f.is != ErrTokenRejected
}

// IsNotGenuine reports whether plex.tv answered with a token that is not what was
// asked for.
func (f *failure) IsNotGenuine() bool { return f != nil && f.Op == opVerify }

// IsRefusedExchange reports whether plex.tv has refused for good to give a JWT.
func (f *failure) IsRefusedExchange() bool {
	return f != nil && f.Op == opRenew && !f.transient && f.StatusCode >= 400
}

// aboutTheKey returns f as a verdict on a device key, which says nothing about the
// token that the key was to take the place of.
func (f *failure) aboutTheKey() *failure {
	about := *f
	if about.is == ErrTokenRejected {
		about.is = ErrUnavailable
	}
	return &about
}

// kind names the class of the failure for a person's eye and for the panel.
func (e *failure) kind() string {
	switch e.is {
	case ErrPinExpired:
		return "pin_expired"
	case ErrRateLimited:
		return "rate_limited"
	case ErrTokenRejected:
		return "rejected"
	case ErrTokenExpired:
		return "expired"
	}
	if e.cause == nil {
		if e.StatusCode < 300 {
			return "content"
		}
		return "status"
	}
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var timeout net.Error
	switch {
	case errors.As(e.cause, &op) && op.Op == "proxyconnect", isReason(e.cause.text):
		return "proxy"
	case e.misdirected(), errors.As(e.cause, &dns):
		return "dns"
	case errors.As(e.cause, &cert), errors.As(e.cause, &record), errors.As(e.cause, &alert), strings.Contains(e.cause.text, "tls: "), strings.Contains(e.cause.text, "x509: "):
		return "tls"
	case errors.As(e.cause, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "connect"
}

// misdirected reports whether plex.tv's name leads to another machine.
func (e *failure) misdirected() bool {
	return e.cause != nil && errors.As(e.cause, new(*misdirectedError))
}

// advices are what to do about the kinds of failure.
var advices = map[string]string{
	"pin_expired":  "start again",
	"rate_limited": "try again in a minute",
	"rejected":     "sign in again",
	"expired":      "renew it with Refresh",
	"proxy":        "check the proxy settings",
	"dns":          "check this machine's DNS and its connection to the internet",
	"tls":          "check the clock and the CA certificates; a proxy that inspects TLS needs its own root in HTTPClient",
	"timeout":      "the connection is slow or filtered; try again",
	"connect":      "check the network, a firewall or a proxy",
	"content":      "a proxy or a captive portal may stand in between; try again later",
}

// advice says what to do, "" where nothing helps.
func (e *failure) advice() string {
	kind := e.kind()
	switch {
	case e.is == ErrUnavailable && e.cause == nil && !e.transient: // a verdict, which waiting does not change
		return ""
	case e.misdirected():
		return "check the DNS server, a DNS blocker and the hosts file of this machine, and whether the network has a sign-in page (captive portal)"
	case kind == "rate_limited" && e.RetryAfter > 0:
		return fmt.Sprintf("try again in %s", e.RetryAfter.Round(time.Second))
	case advices[kind] == "" && e.is == ErrUnavailable:
		return "try again later"
	}
	return advices[kind]
}

// envelope is plex.tv's own form of an error.
type envelope struct {
	code    int
	message string
}

// parseEnvelope reads the JSON and the XML forms; ok is false for anything
// else: a proxy's page, a captive portal, nothing.
func parseEnvelope(body []byte) (env envelope, ok bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return env, false
	}
	if body[0] == '{' {
		var j struct {
			Errors []struct {
				Code    json.RawMessage `json:"code"`
				Message json.RawMessage `json:"message"`
			} `json:"errors"`
		}
		if json.Unmarshal(body, &j) != nil || len(j.Errors) == 0 {
			return env, false
		}
		code, _ := number(j.Errors[0].Code)
		return envelope{int(code), text(j.Errors[0].Message)}, true
	}
	if body[0] != '<' {
		return env, false
	}
	var x struct {
		XMLName xml.Name
		Code    string `xml:"code,attr"` // <Response code="503" title="…" status="…"/>
		Title   string `xml:"title,attr"`
		Status  string `xml:"status,attr"` // its message
		Errors  []struct {
			Code    string `xml:"code,attr"`
			Message string `xml:"message,attr"`
			Text    string `xml:",chardata"`
		} `xml:"error"`
	}
	if xml.Unmarshal(body, &x) != nil {
		return env, false
	}
	switch {
	case x.XMLName.Local == "errors" && len(x.Errors) > 0:
		env.code, _ = strconv.Atoi(x.Errors[0].Code)
		env.message = strings.TrimSpace(x.Errors[0].Message + " " + x.Errors[0].Text)
		return env, true
	case x.XMLName.Local == "Response" && x.Code != "":
		return envelope{message: cmp.Or(strings.TrimSpace(x.Status), x.Title)}, true
	}
	return env, false
}
