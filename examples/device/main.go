// Device keeps two logins of one person in one file. The first is a device key
// for plex.tv, whose tokens live for seven days and are renewed automatically.
// The second is a long-lived login for the media server, which does not accept
// such tokens. The person approves each of them once; a second run needs no
// approval.
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
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/plexauth/plexauth"
)

func main() {
	config := flag.String("config", "config.json", "keep both logins in this `file`")
	offline := flag.Bool("offline", false, "use the fake plex.tv that cmd/fakeplex serves at 127.0.0.1:32500")
	server := flag.String("server", "", "`machine id` of the media server, needed if there are several")
	flag.Parse()
	if flag.NArg() > 0 { // flag.Parse also ignores all flags after the argument
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
		fmt.Println("\nStopped. Run this again to continue: the code stays valid until it expires.")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if *offline && errors.Is(err, plexauth.ErrUnavailable) {
			fmt.Fprintln(os.Stderr, "Start the fake plex.tv with: go run ./cmd/fakeplex -addr 127.0.0.1:32500")
		}
		os.Exit(1)
	}
}

// run signs in twice and prints what each login can see.
func run(ctx context.Context, out io.Writer, options plexauth.Options, server string) error {
	options.Product = "plexauth device example"
	servers, err := plexauth.New(options) // the default profile, where other programs expect a token for media servers
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

// signIn asks the person for an approval only if plex.tv does not accept the
// saved login.
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

// samePerson returns an error if different accounts approved the two logins. It
// compares the account numbers, because names can change.
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
		return fmt.Errorf("%s approved the device key, and %s the long-lived login", visible(one.Username), visible(other.Username))
	}
	return nil
}

// showAccount prints what plex.tv says about the account. Its requests carry a
// JWT.
func showAccount(ctx context.Context, out io.Writer, auth *plexauth.PlexAuth) error {
	user, err := auth.Account(ctx)
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
	fmt.Fprintf(out, "  account       %d, %s\n", user.ID, visible(user.Username))
	for _, s := range servers {
		fmt.Fprintf(out, "  lists         %s, machine id %s\n", visible(s.Name), visible(s.MachineID))
	}
	return nil
}

// showServer asks the media server for its libraries. The request carries the
// server's own token.
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
	fmt.Fprintf(out, "  address       %s\n  its libraries %s\n", visible(settings.ServerURL), visible(resp.Status))
	return nil
}

// show prints the profile, the identifier and the lifetime of a login.
func show(ctx context.Context, out io.Writer, what string, auth *plexauth.PlexAuth) error {
	settings, err := auth.Settings(ctx)
	if err != nil {
		return err
	}
	status, err := auth.Status(ctx)
	if err != nil {
		return err
	}
	until := "it is revoked"
	if !status.ExpiresAt.IsZero() {
		until = status.ExpiresAt.Format(time.DateTime) + ", renewed automatically before that"
	}
	_, err = fmt.Fprintf(out, "\n%s, by the profile %q:\n  signed in as  %s\n  identifier    %s\n  token         good until %s\n",
		what, status.Instance, visible(status.User), visible(settings.ClientID), until)
	return err
}

// visible removes control characters from text. A terminal would interpret them, and
// other people choose the names of servers and users.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}
