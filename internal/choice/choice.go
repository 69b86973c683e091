// Package choice decides which media server a profile works with: where to look for it,
// what an answer means, and what to save. It makes no request and uses no store.
package choice

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Choice is the search for the media server of one profile. It is not safe for
// concurrent use.
type Choice struct {
	// As it was at the beginning.
	saved   profile.SavedServer
	token   secret.Value         // of the account
	account int64                // plex.tv's number of the account, 0 if unknown
	user    int64                // plex.tv's number of the user that the profile works for
	stored  string               // account_id
	have    int64                // account_id as a number, 0 if unknown
	offers  []plextv.MediaServer // as plex.tv lists them
	wanted  string               // the MachineID or address that a person has chosen; "" if none
	noneErr error                // the error if no server can be chosen

	// Where to look.
	Candidates []mediaserver.Candidate
	Expected   func(machineID string) bool
	fallback   *plextv.MediaServer // to look for if no server of the account answers at Candidates
	typed      bool                // the address is a person's, and stays
	noMachine  error               // why wanted is not a MachineID, so perhaps an address
	drop       bool                // the saved server was another account's

	// What was found.
	Server    *plextv.MediaServer  // nil: plex.tv does not list it
	machineID string               // "" if unknown
	address   *mediaserver.Address // where the server answers; nil: nowhere
	stranger  bool                 // another server answers at the saved address
	number    int64                // by which Server knows user, 0 if unknown
	replaces  bool                 // number replaces another one
}

// New returns the choice of a server for the profile b. offers are the servers that
// plex.tv lists, and wanted is the MachineID or the address that a person has chosen, or
// "". none is the error of Target if no server can be chosen.
func New(b *profile.Profile, offers []plextv.MediaServer, wanted string, none error) *Choice {
	return &Choice{
		saved: b.SavedServer(), token: b.AccountToken(), account: b.AccountID(), user: cmp.Or(b.HomeUserID(), b.AccountID()),
		stored: b.ServerUserIDText(), have: b.ServerUserID(), offers: offers, wanted: wanted, noneErr: none,
	}
}

// Target decides which server is wanted, and sets Candidates and Expected. The error is
// none of New, possibly wrapped, or [mediaserver.ErrNoAddress].
func (c *Choice) Target() error {
	switch saved := c.saved; {
	case c.wanted != "":
		return c.targetChoice()
	case saved.URL != "" && (!saved.Found || saved.MachineID == ""):
		c.Candidates, c.Expected, c.typed = Saved(saved), anyServer, !saved.Found
		if saved.Bound && saved.MachineID != "" {
			c.machineID, c.Expected = saved.MachineID, only(saved.MachineID)
		}
		if c.Candidates == nil {
			return mediaserver.ErrNoAddress
		}
		return nil
	case saved.MachineID != "":
		if c.targetSaved() {
			return nil
		}
		if err := c.savedIsGone(); err != nil {
			return err
		}
		c.drop = true
	}
	return c.targetOwn()
}

// savedIsGone returns the error that keeps the saved server, which plex.tv does not list.
// A server that is missing from one list may be back in the next. Only another account's
// is dropped: the error is nil.
func (c *Choice) savedIsGone() error {
	another := c.saved.Account != 0 && c.account != 0 && c.saved.Account != c.account
	if another || !c.saved.Held && c.saved.Account == 0 {
		return nil
	}
	err := fmt.Errorf("plex.tv does not list the saved server any more: %w", fault.Inside(c.noneErr))
	if isOwn(c.saved, c.account) {
		return err
	}
	return notShared(err)
}

// targetOwn chooses the only server that the account owns.
func (c *Choice) targetOwn() error {
	owned := slices.DeleteFunc(slices.Clone(c.offers), func(s plextv.MediaServer) bool { return !s.Owned })
	if len(owned) != 1 {
		return c.noneErr
	}
	c.lookFor(&owned[0], nil)
	return nil
}

