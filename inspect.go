package plexauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// inspectLimit bounds all of an Inspect: two requests to plex.tv and a round of
// probing.
const inspectLimit = 30 * time.Second

// Inspect finds out what a program needs besides the account token, and saves it: the
// account's name and number, the media server with its address and token, and the
// number by which that server knows the account (1 for its owner, plex.tv's number
// for everyone else). It returns the settings as they are then. Everything that it
// could not find out is in one error, and what was known before is kept.
//
// A saved server stays, and so does an address that a person has entered as
// server_url. If an address that plexauth has found no longer answers, the server's
// present one replaces it; an address that was typed is never replaced. As long as the
// server stays, the number of another user than the account stays too: a program may
// work for a member of the Plex Home. If no server is saved, Inspect takes the only
// one that the account owns. If the account owns none or several, the error matches
// [ErrServerChoice], a [*ServerChoiceError] names the candidates, and
// [PlexAuth.UseServer] chooses.
//
// An address is saved only after the right server has answered there. All addresses
// are tried at once, for four seconds at most. Local ones are preferred to remote
// ones, Plex's relay comes last, and https before http; see [PlexAuth.Probe].
//
// Other errors are those of [PlexAuth.Servers], [ErrUnavailable] if no address
// answers, [ErrServerToken], and one that asks to call again because the login or the
// server was changed in the meantime. Inspect takes half a minute at most.
func (p *PlexAuth) Inspect(ctx context.Context) (Settings, error) { return p.inspect(ctx, "") }

// UseServer chooses the media server and then does what [PlexAuth.Inspect] does.
// machineID is the MachineID of one of [PlexAuth.Servers]. It may also be an address
// that a person entered ("http://plex:32400", "192.168.1.5", or "plex" if no server has
// that MachineID). The address is then kept, and the server there is asked which one
// it is. A server that does not answer does not replace another one.
func (p *PlexAuth) UseServer(ctx context.Context, machineID string) (Settings, error) {
	machineID = strings.TrimSpace(machineID)
	if machineID == "" {
		s, err := settingsAfter(ctx, p)
		return s, errors.Join(errors.New("plexauth: UseServer needs the MachineID of a server"), err)
	}
	return p.inspect(ctx, machineID)
}

func (p *PlexAuth) inspect(ctx context.Context, wanted string) (Settings, error) {
	limited, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	i := &inspection{session: &p.session, wanted: wanted}
	err := i.run(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		late := tooLate("inspect", "plex.tv and the server", limited.Err())
		if errors.Is(err, errNotSaved) {
			late = newStoreError(errors.New("not within " + inspectLimit.String()))
		}
		err = errors.Join(err, late)
	}
	s, loadErr := settingsAfter(ctx, p)
	return s, errors.Join(err, loadErr)
}

// errNotSaved means that the store has not answered in time.
var errNotSaved = errors.New("plexauth: the result could not be saved")

// inspection is one Inspect.
type inspection struct {
	*session
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
	servers, err := i.servers(ctx)
	if err != nil {
		return i.fail("server_url, machine_id, server token, account_id", err)
	}
	c := choice.New(b, servers, i.wanted, &ServerChoiceError{publicServers(servers)})
	if err := c.Target(); err != nil {
		if c.Drops() {
			err = errors.Join(err, i.saveChoice(ctx, c))
		}
		return i.fail("server_url, machine_id", err)
	}
	found, err := i.probe(ctx, c, servers)
	if err != nil {
		return i.fail("server_url", err)
	}
	missing, nothing := c.Found(found)
	for _, m := range missing {
		_ = i.fail(m.Fields, m.Err)
	}
	if !nothing {
		if err := i.saveChoice(ctx, c); err != nil {
			i.errs = append(i.errs, err)
		}
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
	b, err := i.load(ctx)
	if err != nil || b.AccountName() != "" && b.Username() != "" && b.AccountID() != 0 {
		return b, err
	}
	err = within(ctx, plextv.AttemptLimit, "read account", func(ctx context.Context) error {
		_, err := i.askAccount(ctx)
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, fault.ErrUnavailable), errors.Is(err, fault.ErrRateLimited):
		_ = i.fail("username, cloud_account_id", err)
	default:
		return nil, err
	}
	return i.load(ctx)
}

// probe asks which server answers at which address.
func (i *inspection) probe(ctx context.Context, c *choice.Choice, servers []plextv.MediaServer) ([]mediaserver.Address, error) {
	mediaserver.AcceptDirect(c.Candidates, mediaserver.OwnersOf(servers))
	run := mediaserver.NewProber(i.client)
	defer run.Close()
	found := publicErrors(run.Probe(ctx, c.Candidates, c.Expected))
	if mediaserver.Best(found) == nil && c.Fallback() {
		found = append(found, publicErrors(run.Probe(ctx, c.Candidates, c.Expected))...)
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
	err := i.update(ctx, func(b *profile.Profile) error {
		before := b.SavedServer().MachineID
		err := c.Save(b)
		changed = b.SavedServer().MachineID != before
		return err
	}, tokens...)
	switch {
	case err == nil && changed && c.Server != nil:
		i.info(ctx, "server chosen: "+plain.Short(c.Server.Name))
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errNotSaved, fault.Inside(err))
	}
	return err
}
