package problem

import (
	"fmt"
	"net/http"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

// tryLater ends the message of a problem that may pass by itself.
const tryLater = " Try again in a little while."

// wording is what the panel tells people about an error.
type wording struct {
	sentinel error
	status   int
	kind     panel.Kind
	message  string
}

// wordingFor lists the texts by the sentinel that an error matches. If an error matches
// several, the first one counts. The texts about plex.tv's failures are those of
// [plextv.Kind.Advice].
var wordingFor = []wording{
	{fault.ErrCorruptConfig, http.StatusServiceUnavailable, panel.StoreCorrupt, "The program's settings cannot be read, so nothing is done that could overwrite them. Repair them, or restore them from a backup."},
	{fault.ErrStore, http.StatusServiceUnavailable, panel.Store, "The program cannot read or write its settings, so a sign-in could not be kept. The details say why. Fix that, then try again."},
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
	{profile.ErrChanged, http.StatusConflict, "changed", "The sign-in or the server was changed in the meantime, so nothing was saved. Check what the page shows now, then try again."},
	{fault.ErrRateLimited, http.StatusTooManyRequests, "rate_limited", advice(plextv.KindRateLimited)},
}

// unreachable is the kind of a media server that cannot be used.
const unreachable panel.Kind = "server_unreachable"

// The texts that belong to no sentinel.
const (
	startTooSoon    = "A code was requested only a moment ago. You can get a new one in a few seconds."
	wrongPINs       = "Too many wrong PINs."
	noSuchUser      = "There is no such user in this Plex Home."
	stillValid      = " The code is still valid, and the program keeps trying."
	approvalUnsaved = "Plex has approved the sign-in, but the program cannot save it. It keeps trying, so there is nothing to do at Plex. Make sure that the program can write its settings. Its log says what is wrong."
	tokenMayLive    = "This program is disconnected, but plex.tv could not be told. Remove the program from the authorized devices in your Plex account's settings."
	nothingThere    = "No media server could be reached at this address. Check the address, and that the server is running. The log of the program says more."
	interrupted     = "The request was interrupted. Try again."
	unexpected      = "Something went wrong in the program. The details and the log of the program say what."
)

// advice returns what to tell people about a kind of failure of plex.tv.
func advice(kind plextv.Kind) string {
	a := kind.Advice()
	if a.Later {
		return a.Message() + tryLater
	}
	return a.Message()
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

// tryAgainIn returns a sentence that names a time to wait: exact below two minutes, else
// in minutes, rounded up.
func tryAgainIn(seconds int) string {
	switch {
	case seconds == 1:
		return " Try again in one second."
	case seconds < 120:
		return fmt.Sprintf(" Try again in %d seconds.", seconds)
	}
	return fmt.Sprintf(" Try again in %d minutes.", (seconds+59)/60)
}
