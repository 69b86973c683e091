package signin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/pervisitor"
)

// linkLimit bounds how long a visitor waits until their login is kept.
const linkLimit = 15 * time.Second

// link keeps the login of a visitor, which p has, where Options.Link says. It reports
// whether their token lives on there. If it does not, the caller revokes it: no place was
// named, the account has a login there that works, or err says why it could not be kept.
func (h *Handler) link(ctx context.Context, p *plexauth.PlexAuth, account *plexauth.Account) (kept bool, err error) {
	if h.o.Link == nil {
		return false, nil
	}
	target := h.o.Link(*account)
	if target == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, linkLimit)
	defer cancel()
	id := strconv.FormatInt(account.ID, 10)
	leave, err := h.links.Enter(ctx, id) // of two browsers, the second finds the login of the first
	if err != nil {
		return false, err
	}
	defer leave()
	visitor, err := p.Settings(ctx)
	if err != nil {
		return false, err
	}
	present, err := keepIn(ctx, target, visitor, id)
	if err == nil {
		return present.Equal(visitor.AccountToken), nil // also if a replica finished the same sign-in
	}
	if holds(ctx, target, visitor.AccountToken) {
		err = nil // the store has saved it all the same, or for a replica
	}
	return err == nil, err
}

// keepIn makes p adopt the login of a visitor, whose account is id, unless p has one of this
// account that works. It returns the token that p has then.
func keepIn(ctx context.Context, p *plexauth.PlexAuth, visitor plexauth.Settings, id string) (plexauth.Token, error) {
	for {
		present, works, err := loginOf(ctx, p, id)
		if err != nil || works {
			return present, err
		}
		o := pervisitor.AdoptOver(visitor.ClientID, present).(plexauth.AdoptOptions)
		_, err = p.Adopt(ctx, visitor.AccountToken, o)
		if !errors.Is(err, plexauth.ErrPinSuperseded) { // by a replica, whose login may work
			return visitor.AccountToken, err
		}
	}
}

// loginOf returns the token of p, and whether it is one of the account id that works, as far
// as plex.tv can be asked. An error is the store's.
func loginOf(ctx context.Context, p *plexauth.PlexAuth, id string) (present plexauth.Token, works bool, err error) {
	before, err := p.Settings(ctx)
	if err != nil {
		return present, false, err
	}
	status, err := p.Verify(ctx)
	if errors.Is(err, plexauth.ErrStore) {
		return present, false, err
	}
	settings, err := p.Settings(ctx)
	if err == nil && status.Connected && !status.NeedsLogin && settings.CloudAccountID == id {
		return settings.AccountToken, true, nil
	}
	return before.AccountToken, false, err // not a login that a replica has saved since
}

// holds reports whether p has this token, also if ctx has ended.
func holds(ctx context.Context, p *plexauth.PlexAuth, token plexauth.Token) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	settings, err := p.Settings(ctx)
	return err == nil && settings.AccountToken.Equal(token)
}

// showNotKept tells a visitor whom the policy lets in why they are not signed in: their
// login could not be kept.
func (h *Handler) showNotKept(w http.ResponseWriter, r *http.Request, a *attempt, d decision) {
	v := view{Start: true, Again: true, Return: a.Return}
	switch err := d.notKept; {
	case errors.Is(err, plexauth.ErrAccountMismatch):
		h.log.InfoContext(r.Context(), "visitor refused: another account is linked", "account", d.account.ID)
		v.Title, v.Text, v.Account = "signin.linked_title", "signin.linked_text", displayName(d.account)
		h.show(w, r, http.StatusConflict, v)
	case errors.Is(err, plexauth.ErrStore):
		h.log.WarnContext(r.Context(), "visitor refused: the login could not be kept", "account", d.account.ID, "error", err)
		v.Title, v.Text = "signin.not_kept_title", "signin.not_kept_text"
		h.show(w, r, http.StatusServiceUnavailable, h.forOwner(r.Context(), d, err, v))
	default:
		h.log.WarnContext(r.Context(), "visitor refused: the login could not be kept", "account", d.account.ID, "error", err)
		h.showError(w, r, err, h.forOwner(r.Context(), d, err, v))
	}
}
