package plexauth

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// finding is what one Inspect has found out so far.
type finding struct {
	saved    profile.SavedServer // when it began
	token    secret.Value        // of the account
	account  int64               // its number, 0 where unknown
	user     int64               // plex.tv's number of whom the profile works for: account, or a Home user
	numbered string              // account_id, when it began
	servers  []plextv.MediaServer

	candidates []mediaserver.Candidate
	expected   func(machineID string) bool
	instead    *plextv.MediaServer // where no server of the account answers at the candidates
	typed      bool                // the address is a person's: keep it
	noMachine  error               // what was chosen is no machine, and an address perhaps
	drop       bool                // the saved server was another account's

	machineID string               // of the server, "" where unknown
	address   *mediaserver.Address // where it answers; nil: nowhere
	strange   bool                 // another server answers at the saved address
	server    *plextv.MediaServer  // as plex.tv lists it; nil: it does not
	number    int64                // the server's own of user, 0 where unknown
	reset     bool                 // number takes the place of another one
}

// aim decides which server is wanted, and where to look for it.
func (f *finding) aim(choice string) error {
	switch saved := f.saved; {
	case choice != "":
		return f.aimAt(choice)
	case saved.Url != "" && (!saved.Found || saved.MachineID == ""):
		f.candidates, f.expected, f.typed = savedCandidates(saved), anyServer, !saved.Found
		if saved.Bound && saved.MachineID != "" {
			f.machineID = saved.MachineID
			f.expected = func(id string) bool { return id == saved.MachineID }
		}
		if f.candidates == nil {
			return mediaserver.ErrNoAddress
		}
		return nil
	case saved.MachineID != "":
		if s := listed(saved, f.servers, f.account); f.aimAtSaved(s) {
			return nil
		}
		// Once missing from a list is not gone: only another account's is dropped.
		another := saved.Account != 0 && f.account != 0 && saved.Account != f.account
		if !another && (saved.Held || saved.Account != 0) {
			return fmt.Errorf("plex.tv does not list the saved server any more: %w", fault.Inside(&ServerChoiceError{publicServers(f.servers)}))
		}
		f.drop = true
	}
	return f.aimAtOwn()
}

// aimAtOwn aims at the only server that the account owns.
func (f *finding) aimAtOwn() error {
	var own []*plextv.MediaServer
	for i := range f.servers {
		if f.servers[i].Owned {
			own = append(own, &f.servers[i])
		}
	}
	if len(own) != 1 {
		return &ServerChoiceError{publicServers(f.servers)}
	}
	f.look(own[0], nil)
	return nil
}

func anyServer(string) bool { return true }

// aimAt aims at what a person has chosen: a machine, or an address.
func (f *finding) aimAt(choice string) error {
	s := f.named(choice)
	if s != nil {
		var own []mediaserver.Candidate
		if !f.saved.Found && (f.saved.MachineID == "" || f.saved.MachineID == choice && f.saved.BelongsTo(s.OwnedBy(f.account))) {
			own = savedCandidates(f.saved)
		}
		f.look(s, own)
		return nil
	}
	f.candidates, f.expected, f.typed = typedFor(f.saved, choice), anyServer, true
	if !looksTyped(choice) { // a machine that is not there, or the name of a host
		f.noMachine = fmt.Errorf("the account may not use the server %q: %w", plain.Short(choice), fault.Inside(&ServerChoiceError{publicServers(f.servers)}))
	}
	if f.candidates == nil {
		return cmp.Or(f.noMachine, mediaserver.ErrNoAddress)
	}
	return nil
}

// aimAtSaved aims at the saved server, which is s in plex.tv's list, and reports
// whether there is anything to aim at. Where another program has written address
// and machine, nothing says that they belong together: a person may have changed
// the address since, so the server there comes first.
func (f *finding) aimAtSaved(s *plextv.MediaServer) bool {
	unsure := f.saved.Url != "" && !f.saved.Bound && !f.saved.Confirmed
	if unsure {
		if there := f.listedAt(f.saved.Url); there != nil {
			s, unsure = there, false
		}
	}
	if s == nil {
		return false
	}
	f.look(s, savedCandidates(f.saved))
	if unsure {
		f.candidates, f.instead, f.server, f.machineID = savedCandidates(f.saved), s, nil, ""
		f.expected = func(id string) bool { return findServer(f.servers, id) != nil }
	}
	return true
}

// listedAt returns the one server that plex.tv lists at an address, nil if there
// is none or more than one.
func (f *finding) listedAt(address string) (there *plextv.MediaServer) {
	for i := range f.servers {
		s := &f.servers[i]
		if slices.ContainsFunc(mediaserver.Candidates(s), func(c mediaserver.Candidate) bool { return netaddr.SameServer(c.Url, address) }) {
			if there != nil {
				return nil
			}
			there = s
		}
	}
	return there
}

// named returns the listed server with that identifier, nil if there is none. The
// saved one is its owner's.
func (f *finding) named(machineID string) *plextv.MediaServer {
	if machineID == f.saved.MachineID {
		if s := listed(f.saved, f.servers, f.account); s != nil {
			return s
		}
	}
	return findServer(f.servers, machineID)
}

// looksTyped reports whether a choice can be nothing but an address.
func looksTyped(choice string) bool { return strings.ContainsAny(choice, ".:/") }

// look aims at the addresses of one server, own before those that plex.tv lists.
func (f *finding) look(s *plextv.MediaServer, own []mediaserver.Candidate) {
	f.candidates, f.machineID, f.server = mediaserver.Addresses(own, s), s.MachineID, s
	f.expected = func(id string) bool { return id == s.MachineID }
}

func findServer(servers []plextv.MediaServer, machineID string) *plextv.MediaServer {
	i := slices.IndexFunc(servers, func(s plextv.MediaServer) bool { return s.MachineID == machineID })
	if i < 0 || machineID == "" {
		return nil
	}
	return &servers[i]
}

// checkToken says why there is no token for the server.
func (f *finding) checkToken() error {
	switch {
	case f.server == nil: // where nothing answers, that is the trouble
		return nil
	case f.server.OnlyJWT && devicekey.IsJWT(f.saved.Token.Secret()) && f.machineID == f.saved.MachineID: // it has accepted one
		return nil
	case f.server.OnlyJWT:
		return deviceKeyError{fmt.Errorf("%w: plex.tv gives only a JWT for %q, which media servers do not take", fault.ErrServerToken, plain.Short(f.server.Name))}
	case f.server.Token.IsZero():
		return fmt.Errorf("%w: plex.tv gives none for %q", fault.ErrServerToken, plain.Short(f.server.Name))
	}
	return nil
}

// findNumber finds out what the server calls the user, where have is saved. The
// server itself is not asked, since it shows its accounts to its owner only. A
// number that plexauth would not have saved is another program's choice of a user,
// and stays, unless it is of another machine.
func (f *finding) findNumber(have int64) {
	moved := f.saved.MachineID != "" && f.machineID != f.saved.MachineID
	if f.server == nil || have > 1 && have != f.user && !moved {
		return
	}
	f.number = profile.NumberOn(f.server.OwnedBy(f.account), f.user)
	if f.server.Owned && f.user == f.account {
		f.number = 1
	}
	f.reset = have != 0 && have != f.number && f.user == f.account
}
