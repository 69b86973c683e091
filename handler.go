package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/mount"
	"github.com/plexauth/plexauth/internal/plextv"
)

const biggestBody = 64 << 10

// Handler returns this profile's panel: the page, its assets and the HTTP API
// behind them. It has no login of its own: EVERYONE WHO REACHES IT CAN LINK AND
// UNLINK THE ACCOUNT, AND CAN HAVE THE MEDIA SERVER'S TOKEN SENT TO A SERVER OF
// THEIR OWN. Mount it behind the program's own login.
//
// If the program has no login, a page on the internet can reach the panel
// through a browser in the same network, by a name that it points at the
// program (DNS rebinding). [Options].TrustedOrigins is the defence: other names
// are refused then. Set it to the origins that the panel really has.
//
//	mux.Handle("/plex/", requireAdmin(http.StripPrefix("/plex", auth.Handler(ctx))))
//
// It works under any prefix, stripped or not, and behind a proxy; see
// [Options].TrustedOrigins for one that rewrites Host. docs/web.md shows how to
// mount it in chi, gin and echo. The mount point without its slash leads to the
// page; where the router does not say what the mount point is, as echo, it
// does so in browsers only. A login begun in the
// panel is waited for in the background, by one waiter, until its PIN or ctx
// ends, tab open or not; one that is pending already is taken up at once.
// After ctx every request is answered with 503.
//
// # The HTTP API
//
// For a front end of your own; the panel uses nothing else.
//
//	GET  ./          the page
//	GET  panel.js    the module that brings the fragment of [HTML] to life
//	GET  view.js     its other half
//	GET  panel.css   its style, themed by custom properties
//	GET  qr.svg      the pending PIN's link as a QR code; 404 without one
//	GET  status      how the profile stands; see below
//	GET  servers     {"servers": [...]}, as [PlexAuth.Servers]
//	GET  users       {"users": [...]}, as [PlexAuth.HomeUsers]
//	POST start       begins a login, or returns the pending one; {"switch_account": true} as in [PinOptions]
//	POST cancel      ends the pending login
//	POST disconnect  [PlexAuth.Disconnect]; with {"revoke": true} [PlexAuth.SignOut]
//	POST inspect     [PlexAuth.Inspect]
//	POST server      {"machine_id": "..."} or {"url": "..."}: [PlexAuth.UseServer]; the log says what
//	                 is at an address that was entered, and the answer does not
//	POST user        {"uuid": "...", "pin": "..."}: the member of the Plex Home to work for;
//	                 too_soon after a few wrong PINs
//	POST probe       {}: tries the account and the saved server, {"account", "server"};
//	                 {"url": "..."}: {"result": "ok", "wrong_server" or "unreachable"} and no more
//
// status, and every POST but probe, answer with the fields of [Status], and
// settings (as [Settings]), finding (true while the server of a new login is
// looked for), problem (below, or null: what hinders the pending login, how the
// last one ended, or why no server was found), seen and product
// ([Options].Product). The problem store beside a pending login means that Plex
// has approved it, and that the token cannot be saved yet. GET status?wait=25 is
// a long poll: it answers when the pending login has ended, or after 25
// seconds. With &seen= and the value of an earlier answer it answers when
// anything has changed since that one. A proxy may cut it short; ask again then.
//
// An error has a status of 400 and above and the body
//
//	{"error": "dns", "message": "The name plex.tv could not be found. ...", "detail": "..."}
//
// with retry_after (seconds) and servers (to choose from) where they apply.
// error is one of bad_request, not_found, method_not_allowed, too_large,
// cross_origin, host, too_soon, stopped, store, store_corrupt, not_connected,
// rejected, expired, account_mismatch, pin_expired, superseded, no_login,
// server_choice, server_token, server_unreachable, other_server, home_pin, rate_limited,
// changed, not_revoked, internal, and, where plex.tv could not be asked, dns, connect,
// proxy, tls, timeout, status, content. No answer holds a token, and none
// speaks of a first run while the store cannot be read.
//
// POSTs, and GETs of status, servers and users, must come from the same origin
// or from one of TrustedOrigins, as far as the browser tells: by plain http it does
// so for a POST only. The body of a POST is a JSON object of 64 KiB at
// most, or nothing. What servers and users list is kept for 15 seconds.
func (p *PlexAuth) Handler(ctx context.Context) http.Handler {
	h := &panel{
		PlexAuth: p, ctx: ctx,
		wake: make(chan struct{}, 1), starting: make(chan struct{}, 1), choosing: make(chan struct{}, 1), reading: make(chan struct{}, 1),
		serverList: list[plextv.MediaServer]{asking: make(chan struct{}, 1)}, userList: list[plextv.HomeUser]{asking: make(chan struct{}, 1)},
		changed: make(chan struct{}),
	}
	for _, o := range p.options.TrustedOrigins {
		_ = h.protect.AddTrustedOrigin(o) // New has checked them
	}
	h.routes = map[string]panelRoute{
		"":           {http.MethodGet, h.page},
		"panel.js":   {http.MethodGet, panelAsset("panel.js", "text/javascript; charset=utf-8")},
		"view.js":    {http.MethodGet, panelAsset("view.js", "text/javascript; charset=utf-8")},
		"panel.css":  {http.MethodGet, panelAsset("panel.css", "text/css; charset=utf-8")},
		"qr.svg":     {http.MethodGet, h.qr},
		"status":     {http.MethodGet, h.own(h.status)},
		"servers":    {http.MethodGet, h.own(h.servers)},
		"users":      {http.MethodGet, h.own(h.users)},
		"start":      {http.MethodPost, h.start},
		"cancel":     {http.MethodPost, h.cancel},
		"disconnect": {http.MethodPost, h.disconnect},
		"inspect":    {http.MethodPost, h.inspectNow},
		"server":     {http.MethodPost, h.server},
		"user":       {http.MethodPost, h.user},
		"probe":      {http.MethodPost, h.probe},
	}
	if p.invalid == nil {
		go h.wait()
	}
	return h
}

