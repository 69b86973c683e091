package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// program is one run of plexauth. What it is asked for goes to stdout, and what went
// wrong to stderr.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	client         *http.Client // sends the requests; nil: plexauth's own
	place          place        // the flags that all commands have
}

// command is a subcommand.
type command struct {
	name string
	run  func(p *program, ctx context.Context, args []string) error
}

// commands returns the subcommands, in the order of the help.
func commands() []command {
	return []command{
		{"login", (*program).login},
		{"status", (*program).status},
		{"servers", (*program).servers},
		{"use", (*program).use},
		{"token", (*program).token},
		{"verify", (*program).verify},
		{"logout", (*program).logout},
	}
}

//go:embed help.txt
var help string

// run carries out the command in args, and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.dispatch(ctx, args)
	p.report(err)
	return exitStatus(err)
}

// dispatch finds the command in args and runs it. Common flags may come before its name.
func (p *program) dispatch(ctx context.Context, args []string) error {
	flags := p.flags("")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) || flags.Arg(0) == "help" {
		fmt.Fprint(p.stdout, help)
		return nil
	}
	if err != nil {
		return &usageError{text: err.Error()}
	}
	if flags.NArg() == 0 {
		fmt.Fprint(p.stderr, help)
		return silent(exitUsage)
	}
	for _, c := range commands() {
		if c.name == flags.Arg(0) {
			err := c.run(p, ctx, flags.Args()[1:])
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	return &usageError{text: fmt.Sprintf("there is no command %q, only: %s", flags.Arg(0), commandNames())}
}

// commandNames returns the names of all commands, for a message.
func commandNames() string {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}
