// Command fakeplex runs a fake plex.tv, with a media server, on loopback
// ports, for clients in any language and for work without an account. Its
// help says how to point curl, a browser app or python-plexapi at it:
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

// options are the flags.
type options struct {
	addr, user, ca        string
	after                 time.Duration
	tls, cors, jwt, quiet bool
	ownedTokens           bool
	accounts              int
	plexHeader            bool
}

func parse(args []string, out io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("fakeplex", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is told once, and not ahead of the long help
	flags.StringVar(&o.addr, "addr", "127.0.0.1:0", "listen on this loopback `address`; port 0 is any free one")
	flags.StringVar(&o.user, "user", "alice", "the `name` that -approve-after signs in; such a user is made if it is not alice, bob or Kids")
	flags.DurationVar(&o.after, "approve-after", 0, "approve every new code by itself after this `time`, for example 3s; 0 is never")
	flags.StringVar(&o.ca, "ca", "", "write the certificate of this run's authority to this `file`, in PEM; for -tls and for use as a proxy")
	flags.BoolVar(&o.tls, "tls", false, "speak https; needs -ca")
	flags.BoolVar(&o.cors, "cors", false, "let scripts of any web page call the API, as plex.tv does")
	flags.BoolVar(&o.jwt, "server-takes-jwt", false, "the media server accepts an account's JWT; real ones do not")
	flags.BoolVar(&o.ownedTokens, "owned-token-is-account-token", false, "plex.tv lists servers of one's own with the account's token, as it was seen to do")
	flags.IntVar(&o.accounts, "accounts-refusal", http.StatusUnauthorized, "the `status` by which the media server refuses /accounts to all but its owner: 401, 403 or 404")
	flags.BoolVar(&o.plexHeader, "plex-header", false, "the media server's answers have X-Plex-Protocol, as those of real ones without a proxy in front")
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
		return o, errors.New("-tls needs -ca: clients must be told whom to trust")
	}
	switch o.accounts {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return o, fmt.Errorf("-accounts-refusal %d: use 401, 403 or 404", o.accounts)
	}
	return o, onlyLoopback(o.addr)
}

// onlyLoopback refuses addresses that others could reach: whoever can reach
// the fake can approve codes.
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

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	fake := plextest.NewServer()
	defer fake.Close()
	fake.Randomize() // clients keep tokens longer than one run
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
	who, box := populate(fake, o, mediaURL)

	if o.quiet {
		fmt.Fprintln(out, base)
		out = io.Discard
	}
	fmt.Fprintf(out, "fake plex.tv: %s\n", base)
	fmt.Fprintf(out, "media server: %s\n", mediaURL)
	fmt.Fprintf(out, "enter a code: %s/link\n", base)
	fmt.Fprintln(out, "ctrl-C ends it; -h shows how to use it")

	servers := []*http.Server{
		{Handler: proxy{fake, base, fake.Handler()}, ReadHeaderTimeout: 10 * time.Second},
		{Handler: box.Handler(), ReadHeaderTimeout: 10 * time.Second},
	}
	served := make(chan error, len(servers))
	for i, l := range []net.Listener{listener, mediaListener} {
		go func() { served <- servers[i].Serve(l) }()
	}
	err = watch(ctx, fake, o.after, who, served, out)
	fake.Close() // lets go of requests that hang
	for _, s := range servers {
		_ = s.Close()
	}
	return err
}

// watch approves codes as they get old enough, until ctx or a server ends.
func watch(ctx context.Context, fake *plextest.Server, after time.Duration, who *plextest.User, served <-chan error, out io.Writer) error {
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
					fmt.Fprintln(out) // behind the terminal's ^C
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
				if now.Sub(seen[code]) >= after && fake.Approve(code, who) == nil {
					fmt.Fprintf(out, "approved %s as %s\n", code, who.Title)
				}
			}
		}
	}
}

// populate makes the fake's people and their media server, and returns it and
// who signs in by itself.
func populate(fake *plextest.Server, o options, mediaURL string) (who *plextest.User, box *plextest.MediaServer) {
	alice := fake.AddUser(plextest.User{Username: "alice", PlexPass: true})
	bob := fake.AddUser(plextest.User{Username: "bob"})
	kids := fake.AddUser(plextest.User{Title: "Kids", Restricted: true, HomeAdmin: alice, HomePIN: "1234"})
	for _, u := range []*plextest.User{alice, bob, kids} {
		if u.Title == o.user {
			who = u
		}
	}
	if who == nil {
		who = fake.AddUser(plextest.User{Username: o.user})
	}
	_, hostPort, _ := strings.Cut(mediaURL, "://")
	host, portText, _ := net.SplitHostPort(hostPort)
	port, _ := net.LookupPort("tcp", portText)
	box = fake.AddMediaServer(alice, plextest.MediaServer{
		Name: "Box", SharedWith: []*plextest.User{bob}, AcceptsJWT: o.jwt, AccountsRefusal: o.accounts, PlexHeader: o.plexHeader,
		Connections: []plextest.Connection{{Address: host, Port: port, URI: mediaURL, Local: true}},
	})
	return who, box
}
