package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// inspectLimit bounds all of an Inspect: two requests to plex.tv and a round of
// probing.
const inspectLimit = 30 * time.Second

// Inspect completes what a program needs beside the account token, and saves
// it: the account's name and number, the media server with its address and
// token, and the number by which that server knows the account: 1 for its owner,
// plex.tv's number for everybody else. It returns
// the settings as they are then, with all that could not be found out in one
// error: what is known already is kept.
//
// A server that is saved, or that a person has entered as server_url, stays.
// Where an address that plexauth found itself does not answer any more, the
// server's present one takes its place; one that was typed is never replaced. Of
// a server that stays, the number of another user than the account stays, too: a
// program may work for a member of the Plex Home.
// Where none is saved, the only server that the account owns is taken. In any
// other case the error matches [ErrServerChoice], a [*ServerChoiceError] names
// the candidates, and [PlexAuth.UseServer] chooses.
//
// An address is saved only after the right server has answered there: all are
// tried at once, for four seconds at most. Local ones are preferred to remote
// ones, Plex's relay comes last, and https before http; see [PlexAuth.Probe].
//
// Other errors are those of [PlexAuth.Servers], [ErrUnavailable] where no
// address answers, [ErrServerToken], and one that asks to call again where login
// or server were changed meanwhile. Inspect takes half a minute at most.
func (p *PlexAuth) Inspect(ctx context.Context) (Settings, error) { return p.inspect(ctx, "") }

// UseServer chooses the media server and then does what [PlexAuth.Inspect]
// does. machineID is the MachineID of one of [PlexAuth.Servers]; it may also
// be an address that a person entered ("http://plex:32400", "192.168.1.5", or
// "plex" where no server has that MachineID), which is then kept and asked which
// server it is. A server that does not answer takes no other's place.
func (p *PlexAuth) UseServer(ctx context.Context, machineID string) (Settings, error) {
	machineID = strings.TrimSpace(machineID)
	if machineID == "" {
		s, err := p.settingsNow(ctx)
		return s, errors.Join(errors.New("plexauth: UseServer needs the MachineID of a server"), err)
	}
	return p.inspect(ctx, machineID)
}

func (p *PlexAuth) inspect(ctx context.Context, choice string) (Settings, error) {
	limited, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	err := p.find(limited, choice)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		late := tooLate("inspect", "plex.tv and the server", limited.Err())
		if errors.Is(err, errNotKept) {
			late = newStoreError(errors.New("not within " + inspectLimit.String()))
		}
		err = errors.Join(err, late)
	}
	s, loadErr := p.settingsNow(ctx)
	return s, errors.Join(err, loadErr)
}

// settingsNow is Settings for a call whose context may have ended.
func (p *PlexAuth) settingsNow(ctx context.Context) (Settings, error) {
	ctx, cancel := gate.Outlive(ctx, 150*time.Millisecond)
	defer cancel()
	return p.Settings(ctx)
}

