// Web is a small web app that uses plexauth twice: a panel with which the
// operator connects the app to Plex, and "Sign in with Plex" for its visitors.
//
//	go run ./examples/web -offline   # against a fake plex.tv, no account needed
//	go run ./examples/web
//
// Its home page has two steps: connect the app's media server, then sign in as a
// visitor. The owner of that server may sign in, and so may everyone with whom it is
// shared. The app prints a password for the panel when it starts, so that the panel
// works before Plex is connected and while Plex is down.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/signin"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "listen at this `address`")
	config := flag.String("config", "plexauth.json", "keep the login in this `file`")
	offline := flag.Bool("offline", false, "use a fake plex.tv on this machine: needs no account and no network, and saves nothing")
	flag.Parse()
	if flag.NArg() > 0 { // flag.Parse also ignores all flags after the argument
		fmt.Fprintf(os.Stderr, "unexpected argument %q; see -h\n", flag.Arg(0))
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *config, *offline); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves the app until ctx ends.
func run(ctx context.Context, out io.Writer, addr, config string, offline bool) error {
	o := plexauth.Options{
		Product: "plexauth example",
		Store:   plexauth.NewFileStore(config),
		Logger:  slog.New(plexauth.NewLogHandler(func(level, module, message string) { fmt.Fprintf(out, "[%s] %s: %s\n", module, level, message) })),
	}
	if offline {
		fake := plextest.NewServer()
		defer fake.Close()
		populate(fake)
		o.Store, o.BaseURL, o.HTTPClient = plexauth.NewMemoryStore(), fake.URL(), fake.Client()
	}
	password := rand.Text()[:8]
	app, err := newApp(ctx, o, password)
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w: choose another address with -addr", err)
	}
	base := baseURL(*listener.Addr().(*net.TCPAddr))
	fmt.Fprintf(out, "The app:   %s/\nThe panel: %s/plex/\n  user admin, password %s\n", base, base, password)
	if offline {
		fmt.Fprintf(out, "The fake plex.tv: %s/\n  alice owns a server, bob may use it, eve may not\n", o.BaseURL)
	}
	fmt.Fprintln(out, "Press Ctrl-C to stop.")
	server := &http.Server{Handler: app, ReadHeaderTimeout: 10 * time.Second}
	shutDown := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(shutDown)
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace) // the panel's long polls end with ctx
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-shutDown // Serve returns as soon as Shutdown begins, before all requests are answered
	return nil
}

// baseURL returns the URL at which a browser on this machine reaches a listener
// at an address.
func baseURL(at net.TCPAddr) string {
	if at.IP.IsUnspecified() { // a browser cannot open 0.0.0.0
		at.IP = net.IPv4(127, 0, 0, 1)
	}
	return "http://" + at.String()
}

// populate adds users and a media server to the fake plex.tv.
func populate(fake *plextest.Server) {
	fake.Randomize()
	alice := fake.AddUser(plextest.User{Username: "alice"})
	bob := fake.AddUser(plextest.User{Username: "bob"})
	fake.AddUser(plextest.User{Username: "eve"})
	fake.AddUser(plextest.User{Title: "Kid", Restricted: true, HomeAdmin: alice, HomePIN: "1234"})
	fake.AddMediaServer(alice, plextest.MediaServer{
		Name: "Living room", SharedWith: []*plextest.User{bob},
		Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}},
	})
}

// newApp returns the whole app: its pages, the panel, and the sign-in for visitors.
func newApp(ctx context.Context, o plexauth.Options, password string) (http.Handler, error) {
	plex, err := plexauth.New(o)
	if err != nil {
		return nil, err
	}
	a := &app{plex: plex, log: o.Logger, offline: o.BaseURL != "", visitors: map[string]string{}}
	key := make([]byte, 32) // all replicas of an app need the same key: load it from its secrets
	_, _ = rand.Read(key)   // never fails
	signIn, err := signin.New(signin.Options{
		Product: o.Product, Plex: plex, Policy: signin.Shared, Key: key,
		OnSignIn: a.begin,
		BaseURL:  o.BaseURL, HTTPClient: o.HTTPClient, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("POST /signout", a.end)
	mux.Handle("/signin/", http.StripPrefix("/signin", signIn))
	mux.Handle("/plex/", onlyAdmin(password, http.StripPrefix("/plex", plex.Handler(ctx))))
	mux.Handle("GET /plex/{$}", onlyAdmin(password, http.HandlerFunc(panel))) // instead of the panel's own page
	return mux, nil
}

// onlyAdmin protects h by the password, since the panel has no access control of
// its own.
func onlyAdmin(password string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, given, _ := r.BasicAuth()
		if user != "admin" || subtle.ConstantTimeCompare([]byte(given), []byte(password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="panel", charset="UTF-8"`)
			http.Error(w, "Sign in as admin, with the password that the app printed when it started.", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

//go:embed page.html
var files embed.FS

var pages = template.Must(template.ParseFS(files, "page.html"))

// show writes a page of page.html. It is never cached, because it shows who is signed in.
func show(w http.ResponseWriter, name string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = pages.ExecuteTemplate(w, name, data) // fails only if the browser has left
}

// panel serves the app's page around the panel.
func panel(w http.ResponseWriter, r *http.Request) {
	show(w, "panel", template.HTML(plexauth.HTML()))
}

// app is the web app with the visitors who are signed in.
type app struct {
	plex    *plexauth.PlexAuth // the app's own login, with its server
	log     *slog.Logger
	offline bool

	mu       sync.Mutex
	visitors map[string]string // value of the session cookie to name
}

// home serves the home page. It makes no request to plex.tv.
func (a *app) home(w http.ResponseWriter, r *http.Request) {
	status, err := a.plex.Status(r.Context())
	settings, settingsErr := a.plex.Settings(r.Context())
	if err = errors.Join(err, settingsErr); err != nil {
		a.log.Error("cannot read the app's own login", "error", err)
		http.Error(w, "The app cannot read its own login. Its log says why.", http.StatusInternalServerError)
		return
	}
	show(w, "home", struct {
		Status  plexauth.Status
		Ready   bool // a visitor can sign in
		Visitor string
		Offline bool
	}{status, status.Connected && !status.NeedsLogin && settings.MachineID != "", a.visitor(r), a.offline})
}

const sessionCookie = "session"

// visitor returns the name of the visitor who is signed in, or "".
func (a *app) visitor(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.visitors[c.Value]
}

// begin starts a session. A real app stores the account's ID, because names can
// change.
func (a *app) begin(w http.ResponseWriter, r *http.Request, account plexauth.Account) {
	id := rand.Text()
	a.mu.Lock()
	a.visitors[id] = account.Title
	a.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
	// begin writes no body, so the handler redirects the visitor back to the app.
}

// end ends the session of a visitor. A form of another site cannot call it, because
// browsers send it no cookie of SameSite Lax.
func (a *app) end(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		a.mu.Lock()
		delete(a.visitors, c.Value)
		a.mu.Unlock()
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
