// Web is a small web app that uses plexauth twice: a panel with which the
// operator connects the app to Plex, and "Sign in with Plex" for its visitors.
//
//	go run ./examples/web -offline   # against a fake plex.tv, no account needed
//	go run ./examples/web
//
// The app prints a password for the panel when it starts, so that the panel
// works before Plex is connected and while Plex is down. The owner of the
// connected server may sign in, and so may everyone with whom it is shared.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
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

// newApp returns the whole app: its page, the panel, and the sign-in for visitors.
func newApp(ctx context.Context, o plexauth.Options, password string) (http.Handler, error) {
	auth, err := plexauth.New(o)
	if err != nil {
		return nil, err
	}
	sessions := &sessions{names: map[string]string{}}
	key := make([]byte, 32) // all replicas of an app need the same key: load it from its secrets
	_, _ = rand.Read(key)   // never fails
	visitors, err := signin.New(signin.Options{
		Product: o.Product, Plex: auth, Policy: signin.Shared, Key: key,
		OnSignIn: sessions.begin,
		BaseURL:  o.BaseURL, HTTPClient: o.HTTPClient, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/plex/", onlyAdmin(password, http.StripPrefix("/plex", auth.Handler(ctx))))
	mux.Handle("/signin/", http.StripPrefix("/signin", visitors))
	mux.HandleFunc("GET /{$}", sessions.home)
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

// sessions holds the visitors who are signed in.
type sessions struct {
	mu    sync.Mutex
	names map[string]string // value of the session cookie to name
}

// begin starts a session. A real app stores the account's ID, because names can
// change.
func (s *sessions) begin(w http.ResponseWriter, r *http.Request, a plexauth.Account) {
	id := rand.Text()
	s.mu.Lock()
	s.names[id] = a.Title
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
	// begin writes no body, so the handler redirects the visitor back to the app.
}

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>An app</title>
{{if .}}<h1>Hello, {{.}}</h1>
<p>You are signed in.</p>
{{else}}<h1>An app</h1>
<form method="post" action="signin/start"><button>Sign in with Plex</button></form>
{{end}}<p><a href="plex/">Connect the app to Plex</a></p>
</html>
`))

// home serves the app's page, with the visitor's name if they are signed in.
func (s *sessions) home(w http.ResponseWriter, r *http.Request) {
	name := ""
	if c, err := r.Cookie("session"); err == nil {
		s.mu.Lock()
		name = s.names[c.Value]
		s.mu.Unlock()
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, name); err != nil {
		return // the visitor has disconnected
	}
}
