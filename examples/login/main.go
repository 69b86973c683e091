// Login signs a user in to Plex from a terminal, keeps the login in the file plexauth.json,
// and lists the media servers. cmd/plexauth is the same as a program to work with.
//
//	go run ./examples/login
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/plexauth/plexauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdout, plexauth.Options{
		Product: "plexauth example", // as the person sees it among their authorized devices
		Store:   plexauth.NewFileStore("plexauth.json"),
	})
	if errors.Is(err, context.Canceled) {
		fmt.Println("Stopped. Run this again to continue: the code stays valid until it expires.")
		os.Exit(130)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run signs in, unless that has been done before, and uses the login.
func run(ctx context.Context, out io.Writer, options plexauth.Options) error {
	auth, err := plexauth.New(options)
	if err != nil {
		return err
	}
	status, err := auth.Login(ctx, plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
		_, err := fmt.Fprintf(out, "Open %s\nor enter the code %s at %s\n", pin.URL(), pin.Code, pin.VerificationURI())
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Signed in as %q\n", status.User) // %q, because anyone can choose such names
	servers, err := auth.Servers(ctx)
	for _, s := range servers {
		fmt.Fprintf(out, "Media server %q\n", s.Name)
	}
	return err
}
