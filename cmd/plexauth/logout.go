package main

import (
	"context"
	"fmt"
)

const logoutUsage = `logout [flags]

Removes the login here and ends it at Plex. The choice of a media server stays.`

// logout removes the login here and ends it at plex.tv.
func (p *program) logout(ctx context.Context, args []string) error {
	flags := p.flags("logout")
	local := flags.Bool("local", false, "only remove it here, without a request: the token stays valid at Plex")
	if _, err := p.parse(flags, args, 0, logoutUsage); err != nil {
		return err
	}
	l, err := p.open("", nil)
	if err != nil {
		return err
	}
	defer l.close()
	before, err := l.Settings(ctx)
	if err != nil {
		return err
	}
	signOut, done := l.SignOut, "Signed out."
	if *local {
		signOut, done = l.Disconnect, "Signed out here.\nThe token stays valid until you remove plexauth from the\nauthorized devices of your Plex account."
	}
	if _, err := signOut(ctx); err != nil {
		return err
	}
	if before.AccountToken.IsZero() {
		done = "No one was signed in."
	}
	fmt.Fprintln(p.stdout, done)
	return nil
}
