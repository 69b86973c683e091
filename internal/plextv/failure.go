package plextv

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
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
	if help := e.help(); help != "" {
		b.WriteString(" (" + help + ")")
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

// help says what to do about f, "" if nothing helps.
func (f *Failure) help() string {
	a := f.Kind().Advice()
	later := "try again later"
	if f.RetryAfter > 0 {
		later = fmt.Sprintf("try again in %s", f.RetryAfter.Round(time.Second))
	}
	switch {
	case !a.Later:
		return a.Help
	case a.Help == "":
		return later
	}
	return a.Help + "; " + later
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
