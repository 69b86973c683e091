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
// A Plex account is free: that somebody has one says nothing. Without a
// [Policy] only the owner of the configured server comes in ([Owner]), without
// a configured server nobody. [Home], [Shared] and [Accounts] let in more.
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
// down nobody can sign in here.
package signin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	lifetime = 10 * time.Minute // of one sign-in, from start to end
	// race is how long a returning visitor waits for plex.tv to know what it
	// has just told the browser.
	race      = 10 * time.Second
	afterward = 30 * time.Second // for what is done with a token in hand, visitor there or not
)

// Options says how visitors sign in. Product, OnSignIn and Key are required.
type Options struct {
	// Product is the app's name, which Plex shows when it asks for approval.
	Product string
	// Plex is the app's own login. The policies go by its account and its
	// server; with nil here, [Owner], [Home] and [Shared] let nobody in.
	Plex *plexauth.PlexAuth
	// Policy decides who gets in; nil: [Owner].
	Policy Policy
	// OnSignIn is called for a visitor whom the policy lets in. It starts the
	// app's session, under Account.ID: names and e-mail can be changed by
	// anybody. If it writes no answer, the visitor is sent to where they
	// wanted to go. The request is a POST of this site.
	OnSignIn func(http.ResponseWriter, *http.Request, plexauth.Account)
	// Key seals the cookie: at least 32 bytes that nobody can guess, the same
	// in every process that serves the app.
	Key []byte
	// ReturnTo lists where a visitor may be sent afterwards, by the form field
	// or query "return": paths of this site ("/app") or absolute URLs. One
	// that ends in "/" allows everything below it. Anything else is refused.
	// Who asks for nothing is sent to the first; empty: "/".
	ReturnTo []string
	// URL is where the handler is mounted as browsers see it,
	// "https://app.example/signin/". Empty: as each request shows, which is
	// wrong behind a proxy that rewrites Host or takes a prefix off the path.
	URL string
	// MaxStarts is how many sign-ins may begin in ten minutes in this process,
	// those of all visitors together; 0: 100. One browser may begin five.
	MaxStarts int
	// HTTPClient and BaseURL are as in [plexauth.Options].
	HTTPClient *http.Client
	BaseURL    string
	// Logger hears who came in and who did not, never a secret; nil: silent.
	Logger *slog.Logger
}

// Handler signs visitors in. It serves one mount point, with or without
// http.StripPrefix:
//
//	GET  ./        the page with the button; ?return= says where to go afterwards
//	POST start     to Plex; form field "return"
//	GET  callback  back from Plex
//	POST finish    reads the account, asks the policy, calls OnSignIn
//
// The POSTs must come from the site itself. Handler is safe for concurrent
// use.
type Handler struct {
	o        Options
	external *url.URL // Options.URL
	returns  []destination
	seal     sealer
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
	if _, err := h.visitor(plexauth.NewMemoryStore()); err != nil {
		errs = append(errs, err) // Product and BaseURL
	}
	if o.OnSignIn == nil {
		bad("OnSignIn is nil: nobody would ever be signed in")
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
		}
		h.external = u
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
	h.seal = newSealer(o.Key)
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

	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if r.URL.Path == "" { // mounted without the slash: relative links would miss
		http.Redirect(w, r, path.Base(seenPath(r))+"/", http.StatusPermanentRedirect)
		return
	}
	route, ok := h.routes[name]
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
		h.show(w, http.StatusForbidden, page{Title: "Not from here", Text: "This sign-in was asked for by another site, and was not begun.", Start: true})
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
	h.show(w, http.StatusOK, page{
		Title: "Sign in", Text: "Sign in with your Plex account. Your password stays with Plex.",
		Start: true, Return: to, Finish: f.live() && !h.counter.finished(f),
	})
}

func (h *Handler) refuseReturn(w http.ResponseWriter) {
	h.show(w, http.StatusBadRequest, page{Title: "Not a place to return to", Text: "This link wants to send you somewhere that this app does not allow. It was not followed.", Start: true})
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
	f := h.open(r)
	if !f.reusable() || f.Callback != callback || h.counter.finished(f) {
		if wait := h.counter.begin(f); wait > 0 {
			h.slowDown(w, wait)
			return
		}
		f = f.again(callback)
	}
	f.Return = to
	pin, err := h.begin(r.Context(), f)
	if err != nil {
		h.counter.failed(f, err)
		h.log.WarnContext(r.Context(), "sign-in not begun", "error", err)
		h.showError(w, err)
		return
	}
	h.save(w, r, f)
	http.Redirect(w, r, pin.AuthURL(), http.StatusSeeOther)
}

