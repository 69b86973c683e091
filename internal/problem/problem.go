// Package problem says what the panel tells people about an error: its kind, and in words
// what happened and what to do. The words are in wording.go.
package problem

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

// Of returns what the panel reports about an error, nil if err is nil. The text of err
// must hold no secret. The servers of a choice are left to the caller.
func Of(err error) *panel.Problem {
	var wrong profile.WrongPINsError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return wait(wrong.Wait, wrongPINs+tryAgainIn(roundUp(wrong.Wait)))
	case errors.Is(err, plextv.ErrNoSuchUser):
		return &panel.Problem{Status: http.StatusBadRequest, Kind: panel.BadRequest, Message: noSuchUser}
	}
	v := kindOf(err)
	v.Detail = plain.Long(strings.TrimPrefix(err.Error(), "plexauth: "))
	v.ServerStarting = stateIn(err) == plextv.ServerStarting
	if f := plextv.FailureIn(err); f != nil && f.RetryAfter > 0 {
		v.RetryAfter = roundUp(f.RetryAfter)
		if message, ok := strings.CutSuffix(v.Message, tryLater); ok {
			v.Message = message + tryAgainIn(v.RetryAfter)
		}
	}
	return v
}

// kindOf returns status, kind and message of an error's problem.
func kindOf(err error) *panel.Problem {
	for _, w := range wordingFor {
		if errors.Is(err, w.sentinel) {
			return &panel.Problem{Status: w.status, Kind: w.kind, Message: w.message}
		}
	}
	f := plextv.FailureIn(err)
	switch {
	case errors.As(err, new(*mediaserver.UnreachableError)), f != nil && f.Where != "plex.tv":
		return &panel.Problem{Status: http.StatusBadGateway, Kind: unreachable, Message: headline(stateIn(err))}
	case f != nil:
		return &panel.Problem{Status: http.StatusBadGateway, Kind: panel.Kind(f.Kind().Word()), Message: advice(f.Kind())}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &panel.Problem{Status: http.StatusServiceUnavailable, Kind: panel.Stopped, Message: interrupted}
	}
	return &panel.Problem{Status: http.StatusInternalServerError, Kind: "internal", Message: unexpected}
}

// stateIn returns the most telling state of a media server in an error.
func stateIn(err error) plextv.ServerState {
	var none *mediaserver.UnreachableError
	if !errors.As(err, &none) {
		if f := plextv.FailureIn(err); f != nil {
			return f.State
		}
		return plextv.ServerUnknown
	}
	found := plextv.ServerUnknown
	for _, a := range none.Addresses {
		if s := stateIn(a.Err); s != plextv.ServerUnknown && (found == plextv.ServerUnknown || s < found) {
			found = s
		}
	}
	return found
}

// Delay returns what the panel reports about a poll that failed. The login goes on.
func Delay(err error) *panel.Problem {
	v := Of(err)
	v.Message, _, _ = strings.Cut(v.Message, " Try again in ")
	v.Message += stillValid
	return v
}

// NotSaved returns the problem of a login that Plex has approved and the store does not
// take. It has no detail, because a store's text may hold the token.
func NotSaved() *panel.Problem {
	return &panel.Problem{Kind: panel.Store, Message: approvalUnsaved}
}

// NotRevoked returns the problem of a sign-out that plex.tv could not be told.
func NotRevoked(detail string) *panel.Problem {
	return &panel.Problem{Kind: panel.NotRevoked, Message: tokenMayLive, Detail: detail}
}

// StartTooSoon returns the problem of a request for a code that has to wait for d.
func StartTooSoon(d time.Duration) *panel.Problem { return wait(d, startTooSoon) }

// wait returns the problem of a request that has to wait for d.
func wait(d time.Duration, message string) *panel.Problem {
	return &panel.Problem{Status: http.StatusTooManyRequests, Kind: panel.TooSoon, Message: message, RetryAfter: roundUp(d)}
}

// WithoutFindings returns the problem of an address that a person entered. It does not
// reveal what is there, so that the panel cannot be used to scan a network: closed ports,
// other programs and other schemes look alike.
func WithoutFindings(err error) *panel.Problem {
	v := Of(err)
	var tried []string
	var none *mediaserver.UnreachableError
	if errors.As(err, &none) {
		for _, a := range none.Addresses {
			tried = append(tried, a.URL)
		}
	}
	v.Detail, v.RetryAfter = plain.Long("tried: "+strings.Join(tried, ", ")), 0
	if v.Kind == unreachable {
		v.Message = nothingThere
	}
	return v
}

// roundUp returns d in whole seconds.
func roundUp(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
