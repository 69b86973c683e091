package plexauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
)

// tryLater ends the message of a problem that may pass by itself.
const tryLater = " Try again in a little while."

// problems is what the panel tells people about an error, by the sentinel that it
// matches. If it matches several, the first one counts. What a failure of plex.tv means
// is in the table behind [plextv.Kind.Advice] alone.
var problems = []struct {
	sentinel error
	status   int
	kind     panel.Kind
	message  string
}{
	{ErrCorruptConfig, http.StatusServiceUnavailable, panel.StoreCorrupt, "The program's settings cannot be read, so nothing is done that could overwrite them. Repair them, or restore them from a backup."},
	{ErrStore, http.StatusServiceUnavailable, panel.Store, "The program cannot read or write its settings, so a sign-in could not be kept. The details say why. Fix that, then try again."},
	{fault.ErrHomePin, http.StatusForbidden, "home_pin", "Plex does not accept this PIN for this user. Check the PIN, and enter it again."},
	{fault.ErrAccountMismatch, http.StatusConflict, "account_mismatch", "The sign-in was approved with a different Plex account than the one that is connected. Nothing was changed. Sign in with the same account, or switch accounts."},
	{fault.ErrPinExpired, http.StatusConflict, panel.PinExpired, advice(plextv.KindPINExpired)},
	{fault.ErrPinSuperseded, http.StatusConflict, panel.Superseded, "Another sign-in has replaced this one. Continue with that one."},
	{fault.ErrNoPendingPin, http.StatusConflict, panel.NoLogin, "No sign-in is pending. Start a new one."},
	{fault.ErrTokenRejected, http.StatusConflict, "rejected", plextv.KindRejected.Advice().Problem + ". Connect again. Your server stays chosen."},
	{fault.ErrTokenExpired, http.StatusConflict, "expired", advice(plextv.KindExpired)},
	{fault.ErrNotConnected, http.StatusConflict, "not_connected", "Plex is not connected. Connect it first."},
	{fault.ErrServerChoice, http.StatusConflict, "server_choice", "Choose which media server to use."},
	{choice.ErrAnotherServer, http.StatusConflict, "other_server", "Another media server answers at the saved address. If you reinstalled or replaced yours, choose it again. Otherwise correct the address."},
	{choice.ErrNeedsLongLived, http.StatusConflict, "server_token", "The media server does not accept the token of a device key, with which this program is signed in. To use this server, let the program sign in without a device key."},
	{fault.ErrServerToken, http.StatusConflict, "server_token", "The media server gives this account no access. If it was shared with you, ask its owner. Otherwise choose another server."},
	{choice.ErrChanged, http.StatusConflict, "changed", "The sign-in or the server was changed in the meantime, so nothing was saved. Check what the page shows now, then try again."},
	{fault.ErrRateLimited, http.StatusTooManyRequests, "rate_limited", advice(plextv.KindRateLimited)},
}

// advice returns what to tell people about a kind of failure.
func advice(kind plextv.Kind) string {
	a := kind.Advice()
	if a.Later {
		return a.Message() + tryLater
	}
	return a.Message()
}

// problemOf returns what the panel reports about an error, nil if err is nil. The text of
// an error of this package holds no secret.
func problemOf(err error) *panel.Problem {
	var pause wrongPINPause
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pause):
		return tooSoon(pause.wait, "Too many wrong PINs. Try again in "+inWords(roundUp(pause.wait))+".")
	case errors.Is(err, errNoSuchUser):
		return &panel.Problem{Status: http.StatusBadRequest, Kind: panel.BadRequest, Message: "There is no such user in this Plex Home."}
	}
	v := kindOf(err)
	v.Detail = plain.Long(strings.TrimPrefix(err.Error(), "plexauth: "))
	v.ServerStarting = stateIn(err) == plextv.ServerStarting
	var choice *ServerChoiceError
	if errors.As(err, &choice) {
		v.Servers = panelServers(choice.Servers)
	}
	if e := failureOf(err); e != nil && e.RetryAfter > 0 {
		v.RetryAfter = roundUp(e.RetryAfter)
		if message, ok := strings.CutSuffix(v.Message, tryLater); ok {
			v.Message = message + " Try again in " + inWords(v.RetryAfter) + "."
		}
	}
	return v
}