// targetChoice chooses what a person has chosen: a machine, or an address.
func (c *Choice) targetChoice() error {
	if s := c.named(c.wanted); s != nil {
		var own []mediaserver.Candidate
		if !c.saved.Found && (c.saved.MachineID == "" || c.saved.MachineID == c.wanted && c.saved.BelongsTo(s.OwnedBy(c.account))) {
			own = Saved(c.saved)
		}
		c.lookFor(s, own)
		return nil
	}
	c.Candidates, c.Expected, c.typed = Typed(c.saved, c.wanted), anyServer, true
	if !LooksTyped(c.wanted) { // an unknown machine, or the name of a host
		c.noMachine = fmt.Errorf("the account may not use the server %q: %w", plain.Short(c.wanted), fault.Inside(c.noneErr))
	}
	if c.Candidates == nil {
		return cmp.Or(c.noMachine, mediaserver.ErrNoAddress)
	}
	return nil
}

// targetSaved chooses the saved server, and reports whether plex.tv lists it. If
// another program has written address and machine, they may not belong together: a
// person may have changed the address since, so the server there comes first.
func (c *Choice) targetSaved() bool {
	s := Listed(c.saved, c.offers, c.account)
	unsure := c.saved.URL != "" && !c.saved.Bound && !c.saved.Confirmed
	if unsure {
		if there := listedAt(c.offers, c.saved.URL); there != nil {
			s, unsure = there, false
		}
	}
	if s == nil {
		return false
	}
	c.lookFor(s, Saved(c.saved))
	if unsure {
		c.Candidates, c.fallback, c.Server, c.machineID = Saved(c.saved), s, nil, ""
		c.Expected = func(id string) bool { return findServer(c.offers, id) != nil }
	}
	return true
}

// lookFor chooses the server s. own are looked at before the addresses that plex.tv
// lists.
func (c *Choice) lookFor(s *plextv.MediaServer, own []mediaserver.Candidate) {
	c.Candidates, c.machineID, c.Server, c.Expected = mediaserver.SavedAndListed(own, s), s.MachineID, s, only(s.MachineID)
}

// named returns the listed server with that identifier, nil if there is none. The
// identifier of the saved server means the server of the saved owner.
func (c *Choice) named(machineID string) *plextv.MediaServer {
	if machineID == c.saved.MachineID {
		if s := Listed(c.saved, c.offers, c.account); s != nil {
			return s
		}
	}
	return findServer(c.offers, machineID)
}

// Found records which addresses have answered. missing says which fields stay unknown, and
// why. nothing reports that there is nothing to save.
func (c *Choice) Found(addresses []mediaserver.Address) (missing []Missing, nothing bool) {
	c.address, c.stranger = mediaserver.Best(addresses), strangerAnswers(c.saved, addresses)
	if c.address != nil && c.address.MachineID != c.machineID {
		c.machineID, c.Server = c.address.MachineID, nil
	}
	switch {
	case c.Server != nil:
	case c.wanted == "" && c.machineID == c.saved.MachineID:
		c.Server = Listed(c.saved, c.offers, c.account)
	default:
		c.Server = c.named(c.machineID)
	}
	switch {
	case c.address == nil:
		missing, nothing = c.unreachable(addresses)
	case c.Server == nil:
		err := fmt.Errorf("%w: plex.tv does not list the one at %s for the account", fault.ErrServerToken, c.address.URL)
		return []Missing{{"machine_id, server token", notShared(err)}}, true
	}
	if nothing {
		return missing, true
	}
	if err := c.checkToken(); err != nil {
		missing = append(missing, Missing{"server token", err})
	}
	c.findNumber()
	return missing, false
}

// Missing says why fields of the profile are not known.
type Missing struct {
	Fields string
	Err    error
}

// unreachable returns what is not known because no address answered. nothing reports
// that there is nothing to save: a server that does not answer must not replace the saved one.
func (c *Choice) unreachable(addresses []mediaserver.Address) (missing []Missing, nothing bool) {
	err := Unreachable(c.saved, addresses)
	if c.typed && c.wanted != "" {
		err = mediaserver.Entered(err)
	}
	missing = []Missing{{"server_url", err}}
	if c.noMachine != nil {
		return append(missing, Missing{"machine_id", c.noMachine}), true
	}
	return missing, !c.drop && c.saved.URL != "" && c.machineID != c.saved.MachineID
}

