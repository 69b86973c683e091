package signin

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/plexauth/plexauth"
)

// startPage serves the page with the button. If the browser has an attempt that can
// be finished, the page also has a button for that.
func (h *Handler) startPage(w http.ResponseWriter, r *http.Request) {
	to, ok := h.destination(r.FormValue("return"))
	if !ok {
		h.refuseDestination(w, r)
		return
	}
	p := view{
		Title: "signin.start_title", Text: "signin.text",
		Start: true, Return: to,
	}
	if a := h.readCookie(r); h.canFinish(a) {
		p.Finish = true
		p.Text = "signin.started_text"
		if r.FormValue("return") == "" {
			p.Return = a.Return
		}
	}
	h.show(w, r, http.StatusOK, p)
}

func (h *Handler) refuseDestination(w http.ResponseWriter, r *http.Request) {
	h.show(w, r, http.StatusBadRequest, view{Title: "signin.return_title", Text: "signin.return_text", Start: true})
}

// start sends the browser to Plex. A browser whose PIN can still be approved gets the
// same PIN again.
func (h *Handler) start(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		h.show(w, r, http.StatusBadRequest, view{Title: "signin.bad_request_title", Text: "signin.bad_text", Start: true})
		return
	}
	to, ok := h.destination(r.FormValue("return"))
	if !ok {
		h.refuseDestination(w, r)
		return
	}
	callback := h.callbackURL(r)
	if len(callback) > maxCallbackBytes {
		h.show(w, r, http.StatusBadRequest, view{Title: "signin.bad_request_title", Text: "signin.long_text"})
		return
	}
	before, client := h.readCookie(r), h.o.ClientKey(r)
	a := before
	resumed := before.reusable() && before.Callback == callback && !h.claims.isFinished(before)
	if !resumed {
		if wait := h.countStart(before, client); wait > 0 {
			h.askToWait(w, r, wait, view{Return: to})
			return
		}
		a = before.next(callback)
	}
	a.Return = to
	pin, err := h.requestPIN(r.Context(), a)
	if err != nil {
		h.pause.record(err)
		switch {
		case resumed: // counted when it started
		case madeNoPIN(err):
			h.starts.giveBack(client)
		default: // counts, but the browser keeps the attempt that it had
			before.Starts = a.Starts
			h.writeCookie(w, r, before)
		}
		h.log.WarnContext(r.Context(), "could not start a sign-in", "error", err)
		h.showError(w, r, err, view{Return: to})
		return
	}
	h.claims.register(a)
	h.writeCookie(w, r, a)
	http.Redirect(w, r, pin.AuthURL(), http.StatusSeeOther)
}

// requestPIN returns the PIN of a, and makes it if a has none. a then holds the PIN.
func (h *Handler) requestPIN(ctx context.Context, a *attempt) (*plexauth.Pin, error) {
	store := a.store()
	pin, err := h.visitor(store).Start(ctx, plexauth.PinOptions{Strong: true, ForwardURL: a.Callback})
	if err == nil {
		err = a.take(store, pin)
	}
	return pin, err
}

// madeNoPIN reports whether err, from a start that failed, proves that plex.tv made no
// PIN: there was no connection, or plex.tv refused the request. After any other error
// plex.tv may have made a PIN, and only its response was lost.
func madeNoPIN(err error) bool {
	var e *plexauth.Error
	if !errors.As(err, &e) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect"
	}
	return errors.Is(err, plexauth.ErrRateLimited) || e.StatusCode == http.StatusServiceUnavailable || e.StatusCode/100 == 4 && !errors.Is(err, plexauth.ErrUnavailable)
}
