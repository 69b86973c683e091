package plextv

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
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// statusJWTExpired is plex.tv's own HTTP status for a JWT past its life.
const StatusJWTExpired = 498

// Failure is a request that failed, and all that is known of it.
type Failure struct {
	Op         string
	StatusCode int
	Code       int
	Message    string
	RetryAfter time.Duration

	Where     string      // "plex.tv", or the media server
	Sentinel  error       // the sentinel that this error is, or nil
	Cause     *cause      // where nothing came back
	State     ServerState // of the media server that answered
	Transient bool        // it will pass by itself, and says nothing about a PIN or a token
}

// FailureIn returns the failure in err, nil if there is none.
func FailureIn(err error) *Failure {
	var f *Failure
	errors.As(err, &f)
	return f
}

// cause keeps a foreign error matchable, and its text free of secrets. The
// error itself is behind a function, where no dump by reflection finds it, and
// is not unwrapped to those who print a whole chain, as failing tests do.
type cause struct {
	Text string
	err  func() error
}

func newCause(err error, secrets ...string) *cause {
	return &cause{secret.Redact(err.Error(), secrets...), secret.Hide(err)}
}

func (c *cause) Error() string        { return c.Text }
func (c *cause) Is(target error) bool { return errors.Is(c.err(), target) }
func (c *cause) As(target any) bool   { return errors.As(c.err(), target) }

// OutOfTime returns the failure of work that a limit of ours has ended. It matches no
// error of a context, because the caller's has not ended.
func OutOfTime(op, where string, err error) *Failure {
	return &Failure{Op: op, Where: where, Sentinel: fault.ErrUnavailable, Transient: true, Cause: newCause(fmt.Errorf("not in time: %w", err))}
}

// Error says what was tried, what went wrong and what to do.
func (e *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plexauth: %s: ", e.Op)
	switch {
	case e.Cause != nil:
		fmt.Fprintf(&b, "no answer from %s: %s", e.Where, e.Cause.Text)
	case e.Code != 0:
		fmt.Fprintf(&b, "%s answered %d, code %d: %s", e.Where, e.StatusCode, e.Code, e.Message)
	case e.Message != "":
		fmt.Fprintf(&b, "%s answered %d: %s", e.Where, e.StatusCode, e.Message)
	default:
		fmt.Fprintf(&b, "%s answered %d", e.Where, e.StatusCode)
	}
	if advice := e.advice(); advice != "" {
		b.WriteString(" (" + advice + ")")
	}
	return b.String()
}

// Format prints the text of [Error.Error] for every verb.
func (e *Failure) Format(f fmt.State, _ rune) { io.WriteString(f, e.Error()) }

// Is reports whether target is the sentinel that e stands for.
func (e *Failure) Is(target error) bool { return e.Sentinel != nil && e.Sentinel == target }

// Unwrap returns the cause, nil where an answer came back.
func (e *Failure) Unwrap() error {
	if e.Cause == nil {
		return nil
	}
	return e.Cause
}

// IsPermanent reports whether plex.tv would answer the same again.
func (f *Failure) IsPermanent() bool {
	return f != nil && !f.Transient && f.Sentinel != fault.ErrRateLimited
}

// IsTaken reports whether plex.tv does not take a key, mostly because another device
// has it.
func (f *Failure) IsTaken() bool {
	return f != nil && f.StatusCode == http.StatusUnprocessableEntity && f.Sentinel != fault.ErrTokenRejected
}

// IsNotGenuine reports whether plex.tv answered with a token that is not what was
// asked for.
func (f *Failure) IsNotGenuine() bool { return f != nil && f.Op == opVerify }

// IsRefusedExchange reports whether plex.tv has refused for good to give a JWT.
func (f *Failure) IsRefusedExchange() bool {
	return f != nil && f.Op == OpRenew && !f.Transient && f.StatusCode >= 400
}

// AboutTheKey returns f as a verdict on a device key, which says nothing about the
// token that the key was to take the place of.
func (f *Failure) AboutTheKey() *Failure {
	about := *f
	if about.Sentinel == fault.ErrTokenRejected {
		about.Sentinel = fault.ErrUnavailable
	}
	return &about
}

// Class names the class of the failure for a person's eye and for the panel.
func (e *Failure) Class() string {
	switch e.Sentinel {
	case fault.ErrPinExpired:
		return "pin_expired"
	case fault.ErrRateLimited:
		return "rate_limited"
	case fault.ErrTokenRejected:
		return "rejected"
	case fault.ErrTokenExpired:
		return "expired"
	}
	if e.Cause == nil {
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
	case errors.As(e.Cause, &op) && op.Op == "proxyconnect", isReason(e.Cause.Text):
		return "proxy"
	case e.Misdirected(), errors.As(e.Cause, &dns):
		return "dns"
	case errors.As(e.Cause, &cert), errors.As(e.Cause, &record), errors.As(e.Cause, &alert), strings.Contains(e.Cause.Text, "tls: "), strings.Contains(e.Cause.Text, "x509: "):
		return "tls"
	case errors.As(e.Cause, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "connect"
}

// Misdirected reports whether plex.tv's name leads to another machine.
func (e *Failure) Misdirected() bool {
	return e.Cause != nil && errors.As(e.Cause, new(*misdirectedError))
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
func (e *Failure) advice() string {
	kind := e.Class()
	switch {
	case e.Sentinel == fault.ErrUnavailable && e.Cause == nil && !e.Transient: // a verdict, which waiting does not change
		return ""
	case e.Misdirected():
		return "check the DNS server, a DNS blocker and the hosts file of this machine, and whether the network has a sign-in page (captive portal)"
	case kind == "rate_limited" && e.RetryAfter > 0:
		return fmt.Sprintf("try again in %s", e.RetryAfter.Round(time.Second))
	case advices[kind] == "" && e.Sentinel == fault.ErrUnavailable:
		return "try again later"
	}
	return advices[kind]
}

// envelope is plex.tv's own form of an error.
type envelope struct {
	Code    int
	message string
}

// ParseEnvelope reads the JSON and the XML forms; ok is false for anything
// else: a proxy's page, a captive portal, nothing.
func ParseEnvelope(body []byte) (env envelope, ok bool) {
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
		code, _ := lax.Number(j.Errors[0].Code)
		return envelope{int(code), lax.Text(j.Errors[0].Message)}, true
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
		env.Code, _ = strconv.Atoi(x.Errors[0].Code)
		env.message = strings.TrimSpace(x.Errors[0].Message + " " + x.Errors[0].Text)
		return env, true
	case x.XMLName.Local == "Response" && x.Code != "":
		return envelope{message: cmp.Or(strings.TrimSpace(x.Status), x.Title)}, true
	}
	return env, false
}

// Words are what the system or a library says of a cause, without the calls and
// addresses that net puts before it: "connection refused".
func (c *cause) Words() string {
	var sys *os.SyscallError
	switch {
	case errors.As(c, &sys):
		return sys.Err.Error()
	case errors.Is(c, io.EOF), errors.Is(c, io.ErrUnexpectedEOF):
		return "no answer"
	}
	text := c.Text
	for _, prefix := range []string{"proxyconnect tcp: ", "the proxy refuses the connection: ", "tls: failed to verify certificate: ", "remote error: ", "tls: ", "x509: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
