// Package signin is "Sign in with Plex" for a web app's own visitors: who they
// are, according to Plex, and whether they may come in.
//
//	handler, err := signin.New(signin.Options{
//		Product: "My App",
//		Plex:    auth, // the app's own login: the owner of its server may come in
//		Key:     key,  // 32 random bytes, kept; the same on every replica
//		OnSignIn: func(w http.ResponseWriter, r *http.Request, a plexauth.Account) {
//			startSession(w, a.ID) // the number, never the name, says who it is
//		},
//	})
//	...
//	mux.Handle("/signin/", http.StripPrefix("/signin", handler))
//
// A visitor presses the button on the page at /signin/, or one of the app's
// own:
//
//	<form method="post" action="/signin/start">
//	  <input type="hidden" name="return" value="/watchlist">
//	  <button>Sign in with Plex</button>
//	</form>
//
// is sent to Plex, approves, comes back, and OnSignIn is called.
//
// # Who gets in
//
// A Plex account is free, so having one proves nothing. Without a [Policy] only
// the owner of the configured server comes in ([Owner]), and without a
// configured server no one. [Home], [Shared] and [Accounts] let in more.
//
// # What is kept
//
// Nothing on the server. A sealed cookie, good for ten minutes, holds the
// sign-in while the visitor is at Plex, under a client identifier that is made
// for this one sign-in. The token that comes of it answers who the visitor is
// (and, for [Shared], which servers they may use), is revoked, and is stored
// nowhere; OnSignIn gets the account alone.
//
// # Beside it
//
// A page of the app with a Content-Security-Policy that has form-action must
// allow https://app.plex.tv in it. Give the app a second door: when plex.tv is
// down no visitor can sign in here.
package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/mount"
	"github.com/plexauth/plexauth/internal/sibling"
)

const lifetime = 10 * time.Minute // of one sign-in, from start to end

// Options says how visitors sign in. Product, OnSignIn and Key are required.
type Options struct {
	// Product is the app's name, which Plex shows when it asks for approval.
	Product string
	// Plex is the app's own login. The policies go by its account and its
	// server; with nil here, [Owner], [Home] and [Shared] let no one in.
	Plex *plexauth.PlexAuth
	// Policy decides who gets in; nil: [Owner].
	Policy Policy
	// OnSignIn is called for a visitor whom the policy lets in. It starts the
	// app's session, under Account.ID: names and e-mail can be changed by
	// anybody. If it writes no answer, the visitor is sent to where they
	// wanted to go. The request is a POST of this site.
	OnSignIn func(http.ResponseWriter, *http.Request, plexauth.Account)
	// Key seals the cookie: at least 32 random bytes, the same in every process
	// that serves the app. Printing an Options prints it; a Handler does not
	// show it.
	Key []byte
	// ReturnTo lists where a visitor may be sent afterwards, by the form field
	// or query "return": paths of this site ("/app") or absolute URLs. One
	// that ends in "/" allows everything below it. Anything else is refused.
	// Who asks for nothing is sent to the first; empty: "/".
	ReturnTo []string
	// URL is where the handler is mounted as browsers see it,
	// "https://app.example/signin/". Under any other name the handler signs
	// no visitor in. Empty: the handler takes name and path from each request,
	// which is wrong behind a proxy that rewrites Host or takes a prefix off
	// the path, and lets others point a name of theirs at the app.
	URL string
	// MaxStarts is how many sign-ins may begin in ten minutes in this process,
	// those of all visitors together; 0: 100. One client may begin half of
	// them, one browser five. A sign-in counts also if plex.tv's answer to its
	// start was lost.
	MaxStarts int
	// ClientKey tells clients apart for MaxStarts; nil: by the remote address,
	// of IPv6 by its /64 network. Behind a proxy all visitors have the proxy's
	// address: return the one that it vouches for.
	ClientKey func(*http.Request) string
	// HTTPClient and BaseURL are as in [plexauth.Options].
	HTTPClient *http.Client
	BaseURL    string
	// Logger hears who came in and who did not, never a secret; nil: silent.
	Logger *slog.Logger
}

// Handler signs visitors in. It serves one mount point, whether or not the
// router takes the prefix off; see docs/web.md for chi, gin and echo:
//
//	GET  ./        the page with the button; ?return= says where to go afterwards
//	POST start     to Plex; form field "return"
//	GET  callback  back from Plex
//	POST finish    reads the account, asks the policy, calls OnSignIn
//
// The POSTs must come from the site itself. Handler is safe for concurrent
// use.
type Handler struct {
	o        Options  // without Key
	external *url.URL // Options.URL
	returns  []destination
	base     *plexauth.PlexAuth // of which each visitor has a sibling
	seal     sealer
	name     namer
	counter  counter
	protect  http.CrossOriginProtection
	log      *slog.Logger
	routes   map[string]route
}

type route struct {
	method string
	serve  http.HandlerFunc
}

