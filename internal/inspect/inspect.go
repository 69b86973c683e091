// Package inspect finds the media server of a profile, and what else a program needs to
// know, over a small Login. What follows from what was found is package choice's.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Login is the login of a profile as Inspect and Probe see it. It is safe for concurrent
// use.
type Login interface {
	// Load reads the stored profile.
	Load(ctx context.Context) (*profile.Profile, error)
	// Update edits the stored profile. secrets are what an error must not quote.
	Update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error
	// ReadAccount asks plex.tv who the token belongs to, and saves it.
	ReadAccount(ctx context.Context) error
	// Servers asks plex.tv for the media servers that the account may use.
	Servers(ctx context.Context) ([]plextv.MediaServer, error)
	// UsableToken returns the account token, renewed if need be, and its client identifier.
	UsableToken(ctx context.Context) (t secret.Value, clientID string, err error)
	// ToChoose returns the error that tells a person to choose one of servers.
	ToChoose(servers []plextv.MediaServer) error
	// Public gives a *plextv.Failure the form that callers see. It returns any other error
	// unchanged.
	Public(err error) error
	// Info logs what has happened.
	Info(ctx context.Context, what string)
}

// inspectLimit bounds all of an Inspect: two requests to plex.tv and a round of probing.
const inspectLimit = 30 * time.Second

// Inspect finds out what is not known of the account of l, and which media server answers
// at which address, and saves it. wanted is the MachineID or the address that a person has
// chosen, or "". The requests to the server are sent with client. The errors are joined,
// one for each field that is not known; what was known before is kept.
func Inspect(ctx context.Context, client *plextv.Client, l Login, wanted string) error {
	limited, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	i := &inspection{Login: l, client: client, wanted: wanted}
	err := i.run(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && !errors.Is(err, fault.ErrStore) {
		late := l.Public(plextv.OutOfTime("inspect", "plex.tv and the server", limited.Err()))
		if errors.Is(err, errNotSaved) || errors.Is(err, errNotRead) {
			late = fmt.Errorf("%w: not within %s", fault.ErrStore, inspectLimit)
		}
		err = errors.Join(err, late)
	}
	return err
}

// These mean that the store has not answered in time.
var (
	errNotRead  = errors.New("plexauth: the login could not be read")
	errNotSaved = errors.New("plexauth: the result could not be saved")
)

// inspection is one Inspect.
type inspection struct {
	Login
	client *plextv.Client
	wanted string // the server that a person has chosen, "" if Inspect chooses
	errs   []error
}

// run finds out everything and saves it. Its errors are joined, one for each field
// that is not known.
func (i *inspection) run(ctx context.Context) error {
	b, err := i.loadWithAccount(ctx)
	if err != nil {
		return err
	}
	servers, err := i.Servers(ctx)
	if err != nil {
		return i.fail("server_url, machine_id, server token, account_id", err)
	}
	c := choice.New(b, servers, i.wanted, i.ToChoose(servers))
	if err := c.Target(); err != nil {
		if c.Drops() {
			err = errors.Join(err, i.saveChoice(ctx, c))
		}
		return i.fail("server_url, machine_id", err)
	}
	found, err := i.look(ctx, c, servers)
	if err != nil {
		return i.fail("server_url", err)
	}
	missing, nothing := c.Found(found)
	for _, m := range missing {
		_ = i.fail(m.Fields, m.Err)
	}
	if !nothing {
		i.errs = append(i.errs, i.saveChoice(ctx, c))
	}
	return errors.Join(i.errs...)
}

// fail notes why fields are not known, and returns all errors so far.
func (i *inspection) fail(fields string, err error) error {
	i.errs = append(i.errs, fmt.Errorf("plexauth: %s: %w", fields, fault.Inside(err)))
	return errors.Join(i.errs...)
}

// loadWithAccount loads the profile, and first asks plex.tv for what is not known about
// its account.
func (i *inspection) loadWithAccount(ctx context.Context) (*profile.Profile, error) {
	b, err := i.read(ctx)
	if err != nil || b.AccountName() != "" && b.Username() != "" && b.AccountID() != 0 {
		return b, err
	}
	err = within(ctx, i.Login, plextv.AttemptLimit, "read account", i.ReadAccount)
	switch {
	case err == nil:
	case errors.Is(err, fault.ErrUnavailable), errors.Is(err, fault.ErrRateLimited):
		_ = i.fail("username, cloud_account_id", err)
	default:
		return nil, err
	}
	return i.read(ctx)
}

// read loads the profile.
func (i *inspection) read(ctx context.Context) (*profile.Profile, error) {
	b, err := i.Load(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errNotRead, fault.Inside(err))
	}
	return b, err
}

// look asks which server answers at which address.
func (i *inspection) look(ctx context.Context, c *choice.Choice, servers []plextv.MediaServer) ([]mediaserver.Address, error) {
	mediaserver.AcceptDirect(c.Candidates, mediaserver.OwnersOf(servers))
	run := mediaserver.NewProber(i.client)
	defer run.Close()
	found := probe(ctx, i.Login, run, c.Candidates, c.Expected)
	if mediaserver.Best(found) == nil && c.Fallback() {
		found = append(found, probe(ctx, i.Login, run, c.Candidates, c.Expected)...)
	}
	return found, ctx.Err()
}

// saveChoice saves the server that was found, unless another login or choice was made in
// the meantime.
func (i *inspection) saveChoice(ctx context.Context, c *choice.Choice) error {
	var tokens []secret.Value
	if c.Server != nil {
		tokens = append(tokens, c.Server.Token)
	}
	changed := false
	err := i.Update(ctx, func(b *profile.Profile) error {
		before := b.SavedServer().MachineID
		err := c.Save(b)
		changed = b.SavedServer().MachineID != before
		return err
	}, tokens...)
	switch {
	case err == nil && changed && c.Server != nil:
		i.Info(ctx, "server chosen: "+plain.Short(c.Server.Name))
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errNotSaved, fault.Inside(err))
	}
	return err
}

// probe probes candidates, and gives the errors the form that callers see.
func probe(ctx context.Context, l Login, run *mediaserver.Prober, all []mediaserver.Candidate, expected func(machineID string) bool) []mediaserver.Address {
	found := run.Probe(ctx, all, expected)
	for i := range found {
		found[i].Err = l.Public(found[i].Err)
	}
	return found
}

// within calls ask, which has to return within limit. op is for the error if it does not.
func within(ctx context.Context, l Login, limit time.Duration, op string, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := ask(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return l.Public(plextv.OutOfTime(op, "plex.tv", limited.Err()))
	}
	return err
}
