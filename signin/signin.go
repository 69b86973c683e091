// Package signin adds "Sign in with Plex" for the visitors of a web app. It finds
// out which Plex account a visitor has, and lets in the accounts that a policy allows.
//
//	handler, err := signin.New(signin.Options{
//		Product: "My App",
//		Plex:    auth, // the app's own login: the owner of its server may come in
//		Key:     key,  // 32 random bytes, stored, and the same on every replica
//		OnSignIn: func(w http.ResponseWriter, r *http.Request, a plexauth.Account) {
//			startSession(w, a.ID) // the ID identifies the visitor; a name does not
//		},
//	})
//	...
//	mux.Handle("/signin/", http.StripPrefix("/signin", handler))
//
// A visitor presses the button on the page at /signin/, or a button of the app:
//
//	<form method="post" action="/signin/start">
//	  <input type="hidden" name="return" value="/watchlist">
//	  <button>Sign in with Plex</button>
//	</form>
//
// The browser goes to Plex, where the visitor approves the sign-in. Then the browser
// comes back, and the handler calls OnSignIn.
//
// # Who gets in
//
// Anyone can have a Plex account, so having one proves nothing. The [Policy]
// decides who gets in. The default is [Owner], which lets in only the owner of the
// app's media server. [Home], [Shared] and [Accounts] let in more people. The log says why
// a visitor was refused; if they are the owner of the app's server, the page says it too.
// With Options.HomeMembers the admin of a Plex Home can sign in as a member who has no
// login of their own.
//
// # What is stored
//
// The server stores nothing. While the visitor is at Plex, the sign-in is kept in an
// encrypted cookie that is valid for ten minutes. Every sign-in has its own client
// identifier. The visitor's token is used to read the account and, for [Shared], the
// list of servers. Then it is revoked; it is never stored, and OnSignIn gets only the
// account. An app that works for its visitors at Plex keeps their logins with
// Options.Link.
//
// # What the app needs
//
// The pages are built in. Options.Page puts them into the app's own design.
//
// If a page that has the button sets form-action in its Content-Security-Policy, that
// must include https://app.plex.tv. Offer a second way to sign in to the app, because
// this one does not work while plex.tv is down.
package signin

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/mount"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/pervisitor"
)

