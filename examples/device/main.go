// Device keeps two logins of one person in one file: a device key for plex.tv,
// whose tokens live for seven days and renew themselves, and a long-lived login
// for the media server, which does not take such tokens. The person approves
// each of them once; a second run asks nothing.
//
//	go run ./examples/device
//
// With -offline nothing leaves the machine: run "go run ./cmd/fakeplex -addr
// 127.0.0.1:32500" in another terminal first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

func main() {
	config := flag.String("config", "config.json", "`file` that keeps both logins")
	offline := flag.Bool("offline", false, "use the fake plex.tv of cmd/fakeplex at 127.0.0.1:32500")
	server := flag.String("server", "", "`machine id` of the media server, where there are several")
	flag.Parse()
	if flag.NArg() > 0 { // and all flags behind it
		fmt.Fprintf(os.Stderr, "unexpected argument %q; see -h\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	options := plexauth.Options{Store: plexauth.NewFileStore(*config)}
	if *offline {
		options.BaseURL = "http://127.0.0.1:32500"
	}
	err := run(ctx, os.Stdout, options, *server)
	if errors.Is(err, context.Canceled) {
		fmt.Println("\nStopped. Run this again to go on: a code not yet confirmed stays good.")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if *offline && errors.Is(err, plexauth.ErrUnavailable) {
			fmt.Fprintln(os.Stderr, "The fake plex.tv runs with: go run ./cmd/fakeplex -addr 127.0.0.1:32500")
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, options plexauth.Options, server string) error {
	options.Product = "plexauth device example"
	servers, err := plexauth.New(options) // the default profile: other programs look there for a token that servers take
	if err != nil {
		return err
	}
	options.Instance, options.DeviceKey, options.Scopes = "device", true, []string{"username"}
	account, err := plexauth.New(options)
	if err != nil {
		return err
	}

	if err := signIn(ctx, out, account, "the device key, for plex.tv"); err != nil {
		return err
	}
	if err := signIn(ctx, out, servers, "the long-lived login, for the media server"); err != nil {
		return err
	}
	if err := samePerson(ctx, account, servers); err != nil {
		return err
	}
	return errors.Join(showAccount(ctx, out, account), showServer(ctx, out, servers, server))
}

// signIn asks the person only where plex.tv does not take what is saved.
func signIn(ctx context.Context, out io.Writer, auth *plexauth.PlexAuth, what string) error {
	_, err := auth.Verify(ctx)
	if errors.Is(err, plexauth.ErrNotConnected) || errors.Is(err, plexauth.ErrTokenRejected) {
		_, err = auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			_, err := fmt.Fprintf(out, "For %s:\n  open %s\n  and confirm the code %s\n", what, pin.URL(), pin.Code)
			return err
		})
	}
	return err
}

// samePerson refuses two logins that two people have approved. plex.tv's number
// says who somebody is; names change.
func samePerson(ctx context.Context, a, b *plexauth.PlexAuth) error {
	one, err := a.Settings(ctx)
	if err != nil {
		return err
	}
	other, err := b.Settings(ctx)
	if err != nil {
		return err
	}
	if one.CloudAccountID != other.CloudAccountID {
		return fmt.Errorf("%s approved the device key, and %s the long-lived login", plain.Line(one.Username), plain.Line(other.Username))
	}
	return nil
}

// showAccount asks plex.tv, with a JWT.
func showAccount(ctx context.Context, out io.Writer, auth *plexauth.PlexAuth) error {
	who, err := auth.Account(ctx)
	if err != nil {
		return err
	}
	servers, err := auth.Servers(ctx)
	if err != nil {
		return err
	}
	if err := show(ctx, out, "plex.tv", auth); err != nil {
		return err
	}
	fmt.Fprintf(out, "  account       %d, %s\n", who.ID, plain.Line(who.Username))
	for _, s := range servers {
		fmt.Fprintf(out, "  lists         %s, machine id %s\n", plain.Line(s.Name), plain.Line(s.MachineID))
	}
	return nil
}

// showServer asks the media server, with the token that plex.tv gives for it.
func showServer(ctx context.Context, out io.Writer, auth *plexauth.PlexAuth, machineID string) error {
	find := auth.Inspect
	if machineID != "" {
		find = func(ctx context.Context) (plexauth.Settings, error) { return auth.UseServer(ctx, machineID) }
	}
	settings, err := find(ctx)
	if errors.Is(err, plexauth.ErrServerChoice) {
		return fmt.Errorf("%w: run this again with -server and a machine id", err)
	}
	if err != nil {
		return err
	}
	client := &http.Client{Transport: auth.Transport(nil)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, settings.ServerURL+"/library/sections", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := show(ctx, out, "The media server", auth); err != nil {
		return err
	}
	fmt.Fprintf(out, "  address       %s\n  its libraries %s\n", plain.Line(settings.ServerURL), plain.Line(resp.Status))
	return nil
}

// show prints what tells one login from the other.
func show(ctx context.Context, out io.Writer, what string, auth *plexauth.PlexAuth) error {
	settings, err := auth.Settings(ctx)
	if err != nil {
		return err
	}
	status, err := auth.Status(ctx)
	if err != nil {
		return err
	}
	until := "somebody revokes it"
	if !status.ExpiresAt.IsZero() {
		until = status.ExpiresAt.Format(time.DateTime) + ", and renewed before that"
	}
	_, err = fmt.Fprintf(out, "\n%s, by the profile %q:\n  signed in as  %s\n  identifier    %s\n  token         good until %s\n",
		what, status.Instance, plain.Line(status.User), plain.Line(settings.ClientID), until)
	return err
}
