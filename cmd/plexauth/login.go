package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/plain"
)

const loginUsage = `login [flags]

Shows a link, a code and a QR code, and waits until you have approved the login at
Plex. Then it finds your media server, and asks if there are several. If a login is
there already, it says so and does nothing.`

// login signs in.
func (p *program) login(ctx context.Context, args []string) error {
	flags := p.flags("login")
	offline := flags.Bool("offline", false, "sign in at a fake plex.tv, where a fake person approves after a few seconds; without -config, into a temporary file")
	again := flags.Bool("again", false, "begin a new login although one is there")
	if _, err := p.parse(flags, args, 0, loginUsage); err != nil {
		return err
	}
	s := &signIn{p: p, again: *again, screen: &screen{term: findTerminal(p.stdout, os.Getenv), out: p.stdout, err: p.stderr}}
	if *offline {
		return s.runOffline(ctx)
	}
	return s.run(ctx)
}

// signIn is one run of the command login.
type signIn struct {
	p      *program
	again  bool
	screen *screen
	login  *login
	fake   *fakePlex // nil: the real plex.tv
}

// run signs in and finds the media server.
func (s *signIn) run(ctx context.Context) (err error) {
	s.login, err = s.p.open(s.fake.baseURL(), slog.New(noteHandler{s.screen.note}))
	if err != nil {
		return err
	}
	defer s.login.close()
	if s.fake != nil {
		if err := s.forgetFake(ctx); err != nil {
			return err
		}
	}
	status, err := s.login.Status(ctx)
	if err != nil {
		return err
	}
	if isSignedIn(status) && !s.again {
		fmt.Fprintf(s.p.stdout, "Already signed in%s.\nSaved in %s\nTo sign in again: %s\n", as(status.User), s.login.path, s.p.command("login", "-again"))
		return nil
	}
	if status, err = s.waitForApproval(ctx, status.Pending != nil); err != nil {
		return err
	}
	fmt.Fprintf(s.p.stdout, "Signed in%s.\nSaved in %s\n", as(status.User), s.login.path)
	return s.findServer(ctx)
}

// waitForApproval shows a login and waits for its approval. One that an earlier run has
// begun may have been approved already.
func (s *signIn) waitForApproval(ctx context.Context, pending bool) (plexauth.Status, error) {
	if pending {
		status, err := s.login.Finish(ctx)
		if err == nil && status.Connected || errors.Is(err, plexauth.ErrAccountMismatch) {
			return status, err
		}
	}
	pin, err := s.login.Start(ctx, plexauth.PinOptions{})
	if err != nil {
		return plexauth.Status{}, err
	}
	s.screen.show(pin)
	status, err := s.login.Wait(ctx)
	s.screen.end()
	if err != nil && ctx.Err() != nil {
		err = s.interrupted(ctx, err, pin)
	}
	return status, err
}

// interrupted returns the error of a wait that the person has ended.
func (s *signIn) interrupted(ctx context.Context, err error, pin *plexauth.Pin) error {
	if s.fake != nil {
		return advised{errors.Join(err, s.login.Cancel(context.WithoutCancel(ctx))), "The fake plex.tv has ended, and the code with it."}
	}
	words := []string{"login"}
	if s.again {
		words = append(words, "-again")
	}
	return advised{err, fmt.Sprintf("The code stays valid until %s. To go on with it:\n%s", clock(pin.ExpiresAt), s.p.command(words...))}
}

// findServer finds the media server and saves it. The login is saved already, so what goes
// wrong here does not make it fail.
func (s *signIn) findServer(ctx context.Context) error {
	settings, err := s.login.Inspect(ctx)
	var name string
	var choice *plexauth.ServerChoiceError
	if errors.As(err, &choice) && len(choice.Servers) > 0 {
		server, askErr := s.p.ask(ctx, choice.Servers)
		if askErr == nil && server == nil {
			fmt.Fprintln(s.p.stdout, "Not chosen."+s.hint(" To choose later: "))
			return nil
		}
		if err = askErr; err == nil {
			name = server.Name
			settings, err = s.login.UseServer(ctx, server.MachineID)
		}
	}
	switch {
	case ctx.Err() != nil && s.fake != nil:
		return advised{ctx.Err(), "The fake plex.tv has ended, and the login with it."}
	case ctx.Err() != nil:
		return advised{ctx.Err(), "You are signed in." + s.hint(" To choose the media server: ")}
	case errors.Is(err, plexauth.ErrServerChoice):
		fmt.Fprintln(s.p.stdout, noServers)
		return nil
	case err != nil:
		s.p.warn(err)
		fmt.Fprintln(s.p.stderr, "You are signed in."+s.hint(" To try again with the media server: "))
	}
	s.p.printServer(name, settings)
	return nil
}

// hint returns text with the command that chooses a media server; "" at a fake plex.tv,
// which will have ended by then.
func (s *signIn) hint(text string) string {
	if s.fake != nil {
		return ""
	}
	return text + s.p.command("use")
}

// printServer prints which media server is saved, if one is.
func (p *program) printServer(name string, v plexauth.Settings) {
	if v.ServerURL == "" {
		return
	}
	fmt.Fprintf(p.stdout, "Media server%s at %s\n", prefixed(" ", name), plain.Line(v.ServerURL))
}