type panelRoute struct {
	method string
	serve  func(http.ResponseWriter, *http.Request)
}

// ServeHTTP implements [http.Handler].
func (h *panel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cache-Control", "no-store")
	route, known := h.routes[mount.Name(r)]
	switch {
	case h.ctx.Err() != nil:
		fail(w, stopping)
	case !h.knowsHost(r):
		fail(w, &problem{status: http.StatusForbidden, Word: "host", Message: "This program does not go by this name. Open it by one of its own, or add this one to TrustedOrigins."})
	case h.protect.Check(r) != nil || !h.knowsOrigin(r):
		fail(w, crossOrigin)
	case mount.LacksSlash(r, known):
		mount.AddSlash(w, r)
	case !known:
		fail(w, &problem{status: http.StatusNotFound, Word: "not_found", Message: "There is nothing here."})
	case r.Method != route.method && (r.Method != http.MethodHead || route.method != http.MethodGet):
		head.Set("Allow", route.method)
		fail(w, &problem{status: http.StatusMethodNotAllowed, Word: "method_not_allowed", Message: "This takes " + route.method + " only."})
	default:
		route.serve(w, r)
	}
}

// own serves a GET to pages of the same origin only. Anybody's page may have an
// image from here, and plex.tv would be asked for it.
func (h *panel) own(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		post := r.WithContext(r.Context())
		post.Method = http.MethodPost // CrossOriginProtection lets every GET pass
		if h.protect.Check(post) != nil {
			fail(w, crossOrigin)
			return
		}
		serve(w, r)
	}
}

var crossOrigin = &problem{status: http.StatusForbidden, Word: "cross_origin", Message: "The request came from another site and was not carried out. Behind a proxy that rewrites Host, set TrustedOrigins."}

var stopping = &problem{status: http.StatusServiceUnavailable, Word: "stopped", Message: "The program is stopping. Reload this page when it runs again."}

// knowsHost refuses names that somebody else may have pointed here. An address
// and a name without a dot cannot be.
func (h *panel) knowsHost(r *http.Request) bool {
	host := hostOf(r.Host)
	if len(h.options.TrustedOrigins) == 0 || net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		return true
	}
	for _, o := range h.options.TrustedOrigins {
		if u, err := url.Parse(o); err == nil && strings.EqualFold(u.Hostname(), host) {
			return true
		}
	}
	return false
}

func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// knowsOrigin is stricter than CrossOriginProtection, which takes an origin
// that agrees with Host.
func (h *panel) knowsOrigin(r *http.Request) bool {
	trusted, from := h.options.TrustedOrigins, r.Header.Get("Origin")
	if len(trusted) == 0 || from == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	return slices.Contains(trusted, from)
}

var badAddress = &problem{status: http.StatusBadRequest, Word: "bad_request", Message: "This is not a server address. One looks like https://192.168.1.5:32400."}

func badRequest(message string) *problem {
	return &problem{status: http.StatusBadRequest, Word: "bad_request", Message: message}
}

// decode reads the body into v, or answers what is wrong with it.
func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, biggestBody))
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		fail(w, &problem{status: http.StatusRequestEntityTooLarge, Word: "too_large", Message: "The request is larger than 64 KiB."})
		return false
	case err != nil:
		fail(w, badRequest("The request was broken off."))
		return false
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return true
	}
	if b[0] != '{' || json.Unmarshal(b, v) != nil {
		fail(w, badRequest("The request must be a JSON object of the right fields."))
		return false
	}
	return true
}

func respond(w http.ResponseWriter, v any, err error) {
	if err != nil {
		fail(w, problemOf(err))
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, problemOf(err))
		return
	}
	reply(w, http.StatusOK, b)
}

func fail(w http.ResponseWriter, p *problem) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	b, _ := json.Marshal(p) // plain fields
	reply(w, p.status, b)
}

func reply(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a reader who has gone is no trouble
}
