// Package problem says what the panel tells people about an error: its kind, and in words
// what happened and what to do. Which words those are is in wording.go.
package problem

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/words"
)

// Of returns what the panel reports about an error, nil if err is nil. The text of err
// must hold no secret. The servers of a choice are left to the caller.
func Of(err error) *panel.Problem {
	if err == nil {
		return nil
	}
	v, passes := judge(err)
	if passes {
		v.Say(append(v.Words, tryLater(v.RetryAfter)))
	}
	return v
}

// judge returns the problem of an error, and whether it may pass by itself. Its message
// does not say when to try again.
func judge(err error) (v *panel.Problem, passes bool) {
	var wrong profile.WrongPINsError
	switch {
	case errors.As(err, &wrong):
		return wait(wrong.Wait, "problem.wrong_pins"), true
	case errors.Is(err, plextv.ErrNoSuchUser):
		return message(http.StatusBadRequest, panel.BadRequest, "problem.no_user"), false
	}
	v, passes = kindOf(err)
	v.Detail = plain.Long(strings.TrimPrefix(err.Error(), "plexauth: "))
	if f := plextv.FailureIn(err); f != nil {
		v.RetryAfter = roundUp(f.RetryAfter)
	}
	return v, passes
}

// message returns a problem with the text of key.
func message(status int, kind panel.Kind, key string) *panel.Problem {
	return say(status, kind, words.Sentence{Key: key})
}

// say returns a problem whose message is s.
func say(status int, kind panel.Kind, s words.Sentence) *panel.Problem {
	v := &panel.Problem{Status: status, Kind: kind}
	v.Say(words.Sentences{s})
	return v
}

// kindOf returns status, kind and message of an error's problem, and whether it may pass by
// itself.
func kindOf(err error) (v *panel.Problem, passes bool) {
	for _, w := range wordingFor {
		if errors.Is(err, w.sentinel) {
			return message(w.status, w.kind, w.key), w.sentinel == fault.ErrRateLimited
		}
	}
	f := plextv.FailureIn(err)
	var none *mediaserver.UnreachableError
	switch {
	case errors.As(err, &none):
		return say(http.StatusBadGateway, unreachable, headline(stateIn(err), none.Addresses)), false
	case f != nil && f.Where != "plex.tv":
		return say(http.StatusBadGateway, unreachable, headline(f.State, nil)), false
	case f != nil:
		return message(http.StatusBadGateway, panel.Kind(f.Kind().Word()), keyFor[f.Kind()]), f.Kind().Advice().Later
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return message(http.StatusServiceUnavailable, panel.Stopped, "problem.interrupted"), false
	}
	return message(http.StatusInternalServerError, "internal", "problem.internal"), false
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
	v, _ := judge(err)
	v.Say(append(v.Words, words.Sentence{Key: "problem.still_valid"}))
	return v
}

// NotSaved returns the problem of a login that Plex has approved and the store does not
// take. It has no detail, because a store's text may hold the token.
func NotSaved() *panel.Problem { return message(0, panel.Store, "problem.not_saved") }

// NotRevoked returns the problem of a sign-out that plex.tv could not be told.
func NotRevoked(detail string) *panel.Problem {
	v := message(0, panel.NotRevoked, "problem.not_revoked")
	v.Detail = detail
	return v
}

// StartTooSoon returns the problem of a request for a code that has to wait for d.
func StartTooSoon(d time.Duration) *panel.Problem { return wait(d, "problem.too_soon") }

// wait returns the problem of a request that has to wait for d, with the text of key.
func wait(d time.Duration, key string) *panel.Problem {
	v := message(http.StatusTooManyRequests, panel.TooSoon, key)
	v.RetryAfter = roundUp(d)
	return v
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
		v.Say(words.Sentences{{Key: "problem.nothing_there"}})
	}
	return v
}

// roundUp returns d in whole seconds.
func roundUp(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
