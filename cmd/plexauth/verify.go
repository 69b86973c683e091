package main

import (
	"context"
	"fmt"
)

const verifyUsage = `verify [flags]

Asks plex.tv whether the login is still valid.`

// verify asks plex.tv whether the login is still valid.
func (p *program) verify(ctx context.Context, args []string) error {
	if _, err := p.parse(p.flags("verify"), args, 0, verifyUsage); err != nil {
		return err
	}
	l, err := p.open("", nil)
	if err != nil {
		return err
	}
	defer l.close()
	status, err := l.Verify(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "Plex accepts the login%s.\n", of(status.User))
	return nil
}
