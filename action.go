package plexauth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

// answer ends a POST: with what has gone wrong, or how things stand now.
func (h *panel) answer(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		var v *view
		if v, _, err = h.look(r.Context()); err == nil {
			v.write(w, plain.Header(h.options.Product))
			return
		}
	}
	fail(w, problemOf(err))
}

func (h *panel) start(w http.ResponseWriter, r *http.Request) {
	var body struct {
		SwitchAccount bool `json:"switch_account"`
	}
	if !decode(w, r, &body) {
		return
	}
	select {
	case h.starting <- struct{}{}:
		defer func() { <-h.starting }()
	case <-r.Context().Done():
		return
	}
	o := PinOptions{SwitchAccount: body.SwitchAccount}
	b, err := h.load(r.Context())
	if err != nil {
		fail(w, problemOf(err))
		return
	}
	pending := b.Pending()
	if pending == nil || !h.isReusable(pending, pending.ClientID, h.options.DeviceKey, o) {
		if err := h.checkStore(r.Context()); err != nil { // as Start does, but before anything counts
			fail(w, problemOf(err))
			return
		}
		if wait := time.Until(h.nextStart(b)); wait > 0 {
			fail(w, &problem{status: http.StatusTooManyRequests, Word: "too_soon", Message: "A code was asked for only just now. A new one can be had in a few seconds.", RetryAfter: seconds(wait)})
			return
		}
	}
	before := time.Until(h.logins.nextWebStart(h.instance))
	h.logins.noteWebStart(h.instance, profile.StartPause) // now: the answer may be lost, and the PIN made all the same
	pin, err := h.Start(r.Context(), o)
	if err == nil && pending != nil && pin.ID == pending.Id || madeNoPIN(err) {
		h.logins.noteWebStart(h.instance, before)
	} else {
		h.logins.noteWebStart(h.instance, profile.StartPause)
	}
	if err == nil {
		h.notePanelPIN(r.Context(), pin, pending)
		h.news(nil)
	}
	h.answer(w, r, err)
}

// notePanelPIN tells the other replicas of pin, also for when it is no longer in the
// store, unless it is the one that was pending before. Without the note the pace
// holds in this process alone.
func (h *panel) notePanelPIN(ctx context.Context, pin *Pin, before *profile.PendingPIN) {
	if before != nil && before.Id == pin.ID {
		return
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace) // the PIN is made, whether the browser waits or not
	defer cancel()
	err := h.update(late, func(b *profile.Profile) error {
		b.NotePanelPIN(pin.CreatedAt)
		return nil
	})
	if err != nil {
		h.warn(ctx, "the date of the PIN was not saved", err)
	}
}

// madeNoPIN reports whether plex.tv certainly made no PIN for a Start that has
// failed: no connection came about, or plex.tv itself refused.
func madeNoPIN(err error) bool {
	e := failureOf(err)
	if e == nil || e.Op != plextv.OpCreatePIN {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect"
	}
	return errors.Is(err, fault.ErrRateLimited) || e.StatusCode == http.StatusServiceUnavailable || e.StatusCode/100 == 4 && !errors.Is(err, fault.ErrUnavailable)
}

// nextStart returns when the panel may have another PIN made. This process knows of
// its own starts, b of those of all replicas.
func (h *panel) nextStart(b *profile.Profile) time.Time {
	next := h.logins.nextWebStart(h.instance)
	wait := time.Until(b.LastPIN().Add(profile.StartPause))
	if wait > 2*profile.StartPause { // a clock was set
		return next
	}
	wait = min(wait, profile.StartPause) // a replica's clock may be ahead
	if after := time.Now().Add(wait); after.After(next) {
		return after
	}
	return next
}

func (h *panel) cancel(w http.ResponseWriter, r *http.Request) {
	if !decode(w, r, &struct{}{}) {
		return
	}
	err := h.Cancel(r.Context())
	if err == nil {
		h.news(nil)
	}
	h.answer(w, r, err)
}

func (h *panel) disconnect(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Revoke bool `json:"revoke"`
	}
	if !decode(w, r, &body) {
		return
	}
	var err error
	if body.Revoke {
		_, err = h.SignOut(r.Context())
	} else {
		_, err = h.Disconnect(r.Context())
	}
	if errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrRateLimited) { // done here all the same
		h.news(&problem{Word: "not_revoked", Message: "Plex is disconnected here, but plex.tv could not be told. Remove this program from the authorized devices in your Plex account's settings.", Detail: problemOf(err).Detail})
		err = nil
	} else if err == nil {
		h.news(nil)
	}
	h.answer(w, r, err)
}

func (h *panel) inspectNow(w http.ResponseWriter, r *http.Request) {
	if !decode(w, r, &struct{}{}) {
		return
	}
	_, err := h.Inspect(r.Context())
	h.news(nil)
	h.answer(w, r, err)
}

func (h *panel) server(w http.ResponseWriter, r *http.Request) {
	var body struct {
		MachineID string `json:"machine_id"`
		URL       string `json:"url"`
	}
	if !decode(w, r, &body) {
		return
	}
	choice := strings.TrimSpace(body.MachineID)
	if body.URL != "" {
		if mediaserver.Typed(body.URL, true) == nil {
			fail(w, badAddress)
			return
		}
		if choice = strings.TrimSpace(body.URL); !looksTyped(choice) {
			choice += "/" // a bare name: it is an address all the same, and no machine's
		}
	}
	if choice == "" {
		fail(w, badRequest("A server is chosen by machine_id, or by url."))
		return
	}
	_, err := h.UseServer(r.Context(), choice)
	h.news(nil)
	if errors.As(err, new(mediaserver.EnteredError)) {
		h.info(r.Context(), "no media server at the address that was entered: "+plain.Long(err.Error()))
		fail(w, problemOf(err).withoutFindings(err))
		return
	}
	h.answer(w, r, err)
}

func (h *panel) probe(w http.ResponseWriter, r *http.Request) {
	var body struct {
		URL string `json:"url"`
	}
	if !decode(w, r, &body) {
		return
	}
	if body.URL != "" {
		if mediaserver.Typed(body.URL, true) == nil {
			fail(w, badAddress)
			return
		}
		found, err := h.Probe(r.Context(), body.URL)
		result := "unreachable"
		switch {
		case found.URL != "":
			result = "ok"
		case found.MachineID != "":
			result = "wrong_server"
		case errors.Is(err, ErrStore):
			fail(w, problemOf(err))
			return
		}
		respond(w, map[string]string{"result": result}, nil)
		return
	}
	type part struct {
		OK      bool     `json:"ok"`
		Problem *problem `json:"problem"`
	}
	account, server := part{OK: true}, struct {
		part
		ProbeResult
	}{part: part{OK: true}}
	if _, err := h.Verify(r.Context()); err != nil {
		account = part{false, problemOf(err)}
	}
	var err error
	if server.ProbeResult, err = h.Probe(r.Context(), ""); err != nil {
		server.part = part{false, problemOf(err)}
	}
	server.Addresses = append([]ProbedAddress{}, server.Addresses...)
	respond(w, map[string]any{"account": account, "server": server}, nil)
}
