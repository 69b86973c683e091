package plexauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plain"
)

// problem is a failure as the panel's HTTP API tells it.
type problem struct {
	status     int
	Word       string   `json:"error"`                 // for programs
	Message    string   `json:"message"`               // for people: what happened, and what to do
	Detail     string   `json:"detail,omitempty"`      // the error's own text, for whoever runs the program
	RetryAfter int      `json:"retry_after,omitempty"` // seconds
	Servers    []Server `json:"servers,omitempty"`     // to choose from
}

// tryLater ends a message. It is left out where the program itself tries again,
// and is more exact where it is known for how long to wait.
const tryLater = " Try again in a little while."

// problems are the failures that are recognized by a sentinel, the more
// telling ones first.
var problems = []struct {
	is      error
	status  int
	word    string
	message string
}{
	{ErrCorruptConfig, http.StatusServiceUnavailable, "store_corrupt", "The program's settings cannot be read, so nothing is done that could overwrite them. Repair them, or restore them from a backup."},
	{ErrStore, http.StatusServiceUnavailable, "store", "The program cannot read or write its settings, so a sign-in could not be kept. The details say why. Mend that, then try again."},
	{fault.ErrHomePin, http.StatusForbidden, "home_pin", "Plex does not accept this PIN for this user. Check it, and enter it again."},
	{fault.ErrAccountMismatch, http.StatusConflict, "account_mismatch", "The sign-in was approved with another Plex account than the one that is connected. Nothing was changed. Sign in with the same account, or switch accounts."},
	{fault.ErrPinExpired, http.StatusConflict, "pin_expired", "The code was not confirmed in time. Get a new one."},
	{fault.ErrPinSuperseded, http.StatusConflict, "superseded", "Another sign-in has replaced this one. Go on with that one."},
	{fault.ErrNoPendingPin, http.StatusConflict, "no_login", "No sign-in is under way. Begin a new one."},
	{fault.ErrTokenRejected, http.StatusConflict, "rejected", "Plex does not accept this sign-in any more: it was ended elsewhere, or the password was changed. Connect again: your server stays chosen."},
	{fault.ErrTokenExpired, http.StatusConflict, "expired", "The sign-in has run out and could not be renewed yet. Try again."},
	{fault.ErrNotConnected, http.StatusConflict, "not_connected", "Plex is not connected. Connect it first."},
	{fault.ErrServerChoice, http.StatusConflict, "server_choice", "Choose which media server to use."},
	{errAnotherServer, http.StatusConflict, "other_server", "Another media server answers at the saved address. If yours was installed again or replaced, choose it again; otherwise correct the address."},
	{errNeedsLongLived, http.StatusConflict, "server_token", "The media server does not accept the token of a device key, which is how this program is signed in. Let the program sign in without a device key to use this server."},
	{fault.ErrServerToken, http.StatusConflict, "server_token", "The media server gives no access to this account. If it is shared with you, ask its owner; else choose another one."},
	{errChangedMeanwhile, http.StatusConflict, "changed", "The sign-in or the server was changed in the meantime. See how things stand now, then try again."},
	{fault.ErrRateLimited, http.StatusTooManyRequests, "rate_limited", "Plex asks to slow down." + tryLater},
}

// problemOf puts an error into words. No error of ours holds a secret.
func problemOf(err error) *problem {
	v := &problem{status: http.StatusInternalServerError, Word: "internal", Message: "Something went wrong in the program. The details, and its log, say what.", Detail: plain.Long(strings.TrimPrefix(err.Error(), "plexauth: "))}
	e := failureOf(err)
	if e != nil && e.RetryAfter > 0 {
		v.RetryAfter = seconds(e.RetryAfter)
	}
	var choice *ServerChoiceError
	if errors.As(err, &choice) {
		v.Servers = choice.Servers
	}
	for _, p := range problems {
		if errors.Is(err, p.is) {
			v.status, v.Word, v.Message = p.status, p.word, p.message
			return v.timed()
		}
	}
	var nowhere *mediaserver.UnreachableError
	switch {
	case errors.As(err, &nowhere), e != nil && e.Where != "plex.tv":
		v.status, v.Word, v.Message = http.StatusBadGateway, "server_unreachable", headline(stateIn(err))
	case e != nil:
		advice := e.Kind().Advice()
		v.status, v.Word, v.Message = http.StatusBadGateway, e.Kind().Word(), advice.Message()
		if advice.Later {
			v.Message += tryLater
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		v.status, v.Word, v.Message = http.StatusServiceUnavailable, "stopped", "The request was broken off. Try again."
	}
	return v.timed()
}

// timed says for how long to wait, where that is known.
func (v *problem) timed() *problem {
	if message, ok := strings.CutSuffix(v.Message, tryLater); ok && v.RetryAfter > 0 {
		v.Message = message + " Try again in " + forHowLong(v.RetryAfter) + "."
	}
	return v
}

// forHowLong is a time to wait in words: exact below two minutes, rounded up above.
func forHowLong(seconds int) string {
	switch {
	case seconds == 1:
		return "one second"
	case seconds < 120:
		return fmt.Sprintf("%d seconds", seconds)
	}
	return fmt.Sprintf("%d minutes", (seconds+59)/60)
}

// withoutFindings names the addresses that were entered and leaves out what is
// there: closed ports, other programs and other schemes look alike, so that the
// panel cannot be used to scan a network.
func (v *problem) withoutFindings(err error) *problem {
	var nowhere *mediaserver.UnreachableError
	errors.As(err, &nowhere)
	var tried []string
	for _, a := range nowhere.Addresses {
		tried = append(tried, a.URL)
	}
	v.Detail, v.RetryAfter = plain.Long("tried: "+strings.Join(tried, ", ")), 0
	if v.Word == "server_unreachable" {
		v.Message = "No media server could be reached at this address. Check the address, and that the server runs; the program's log says more."
	}
	return v
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
