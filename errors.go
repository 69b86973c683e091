package plexauth

import (
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
)

// Errors of a store.
var (
	// ErrStore is matched by every error that comes from a [ConfigStore].
	ErrStore = fault.ErrStore
	// ErrCorruptConfig is matched when what is stored cannot be read: an empty or
	// truncated file, a namespace that is not a JSON object. Nothing is written
	// over it. It always comes with [ErrStore].
	ErrCorruptConfig = fault.ErrCorruptConfig
)

// Errors that an [Error] can stand for. Match them with errors.Is.
var (
	// ErrUnavailable means that plex.tv (or a media server) could not be reached, that
	// the answer was not its API's, or that it refuses for a reason other than the
	// token. The token may still be valid: try again later.
	ErrUnavailable = fault.ErrUnavailable
	// ErrRateLimited means that plex.tv asks for fewer requests; see [Error.RetryAfter].
	ErrRateLimited = fault.ErrRateLimited
	// ErrTokenRejected means that plex.tv itself says that the token is no longer
	// valid. Only a new sign-in helps.
	ErrTokenRejected = fault.ErrTokenRejected
	// ErrTokenExpired means that the token is a JWT that has expired. With its device
	// key it can be renewed, later; the error says if it has none.
	ErrTokenExpired = fault.ErrTokenExpired
)

// Errors of a login that ends without a token.
var (
	// ErrPinExpired means that the PIN was not approved in time. Start again.
	ErrPinExpired = fault.ErrPinExpired
	// ErrPinSuperseded means that another Start, or an Adopt, has replaced the PIN.
	ErrPinSuperseded = fault.ErrPinSuperseded
	// ErrNoPendingPin means that no login is pending, or that it was cancelled.
	ErrNoPendingPin = fault.ErrNoPendingPin
	// ErrAccountMismatch means that another account than the linked one has approved
	// the login, or owns the token to adopt. The linked one stays. See
	// [PinOptions].SwitchAccount.
	ErrAccountMismatch = fault.ErrAccountMismatch
)

// Errors because something is missing in a profile, or not chosen.
var (
	// ErrNotConnected means that the profile has no token, or a damaged one that no
	// request can carry.
	ErrNotConnected = fault.ErrNotConnected
	// ErrHomePin means that a PIN protects the Plex Home user, and that it is missing or
	// wrong. The error's text says which.
	ErrHomePin = fault.ErrHomePin
	// ErrServerChoice means that no media server is chosen, and that the account owns
	// none or several. A [*ServerChoiceError] names the candidates;
	// [PlexAuth.UseServer] chooses.
	ErrServerChoice = fault.ErrServerChoice
	// ErrServerToken means that there is no token for the media server, or that the
	// server refuses it. plex.tv gives none for a server that the account may not use.
	// To a login with a device key it gives only a JWT, which media servers do not
	// accept.
	ErrServerToken = fault.ErrServerToken
)

// Error is a request to plex.tv or to a media server that failed. It holds no body, no
// URL and no secret. If there was no answer, errors.As finds the cause:
// [*net.DNSError], [*net.OpError] (connect, proxy), [*tls.CertificateVerificationError],
// or a [net.Error] whose Timeout is true. An Error is safe for concurrent use.
type Error struct {
	Op         string        // what was tried, "check PIN"
	StatusCode int           // HTTP status; 0: no answer
	Code       int           // plex.tv's own code, such as 1020; 0: none
	Message    string        // plex.tv's message on one line, or what was wrong with the answer
	RetryAfter time.Duration // how long plex.tv asked to wait, or with ErrRateLimited how long plexauth makes no request; an hour at most; 0: unknown

	failure *plextv.Failure // nil in an Error that plexauth has not made
}

// public returns err as callers see it: a failure becomes an [*Error]. It returns any
// other error unchanged.
func public(err error) error {
	f, ok := err.(*plextv.Failure)
	if !ok {
		return err
	}
	return &Error{Op: f.Op, StatusCode: f.StatusCode, Code: f.Code, Message: f.Message, RetryAfter: f.RetryAfter, failure: f}
}

// inner returns the failure that e stands for.
func (e *Error) inner() *plextv.Failure {
	if e.failure != nil {
		return e.failure
	}
	return &plextv.Failure{Op: e.Op, StatusCode: e.StatusCode, Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter}
}

// Error returns a text that says what was tried, what went wrong and what to do.
func (e *Error) Error() string { return e.inner().Error() }

// Format prints the text of [Error.Error] for every verb.
func (e *Error) Format(f fmt.State, verb rune) { e.inner().Format(f, verb) }

// Is reports whether target is the Err variable that e stands for.
func (e *Error) Is(target error) bool { return e.inner().Is(target) }

// Unwrap returns the cause, nil if there was an answer.
func (e *Error) Unwrap() error { return e.inner().Unwrap() }

// tooLate returns the error for a request that has not ended within its limit.
func tooLate(op, where string, err error) error { return public(plextv.OutOfTime(op, where, err)) }
