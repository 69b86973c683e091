package problem

import (
	"net/http"
	"slices"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/words"
)

// wording is what the panel tells people about an error.
type wording struct {
	sentinel error
	status   int
	kind     panel.Kind
	key      string // of the message
}

// wordingFor lists the wordings by the sentinel that an error matches. If an error matches
// several, the first one counts.
var wordingFor = []wording{
	{fault.ErrCorruptConfig, http.StatusServiceUnavailable, panel.StoreCorrupt, "problem.store_corrupt"},
	{fault.ErrStore, http.StatusServiceUnavailable, panel.Store, "problem.store"},
	{fault.ErrHomePin, http.StatusForbidden, "home_pin", "problem.home_pin"},
	{fault.ErrAccountMismatch, http.StatusConflict, "account_mismatch", "problem.account_mismatch"},
	{fault.ErrPinExpired, http.StatusConflict, panel.PinExpired, keyFor[plextv.KindPINExpired]},
	{fault.ErrPinSuperseded, http.StatusConflict, panel.Superseded, "problem.superseded"},
	{fault.ErrNoPendingPin, http.StatusConflict, panel.NoLogin, "problem.no_login"},
	{fault.ErrTokenRejected, http.StatusConflict, "rejected", "problem.rejected"},
	{fault.ErrTokenExpired, http.StatusConflict, "expired", keyFor[plextv.KindExpired]},
	{fault.ErrNotConnected, http.StatusConflict, "not_connected", "problem.not_connected"},
	{choice.ErrNotShared, http.StatusConflict, "server_token", "problem.not_shared"},
	{fault.ErrServerChoice, http.StatusConflict, "server_choice", "problem.server_choice"},
	{choice.ErrAnotherServer, http.StatusConflict, "other_server", "problem.other_server"},
	{choice.ErrNeedsLongLived, http.StatusConflict, "server_token", "problem.needs_long_lived"},
	{fault.ErrServerToken, http.StatusConflict, "server_token", "problem.server_token"},
	{profile.ErrChanged, http.StatusConflict, "changed", "problem.changed"},
	{fault.ErrRateLimited, http.StatusTooManyRequests, "rate_limited", keyFor[plextv.KindRateLimited]},
}

// unreachable is the kind of a media server that cannot be used.
const unreachable panel.Kind = "server_unreachable"

// keyFor has the message about each kind of failure of plex.tv. In English it is that of
// [plextv.Kind.Advice], as a test proves.
var keyFor = map[plextv.Kind]string{
	plextv.KindPINExpired:  "plextv.pin_expired",
	plextv.KindRateLimited: "plextv.rate_limited",
	plextv.KindRejected:    "plextv.rejected",
	plextv.KindExpired:     "plextv.expired",
	plextv.KindDNS:         "plextv.dns",
	plextv.KindMisdirected: "plextv.misdirected",
	plextv.KindConnect:     "plextv.connect",
	plextv.KindProxy:       "plextv.proxy",
	plextv.KindTLS:         "plextv.tls",
	plextv.KindTimeout:     "plextv.timeout",
	plextv.KindContent:     "plextv.content",
	plextv.KindStatus:      "plextv.status",
	plextv.KindRefused:     "plextv.refused",
}

// headline returns what to tell people first about a media server that cannot be used.
// addresses are those that were tried, nil if they are not known.
func headline(s plextv.ServerState, addresses []mediaserver.Address) words.Sentence {
	switch s {
	case plextv.ServerStarting:
		return words.Sentence{Key: "problem.server_starting"}
	case plextv.ServerFailing:
		return words.Sentence{Key: "problem.server_failing"}
	case plextv.ServerBehindProxy:
		return words.Sentence{Key: "problem.server_behind_proxy"}
	}
	var tried []string
	for _, a := range addresses {
		if host := a.Host(); a.Err != nil && !slices.Contains(tried, host) {
			tried = append(tried, host)
		}
	}
	switch len(tried) {
	case 0:
		return words.Sentence{Key: "problem.server_unreachable"}
	case 1:
		return words.Sentence{Key: "problem.server_unreachable_at", Args: map[string]string{"address": tried[0]}}
	}
	return words.Sentence{Key: "problem.server_unreachable_everywhere", Args: map[string]string{"address": tried[0]}}
}

// tryLater is the end of a message about what may pass by itself. seconds is the time that
// is known, 0 if none is: exact below two minutes, else in minutes, rounded up.
func tryLater(seconds int) words.Sentence {
	switch {
	case seconds == 0:
		return words.Sentence{Key: "problem.try_later"}
	case seconds < 120:
		return words.Sentence{Key: "problem.try_in_seconds", N: seconds}
	}
	return words.Sentence{Key: "problem.try_in_minutes", N: (seconds + 59) / 60}
}