// New returns a Handler and reports every bad option at once. It makes no
// request.
func New(o Options) (*Handler, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("signin: "+format, args...)) }
	h := &Handler{o: o, log: o.Logger, counter: counter{most: o.MaxStarts, flows: map[string]*use{}}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	var err error
	h.base, err = plexauth.New(plexauth.Options{Product: o.Product, HTTPClient: o.HTTPClient, BaseURL: o.BaseURL})
	if err != nil {
		errs = append(errs, err) // Product and BaseURL
	}
	if o.OnSignIn == nil {
		bad("OnSignIn is nil: no visitor would ever be signed in")
	}
	if len(o.Key) < 32 {
		bad("Key has %d bytes: use at least 32 from crypto/rand, and keep them", len(o.Key))
	}
	for _, s := range o.ReturnTo {
		d, err := parseDestination(s)
		if err != nil {
			bad("ReturnTo: %w", err)
		}
		h.returns = append(h.returns, d)
	}
	if o.URL != "" {
		u, err := url.Parse(o.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			bad("URL must be absolute, such as https://app.example/signin/")
		} else if err := h.protect.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			bad("URL: %w", err)
		} else if h.external = u; len(h.callbackURL(nil)) > longestCallback {
			bad("URL is too long")
		}
	}
	if o.MaxStarts < 0 {
		bad("MaxStarts is negative")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if h.o.Policy == nil {
		h.o.Policy = Owner
	}
	if h.counter.most == 0 {
		h.counter.most = 100
	}
	if h.o.ClientKey == nil {
		h.o.ClientKey = remoteAddress
	}
	h.seal, h.name = newSealer(o.Key), newNamer(o.Key)
	h.o.Key = nil // printing h prints its options
	h.routes = map[string]route{
		"":           {http.MethodGet, h.page},
		"callback":   {http.MethodGet, h.callback},
		"start":      {http.MethodPost, h.start},
		"finish":     {http.MethodPost, h.finish},
		"signin.css": {http.MethodGet, asset("signin.css", "text/css; charset=utf-8")},
		"signin.js":  {http.MethodGet, asset("signin.js", "text/javascript; charset=utf-8")},
	}
	return h, nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	// Not no-referrer: with that, browsers send "Origin: null" with a form of
	// this very site.
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")

	if !h.knowsName(r) {
		h.show(w, http.StatusForbidden, page{Title: "Not by this name", Text: h.o.Product + " is known by another name. Sign in at " + h.external.String() + "."})
		return
	}
	route, ok := h.routes[mount.Name(r)]
	if mount.LacksSlash(r, ok) {
		mount.AddSlash(w, r)
		return
	}
	if !ok {
		h.show(w, http.StatusNotFound, page{Title: "Not found", Text: "There is nothing here."})
		return
	}
	if r.Method != route.method && !(r.Method == http.MethodHead && route.method == http.MethodGet) {
		head.Set("Allow", route.method)
		h.show(w, http.StatusMethodNotAllowed, page{Title: "Not this way", Text: "Use the button to sign in.", Start: true})
		return
	}
	if err := h.protect.Check(r); err != nil {
		h.show(w, http.StatusForbidden, page{Title: "Not from here", Text: "Another site asked for this, so nothing was done. Sign in from here.", Start: true})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	route.serve(w, r)
}

// page is where a visitor begins.
func (h *Handler) page(w http.ResponseWriter, r *http.Request) {
	to, ok := h.destination(r.FormValue("return"))
	if !ok {
		h.refuseReturn(w)
		return
	}
	f := h.open(r)
	p := page{
		Title: "Sign in", Text: "Sign in with your Plex account. Your password stays with Plex.",
		Start: true, Return: to, Finish: f.live() && !h.counter.finished(f),
	}
	if p.Finish {
		if r.FormValue("return") == "" {
			p.Return = f.Return
		}
		p.Text = "You have begun to sign in. If you have approved it at Plex, press Continue; else go to Plex again."
	}
	h.show(w, http.StatusOK, p)
}

func (h *Handler) refuseReturn(w http.ResponseWriter) {
	h.show(w, http.StatusBadRequest, page{Title: "Not a place to return to", Text: "This link wants to send you somewhere that this app does not allow. It was not followed. You can sign in without it.", Start: true})
}

// start sends the browser to Plex. A browser that has a sign-in under way goes
// on with that one.
func (h *Handler) start(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		h.show(w, http.StatusBadRequest, page{Title: "Not understood", Text: "The request was broken off or too large.", Start: true})
		return
	}
	to, ok := h.destination(r.FormValue("return"))
	if !ok {
		h.refuseReturn(w)
		return
	}
	callback := h.callbackURL(r)
	if len(callback) > longestCallback {
		h.show(w, http.StatusBadRequest, page{Title: "Not understood", Text: "The address of this page is too long."})
		return
	}
	before := h.open(r)
	f, client := before, h.o.ClientKey(r)
	if !f.reusable() || f.Callback != callback || h.counter.finished(f) {
		if wait := h.counter.begin(f, client); wait > 0 {
			h.slowDown(w, wait, page{Return: to})
			return
		}
		f = f.again(callback)
	}
	f.Return = to
	pin, err := h.begin(r.Context(), f)
	if err != nil {
		h.counter.failed(err)
		switch {
		case f == before: // it was counted when it began
		case notBegun(err):
			h.counter.takeBack(client)
		default:
			before.Starts = f.Starts
			h.save(w, r, before)
		}
		h.log.WarnContext(r.Context(), "sign-in not begun", "error", err)
		h.showError(w, err, page{Return: to})
		return
	}
	h.counter.began(f)
	h.save(w, r, f)
	http.Redirect(w, r, pin.AuthURL(), http.StatusSeeOther)
}

// begin makes the PIN of f, or finds it there.
func (h *Handler) begin(ctx context.Context, f *flow) (*plexauth.Pin, error) {
	store := f.store()
	pin, err := h.visitor(store).Start(ctx, plexauth.PinOptions{Strong: true, ForwardURL: f.Callback})
	if err == nil {
		err = f.keep(store, pin)
	}
	return pin, err
}

// visitor returns a PlexAuth for one sign-in. All visitors share a client, so that what
// one meets at plex.tv, a dead connection or a 429, is known to the next one.
func (h *Handler) visitor(store plexauth.ConfigStore) *plexauth.PlexAuth {
	return sibling.WithStore(h.base, store).(*plexauth.PlexAuth)
}