// checkToken returns why there is no token for the server.
func (c *Choice) checkToken() error {
	switch {
	case c.Server == nil: // the missing answer is the error
		return nil
	case c.Server.OnlyJWT && devicekey.IsJWT(c.saved.Token.Secret()) && c.machineID == c.saved.MachineID: // the server has accepted it
		return nil
	case c.Server.OnlyJWT:
		return NeedsLongLived(fmt.Errorf("%w: plex.tv gives only a JWT for %q, which media servers do not take", fault.ErrServerToken, plain.Short(c.Server.Name)))
	case c.Server.Token.IsZero():
		err := fmt.Errorf("%w: plex.tv gives none for %q", fault.ErrServerToken, plain.Short(c.Server.Name))
		if !c.Server.Owned {
			err = notShared(err)
		}
		return err
	}
	return nil
}

// findNumber finds the number by which the server knows the user. The server itself is
// not asked, because it shows its accounts only to its owner. A number that plexauth
// would not have saved is another program's choice of a user. It stays as long as the
// machine stays.
func (c *Choice) findNumber() {
	moved := c.saved.MachineID != "" && c.machineID != c.saved.MachineID
	if c.Server == nil || c.have > 1 && c.have != c.user && !moved {
		return
	}
	c.number = profile.ServerUserIDFor(c.Server.OwnedBy(c.account), c.user)
	if c.Server.Owned && c.user == c.account {
		c.number = 1
	}
	c.replaces = c.have != 0 && c.have != c.number && c.user == c.account
}

// isOutdated reports whether the profile has another login or server than at the
// beginning.
func (c *Choice) isOutdated(b *profile.Profile) bool {
	now := b.SavedServer()
	sameAccount := b.AccountToken().Equal(c.token) || c.account != 0 && b.AccountID() == c.account
	sameAddress := now.URL == c.saved.URL || c.address != nil && netaddr.SameAddress(c.address.URL, now.URL)
	return !sameAccount || !sameAddress || now.MachineID != c.saved.MachineID && now.MachineID != c.machineID
}

// Save writes what was found to the profile. It returns [profile.ErrChanged] if another login or
// choice was made since New.
func (c *Choice) Save(b *profile.Profile) error {
	if c.isOutdated(b) {
		return profile.ErrChanged
	}
	if c.drop {
		b.ForgetServer()
	}
	switch {
	case c.address != nil:
		b.SetServer(c.address.URL, profile.OwnedServer{MachineID: c.Server.MachineID, Owner: c.Server.OwnedBy(c.account), Owned: c.Server.Owned})
		b.SetServerCertificate(c.address.DirectHash)
	case c.machineID != "":
		b.SetMachine(c.machineID)
	}
	if c.Server != nil {
		c.writeServer(b)
	}
	if c.address != nil {
		typed := c.typed || c.address.IsSaved() && !c.saved.Found
		b.SetFound(!typed)
		b.BindVerify(c.saved, typed)
	}
	c.writeNumber(b)
	return nil
}

// writeServer writes what plex.tv says about the server.
func (c *Choice) writeServer(b *profile.Profile) {
	if c.account != 0 {
		b.SetServerAccount(c.account)
	}
	verified := c.address != nil || c.saved.Bound && c.machineID == c.saved.MachineID && !c.stranger
	// A server token that is the account's own has ended with it.
	ended := c.Server.Token.Equal(c.token) && !b.AccountToken().Equal(c.token)
	if !c.Server.Token.IsZero() && verified && !ended {
		b.SetServerToken(c.Server.Token)
	}
}

// writeNumber writes the server's number of the user, unless user or number were
// changed in the meantime.
func (c *Choice) writeNumber(b *profile.Profile) {
	switch now := b.ServerUserIDText(); {
	case now != "" && now != c.stored || c.user != cmp.Or(b.HomeUserID(), c.account):
	case c.number != 0:
		if c.replaces {
			b.WorkForAccount()
		}
		b.SetServerUserID(c.number)
	case c.Server != nil && !c.Server.Owned && b.ServerUserID() == 1: // 1 is the owner
		b.ForgetServerUserID()
	}
}

// Fallback makes another server the one to look for, after no server of the account has
// answered at Candidates. It reports whether there is one.
func (c *Choice) Fallback() bool {
	if c.fallback == nil {
		return false
	}
	c.lookFor(c.fallback, nil)
	return true
}

// Drops reports whether Save removes the saved server, because it was another account's.
func (c *Choice) Drops() bool { return c.drop }

func anyServer(string) bool { return true }

func only(machineID string) func(string) bool {
	return func(id string) bool { return id == machineID }
}
