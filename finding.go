package plexauth

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// finding is what one Inspect has found out so far.
type finding struct {
	saved    savedServer // when it began
	token    secretValue // of the account
	account  int64       // its number, 0 where unknown
	user     int64       // plex.tv's number of whom the profile works for: account, or a Home user
	numbered string      // account_id, when it began
	servers  []mediaServer

	candidates []candidate
	expected   func(machineID string) bool
	instead    *mediaServer // where no server of the account answers at the candidates
	typed      bool         // the address is a person's: keep it
	noMachine  error        // what was chosen is no machine, and an address perhaps
	drop       bool         // the saved server was another account's

	machineID string       // of the server, "" where unknown
	address   *address     // where it answers; nil: nowhere
	strange   bool         // another server answers at the saved address
	server    *mediaServer // as plex.tv lists it; nil: it does not
	number    int64        // the server's own of user, 0 where unknown
	reset     bool         // number takes the place of another one
}

// aim decides which server is wanted, and where to look for it.
func (f *finding) aim(choice string) error {
	switch saved := f.saved; {
	case choice != "":
		return f.aimAt(choice)
	case saved.url != "" && (!saved.found || saved.machineID == ""):
		f.candidates, f.expected, f.typed = saved.candidates(), anyServer, !saved.found
		if saved.bound && saved.machineID != "" {
			f.machineID = saved.machineID
			f.expected = func(id string) bool { return id == saved.machineID }
		}
		if f.candidates == nil {
			return errNoAddress
		}
		return nil
	case saved.machineID != "":
		if s := saved.listed(f.servers, f.account); f.aimAtSaved(s) {
			return nil
		}
		// Once missing from a list is not gone: only another account's is dropped.
		another := saved.account != 0 && f.account != 0 && saved.account != f.account
		if !another && (saved.held || saved.account != 0) {
			return fmt.Errorf("plex.tv does not list the saved server any more: %w", inner{&ServerChoiceError{publicServers(f.servers)}})
		}
		f.drop = true
	}
	return f.aimAtOwn()
}

// aimAtOwn aims at the only server that the account owns.
func (f *finding) aimAtOwn() error {
	var own []*mediaServer
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
		var own []candidate
		if !f.saved.found && (f.saved.machineID == "" || f.saved.machineID == choice && f.saved.belongsTo(s.owner(f.account))) {
			own = f.saved.candidates()
		}
		f.look(s, own)
		return nil
	}
	f.candidates, f.expected, f.typed = f.saved.typed(choice), anyServer, true
	if !looksTyped(choice) { // a machine that is not there, or the name of a host
		f.noMachine = fmt.Errorf("the account may not use the server %q: %w", oneLine(choice), inner{&ServerChoiceError{publicServers(f.servers)}})
	}
	if f.candidates == nil {
		return cmp.Or(f.noMachine, errNoAddress)
	}
	return nil
}

// aimAtSaved aims at the saved server, which is s in plex.tv's list, and reports
// whether there is anything to aim at. Where another program has written address
// and machine, nothing says that they belong together: a person may have changed
// the address since, so the server there comes first.
func (f *finding) aimAtSaved(s *mediaServer) bool {
	unsure := f.saved.url != "" && !f.saved.bound && !f.saved.confirmed
	if unsure {
		if there := f.listedAt(f.saved.url); there != nil {
			s, unsure = there, false
		}
	}
	if s == nil {
		return false
	}
	f.look(s, f.saved.candidates())
	if unsure {
		f.candidates, f.instead, f.server, f.machineID = f.saved.candidates(), s, nil, ""
		f.expected = func(id string) bool { return findServer(f.servers, id) != nil }
	}
	return true
}

// listedAt returns the one server that plex.tv lists at an address, nil if there
// is none or more than one.
func (f *finding) listedAt(address string) (there *mediaServer) {
	for i := range f.servers {
		s := &f.servers[i]
		if slices.ContainsFunc(s.candidates(), func(c candidate) bool { return sameServer(c.url, address) }) {
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
func (f *finding) named(machineID string) *mediaServer {
	if machineID == f.saved.machineID {
		if s := f.saved.listed(f.servers, f.account); s != nil {
			return s
		}
	}
	return findServer(f.servers, machineID)
}

// looksTyped reports whether a choice can be nothing but an address.
func looksTyped(choice string) bool { return strings.ContainsAny(choice, ".:/") }

// look aims at the addresses of one server, own before those that plex.tv lists.
func (f *finding) look(s *mediaServer, own []candidate) {
	f.candidates, f.machineID, f.server = addresses(own, s), s.MachineID, s
	f.expected = func(id string) bool { return id == s.MachineID }
}

func findServer(servers []mediaServer, machineID string) *mediaServer {
	i := slices.IndexFunc(servers, func(s mediaServer) bool { return s.MachineID == machineID })
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
	case f.server.onlyJWT && isJWT(f.saved.token.Secret()) && f.machineID == f.saved.machineID: // it has accepted one
		return nil
	case f.server.onlyJWT:
		return deviceKeyError{fmt.Errorf("%w: plex.tv gives only a JWT for %q, which media servers do not take", ErrServerToken, oneLine(f.server.Name))}
	case f.server.Token.IsZero():
		return fmt.Errorf("%w: plex.tv gives none for %q", ErrServerToken, oneLine(f.server.Name))
	}
	return nil
}

// findNumber finds out what the server calls the user, where have is saved. The
// server itself is not asked, since it shows its accounts to its owner only. A
// number that plexauth would not have saved is another program's choice of a user,
// and stays, unless it is of another machine.
func (f *finding) findNumber(have int64) {
	moved := f.saved.machineID != "" && f.machineID != f.saved.machineID
	if f.server == nil || have > 1 && have != f.user && !moved {
		return
	}
	f.number = numberOn(f.server.owner(f.account), f.user)
	if f.server.Owned && f.user == f.account {
		f.number = 1
	}
	f.reset = have != 0 && have != f.number && f.user == f.account
}
