package signin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/plexauth/plexauth"
)

// approvalWait bounds how long a visitor who is back from Plex waits for plex.tv to
// report the approval. It can arrive after the browser.
const approvalWait = 10 * time.Second

// canFinish reports whether a has a PIN, has not ended, and is not finished.
func (h *Handler) canFinish(a *attempt) bool { return a.live() && !h.claims.isFinished(a) }

// callback serves the page to which Plex sends the browser. It changes nothing, because
// another site can send a browser here. The page posts to finish by itself.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	a := h.readCookie(r)
	if !h.canFinish(a) {
		h.showEnded(w, r, a)
		return
	}
	h.show(w, r, http.StatusOK, view{Title: "signin.checking_title", Text: "signin.checking_text", Finish: true, Auto: true})
}

// showEnded tells a visitor that a can no longer be finished.
func (h *Handler) showEnded(w http.ResponseWriter, r *http.Request, a *attempt) {
	h.show(w, r, http.StatusGone, view{
		Title: "signin.ended_title", Text: "signin.ended_text", Start: true, Return: a.Return,
	})
}

// finish signs the visitor in if Plex has approved the attempt and the policy lets them
// in.
func (h *Handler) finish(w http.ResponseWriter, r *http.Request) { h.conclude(w, r, choice{}) }

// conclude signs the visitor in, as the member of their Plex Home that they have chosen.
func (h *Handler) conclude(w http.ResponseWriter, r *http.Request, c choice) {
	a := h.readCookie(r)
	if !a.live() || !h.claims.acquire(r.Context(), a) {
		h.showEnded(w, r, a)
		return
	}
	state := unclaimed
	defer func() { h.claims.release(a, state) }()
	if wait := h.pause.left(); wait > 0 {
		h.askToWait(w, r, wait, view{Finish: true, Return: a.Return})
		return
	}
	p := h.visitor(a.store())
	status, err := h.awaitApproval(r.Context(), a, p)
	if !status.Connected {
		h.showNotApproved(w, r, a, err)
		return
	}
	login, q, err := h.identify(r.Context(), p, c)
	if q != nil || isTemporary(err) {
		h.showUnidentified(w, r, a, q, err)
		return
	}
	state = finished // whatever happens to the tokens that p and login have now
	h.writeCookie(w, r, a.withoutPIN())
	d, err := h.decide(r.Context(), login, err)
	h.pause.record(errors.Join(err, d.notKept))
	h.respond(w, r, a, d, err)
}

// showUnidentified asks a visitor who they are, or tells them why they cannot be asked. They
// can go on afterwards.
func (h *Handler) showUnidentified(w http.ResponseWriter, r *http.Request, a *attempt, q *question, err error) {
	a.Approved = true
	h.writeCookie(w, r, a)
	if q == nil {
		h.pause.record(err)
		h.log.WarnContext(r.Context(), "could not find out who signs in", "error", err)
		h.showError(w, r, err, view{Finish: true, Return: a.Return})
		return
	}
	if q.wait > 0 {
		setRetryAfter(w, q.wait)
	}
	q.view.Return = a.Return
	h.show(w, r, q.status, q.view)
}

// respond lets the visitor in or tells them why not, according to the decision d. If err is
// not nil, there is no decision.
func (h *Handler) respond(w http.ResponseWriter, r *http.Request, a *attempt, d decision, err error) {
	switch {
	case err != nil:
		h.log.WarnContext(r.Context(), "visitor refused: the policy failed", "account", d.id(), "error", err)
		h.showError(w, r, err, h.forOwner(r.Context(), d, err, view{Return: a.Return}))
	case d.notKept != nil:
		h.showNotKept(w, r, a, d)
	case d.allowed:
		h.log.InfoContext(r.Context(), "visitor signed in", "account", d.account.ID)
		response := &trackedResponse{ResponseWriter: w}
		h.o.OnSignIn(response, r, *d.account)
		if !response.written {
			http.Redirect(w, r, a.Return, http.StatusSeeOther)
		}
	case d.reason.isSetup():
		h.log.WarnContext(r.Context(), "visitor refused: the app is not set up", "account", d.account.ID, "because", string(d.reason))
		h.show(w, r, http.StatusServiceUnavailable, h.forOwner(r.Context(), d, nil, view{
			Title: "signin.setup_title", Text: setupText[d.reason], Start: true, Again: true, Return: a.Return,
		}))
	default:
		h.log.InfoContext(r.Context(), "visitor refused", "account", d.account.ID, "because", string(d.reason))
		h.show(w, r, http.StatusForbidden, h.forOwner(r.Context(), d, nil, view{
			Title: "signin.refused_title", Text: "signin.refused_text", Start: true, Again: true, Return: a.Return, Account: displayName(d.account),
		}))
	}
}

// awaitApproval polls the PIN of a until it is approved, for approvalWait at most. It
// calls Finish and not Wait, because Wait would hide a 429, which concerns all visitors.
func (h *Handler) awaitApproval(ctx context.Context, a *attempt, p *plexauth.PlexAuth) (plexauth.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, min(approvalWait, a.timeLeft()))
	defer cancel()
	for interval := minPollInterval; ; {
		status, err := p.Finish(ctx)
		h.pause.record(err)
		switch {
		case status.Connected, err != nil && !isTemporary(err):
			return status, err
		case err != nil:
			interval *= 2
		}
		wait := max(interval, h.pause.left())
		if end, _ := ctx.Deadline(); err != nil && time.Until(end) <= wait {
			return status, err
		}
		if sleep(ctx, wait); ctx.Err() != nil {
			return status, err
		}
	}
}

// isTemporary reports whether the next poll may succeed after err.
func isTemporary(err error) bool {
	return errors.Is(err, plexauth.ErrUnavailable) || errors.Is(err, plexauth.ErrRateLimited)
}

// showNotApproved tells a visitor why awaitApproval brought no approval.
func (h *Handler) showNotApproved(w http.ResponseWriter, r *http.Request, a *attempt, err error) {
	switch {
	case r.Context().Err() != nil: // the visitor has left; the attempt can be finished later
	case !a.live(), errors.Is(err, plexauth.ErrPinExpired), errors.Is(err, plexauth.ErrNoPendingPin):
		h.showEnded(w, r, a)
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		h.show(w, r, http.StatusAccepted, view{
			Title: "signin.waiting_title", Text: "signin.waiting_text", Finish: true, Start: true, Return: a.Return,
		})
	default:
		h.log.WarnContext(r.Context(), "could not finish a sign-in", "error", err)
		h.showError(w, r, err, view{Finish: isTemporary(err), Return: a.Return})
	}
}

// displayName returns the name by which a person knows the account, or "".
func displayName(account *plexauth.Account) string {
	for _, s := range []string{account.Username, account.Title, account.FriendlyName} {
		if s != "" {
			return s
		}
	}
	return ""
}

// trackedResponse records whether OnSignIn has written a response.
type trackedResponse struct {
	http.ResponseWriter
	written bool
}

func (t *trackedResponse) WriteHeader(status int) {
	t.written = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *trackedResponse) Write(b []byte) (int, error) {
	t.written = true
	return t.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (t *trackedResponse) Unwrap() http.ResponseWriter { return t.ResponseWriter }
