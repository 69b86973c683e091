// Sync is a minimal sync tool that works like CrossWatch. It knows its providers
// only by manifest and capabilities. It keeps several profiles in one
// config.json, and lets the user connect and disconnect each of them.
//
//	go run ./examples/sync manifest
//	go run ./examples/sync start  [profile]
//	go run ./examples/sync finish [profile]
//	go run ./examples/sync inspect [profile [machine id of the server]]
//	go run ./examples/sync status
//	go run ./examples/sync disconnect [profile]
//
// Flags go before the command. With -offline nothing leaves the machine: run
// "go run ./cmd/fakeplex -addr 127.0.0.1:32500" in another terminal first.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf16"

	"github.com/plexauth/plexauth"
)

// provider is the interface that the tool needs from each service.
type provider interface {
	Manifest() plexauth.Manifest
	Capabilities() plexauth.CapabilitiesDocument
	Status(context.Context) (plexauth.Status, error)
	Start(context.Context, plexauth.PinOptions) (*plexauth.Pin, error)
	Finish(context.Context) (plexauth.Status, error)
	Disconnect(context.Context) (plexauth.Status, error)
}

func main() {
	config := flag.String("config", "config.json", "keep the logins in this `file`, beside other settings")
	offline := flag.Bool("offline", false, "use the fake plex.tv that cmd/fakeplex serves at 127.0.0.1:32500")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), errUsage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if !isCommand(flag.Args()) {
		fmt.Fprintln(os.Stderr, errUsage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	options := plexauth.Options{
		Product: "plexauth sync example",
		Store:   plexauth.NewFileStore(*config),
		Logger:  slog.New(plexauth.NewLogHandler(nil)),
	}
	if *offline {
		options.BaseURL = "http://127.0.0.1:32500"
	}
	auth, err := plexauth.New(options)
	if err == nil {
		err = run(ctx, auth, flag.Arg(0), flag.Arg(1), flag.Arg(2))
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "\nStopped.")
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

var errUsage = errors.New(`usage: sync [flags] command

The commands:
  manifest
  status
  start [profile]
  finish [profile]
  inspect [profile [machine id]]
  disconnect [profile]

Flags go before the command, for example
  sync -offline start
To list the flags: sync -h`)

// isCommand reports whether args are a command with its arguments. It rejects
// extra arguments, and flags after the command, which would be taken for the name
// of a profile.
func isCommand(args []string) bool {
	maxArgs := map[string]int{"manifest": 1, "status": 1, "start": 2, "finish": 2, "inspect": 3, "disconnect": 2}
	isFlag := func(arg string) bool { return strings.HasPrefix(arg, "-") }
	return len(args) > 0 && len(args) <= maxArgs[args[0]] && !slices.ContainsFunc(args, isFlag)
}

// run executes a command for a profile and prints its result as JSON.
func run(ctx context.Context, auth *plexauth.PlexAuth, command, profile, machineID string) error {
	var p provider = auth.Instance(profile)
	switch command {
	case "manifest":
		return print(map[string]any{"manifest": p.Manifest(), "capabilities": p.Capabilities()})
	case "status":
		return statusOfAll(ctx, auth)
	case "start":
		pin, err := p.Start(ctx, plexauth.PinOptions{})
		if err != nil {
			return err
		}
		return print(map[string]any{"pin": pin.Code, "verify_url": pin.VerificationURI(), "url": pin.URL(), "expires_at": pin.ExpiresAt})
	case "finish":
		s, err := p.Finish(ctx)
		if err != nil {
			return err
		}
		return print(s)
	case "inspect":
		return inspect(ctx, auth.Instance(profile), machineID)
	case "disconnect":
		s, err := p.Disconnect(ctx)
		if err != nil {
			return err
		}
		return print(s)
	}
	return errUsage
}

// inspect finds and prints what a sync needs: the account, the media server, and
// the number by which that server knows the account. If there are several
// servers, it prints them, and the user runs it again with one of them.
func inspect(ctx context.Context, p *plexauth.PlexAuth, machineID string) error {
	find := p.Inspect
	if machineID != "" {
		find = func(ctx context.Context) (plexauth.Settings, error) { return p.UseServer(ctx, machineID) }
	}
	settings, err := find(ctx)
	var choice *plexauth.ServerChoiceError
	if errors.As(err, &choice) {
		return errors.Join(print(map[string]any{"settings": settings, "servers": choice.Servers}), err)
	}
	return errors.Join(print(map[string]any{"settings": settings}), err)
}

// statusOfAll prints the status and the settings of every profile.
func statusOfAll(ctx context.Context, auth *plexauth.PlexAuth) error {
	ids, err := auth.Instances(ctx)
	if err != nil {
		return err
	}
	var rows []any
	for _, id := range ids {
		p := auth.Instance(id)
		s, err := p.Status(ctx)
		if err != nil {
			return err
		}
		v, err := p.Settings(ctx)
		if err != nil {
			return err
		}
		rows = append(rows, map[string]any{"status": s, "settings": v})
	}
	return print(rows)
}

// print prints v as JSON.
func print(v any) error {
	text, err := document(v)
	if err == nil {
		fmt.Println(text)
	}
	return err
}

// document returns v as JSON that is safe to print on a terminal, because other
// people choose the names in it.
func document(v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	var out strings.Builder
	for _, r := range string(b) {
		if r == '\n' || unicode.IsPrint(r) {
			out.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, u)
		}
	}
	return out.String(), err
}