// find finds things out and saves them. Its errors are joined, one for each
// field that is not known.
func (p *PlexAuth) find(ctx context.Context, choice string) error {
	var errs missing
	b, err := p.withAccount(ctx, &errs)
	if err != nil {
		return err
	}
	servers, err := p.servers(ctx)
	if err != nil {
		return errs.add("server_url, machine_id, server token, account_id", err)
	}
	f := &finding{saved: b.Server(), token: b.AccountToken(), account: b.CloudID(), user: cmp.Or(b.HomeUser(), b.CloudID()), numbered: b.Numbered(), servers: servers}
	if err := f.aim(choice); err != nil {
		if f.drop {
			err = errors.Join(err, p.keep(ctx, f))
		}
		return errs.add("server_url, machine_id", err)
	}
	found, err := p.search(ctx, f, choice != "")
	switch {
	case err != nil:
		return errs.add("server_url", err)
	case f.address == nil:
		nowhere := savedUnreachable(f.saved, found)
		if f.typed && choice != "" {
			nowhere = mediaserver.Entered(nowhere)
		}
		err := errs.add("server_url", nowhere)
		if f.noMachine != nil {
			return errs.add("machine_id", f.noMachine)
		}
		if f.wouldReplace(choice) {
			return err
		}
	case f.server == nil:
		return errs.add("machine_id, server token", fmt.Errorf("%w: plex.tv does not list the one at %s for the account", fault.ErrServerToken, f.address.URL))
	}
	if err := f.checkToken(); err != nil {
		errs.add("server token", err)
	}
	f.findNumber(b.AccountNumber())
	if err := p.keep(ctx, f); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// wouldReplace reports whether a choice that does not answer would take the place
// of the saved server.
func (f *finding) wouldReplace(choice string) bool {
	return choice != "" && f.saved.Url != "" && f.machineID != f.saved.MachineID
}

// missing are the errors of one Inspect.
type missing []error

// add notes why fields are not known, and returns all errors so far as one.
func (m *missing) add(fields string, err error) error {
	*m = append(*m, fmt.Errorf("plexauth: %s: %w", fields, fault.Inside(err)))
	return errors.Join(*m...)
}

// withAccount loads the profile, and first completes what is not known of its
// account.
func (p *PlexAuth) withAccount(ctx context.Context, errs *missing) (*profile.Profile, error) {
	b, err := p.load(ctx)
	if err != nil || b.AccountName() != "" && b.Username() != "" && b.CloudID() != 0 {
		return b, err
	}
	if err := within(ctx, plextv.AttemptLimit, "read account", func(ctx context.Context) error {
		_, err := p.Account(ctx)
		return err
	}); err != nil {
		if !errors.Is(err, fault.ErrUnavailable) && !errors.Is(err, fault.ErrRateLimited) {
			return nil, err
		}
		errs.add("username, cloud_account_id", err)
	}
	return p.load(ctx)
}

// search probes where f aims, and notes which server answers at which address.
func (p *PlexAuth) search(ctx context.Context, f *finding, chosen bool) ([]mediaserver.Address, error) {
	mediaserver.Vouch(f.candidates, mediaserver.OwnersOf(f.servers))
	run := mediaserver.NewProbe(p.client)
	defer run.Close()
	found := probed(run.Probe(ctx, f.candidates, f.expected))
	if f.instead != nil && mediaserver.BestOf(found) == nil {
		f.look(f.instead, nil)
		found = append(found, probed(run.Probe(ctx, f.candidates, f.expected))...)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.address = mediaserver.BestOf(found)
	f.strange = strange(f.saved, found)
	if f.address != nil && f.address.MachineID != f.machineID {
		f.machineID, f.server = f.address.MachineID, nil
	}
	switch {
	case f.server != nil:
	case !chosen && f.machineID == f.saved.MachineID:
		f.server = listed(f.saved, f.servers, f.account)
	default:
		f.server = f.named(f.machineID)
	}
	return found, nil
}

var errChangedMeanwhile = errors.New("plexauth: the login or the server was changed meanwhile, nothing was saved: call again")

// errNotKept: the store has not answered in time.
var errNotKept = errors.New("plexauth: what was found is not saved")

// keep saves what was found, unless somebody has signed in as another account
// or chosen another server meanwhile.
func (p *PlexAuth) keep(ctx context.Context, f *finding) error {
	var tokens []secret.Value
	if f.server != nil {
		tokens = append(tokens, f.server.Token)
	}
	changed := false
	err := p.update(ctx, func(b *profile.Profile) error {
		now := b.Server()
		changed = now.MachineID != f.saved.MachineID
		sameAccount := b.AccountToken().Equal(f.token) || f.account != 0 && b.CloudID() == f.account
		if !sameAccount || now.Url != f.saved.Url && !f.at(now.Url) || changed && now.MachineID != f.machineID {
			return errChangedMeanwhile
		}
		f.write(b)
		changed = b.Server().MachineID != now.MachineID
		return nil
	}, tokens...)
	if err == nil && changed && f.server != nil {
		p.info(ctx, "server chosen: "+plain.Short(f.server.Name))
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errNotKept, fault.Inside(err))
	}
	return err
}

func (f *finding) at(address string) bool {
	return f.address != nil && netaddr.SameServer(f.address.URL, address)
}

func (f *finding) write(b *profile.Profile) {
	if f.drop {
		b.ForgetServer()
	}
	switch {
	case f.address != nil:
		b.SetServer(f.address.URL, profile.OwnedServer{MachineID: f.server.MachineID, Owner: f.server.OwnedBy(f.account), Owned: f.server.Owned})
		b.SetServerCertificate(f.address.Hash)
	case b.Server().Url == "" && f.machineID != "":
		b.SetMachine(f.machineID)
	}
	if f.server != nil {
		f.writeServer(b)
	}
	if f.address != nil {
		theirs := f.typed || f.address.Class < mediaserver.ClassLocal && !f.saved.Found
		b.SetFound(!theirs)
		b.BindVerify(f.saved, theirs)
	}
	f.writeNumber(b)
}

// writeServer saves what plex.tv says of the server.
func (f *finding) writeServer(b *profile.Profile) {
	if f.account != 0 {
		b.SetServerAccount(f.account)
	}
	verified := f.address != nil || f.saved.Bound && f.machineID == f.saved.MachineID && !f.strange
	// A token that was the account's own has been retired with it.
	retired := f.server.Token.Equal(f.token) && !b.AccountToken().Equal(f.token)
	if !f.server.Token.IsZero() && verified && !retired {
		b.SetServerToken(f.server.Token)
	}
}

// writeNumber saves the server's number of the user, unless user or number have
// been changed in the meantime.
func (f *finding) writeNumber(b *profile.Profile) {
	switch now := b.Numbered(); {
	case now != "" && now != f.numbered || f.user != cmp.Or(b.HomeUser(), f.account):
	case f.number != 0:
		if f.reset {
			b.WorkForAccount()
		}
		b.SetAccountNumber(f.number)
	case f.server != nil && !f.server.Owned && b.AccountNumber() == 1: // that is its owner
		b.ForgetAccountNumber()
	}
}