// Options configures a [Handler]. Product, OnSignIn and Key are required.
type Options struct {
	// Product is the app's name. Plex shows it when it asks for approval.
	Product string
	// Plex is the app's own login. The policies use its account and its server.
	// If it is nil, [Owner], [Home] and [Shared] let no one in.
	Plex *plexauth.PlexAuth
	// Policy decides who gets in. If it is nil, the policy is [Owner].
	Policy Policy
	// OnSignIn is called for every visitor that the policy lets in. It starts the
	// app's session and identifies the visitor by Account.ID, because users can
	// change their names and e-mail addresses. The request is a POST from the app's
	// own site. If OnSignIn writes no response, the visitor is sent to the page
	// that they asked for.
	OnSignIn func(http.ResponseWriter, *http.Request, plexauth.Account)
	// Link says where to keep the login of a visitor, for an app that works for them at
	// Plex: for example auth.Namespace("plex/" + the account's ID). It is called after the
	// policy has let them in, and before OnSignIn. If Link or its result is nil, the
	// visitor's token is revoked.
	//
	// A login of the same account that is there and works stays, and the token of this
	// sign-in is revoked. Otherwise the PlexAuth adopts it, with its client identifier:
	// see [plexauth.PlexAuth.Adopt]. If that fails, the visitor is not signed in, the token
	// is revoked, and a page says what is wrong: the store or plex.tv does not answer, or
	// another account is linked there. The visitor can then sign in again. Link must be
	// safe for concurrent use.
	Link func(plexauth.Account) *plexauth.PlexAuth
	// HomeMembers lets the admin of a Plex Home sign in as a member who has no login of
	// their own, a managed user. After the approval a page asks who it is, and for the Home
	// PIN of a member who has one, the admin included. The approval by the admin is the
	// proof that the member belongs to the Home. Policy, Link and OnSignIn then get the
	// member's account, and never the admin's. Members who have a login of their own sign
	// in themselves.
	//
	// plex.tv checks the PIN, which is kept nowhere. After three wrong ones of a user each
	// try has to wait, in this process at most a quarter of an hour. The admin's token is
	// not kept while they choose, and revoked once they have.
	HomeMembers bool
	// Key encrypts the cookie. It must have at least 32 random bytes, and be the same
	// in every process that serves the app. Printing an Options prints the key;
	// printing a Handler does not.
	Key []byte
	// ReturnTo lists where a visitor may be sent after the sign-in: paths of this
	// site ("/app") or absolute URLs. An entry that ends in "/" allows everything
	// below it. The form field or query parameter "return" chooses the destination,
	// and one that is not listed is refused. Without "return" the first entry is used.
	// If ReturnTo is empty, the only destination is "/".
	ReturnTo []string
	// URL is the address of the handler as browsers see it, for example
	// "https://app.example/signin/". The handler refuses requests under any other
	// host name. If URL is empty, the handler takes the host and the path from each
	// request. Then it does not work behind a proxy that rewrites Host or strips a
	// prefix, and anyone can point a host name of their own at the app.
	URL string
	// MaxStarts is how many sign-ins all visitors together may start in ten minutes
	// in this process; 0 means 100. One client may start half of them, and one browser
	// five. A sign-in also counts if plex.tv's response to its start was lost.
	MaxStarts int
	// ClientKey returns a key that is the same for all requests of one client; it is
	// used for MaxStarts. If it is nil, the key is the remote address, or the /64
	// network of an IPv6 address. Behind a proxy all visitors have the proxy's
	// address: return the client address that your proxy sets.
	ClientKey func(*http.Request) string
	// Language is the language of the pages, as in [plexauth.Options].
	Language string
	// Page writes each page in the app's own design, for example by a template. It is
	// called for every page, with what the page shows; r is the request. If it is nil or
	// returns an error, the built-in page is shown, and the error is logged.
	//
	// The handler sends status and headers. Its Content-Security-Policy allows scripts,
	// styles and pictures from the app's own origin alone, and nothing inline. The rest is
	// the app's: to escape the texts (html/template does), to load signin.css and signin.js
	// if it uses Page.Content, and to keep other people's scripts off these pages. Page must
	// be safe for concurrent use.
	Page func(w io.Writer, r *http.Request, p Page) error
	// HTTPClient and BaseURL are as in [plexauth.Options].
	HTTPClient *http.Client
	BaseURL    string
	// Logger gets a record of each visitor who was let in or refused, with the reason,
	// and never a secret. If it is nil, nothing is logged.
	Logger *slog.Logger
}

const defaultMaxStarts = 100

// Handler signs visitors in. Mount one Handler at one path; the router may strip the
// prefix or keep it (docs/web.md has examples for chi, gin and echo). It serves:
//
//	GET  ./        the page with the button; ?return= says where to go afterwards
//	POST start     sends the browser to Plex; form field "return"
//	GET  callback  where Plex sends the browser back
//	POST finish    reads the account, asks the policy, calls OnSignIn
//	POST member    does the same for a member of the Plex Home, with Options.HomeMembers;
//	               form fields "member" (a UUID) and "pin"
//
// The POST requests must come from the app's own site. A Handler is safe for
// concurrent use.
type Handler struct {
	o        Options  // without Key
	external *url.URL // Options.URL; nil if that is empty
	returns  []destination
	base     *plexauth.PlexAuth // whose client all visitors share
	seal     sealer
	name     cookieNamer
	starts   startLimit
	claims   claims
	links    gate.Map // by account, to keep one login at a time
	pins     pinTries
	pause    pause
	protect  http.CrossOriginProtection
	log      *slog.Logger
	routes   map[string]route
}

type route struct {
	method  string
	serve   http.HandlerFunc
	anyHost bool // the page that refuses a host name needs it as well
}

