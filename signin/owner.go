package signin

import (
	"context"
	"errors"
	"strconv"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

// ownerText has what the owner of the app's media server can do about a refusal.
var ownerText = map[reason]string{
	notOwned:  "signin.owner_ownership",
	notListed: "signin.owner_list",
	ownRules:  "signin.owner_rules",
}

// forOwner returns v with what the visitor can do about the refusal d, if they are the
// account that the app is connected with. err is why there is no decision, or why the login
// was not kept.
func (h *Handler) forOwner(ctx context.Context, d decision, err error, v view) view {
	if d.account == nil || !h.isConnectedWith(ctx, d.account.ID) {
		return v
	}
	advice := ownerText[d.reason]
	if err != nil {
		advice = h.adviceOn(ctx, err)
	}
	if advice != "" {
		v.Owner, v.Number = []string{"signin.owner", advice}, d.account.ID
	}
	if err != nil {
		v.Error = plain.Long(err.Error())
	}
	return v
}

// adviceOn returns what the owner can do about err, "" if the page says it to everyone.
func (h *Handler) adviceOn(ctx context.Context, err error) string {
	if status, e := h.o.Plex.Status(ctx); e == nil && status.NeedsLogin {
		return "signin.owner_login"
	}
	switch {
	case isTemporary(err):
		return ""
	case errors.Is(err, plexauth.ErrStore), errors.As(err, new(*plexauth.Error)):
		return "signin.owner_error" // such an error has no secret
	}
	return "signin.owner_log"
}

// isConnectedWith reports whether the app is connected with the account of that number. The
// stored number will do: what the owner reads is no secret.
func (h *Handler) isConnectedWith(ctx context.Context, account int64) bool {
	if h.o.Plex == nil {
		return false
	}
	settings, err := h.o.Plex.Settings(ctx)
	return err == nil && settings.CloudAccountID == strconv.FormatInt(account, 10)
}
