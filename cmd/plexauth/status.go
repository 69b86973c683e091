package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

const statusUsage = `status [flags]

Prints what is stored about the login, without a request. The exit status is 3 if no one
is signed in.`

// status prints what is stored about the login. It makes no request.
func (p *program) status(ctx context.Context, args []string) error {
	flags := p.flags("status")
	asJSON := flags.Bool("json", false, "print JSON")
	if _, err := p.parse(flags, args, 0, statusUsage); err != nil {
		return err
	}
	l, err := p.open("", nil)
	if err != nil {
		return err
	}
	defer l.close()
	status, err := l.Status(ctx)
	if err != nil {
		return err
	}
	settings, err := l.Settings(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		err = p.printJSON(map[string]any{"status": status, "settings": settings, "config": l.path})
	} else {
		err = p.printStatus(l, status, settings)
	}
	if err == nil && !isSignedIn(status) {
		err = silent(exitNotSignedIn)
	}
	return err
}

// isSignedIn reports whether s is a login that works.
func isSignedIn(s plexauth.Status) bool { return s.Connected && !s.NeedsLogin }

// printStatus prints the status for a person.
func (p *program) printStatus(l *login, s plexauth.Status, v plexauth.Settings) error {
	switch {
	case isSignedIn(s):
		fmt.Fprintf(p.stdout, "Signed in%s.\n", as(s.User))
	case s.NeedsLogin:
		fmt.Fprintf(p.stdout, "The login%s has ended. Sign in again with: %s\n", of(s.User), p.command("login"))
	default:
		fmt.Fprintf(p.stdout, "Not signed in. Sign in with: %s\n", p.command("login"))
	}
	if s.Pending != nil {
		fmt.Fprintf(p.stdout, "A login waits for its approval until %s:\nopen %s\n", clock(s.Pending.ExpiresAt), s.Pending.URL())
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s:\t%s\n", name, plain.Line(value))
		}
	}
	if s.Instance != "default" {
		row("profile", s.Instance)
	}
	row("account number", v.CloudAccountID)
	if v.Username != s.User {
		row("user", v.Username)
	}
	row("server", v.ServerURL)
	row("machine id", v.MachineID)
	if !s.ExpiresAt.IsZero() {
		row("token until", s.ExpiresAt.Local().Format(time.DateTime))
	}
	row("kept in", l.path)
	return table.Flush()
}

// as returns " as user", or nothing if the user is not known.
func as(user string) string { return prefixed(" as ", user) }

// of returns " of user", or nothing if the user is not known.
func of(user string) string { return prefixed(" of ", user) }

// prefixed returns a name of other people's choice after a prefix, or nothing if it is
// empty.
func prefixed(prefix, name string) string {
	if name = plain.Line(name); name == "" {
		return ""
	}
	return prefix + name
}

// clock returns the time of day.
func clock(t time.Time) string { return t.Local().Format("15:04") }