// kindOf returns status, kind and message of an error's problem.
func kindOf(err error) *panel.Problem {
	for _, p := range problems {
		if errors.Is(err, p.sentinel) {
			return &panel.Problem{Status: p.status, Kind: p.kind, Message: p.message}
		}
	}
	e := failureOf(err)
	switch {
	case errors.As(err, new(*mediaserver.UnreachableError)), e != nil && e.Where != "plex.tv":
		return &panel.Problem{Status: http.StatusBadGateway, Kind: "server_unreachable", Message: headline(stateIn(err))}
	case e != nil:
		return &panel.Problem{Status: http.StatusBadGateway, Kind: panel.Kind(e.Kind().Word()), Message: advice(e.Kind())}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &panel.Problem{Status: http.StatusServiceUnavailable, Kind: panel.Stopped, Message: "The request was interrupted. Try again."}
	}
	return &panel.Problem{Status: http.StatusInternalServerError, Kind: "internal", Message: "Something went wrong in the program. The details and the log of the program say what."}
}

// delayOf returns what the panel reports about a poll that failed. The login goes on.
func delayOf(err error) *panel.Problem {
	v := problemOf(err)
	v.Message, _, _ = strings.Cut(v.Message, " Try again in ")
	v.Message += " The code is still valid, and the program keeps trying."
	return v
}

// notSaved is the problem of a login that Plex has approved and the store does not take.
// It has no detail, because a store's text may hold the token.
var notSaved = &panel.Problem{Kind: panel.Store, Message: "Plex has approved the sign-in, but the program cannot save it. It keeps trying, so there is nothing to do at Plex. Make sure that the program can write its settings. Its log says what is wrong."}

// notRevoked returns the problem of a sign-out that plex.tv could not be told.
func notRevoked(detail string) *panel.Problem {
	return &panel.Problem{Kind: panel.NotRevoked, Message: "This program is disconnected, but plex.tv could not be told. Remove the program from the authorized devices in your Plex account's settings.", Detail: detail}
}

// tooSoon returns the problem of a request that has to wait.
func tooSoon(wait time.Duration, message string) *panel.Problem {
	return &panel.Problem{Status: http.StatusTooManyRequests, Kind: panel.TooSoon, Message: message, RetryAfter: roundUp(wait)}
}

// withoutFindings returns the problem of an address that a person entered. It does not
// reveal what is there, so that the panel cannot be used to scan a network: closed ports,
// other programs and other schemes look alike.
func withoutFindings(err error) *panel.Problem {
	v := problemOf(err)
	var tried []string
	var unreachable *mediaserver.UnreachableError
	if errors.As(err, &unreachable) {
		for _, a := range unreachable.Addresses {
			tried = append(tried, a.URL)
		}
	}
	v.Detail, v.RetryAfter = plain.Long("tried: "+strings.Join(tried, ", ")), 0
	if v.Kind == "server_unreachable" {
		v.Message = "No media server could be reached at this address. Check the address, and that the server is running. The log of the program says more."
	}
	return v
}

// stateIn returns the most telling state of a media server in an error.
func stateIn(err error) plextv.ServerState {
	var unreachable *mediaserver.UnreachableError
	switch {
	case errors.As(err, &unreachable):
		found := plextv.ServerUnknown
		for _, a := range unreachable.Addresses {
			if s := stateIn(a.Err); s != plextv.ServerUnknown && (found == plextv.ServerUnknown || s < found) {
				found = s
			}
		}
		return found
	case failureOf(err) != nil:
		return failureOf(err).State
	}
	return plextv.ServerUnknown
}

// headline returns what to tell people first about a media server that cannot be used.
func headline(s plextv.ServerState) string {
	switch s {
	case plextv.ServerStarting:
		return "The media server is starting. Try again in a minute."
	case plextv.ServerFailing:
		return "The media server answers with an error. The details and the server's own log say more."
	case plextv.ServerBehindProxy:
		return "A proxy answers, but the media server behind it does not. Check that the server is running."
	}
	return "The media server does not answer. Check that it is running and can be reached from here."
}

// inWords returns a time to wait in words: exact below two minutes, else in minutes,
// rounded up.
func inWords(seconds int) string {
	switch {
	case seconds == 1:
		return "one second"
	case seconds < 120:
		return fmt.Sprintf("%d seconds", seconds)
	}
	return fmt.Sprintf("%d minutes", (seconds+59)/60)
}

// roundUp returns d in whole seconds.
func roundUp(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
