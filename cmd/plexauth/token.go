package main

import (
	"context"
	"errors"
	"fmt"
)

const tokenUsage = `token [flags]

Prints the token and nothing else. A token that is due is renewed first.`

// errNoServerToken says why there is no token for a media server.
var errNoServerToken = errors.New("there is no token for a media server: none is chosen, or Plex gives this account none for it")

// token prints the account's token, or that of the media server, and nothing else.
func (p *program) token(ctx context.Context, args []string) error {
	flags := p.flags("token")
	server := flags.Bool("server", false, "print the token of the media server instead of the account's")
	if _, err := p.parse(flags, args, 0, tokenUsage); err != nil {
		return err
	}
	l, err := p.open("", nil)
	if err != nil {
		return err
	}
	defer l.close()
	token, err := l.Token(ctx)
	if err != nil {
		return err
	}
	if *server {
		settings, err := l.Settings(ctx)
		if err != nil {
			return err
		}
		if token = settings.ServerToken; token.IsZero() {
			return advised{errNoServerToken, "Choose a server with: " + p.command("use")}
		}
	}
	_, err = fmt.Fprintln(p.stdout, token.Secret())
	return err
}