// begin makes the PIN of f, or finds it there.
func (h *Handler) begin(ctx context.Context, f *flow) (*plexauth.Pin, error) {
	store := f.store()
	p, err := h.visitor(store)
	if err != nil {
		return nil, err
	}
	pin, err := p.Start(ctx, plexauth.PinOptions{Strong: true, ForwardURL: f.Callback})
	if err == nil {
		err = f.keep(store, pin)
	}
	return pin, err
}

// callback is where Plex sends the browser. It changes nothing: its page comes
// back with a POST, which is of this site again.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	f := h.open(r)
	if !f.live() || h.counter.finished(f) {
		h.over(w)
		return
	}
	h.show(w, http.StatusOK, page{Title: "Signing in", Text: "One moment: asking Plex who you are.", Finish: true, Auto: true})
}

// over answers who comes back to a sign-in that is no more.
func (h *Handler) over(w http.ResponseWriter) {
	h.show(w, http.StatusGone, page{
		Title: "Start again", Start: true,
		Text: "This sign-in is over: it was used, it took longer than ten minutes, or it was begun in another browser.",
	})
}

// finish turns an approval into a visitor.
func (h *Handler) finish(w http.ResponseWriter, r *http.Request) {
	f := h.open(r)
	if !f.live() || !h.counter.claim(r.Context(), f) {
		h.over(w)
		return
	}
	done := false
	defer func() { h.counter.release(f, done) }()
	store := f.store()
	p, err := h.visitor(store)
	if err != nil {
		h.showError(w, err)
		return
	}
	status, err := approval(r.Context(), p)
	if !status.Connected {
		h.unapproved(w, r, err)
		return
	}
	done = true // a token came of it: this sign-in is used up, whatever follows
	h.save(w, r, f.used())
	account, allowed, err := h.decide(r.Context(), p)
	switch {
	case err != nil:
		h.log.WarnContext(r.Context(), "visitor refused: nobody could say whether they may come in", "error", err)
		h.showError(w, err)
	case !allowed:
		h.log.InfoContext(r.Context(), "visitor refused", "account", account.ID)
		h.show(w, http.StatusForbidden, page{
			Title: "No access", Start: true, Again: true, Return: f.Return, Name: name(account),
			Text: "This Plex account may not sign in to " + h.o.Product + ". Ask whoever runs it, or use another account.",
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

// approval looks for the approval, and waits out a short race.
func approval(ctx context.Context, p *plexauth.PlexAuth) (plexauth.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, race)
	defer cancel()
	status, err := p.Finish(ctx)
	if err != nil && !unsettled(err) || status.Connected {
		return status, err
	}
	status, waitErr := p.Wait(ctx)
	if errors.Is(waitErr, context.DeadlineExceeded) && err != nil {
		waitErr = err // why it could not be seen
	}
	return status, waitErr
}

// unsettled tells that the next look may succeed.
func unsettled(err error) bool {
	return errors.Is(err, plexauth.ErrUnavailable) || errors.Is(err, plexauth.ErrRateLimited)
}

func (h *Handler) unapproved(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case r.Context().Err() != nil: // nobody is there any more; the sign-in stays
	case errors.Is(err, plexauth.ErrPinExpired), errors.Is(err, plexauth.ErrNoPendingPin):
		h.over(w)
	case err == nil, errors.Is(err, context.DeadlineExceeded):
		h.show(w, http.StatusAccepted, page{
			Title: "Not approved yet", Finish: true, Start: true,
			Text: "Plex does not know of your approval yet. If you have approved, look again; else go to Plex once more.",
		})
	default:
		h.log.WarnContext(r.Context(), "sign-in not finished", "error", err)
		h.showError(w, err)
	}
}

// decide reads the account of a token in hand, asks the policy, and revokes
// the token: also if the visitor has left meanwhile, and if the policy panics.
func (h *Handler) decide(ctx context.Context, p *plexauth.PlexAuth) (account *plexauth.Account, allowed bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterward)
	defer cancel()
	defer func() {
		if _, err := p.SignOut(ctx); err != nil {
			h.log.WarnContext(ctx, "a visitor's token was dropped, but not revoked", "error", err)
		}
	}()
	if account, err = p.Account(ctx); err != nil {
		return nil, false, err
	}
	allowed, err = h.o.Policy(ctx, Visitor{Account: *account, visitor: p, plex: h.o.Plex})
	return account, allowed, err
}

// visitor is a PlexAuth for one sign-in.
func (h *Handler) visitor(store plexauth.ConfigStore) (*plexauth.PlexAuth, error) {
	return plexauth.New(plexauth.Options{
		Product: h.o.Product, Store: store, HTTPClient: h.o.HTTPClient, BaseURL: h.o.BaseURL,
	})
}

func name(a *plexauth.Account) string {
	for _, s := range []string{a.Username, a.Title, a.FriendlyName} {
		if s != "" {
			return s
		}
	}
	return ""
}
