package signin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	// race is how long a returning visitor waits for plex.tv to know what it
	// has just told the browser.
	race         = 10 * time.Second
	afterward    = 30 * time.Second // for what is done with a token in hand, visitor there or not
	revokeWithin = 10 * time.Second // and then for revoking it
)

// callback is where Plex sends the browser. It changes nothing: its page comes
// back with a POST, which is of this site again.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	f := h.open(r)
	if !f.live() || h.counter.finished(f) {
		h.over(w, f)
		return
	}
	h.show(w, http.StatusOK, page{Title: "Signing in", Text: "One moment: asking Plex who you are.", Finish: true, Auto: true})
}

// over answers a visitor whose sign-in can no longer be finished.
func (h *Handler) over(w http.ResponseWriter, f *flow) {
	h.show(w, http.StatusGone, page{
		Title: "Start again", Start: true, Return: f.Return,
		Text: "This sign-in is over: it was used, it took longer than ten minutes, or it was begun in another browser. Begin a new one.",
	})
}

// finish turns an approval into a visitor.
func (h *Handler) finish(w http.ResponseWriter, r *http.Request) {
	f := h.open(r)
	if !f.live() || !h.counter.claim(r.Context(), f) {
		h.over(w, f)
		return
	}
	done := false
	defer func() { h.counter.release(f, done) }()
	if wait := h.counter.pause(); wait > 0 {
		h.slowDown(w, wait, page{Finish: true, Return: f.Return})
		return
	}
	store := f.store()
	p := h.visitor(store)
	status, err := h.approval(r.Context(), f, p)
	if !status.Connected {
		h.unapproved(w, r, f, err)
		return
	}
	done = true // a token came of it: this sign-in is used up, whatever follows
	h.save(w, r, f.used())
	account, allowed, lacks, err := h.decide(r.Context(), p)
	h.counter.failed(err)
	switch {
	case err != nil:
		h.log.WarnContext(r.Context(), "visitor refused: the policy failed", "error", err)
		h.showError(w, err, page{Return: f.Return})
	case !allowed && lacks != "":
		h.log.WarnContext(r.Context(), "visitor refused: the app is not set up", "account", account.ID, "because", string(lacks))
		h.show(w, http.StatusServiceUnavailable, page{
			Title: "Not set up yet", Start: true, Again: true, Return: f.Return,
			Text: h.o.Product + " cannot let you in: " + string(lacks) + ". Your Plex account is not the reason. Ask the person who runs this app to set it up, then sign in again.",
		})
	case !allowed:
		h.log.InfoContext(r.Context(), "visitor refused", "account", account.ID)
		h.show(w, http.StatusForbidden, page{
			Title: "No access", Start: true, Again: true, Return: f.Return, Name: name(account),
			Text: "This Plex account may not sign in to " + h.o.Product + ". Ask the person who runs it, or sign in at Plex with another account.",
		})
	default:
		h.log.InfoContext(r.Context(), "visitor signed in", "account", account.ID)
		answer := &answer{ResponseWriter: w}
		h.o.OnSignIn(answer, r, *account)
		if !answer.written {
			http.Redirect(w, r, f.Return, http.StatusSeeOther)
		}
	}
}

// approval looks for the approval of f, and waits out a short race, but not
// beyond the end of f. It looks by itself, because Wait would hide a 429 that
// concerns all visitors.
func (h *Handler) approval(ctx context.Context, f *flow, p *plexauth.PlexAuth) (plexauth.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, min(race, f.left()))
	defer cancel()
	for gap := time.Second; ; {
		status, err := p.Finish(ctx)
		h.counter.failed(err)
		switch {
		case status.Connected, err != nil && !unsettled(err):
			return status, err
		case err != nil:
			gap *= 2
		}
		pause := max(gap, h.counter.pause())
		if end, _ := ctx.Deadline(); err != nil && time.Until(end) <= pause {
			return status, err
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-ctx.Done():
		}
		next.Stop()
		if ctx.Err() != nil {
			return status, err
		}
	}
}

// unsettled tells that the next look may succeed.
func unsettled(err error) bool {
	return errors.Is(err, plexauth.ErrUnavailable) || errors.Is(err, plexauth.ErrRateLimited)
}

func (h *Handler) unapproved(w http.ResponseWriter, r *http.Request, f *flow, err error) {
	switch {
	case r.Context().Err() != nil: // the visitor has left; the sign-in stays
	case !f.live(), errors.Is(err, plexauth.ErrPinExpired), errors.Is(err, plexauth.ErrNoPendingPin):
		h.over(w, f)
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		h.show(w, http.StatusAccepted, page{
			Title: "Not approved yet", Finish: true, Start: true, Return: f.Return,
			Text: "Plex does not know of your approval yet. If you have approved it there, press Continue; else go to Plex again.",
		})
	default:
		h.log.WarnContext(r.Context(), "sign-in not finished", "error", err)
		h.showError(w, err, page{Finish: unsettled(err), Return: f.Return})
	}
}

// decide reads the account of a token in hand, asks the policy, and revokes
// the token, also if the visitor has left or the policy panics. lacks is what
// the app itself lacks, if that is why the policy refuses.
func (h *Handler) decide(ctx context.Context, p *plexauth.PlexAuth) (account *plexauth.Account, allowed bool, lacks setup, err error) {
	ctx = context.WithoutCancel(ctx)
	defer h.revoke(ctx, p) // in its own time, however long the rest has taken
	ctx, cancel := context.WithTimeout(ctx, afterward)
	defer cancel()
	if account, err = p.Account(ctx); err != nil {
		return nil, false, "", err
	}
	allowed, err = h.o.Policy(ctx, Visitor{Account: *account, visitor: p, plex: h.o.Plex, lacks: &lacks})
	return account, allowed, lacks, err
}

// revoke ends a visitor's token, here and at plex.tv.
func (h *Handler) revoke(ctx context.Context, p *plexauth.PlexAuth) {
	ctx, cancel := context.WithTimeout(ctx, revokeWithin)
	defer cancel()
	if _, err := p.SignOut(ctx); err != nil {
		h.counter.failed(err)
		h.log.WarnContext(ctx, "a visitor's token was dropped, but not revoked", "error", err)
	}
}

func name(a *plexauth.Account) string {
	for _, s := range []string{a.Username, a.Title, a.FriendlyName} {
		if s != "" {
			return s
		}
	}
	return ""
}
