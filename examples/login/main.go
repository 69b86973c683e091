// Login signs a user in to Plex from a terminal and finds the media server. If
// there are several servers, it asks for one. It saves the result in a file.
//
//	go run ./examples/login -offline   # against a fake plex.tv, no account needed
//	go run ./examples/login
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"rsc.io/qr"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

func main() {
	config := flag.String("config", "plexauth.json", "keep the login in this `file`")
	offline := flag.Bool("offline", false, "sign in at a fake plex.tv on this machine: needs no account and no network")
	switchAccount := flag.Bool("switch", false, "accept a different account than the one in the file")
	flag.Parse()
	if flag.NArg() > 0 { // flag.Parse also ignores all flags after the argument
		fmt.Fprintf(os.Stderr, "unexpected argument %q; see -h\n", flag.Arg(0))
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdin, os.Stdout, *config, *offline, *switchAccount)
	switch {
	case errors.Is(err, context.Canceled) && *offline:
		fmt.Println("Stopped.")
		os.Exit(130)
	case errors.Is(err, context.Canceled):
		fmt.Println("Stopped. Run this again to continue: the code stays valid until it expires.")
		os.Exit(130)
	case errors.Is(err, plexauth.ErrUnavailable) && !*offline:
		fmt.Fprintf(os.Stderr, "%v\nTo see the whole flow without a network: go run ./examples/login -offline\n", err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run signs in and finds the media server. It reads answers from in and prints
// to out.
func run(ctx context.Context, in io.Reader, out io.Writer, config string, offline, switchAccount bool) error {
	options := plexauth.Options{
		Product: "plexauth example",
		Store:   plexauth.NewFileStore(config),
	}
	if offline {
		fake := plextest.NewServer()
		defer fake.Close()
		fake.Randomize()
		alice := fake.AddUser(plextest.User{Username: "alice", Email: "alice@example.com"})
		defer addServer(fake, alice, "Living room").Close()
		defer addServer(fake, alice, "Attic").Close()
		options.BaseURL = fake.URL()
	}
	auth, err := plexauth.New(options)
	if err != nil {
		return err
	}
	if err := forgetFake(ctx, auth, config, offline); err != nil {
		return err
	}
	if offline {
		fmt.Fprintln(out, "Offline: a fake plex.tv runs until this program ends.")
	}

	stopCountdown := make(chan struct{})
	countdownDone := make(chan struct{})
	close(countdownDone) // Login may return without a PIN
	status, err := auth.Login(ctx, plexauth.PinOptions{SwitchAccount: switchAccount}, func(pin *plexauth.Pin) error {
		if err := show(out, pin); err != nil {
			return err
		}
		countdownDone = make(chan struct{})
		go func() {
			defer close(countdownDone)
			countdown(out, pin, stopCountdown)
		}()
		return nil
	})
	close(stopCountdown)
	<-countdownDone
	if err != nil {
		if offline { // the fake ends, and its code with it
			err = errors.Join(err, auth.Cancel(context.WithoutCancel(ctx)))
		}
		return err
	}
	fmt.Fprintf(out, "Signed in as %s. Saved to %s.\n", visible(status.User), config)
	return findServer(ctx, in, out, auth)
}

// forgetFake removes the login of an earlier run with -offline, whose fake no
// longer exists. With offline set, it returns an error if the file has a real
// login, so that a fake one does not replace it.
func forgetFake(ctx context.Context, auth *plexauth.PlexAuth, config string, offline bool) error {
	settings, err := auth.Settings(ctx)
	if err != nil {
		return err
	}
	status, err := auth.Status(ctx)
	if err != nil {
		return err
	}
	switch fake := strings.HasPrefix(settings.AccountToken.Secret(), "FAKE_"); {
	case fake:
		_, err = auth.Disconnect(ctx)
	case offline && (!settings.AccountToken.IsZero() || status.Pending != nil):
		err = fmt.Errorf("%s holds a real login: choose another file with -offline, for example -config offline.json", config)
	}
	return err
}

// show prints the sign-in link of pin, as text and as a QR code.
func show(out io.Writer, pin *plexauth.Pin) error {
	code, err := terminalQR(pin.URL())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s\n  Open %s\n  or enter %s at %s\n\n", code, pin.URL(), pin.Code, pin.VerificationURI())
	return err
}

// terminalQR returns a QR code as text. Each line of text shows two rows of
// modules.
func terminalQR(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", err
	}
	const quiet = 2
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("  ")
		for x := -quiet; x < code.Size+quiet; x++ {
			// Draw the light modules, because most terminals are dark.
			switch top, bottom := !code.Black(x, y), !code.Black(x, y+1) && y+1 < code.Size+quiet; {
			case top && bottom:
				b.WriteString("█")
			case top:
				b.WriteString("▀")
			case bottom:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

// countdown shows the time left for pin until stop is closed. If out is a
// terminal, it updates one line every second. The line is short, because a narrow
// terminal would wrap it into a new line each time.
func countdown(out io.Writer, pin *plexauth.Pin, stop <-chan struct{}) {
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			fmt.Fprintln(out, "  Waiting for your approval ...")
			return
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		left := max(0, time.Until(pin.ExpiresAt)).Round(time.Second)
		fmt.Fprintf(out, "\r  Waiting ... %d:%02d left ", int(left.Minutes()), int(left.Seconds())%60)
		select {
		case <-tick.C:
		case <-stop:
			fmt.Fprint(out, "\r\033[K")
			return
		}
	}
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
