package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

// place says where a login is kept: the values of the flags that all commands have.
type place struct {
	config, crosswatch, profile string
}

// flags returns the flags of a command, with those that all commands have.
func (p *program) flags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // report prints errors
	flags.StringVar(&p.place.config, "config", p.place.config, "keep the login in this `file` (default: plexauth.json in the plexauth directory of your settings)")
	flags.StringVar(&p.place.crosswatch, "crosswatch", p.place.crosswatch, "keep the login in the CrossWatch config in this `directory`")
	flags.StringVar(&p.place.profile, "profile", p.place.profile, "work on the profile with this `ID`, for several logins in one file")
	return flags
}

// parse parses args, in which flags and other arguments may be mixed. It returns the
// others, of which there may be most at most. If args ask for help, it prints usage and
// returns [flag.ErrHelp].
func (p *program) parse(flags *flag.FlagSet, args []string, most int, usage string) (others []string, err error) {
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(p.stdout, "Usage: plexauth %s\n\nFlags:\n", usage)
			flags.SetOutput(p.stdout)
			flags.PrintDefaults()
			return nil, err
		}
		if err != nil {
			return nil, &usageError{flags.Name(), err.Error()}
		}
		if flags.NArg() == 0 {
			break
		}
		others, args = append(others, flags.Arg(0)), flags.Args()[1:]
	}
	if len(others) > most {
		return nil, &usageError{flags.Name(), fmt.Sprintf("unexpected argument %q", others[most])}
	}
	if p.place.config != "" && p.place.crosswatch != "" {
		return nil, &usageError{flags.Name(), "-config and -crosswatch are two places: give one of them"}
	}
	return others, nil
}

// login is the login that a command works on.
type login struct {
	*plexauth.PlexAuth
	path  string // the file that holds it
	close func()
}

// open opens the login that the flags name. baseURL is that of a fake plex.tv, "" for the
// real one. log may be nil. The caller closes the login.
func (p *program) open(baseURL string, log *slog.Logger) (*login, error) {
	l, store, err := p.place.store()
	if err != nil {
		return nil, err
	}
	l.PlexAuth, err = plexauth.New(plexauth.Options{
		Product: "plexauth", Instance: p.place.profile, Store: store, HTTPClient: p.client, BaseURL: baseURL, Logger: log,
	})
	if err != nil { // the profile's ID is the only option that a person chooses
		l.close()
		return nil, &usageError{"", fmt.Sprintf("-profile %q is not an ID: it must be text without control characters", p.place.profile)}
	}
	return l, nil
}

// store returns the store that holds the login.
func (w place) store() (*login, plexauth.ConfigStore, error) {
	if w.crosswatch != "" {
		store, err := crosswatch.Open(w.crosswatch)
		if err != nil {
			return nil, nil, err
		}
		return &login{path: absolute(filepath.Join(w.crosswatch, "config.json")), close: func() { _ = store.Close() }}, store, nil
	}
	path := w.config
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, nil, fmt.Errorf("the directory for your settings is not known (%w): say with -config FILE where to keep the login", err)
		}
		path = filepath.Join(dir, "plexauth", "plexauth.json")
	}
	return &login{path: absolute(path), close: func() {}}, plexauth.NewFileStore(path), nil
}

// absolute returns a path that means the same in every directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// plainWord matches what a shell takes for one word.
var plainWord = regexp.MustCompile(`^[\w./:@%+=,-]+$`)

// command returns a command of this program as a person would type it for the same login.
func (p *program) command(words ...string) string {
	for _, f := range []struct{ name, value string }{{"-config", p.place.config}, {"-crosswatch", p.place.crosswatch}, {"-profile", p.place.profile}} {
		if f.value != "" {
			words = append(words, f.name, f.value)
		}
	}
	for i, w := range words {
		if !plainWord.MatchString(w) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return "plexauth " + strings.Join(words, " ")
}