// New returns a Handler for o. The error names every invalid option. New makes no
// request.
func New(o Options) (*Handler, error) {
	h := &Handler{o: o, log: o.Logger}
	var baseErr, returnsErr error
	h.base, baseErr = plexauth.New(plexauth.Options{Product: o.Product, Language: o.Language, HTTPClient: o.HTTPClient, BaseURL: o.BaseURL})
	h.returns, returnsErr = parseDestinations(o.ReturnTo)
	if err := errors.Join(baseErr, o.check(), returnsErr, h.setURL(o.URL)); err != nil {
		return nil, err
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.o.Policy == nil {
		h.o.Policy = Owner
	}
	if h.o.MaxStarts == 0 {
		h.o.MaxStarts = defaultMaxStarts
	}
	if h.o.ClientKey == nil {
		h.o.ClientKey = remoteAddress
	}
	h.starts.max = h.o.MaxStarts
	h.seal, h.name = newSealer(o.Key), newCookieNamer(o.Key)
	h.o.Key = nil // because printing h prints h.o
	h.routes = map[string]route{
		"":           {method: http.MethodGet, serve: h.startPage},
		"callback":   {method: http.MethodGet, serve: h.callback},
		"start":      {method: http.MethodPost, serve: h.start},
		"finish":     {method: http.MethodPost, serve: h.finish},
		"signin.css": {method: http.MethodGet, serve: asset("signin.css", "text/css; charset=utf-8"), anyHost: true},
		"signin.js":  {method: http.MethodGet, serve: asset("signin.js", "text/javascript; charset=utf-8"), anyHost: true},
	}
	if o.HomeMembers {
		h.routes["member"] = route{method: http.MethodPost, serve: h.member}
	}
	return h, nil
}

// check reports the options that need no parsing.
func (o Options) check() error {
	var errs []error
	if o.OnSignIn == nil {
		errs = append(errs, errors.New("signin: OnSignIn is nil: no visitor could be signed in"))
	}
	if len(o.Key) < 32 {
		errs = append(errs, fmt.Errorf("signin: Key has %d bytes: make at least 32 with crypto/rand, and store them", len(o.Key)))
	}
	if o.MaxStarts < 0 {
		errs = append(errs, errors.New("signin: MaxStarts is negative"))
	}
	return errors.Join(errs...)
}

// setURL parses Options.URL and trusts its origin.
func (h *Handler) setURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("signin: URL must be absolute, such as https://app.example/signin/")
	}
	netaddr.SetASCIIHost(u)
	if err := h.protect.AddTrustedOrigin(netaddr.Origin(u)); err != nil {
		return fmt.Errorf("signin: URL: %w", err)
	}
	h.external = u
	if len(h.callbackURL(nil)) > maxCallbackBytes {
		return errors.New("signin: URL is too long")
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer, browsers would send "Origin: null" with a form of this site.
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")

	route, ok := h.routes[mount.Name(r)]
	if !route.anyHost && !h.knowsHost(r) {
		h.show(w, r, http.StatusForbidden, view{Title: "signin.host_title", Text: "signin.host_text"})
		return
	}
	if mount.LacksSlash(r, ok) {
		mount.AddSlash(w, r)
		return
	}
	if !ok {
		h.show(w, r, http.StatusNotFound, view{Title: "signin.not_found_title", Text: "signin.not_found_text"})
		return
	}
	if r.Method != route.method && !(r.Method == http.MethodHead && route.method == http.MethodGet) {
		head.Set("Allow", route.method)
		h.show(w, r, http.StatusMethodNotAllowed, view{Title: "signin.start_title", Text: "signin.press_text", Start: true})
		return
	}
	if err := h.protect.Check(r); err != nil {
		h.show(w, r, http.StatusForbidden, view{Title: "signin.cross_origin_title", Text: "signin.cross_origin_text", Start: true})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	route.serve(w, r)
}

// visitor returns a PlexAuth for one sign-in, over store. All visitors share a
// client, so that a dead connection or a 429 is found once and not by each of them.
func (h *Handler) visitor(store plexauth.ConfigStore) *plexauth.PlexAuth {
	return pervisitor.WithStore(h.base, store).(*plexauth.PlexAuth)
}
