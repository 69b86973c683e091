// Command fakeplex runs a fake plex.tv and a media server on loopback ports. It
// serves clients in any language and needs no Plex account. Its help shows how
// to use it from curl, a browser app or python-plexapi:
//
//	go run ./cmd/fakeplex -h
package main

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/plexauth/plexauth/plextest"
)

//go:embed help.txt
var help string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakeplex:", err)
		os.Exit(1)
	}
}

// options holds the values of the flags.
type options struct {
	addr, user, ca        string
	approveAfter          time.Duration
	tls, cors, jwt, quiet bool
	ownedTokens           bool
	accountsRefusal       int
	plexHeader            bool
}

// parse returns the options in args. If args ask for help, it prints the help to
// out and returns flag.ErrHelp.
func parse(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("fakeplex", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error, once and without the long help
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "listen on this loopback `address`; port 0 picks a free port")
	flags.StringVar(&o.user, "user", "alice", "the `name` of the user whom -approve-after signs in; created if it is not alice, bob or Kids")
	flags.DurationVar(&o.approveAfter, "approve-after", 0, "approve every new code automatically after this `time`, for example 3s; 0 means never")
	flags.StringVar(&o.ca, "ca", "", "write the CA certificate of this run to this `file`, in PEM; needed with -tls and for use as a proxy")
	flags.BoolVar(&o.tls, "tls", false, "serve https; needs -ca")
	flags.BoolVar(&o.cors, "cors", false, "let scripts of any web page call the API, as plex.tv does")
	flags.BoolVar(&o.jwt, "server-takes-jwt", false, "let the media server accept an account's JWT; real ones do not")
	flags.BoolVar(&o.ownedTokens, "owned-token-is-account-token", false, "list a user's own servers with the account token as their accessToken, as plex.tv was seen to do")
	flags.IntVar(&o.accountsRefusal, "accounts-refusal", http.StatusUnauthorized, "the `status` with which the media server refuses /accounts to users who are not its owner: 401, 403 or 404")
	flags.BoolVar(&o.plexHeader, "plex-header", false, "let the media server send X-Plex-Protocol, as real ones do when no proxy removes it")
	flags.BoolVar(&o.quiet, "q", false, "print the base URL and nothing else")
	err = flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		var defaults strings.Builder
		flags.SetOutput(&defaults)
		flags.PrintDefaults()
		fmt.Fprintf(out, help, defaults.String())
		return o, err
	}
	if err != nil {
		return o, fmt.Errorf("%w; see -h", err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see -h", flags.Arg(0))
	}
	if o.tls && o.ca == "" {
		return o, errors.New("-tls needs -ca: clients have to trust its certificate")
	}
	switch o.accountsRefusal {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return o, fmt.Errorf("-accounts-refusal %d: use 401, 403 or 404", o.accountsRefusal)
	}
	return o, onlyLoopback(o.addr)
}

// onlyLoopback returns an error if addr is not a loopback address, because every
// client that reaches the fake can approve codes.
func onlyLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("-addr %s: not a loopback address", addr)
	}
	return nil
}

// run parses args and serves until ctx ends. It prints addresses, approvals and
// violations to out.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	fake := plextest.NewServer()
	defer fake.Close()
	fake.Randomize() // clients may keep tokens of an earlier run
	fake.SetQuirks(plextest.Quirks{CORS: o.cors, OwnedTokenIsAccountToken: o.ownedTokens})
	if o.ca != "" {
		if err := os.WriteFile(o.ca, fake.CACertificate(), 0o644); err != nil {
			return err
		}
	}

	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(listener.Addr().String())
	mediaListener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		_ = listener.Close()
		return err
	}
	scheme := "http"
	if o.tls {
		scheme = "https"
		listener = tls.NewListener(listener, fake.TLSConfig())
		mediaListener = tls.NewListener(mediaListener, fake.TLSConfig())
	}
	base := scheme + "://" + listener.Addr().String()
	mediaURL := scheme + "://" + mediaListener.Addr().String()
	user, box := populate(fake, o, mediaURL)

	if o.quiet {
		fmt.Fprintln(out, base)
		out = io.Discard
	}
	fmt.Fprintf(out, "fake plex.tv: %s\n", base)
	fmt.Fprintf(out, "media server: %s\n", mediaURL)
	fmt.Fprintf(out, "enter a code: %s/link\n", base)
	fmt.Fprintln(out, "press ctrl-C to stop; -h shows how to use it")

	servers := []*http.Server{
		{Handler: proxy{fake, base, fake.Handler()}, ReadHeaderTimeout: 10 * time.Second},
		{Handler: box.Handler(), ReadHeaderTimeout: 10 * time.Second},
	}
	served := make(chan error, len(servers))
	for i, l := range []net.Listener{listener, mediaListener} {
		go func() { served <- servers[i].Serve(l) }()
	}
	err = approveCodes(ctx, fake, o.approveAfter, user, served, out)
	fake.Close() // ends requests that hang
	for _, s := range servers {
		_ = s.Close()
	}
	return err
}

// approveCodes signs user in with every code that is older than after; 0 means
// never. It runs until ctx ends, and then prints the violations, or until a
// server fails.
func approveCodes(ctx context.Context, fake *plextest.Server, after time.Duration, user *plextest.User, served <-chan error, out io.Writer) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	seen := map[string]time.Time{}
	for {
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
			for i, v := range fake.Violations() {
				if i == 0 {
					fmt.Fprintln(out) // ends the line of the terminal's ^C
				}
				fmt.Fprintln(out, "violation:", v)
			}
			return nil
		case now := <-ticker.C:
			if after <= 0 {
				continue
			}
			for _, code := range fake.PendingCodes() {
				if seen[code].IsZero() {
					seen[code] = now
				}
				if now.Sub(seen[code]) >= after && fake.Approve(code, user) == nil {
					fmt.Fprintf(out, "approved %s as %s\n", code, user.Title)
				}
			}
		}
	}
}

// populate adds the users and their media server to the fake. It returns the
// media server, and the user whom -approve-after signs in.
func populate(fake *plextest.Server, o options, mediaURL string) (user *plextest.User, box *plextest.MediaServer) {
	alice := fake.AddUser(plextest.User{Username: "alice", PlexPass: true})
	bob := fake.AddUser(plextest.User{Username: "bob"})
	kids := fake.AddUser(plextest.User{Title: "Kids", Restricted: true, HomeAdmin: alice, HomePIN: "1234"})
	for _, u := range []*plextest.User{alice, bob, kids} {
		if u.Title == o.user {
			user = u
		}
	}
	if user == nil {
		user = fake.AddUser(plextest.User{Username: o.user})
	}
	_, hostPort, _ := strings.Cut(mediaURL, "://")
	host, portText, _ := net.SplitHostPort(hostPort)
	port, _ := net.LookupPort("tcp", portText)
	box = fake.AddMediaServer(alice, plextest.MediaServer{
		Name: "Box", SharedWith: []*plextest.User{bob}, AcceptsJWT: o.jwt, AccountsRefusal: o.accountsRefusal, PlexHeader: o.plexHeader,
		Connections: []plextest.Connection{{Address: host, Port: port, URI: mediaURL, Local: true}},
	})
	return user, box
}
