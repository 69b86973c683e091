// Command plexauth signs in to Plex, and gives the login to people and scripts:
//
//	plexauth login            # shows a link, a code and a QR code, and waits for the approval
//	plexauth login -offline   # the same against a fake plex.tv, no account needed
//	plexauth status
//	plexauth servers
//	plexauth use "Living room"
//	plexauth token            # prints the token alone, for $(plexauth token)
//	plexauth verify
//	plexauth logout
//
// docs/program.md describes the flags and the exit status.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	status := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}
