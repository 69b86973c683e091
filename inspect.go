package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
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

func (p *PlexAuth) inspect(ctx context.Context, choice string) (Settings, error) {
	limited, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	i := &inspection{session: &p.session, choice: choice}
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

var (
	errChangedMeanwhile = errors.New("plexauth: the login or the server was changed in the meantime, nothing was saved: call again")
	errNotSaved         = errors.New("plexauth: the result could not be saved") // the store has not answered in time
)

// inspection is one Inspect, and what it has found out so far.
type inspection struct {
	*session
	choice string // the server that a person has chosen, "" if Inspect chooses
	errs   []error

	// As it was at the beginning.
	saved   profile.SavedServer
	token   secret.Value         // of the account
	account int64                // plex.tv's number of the account, 0 if unknown
	user    int64                // plex.tv's number of the user that the profile works for
	stored  string               // account_id
	offers  []plextv.MediaServer // as plex.tv lists them

	// Where to look.
	candidates []mediaserver.Candidate
	expected   func(machineID string) bool
	fallback   *plextv.MediaServer // to look for if no server of the account answers at candidates
	typed      bool                // the address is a person's, and stays
	noMachine  error               // why choice is not a MachineID, so perhaps an address
	drop       bool                // the saved server was another account's

	// What was found.
	machineID string               // "" if unknown
	address   *mediaserver.Address // where the server answers; nil: nowhere
	stranger  bool                 // another server answers at the saved address
	server    *plextv.MediaServer  // nil: plex.tv does not list it
	number    int64                // by which server knows user, 0 if unknown
	replaces  bool                 // number replaces another one
}

// run finds out everything and saves it. Its errors are joined, one for each field
// that is not known.
func (i *inspection) run(ctx context.Context) error {
	b, err := i.loadWithAccount(ctx)
	if err != nil {
		return err
	}
	if i.offers, err = i.servers(ctx); err != nil {
		return i.fail("server_url, machine_id, server token, account_id", err)
	}
	i.saved, i.token, i.account, i.stored = b.Server(), b.AccountToken(), b.CloudID(), b.Numbered()
	i.user = cmp.Or(b.HomeUser(), i.account)
	if err := i.chooseTarget(); err != nil {
		if i.drop {
			err = errors.Join(err, i.saveResult(ctx))
		}
		return i.fail("server_url, machine_id", err)
	}
	found, err := i.probe(ctx)
	if err != nil {
		return i.fail("server_url", err)
	}
	if done, err := i.judge(found); done {
		return err
	}
	if err := i.checkToken(); err != nil {
		_ = i.fail("server token", err)
	}
	i.findNumber(b.AccountNumber())
	if err := i.saveResult(ctx); err != nil {
		i.errs = append(i.errs, err)
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
	if err != nil || b.AccountName() != "" && b.Username() != "" && b.CloudID() != 0 {
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

// chooseTarget decides which server is wanted, and where to look for it.
func (i *inspection) chooseTarget() error {
	switch saved := i.saved; {
	case i.choice != "":
		return i.targetChoice()
	case saved.Url != "" && (!saved.Found || saved.MachineID == ""):
		i.candidates, i.expected, i.typed = savedCandidates(saved), anyServer, !saved.Found
		if saved.Bound && saved.MachineID != "" {
			i.machineID, i.expected = saved.MachineID, only(saved.MachineID)
		}
		if i.candidates == nil {
			return mediaserver.ErrNoAddress
		}
		return nil
	case saved.MachineID != "":
		if i.targetSaved() {
			return nil
		}
		// A server that is missing from one list may be back in the next. Only another
		// account's is dropped.
		another := saved.Account != 0 && i.account != 0 && saved.Account != i.account
		if !another && (saved.Held || saved.Account != 0) {
			return fmt.Errorf("plex.tv does not list the saved server any more: %w", fault.Inside(&ServerChoiceError{publicServers(i.offers)}))
		}
		i.drop = true
	}
	return i.targetOwn()
}

// targetOwn chooses the only server that the account owns.
func (i *inspection) targetOwn() error {
	owned := slices.DeleteFunc(slices.Clone(i.offers), func(s plextv.MediaServer) bool { return !s.Owned })
	if len(owned) != 1 {
		return &ServerChoiceError{publicServers(i.offers)}
	}
	i.target(&owned[0], nil)
	return nil
}

// targetChoice chooses what a person has chosen: a machine, or an address.
func (i *inspection) targetChoice() error {
	if s := i.named(i.choice); s != nil {
		var own []mediaserver.Candidate
		if !i.saved.Found && (i.saved.MachineID == "" || i.saved.MachineID == i.choice && i.saved.BelongsTo(s.OwnedBy(i.account))) {
			own = savedCandidates(i.saved)
		}
		i.target(s, own)
		return nil
	}
	i.candidates, i.expected, i.typed = typedFor(i.saved, i.choice), anyServer, true
	if !looksTyped(i.choice) { // an unknown machine, or the name of a host
		i.noMachine = fmt.Errorf("the account may not use the server %q: %w", plain.Short(i.choice), fault.Inside(&ServerChoiceError{publicServers(i.offers)}))
	}
	if i.candidates == nil {
		return cmp.Or(i.noMachine, mediaserver.ErrNoAddress)
	}
	return nil
}

// targetSaved chooses the saved server, and reports whether plex.tv lists it. If
// another program has written address and machine, they may not belong together: a
// person may have changed the address since, so the server there comes first.
func (i *inspection) targetSaved() bool {
	s := listed(i.saved, i.offers, i.account)
	unsure := i.saved.Url != "" && !i.saved.Bound && !i.saved.Confirmed
	if unsure {
		if there := listedAt(i.offers, i.saved.Url); there != nil {
			s, unsure = there, false
		}
	}
	if s == nil {
		return false
	}
	i.target(s, savedCandidates(i.saved))
	if unsure {
		i.candidates, i.fallback, i.server, i.machineID = savedCandidates(i.saved), s, nil, ""
		i.expected = func(id string) bool { return findServer(i.offers, id) != nil }
	}
	return true
}

// target chooses the server s. own are looked at before the addresses that plex.tv
// lists.
func (i *inspection) target(s *plextv.MediaServer, own []mediaserver.Candidate) {
	i.candidates, i.machineID, i.server, i.expected = mediaserver.Addresses(own, s), s.MachineID, s, only(s.MachineID)
}

func anyServer(string) bool { return true }

func only(machineID string) func(string) bool {
	return func(id string) bool { return id == machineID }
}

// named returns the listed server with that identifier, nil if there is none. The
// identifier of the saved server means the server of the saved owner.
func (i *inspection) named(machineID string) *plextv.MediaServer {
	if machineID == i.saved.MachineID {
		if s := listed(i.saved, i.offers, i.account); s != nil {
			return s
		}
	}
	return findServer(i.offers, machineID)
}

// probe tries the candidates, and notes which server answers at which address.
func (i *inspection) probe(ctx context.Context) ([]mediaserver.Address, error) {
	mediaserver.Vouch(i.candidates, mediaserver.OwnersOf(i.offers))
	run := mediaserver.NewProbe(i.client)
	defer run.Close()
	found := publicErrors(run.Probe(ctx, i.candidates, i.expected))
	if i.fallback != nil && mediaserver.BestOf(found) == nil {
		i.target(i.fallback, nil)
		found = append(found, publicErrors(run.Probe(ctx, i.candidates, i.expected))...)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i.address, i.stranger = mediaserver.BestOf(found), answersStranger(i.saved, found)
	if i.address != nil && i.address.MachineID != i.machineID {
		i.machineID, i.server = i.address.MachineID, nil
	}
	switch {
	case i.server != nil:
	case i.choice == "" && i.machineID == i.saved.MachineID:
		i.server = listed(i.saved, i.offers, i.account)
	default:
		i.server = i.named(i.machineID)
	}
	return found, nil
}

// judge decides whether the server was found. done means that there is nothing to
// save, because of err.
func (i *inspection) judge(found []mediaserver.Address) (done bool, err error) {
	switch {
	case i.address == nil:
		unreachable := savedUnreachable(i.saved, found)
		if i.typed && i.choice != "" {
			unreachable = mediaserver.Entered(unreachable)
		}
		err = i.fail("server_url", unreachable)
		if i.noMachine != nil {
			return true, i.fail("machine_id", i.noMachine)
		}
		wouldReplace := i.choice != "" && i.saved.Url != "" && i.machineID != i.saved.MachineID
		return wouldReplace, err
	case i.server == nil:
		return true, i.fail("machine_id, server token", fmt.Errorf("%w: plex.tv does not list the one at %s for the account", fault.ErrServerToken, i.address.URL))
	}
	return false, nil
}

// checkToken returns why there is no token for the server.
func (i *inspection) checkToken() error {
	switch {
	case i.server == nil: // the missing answer is the error
		return nil
	case i.server.OnlyJWT && devicekey.IsJWT(i.saved.Token.Secret()) && i.machineID == i.saved.MachineID: // the server has accepted it
		return nil
	case i.server.OnlyJWT:
		return deviceKeyError{fmt.Errorf("%w: plex.tv gives only a JWT for %q, which media servers do not take", fault.ErrServerToken, plain.Short(i.server.Name))}
	case i.server.Token.IsZero():
		return fmt.Errorf("%w: plex.tv gives none for %q", fault.ErrServerToken, plain.Short(i.server.Name))
	}
	return nil
}

// findNumber finds the number by which the server knows the user; have is stored. The
// server itself is not asked, because it shows its accounts only to its owner. A
// number that plexauth would not have saved is another program's choice of a user. It
// stays as long as the machine stays.
func (i *inspection) findNumber(have int64) {
	moved := i.saved.MachineID != "" && i.machineID != i.saved.MachineID
	if i.server == nil || have > 1 && have != i.user && !moved {
		return
	}
	i.number = profile.NumberOn(i.server.OwnedBy(i.account), i.user)
	if i.server.Owned && i.user == i.account {
		i.number = 1
	}
	i.replaces = have != 0 && have != i.number && i.user == i.account
}

// saveResult saves what was found, unless another login or choice was made in the meantime.
func (i *inspection) saveResult(ctx context.Context) error {
	var tokens []secret.Value
	if i.server != nil {
		tokens = append(tokens, i.server.Token)
	}
	chosen := false
	err := i.update(ctx, func(b *profile.Profile) error {
		if i.isOutdated(b) {
			return errChangedMeanwhile
		}
		before := b.Server().MachineID
		i.write(b)
		chosen = b.Server().MachineID != before
		return nil
	}, tokens...)
	switch {
	case err == nil && chosen && i.server != nil:
		i.info(ctx, "server chosen: "+plain.Short(i.server.Name))
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errNotSaved, fault.Inside(err))
	}
	return err
}

// isOutdated reports whether the profile's login or server is no longer the one that
// the inspection began with.
func (i *inspection) isOutdated(b *profile.Profile) bool {
	now := b.Server()
	sameAccount := b.AccountToken().Equal(i.token) || i.account != 0 && b.CloudID() == i.account
	sameAddress := now.Url == i.saved.Url || i.address != nil && netaddr.SameServer(i.address.URL, now.Url)
	return !sameAccount || !sameAddress || now.MachineID != i.saved.MachineID && now.MachineID != i.machineID
}

// write writes what was found to the profile.
func (i *inspection) write(b *profile.Profile) {
	if i.drop {
		b.ForgetServer()
	}
	switch {
	case i.address != nil:
		b.SetServer(i.address.URL, profile.OwnedServer{MachineID: i.server.MachineID, Owner: i.server.OwnedBy(i.account), Owned: i.server.Owned})
		b.SetServerCertificate(i.address.Hash)
	case b.Server().Url == "" && i.machineID != "":
		b.SetMachine(i.machineID)
	}
	if i.server != nil {
		i.writeServer(b)
	}
	if i.address != nil {
		typed := i.typed || i.address.Class < mediaserver.ClassLocal && !i.saved.Found
		b.SetFound(!typed)
		b.BindVerify(i.saved, typed)
	}
	i.writeNumber(b)
}

// writeServer writes what plex.tv says about the server.
func (i *inspection) writeServer(b *profile.Profile) {
	if i.account != 0 {
		b.SetServerAccount(i.account)
	}
	verified := i.address != nil || i.saved.Bound && i.machineID == i.saved.MachineID && !i.stranger
	// A server token that is the account's own has ended with it.
	ended := i.server.Token.Equal(i.token) && !b.AccountToken().Equal(i.token)
	if !i.server.Token.IsZero() && verified && !ended {
		b.SetServerToken(i.server.Token)
	}
}

// writeNumber writes the server's number of the user, unless user or number were
// changed in the meantime.
func (i *inspection) writeNumber(b *profile.Profile) {
	switch now := b.Numbered(); {
	case now != "" && now != i.stored || i.user != cmp.Or(b.HomeUser(), i.account):
	case i.number != 0:
		if i.replaces {
			b.WorkForAccount()
		}
		b.SetAccountNumber(i.number)
	case i.server != nil && !i.server.Owned && b.AccountNumber() == 1: // 1 is the owner
		b.ForgetAccountNumber()
	}
}
