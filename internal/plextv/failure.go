package plextv

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/secret"
)

// StatusJWTExpired is plex.tv's own HTTP status for a JWT past its life, as Plex
// documents for device keys.
const StatusJWTExpired = 498

// Failure is the error of a request, with all that is known of it. Its text holds no
// body, no URL and no secret.
type Failure struct {
	Op         string        // what was tried: "read account"
	StatusCode int           // HTTP status; 0: no answer
	Code       int           // plex.tv's own code; 0: it gave none
	Message    string        // plex.tv's own words, or what is wrong with the answer: one line
	RetryAfter time.Duration // how long to wait, an hour at most; 0: not known

	Where     string      // who was asked: "plex.tv" or "the server"
	Sentinel  error       // the error of package fault that f matches, or nil
	Temporary bool        // it will pass by itself, and says nothing about a PIN or a token
	Cause     *Cause      // why there is no answer; nil: there is one
	State     ServerState // of the media server that answered
}

// FailureIn returns the failure in err, nil if there is none.
//
// errors.As would not do: plexauth's public Error has fields of its own, and keeps the
// failure private, so that errors.As of a program cannot reach it. But its Is passes each
// target on to the failure. So a search is passed as the target, and Failure.Is stores f
// in it.
func FailureIn(err error) *Failure {
	var s search
	errors.Is(err, &s)
	return s.found
}

// search is a target for errors.Is. The first failure that is compared with it is stored
// in found.
type search struct{ found *Failure }

func (*search) Error() string { return "any failure" }

// OutOfTime returns the failure of work at where that a limit of ours has ended with
// err. It matches no error of a context, because the caller's has not ended.
func OutOfTime(op, where string, err error) *Failure {
	return &Failure{Op: op, Where: where, Sentinel: fault.ErrUnavailable, Temporary: true, Cause: newCause(fmt.Errorf("not in time: %w", err))}
}

// HeldBack returns the failure of a request that was not sent, because plex.tv has
// asked to wait. pause is how long the wait lasts from now.
func HeldBack(op string, pause time.Duration) *Failure {
	return &Failure{Op: op, Where: "plex.tv", StatusCode: http.StatusTooManyRequests, Message: "it asked to slow down a moment ago", Sentinel: fault.ErrRateLimited, RetryAfter: pause}
}

// TokenRetired returns the failure of op with a token that another login has retired in
// the meantime.
func TokenRetired(op string) *Failure {
	return &Failure{Op: op, Where: "plex.tv", StatusCode: http.StatusUnauthorized, Sentinel: fault.ErrTokenRejected, Message: "another login has retired the token"}
}

// NotGenuine returns the failure of an answer whose token is not what was asked for,
// and err says why. It says nothing about the token that is stored.
func NotGenuine(err error) *Failure {
	return &Failure{Op: opVerify, Where: "plex.tv", StatusCode: http.StatusOK, Sentinel: fault.ErrUnavailable, Temporary: true, Message: err.Error()}
}

// Error says what was tried, what went wrong and what to do.
func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plexauth: %s: ", f.Op)
	switch {
	case f.Cause != nil:
		fmt.Fprintf(&b, "no answer from %s: %s", f.Where, f.Cause.Text)
	case f.Code != 0:
		fmt.Fprintf(&b, "%s answered %d, code %d: %s", f.Where, f.StatusCode, f.Code, f.Message)
	case f.Message != "":
		fmt.Fprintf(&b, "%s answered %d: %s", f.Where, f.StatusCode, f.Message)
	default:
		fmt.Fprintf(&b, "%s answered %d", f.Where, f.StatusCode)
	}
	if help := f.help(); help != "" {
		b.WriteString(" (" + help + ")")
	}
	return b.String()
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

// Format prints the text of [Failure.Error] for every verb.
func (f *Failure) Format(s fmt.State, _ rune) { io.WriteString(s, f.Error()) }

// Is reports whether target is the sentinel that f stands for.
func (f *Failure) Is(target error) bool {
	if s, ok := target.(*search); ok {
		s.found = f
		return true
	}
	return f.Sentinel == target
}

// Unwrap returns the cause, nil if there is an answer.
func (f *Failure) Unwrap() error {
	if f.Cause == nil {
		return nil
	}
	return f.Cause
}

// IsPermanent reports whether plex.tv would answer the same again. f may be nil, which
// is not permanent.
func (f *Failure) IsPermanent() bool {
	return f != nil && !f.Temporary && f.Sentinel != fault.ErrRateLimited
}

// IsKeyRefused reports whether plex.tv does not accept a device key, usually because
// another device has it. f may be nil.
func (f *Failure) IsKeyRefused() bool {
	return f != nil && f.StatusCode == http.StatusUnprocessableEntity && f.Sentinel != fault.ErrTokenRejected
}

// IsNotGenuine reports whether plex.tv answered with a token that is not what was asked
// for. f may be nil.
func (f *Failure) IsNotGenuine() bool { return f != nil && f.Op == opVerify }

// IsExchangeRefused reports whether plex.tv has refused for good to give a JWT. f may be
// nil.
func (f *Failure) IsExchangeRefused() bool {
	return f != nil && f.Op == OpRenew && !f.Temporary && f.StatusCode >= 400
}

// NamesToken reports whether plex.tv's own words call a token invalid, whatever status
// they came with.
func (f *Failure) NamesToken() bool { return f != nil && namesToken(f.Message) }

// Cause is why there is no answer. It matches the original error with errors.Is and
// errors.As, but its text is free of secrets. It is not unwrapped, and the error is
// behind a function, so that neither dumps by reflection nor printed chains show it.
type Cause struct {
	Text string // one line

	err func() error
}

func newCause(err error, secrets ...string) *Cause {
	return &Cause{secret.Redact(err.Error(), secrets...), secret.Hide(err)}
}

// Error returns the text.
func (c *Cause) Error() string { return c.Text }

// Is reports whether the original error matches target.
func (c *Cause) Is(target error) bool { return errors.Is(c.err(), target) }

// As finds target in the original error.
func (c *Cause) As(target any) bool { return errors.As(c.err(), target) }

// causePrefixes are put by net/http and crypto/tls before what a person needs to read.
var causePrefixes = []string{"proxyconnect tcp: ", "the proxy refuses the connection: ", "tls: failed to verify certificate: ", "remote error: ", "tls: ", "x509: "}

// Words returns what the system or a library says of a cause, without the calls and
// addresses that net puts before it: "connection refused".
func (c *Cause) Words() string {
	var sys *os.SyscallError
	switch {
	case errors.As(c, &sys):
		return sys.Err.Error()
	case errors.Is(c, io.EOF), errors.Is(c, io.ErrUnexpectedEOF):
		return "no answer"
	}
	text := c.Text
	for _, prefix := range causePrefixes {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
