package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/plexauth/plexauth"
)

// Exit statuses, beside 0.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotSignedIn = 3
	exitUnavailable = 4
	exitInterrupted = 130 // as a shell reports a program that Ctrl-C has ended
)

// usageError is a mistake in the arguments of a command. An empty command stands for the
// program itself.
type usageError struct{ command, text string }

func (e *usageError) Error() string { return e.text }

// silent is an exit status whose reason has been printed already.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// advised is an error with a line that says what to do.
type advised struct {
	error
	advice string
}

func (e advised) Unwrap() error { return e.error }

// serverError is an error of a media server. plex.tv is not to blame, whatever the error
// matches.
type serverError struct{ error }

// exitStatus returns the exit status for the error of a command.
func exitStatus(err error) int {
	var s silent
	switch {
	case err == nil:
		return 0
	case errors.As(err, &s):
		return int(s)
	case errors.As(err, new(*usageError)):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, plexauth.ErrNotConnected), errors.Is(err, plexauth.ErrTokenRejected):
		return exitNotSignedIn
	case errors.Is(err, plexauth.ErrUnavailable), errors.Is(err, plexauth.ErrRateLimited):
		return exitUnavailable
	case errors.Is(err, plexauth.ErrTokenExpired): // and no key or no answer can renew it
		return exitNotSignedIn
	}
	return exitFailed
}

// report prints what went wrong and what to do about it.
func (p *program) report(err error) {
	var usage *usageError
	var with advised
	switch {
	case err == nil, errors.As(err, new(silent)):
		return
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "plexauth: %s\nFor help: plexauth %s\n", usage.text, strings.TrimSpace(usage.command+" -h"))
		return
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(p.stderr, "Stopped.")
	default:
		p.warn(err)
	}
	if errors.As(err, &with) {
		fmt.Fprintln(p.stderr, with.advice)
	} else if advice := p.advice(err); advice != "" {
		fmt.Fprintln(p.stderr, advice)
	}
}

// warn prints an error, each of several on a line of its own.
func (p *program) warn(err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(p.stderr, "plexauth: "+forPeople(strings.TrimSpace(line)))
	}
}

// storedFields matches the names of stored fields before what is wrong with them.
var storedFields = regexp.MustCompile(`^(?:(?:[a-z_]+_(?:url|id)|server token|username)(?:, )?)+: `)

// forPeople returns the text of an error without the name of the package, which is also
// that of the program, without names of stored fields, and without advice that only a
// programmer can follow.
func forPeople(text string) string {
	text = storedFields.ReplaceAllString(strings.ReplaceAll(text, "plexauth: ", ""), "")
	return strings.ReplaceAll(text, "; use SwitchAccount to accept it", "")
}

// advice returns what to do about an error, in terms of this program; "" if its text says
// that already.
func (p *program) advice(err error) string {
	switch {
	case exitStatus(err) == exitNotSignedIn:
		return "Sign in with: " + p.command("login")
	case errors.Is(err, plexauth.ErrPinExpired), errors.Is(err, plexauth.ErrPinSuperseded), errors.Is(err, plexauth.ErrNoPendingPin):
		return "Begin again with: " + p.command("login")
	case errors.Is(err, plexauth.ErrAccountMismatch):
		return "Nothing was changed. To use the other account, first sign out with: " + p.command("logout")
	case errors.Is(err, plexauth.ErrServerChoice):
		return "Choose one with: " + p.command("use")
	}
	return ""
}
