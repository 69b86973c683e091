// Command fakeplex runs a fake plex.tv on a loopback port, for clients in any
// language and for work without an account. Its help says how to point a
// client at it:
//
//	go run ./cmd/fakeplex -h
package main

import (
	"context"
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

const help = `fakeplex runs a fake plex.tv on a loopback port. One base URL plays plex.tv,
clients.plex.tv and app.plex.tv. It knows a few invented users and no secrets.

Usage:

  fakeplex [flags]

Flags:

%s
Sign in with curl:

  BASE=http://127.0.0.1:32500            # what fakeplex printed; or -addr 127.0.0.1:32500
  ID='X-Plex-Client-Identifier: my-app-1'

  curl -s -X POST -H 'Accept: application/json' -H "$ID" -H 'X-Plex-Product: My App' $BASE/api/v2/pins
  # open $BASE/link, type the code, approve; or run fakeplex with -approve-after 3s
  curl -s -H 'Accept: application/json' -H "$ID" -H 'X-Plex-Product: My App' $BASE/api/v2/pins/{id}
  # authToken is null, and a token once the code is approved
  curl -s -H 'Accept: application/json' -H "$ID" -H 'X-Plex-Product: My App' -H 'X-Plex-Token: {token}' $BASE/api/v2/user

For the web page instead of a code: POST $BASE/api/v2/pins?strong=true, then open
$BASE/auth#?clientID=my-app-1&code={code}&forwardUrl={where to go afterwards}

Any other client: replace https://plex.tv, https://clients.plex.tv and
https://app.plex.tv by the base URL.
`

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

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fakeplex", flag.ContinueOnError)
	flags.SetOutput(out)
	addr := flags.String("addr", "127.0.0.1:0", "listen on this loopback `address`; port 0 is any free one")
	user := flags.String("user", "alice", "the `name` that -approve-after signs in; it is made if there is none such")
	after := flags.Duration("approve-after", 0, "approve every new code by itself after this `time`, for example 3s; 0 is never")
	quiet := flags.Bool("q", false, "print the base URL only")
	flags.Usage = func() {
		var b strings.Builder
		flags.SetOutput(&b)
		flags.PrintDefaults()
		flags.SetOutput(out)
		fmt.Fprintf(out, help, b.String())
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -h", flags.Arg(0))
	}
	if err := onlyLoopback(*addr); err != nil {
		return err
	}

	fake := plextest.NewServer()
	defer fake.Close()
	fake.Randomize() // clients keep tokens longer than one run
	who := addUsers(fake, *user)

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	base := "http://" + listener.Addr().String()
	if *quiet {
		fmt.Fprintln(out, base)
	} else {
		fmt.Fprintf(out, "fake plex.tv: %s\n", base)
		fmt.Fprintf(out, "type codes at %s/link; ctrl-C ends it; -h shows how to use it\n", base)
	}

	server := &http.Server{Handler: fake.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	seen := map[string]time.Time{}
	for {
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
			fake.Close() // lets go of requests that hang
			err := server.Close()
			<-served
			if !*quiet {
				report(fake, out)
			}
			return err
		case now := <-ticker.C:
			if *after > 0 {
				approve(fake, who, seen, now, *after, out, *quiet)
			}
		}
	}
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

// addUsers makes the fake's people and returns the one of that name.
func addUsers(fake *plextest.Server, name string) *plextest.User {
	var who *plextest.User
	for _, u := range []string{"alice", "bob"} {
		added := fake.AddUser(plextest.User{Username: u})
		if u == name {
			who = added
		}
	}
	if who == nil {
		who = fake.AddUser(plextest.User{Username: name})
	}
	return who
}

// approve signs who in with every code that has waited long enough.
func approve(fake *plextest.Server, who *plextest.User, seen map[string]time.Time, now time.Time, after time.Duration, out io.Writer, quiet bool) {
	for _, code := range fake.PendingCodes() {
		first, ok := seen[code]
		if !ok {
			seen[code], first = now, now
		}
		if now.Sub(first) < after {
			continue
		}
		if err := fake.Approve(code, who); err == nil && !quiet {
			fmt.Fprintf(out, "approved %s as %s\n", code, who.Username)
		}
	}
}

// report says what clients did that they should not.
func report(fake *plextest.Server, out io.Writer) {
	for _, v := range fake.Violations() {
		fmt.Fprintln(out, "violation:", v)
	}
}
