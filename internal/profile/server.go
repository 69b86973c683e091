package profile

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/secret"
)

// SavedServer is the media server of a profile, as far as the stored values count.
type SavedServer struct {
	URL, MachineID string
	Owner          int64        // plex.tv's number of its owner, 0 if unknown
	Token          secret.Value // for the server at URL; zero if the stored one may be for another
	Held           bool         // a token that may be a server's is stored
	Bound          bool         // that token was made for the server at URL
	Confirmed      bool         // MachineID has answered at URL
	Found          bool         // URL was found, not typed: it may be replaced when the server moves
	Verify         bool         // check the certificate at URL
	off            bool         // verify_ssl is false
	offFor         string       // the address that off counts for; "" for the next one that a person types
	Account        int64        // plex.tv's number of the account that it was chosen for, 0 if unknown

	Certificate string // hash of the plex.direct certificate that it showed at URL, which is another name
}

// SavedServer returns what the profile says about its media server.
func (p *Profile) SavedServer() SavedServer {
	if p.Absent() {
		return SavedServer{Verify: true}
	}
	stored, known := &p.State.Server, p.knownServer()
	s := SavedServer{URL: stored.URL.Value, MachineID: stored.MachineID.Value, Account: known.Account}
	if known.MachineID == s.MachineID {
		s.Owner = known.Owner
		s.Confirmed = s.MachineID != "" && netaddr.SameAddress(known.URL, s.URL)
	}
	if c := stored.Certificate; c != nil && c.MachineID == s.MachineID && netaddr.SameAddress(c.URL, s.URL) {
		s.Certificate = c.Hash
	}
	p.readServerToken(&s)
	at := cmp.Or(stored.TokenServer, known.URL)
	isEdited := at != "" && !netaddr.SameAddress(at, s.URL) // then it is new, and a choice
	s.Found = !isEdited && (netaddr.SameAddress(stored.Found.Value, s.URL) || !stored.Found.Present && netaddr.IsPlexDirect(s.URL))
	p.readVerify(&s, isEdited)
	return s
}

// readServerToken sets the fields of s about the server's token. TokenServer is "" if
// another program has stored it without an address.
func (p *Profile) readServerToken(s *SavedServer) {
	at, t := p.State.Server.TokenServer, p.ServerToken()
	if devicekey.IsJWT(t.Secret()) || !secret.UsableToken(t.Secret()) { // another program mistook it for the server's, or has damaged it
		t = secret.Value{}
	}
	s.Held = !t.IsZero()
	s.Bound = s.Held && s.URL != "" && netaddr.SameAddress(at, s.URL)
	if s.Bound || at == "" && s.Confirmed {
		s.Token = t
	}
	if account := p.Token.Value; s.Token.IsZero() && p.takesJWT(s.MachineID, s.URL) && account.isJWT && account.isUsable {
		s.Token = account.Value
	}
}

// readVerify sets the fields of s about certificates. verify_ssl: false counts for the
// one address that a person typed: the saved one, or the one that UnverifiedFor keeps
// after another was chosen.
func (p *Profile) readVerify(s *SavedServer, isEdited bool) {
	s.off, s.offFor = p.State.Server.Unverified, p.State.Server.UnverifiedFor
	isTyped := !s.Found && !netaddr.IsPlexDirect(s.URL)
	if isTyped && (isEdited || s.offFor == "") {
		s.offFor = s.URL
	}
	switch {
	case !s.off:
		s.Verify = true
	case s.URL == "": // it may be meant for the address that is typed next
		s.Verify = false
	default:
		s.Verify = s.Found || !s.Unverified(s.URL)
	}
}

// Unverified reports whether the certificate at an address that a person typed is
// not checked. A plex.direct name always has a good one.
func (s SavedServer) Unverified(address string) bool {
	switch {
	case !s.off || netaddr.IsPlexDirect(address):
		return false
	case s.offFor == "" || s.offFor == address:
		return true
	}
	return slices.ContainsFunc(netaddr.TypedURLs(s.offFor), func(u *url.URL) bool { return netaddr.SameAddress(u.String(), address) })
}

// isAnother reports whether a machine of that owner is a server other than the
// saved one.
func (s SavedServer) isAnother(machineID string, owner int64) bool {
	return s.MachineID != "" && s.MachineID != machineID || !s.BelongsTo(owner)
}

// BelongsTo reports whether the server may be one of that owner's.
func (s SavedServer) BelongsTo(owner int64) bool {
	return s.Owner == 0 || owner == 0 || s.Owner == owner
}

// knownServer returns what is stored about the server that has answered.
func (s *State) knownServer() KnownServer {
	if s.Server.Known == nil {
		return KnownServer{}
	}
	return *s.Server.Known
}

// OwnedServer is a media server and whose it is.
type OwnedServer struct {
	MachineID string
	Owner     int64 // plex.tv's number, 0 where unknown
	Owned     bool  // by the account
}

// SetServer stores that the server v answers at an address. It forgets a token that is
// for another server, or that may be.
func (p *Profile) SetServer(address string, v OwnedServer) {
	before, owner := p.SavedServer(), v.Owner
	isAnother := before.isAnother(v.MachineID, owner)
	isCertain := !isAnother && (v.Owned || owner != 0 && owner == before.Owner)
	if !isAnother {
		owner = cmp.Or(owner, before.Owner) // plex.tv may not have said this time
	}
	hasMoved := !netaddr.SameAddress(address, before.URL)
	if isCertain && p.takesJWT(v.MachineID, before.URL) { // the same machine, perhaps at another address
		p.SetTakesJWT(v.MachineID, address, true)
	}
	if hasMoved {
		p.State.Server.URL.set(address)
	}
	if isAnother {
		p.ForgetServerUserID() // each server has its own
	}
	if isAnother || hasMoved && !isCertain && before.Token.Equal(p.ServerToken()) {
		p.forgetServerToken()
	} else if before.Bound {
		p.bindServerToken()
	}
	p.SetMachine(v.MachineID)
	p.State.Server.Known = &KnownServer{p.knownServer().Account, MachineAt{v.MachineID, p.State.Server.URL.Value}, owner}
}

// BindVerify keeps verify_ssl: false to the address that it was typed for: the one that
// before says, or else the one that is saved now if a person typed it.
func (s *State) BindVerify(before SavedServer, isTyped bool) {
	meant := before.offFor
	if at := s.Server.URL.Value; meant == "" && isTyped && !netaddr.IsPlexDirect(at) {
		meant = at
	}
	if !before.off {
		meant = ""
	}
	s.Server.UnverifiedFor = meant
}

// SetMachine stores which server it is, whatever its address.
func (s *State) SetMachine(id string) { s.Server.MachineID.set(id) }

// ServerToken returns the token for the server, zero if there is none.
func (s *State) ServerToken() secret.Value { return s.Server.Token.Value }

// forgetServerToken removes the token for the server.
func (s *State) forgetServerToken() {
	s.Server.Token.set(secret.Value{})
	s.Server.TokenServer = ""
}

// SetServerToken replaces the token for the server at the saved address.
func (s *State) SetServerToken(t secret.Value) {
	s.Server.Token.set(t)
	s.bindServerToken()
}

// bindServerToken stores which server the token is for, as CrossWatch does.
func (s *State) bindServerToken() {
	s.Server.TokenServer = strings.TrimRight(s.Server.URL.Value, "/")
}

// SetFound stores whether the saved address was found, and may be replaced, or was typed
// by a person. Without a note a plex.direct name counts as found: people do not
// type such a name, so CrossWatch has found it.
func (s *State) SetFound(found bool) {
	switch at := s.Server.URL.Value; {
	case found:
		s.Server.Found.set(at)
	case netaddr.IsPlexDirect(at):
		s.Server.Found.set("")
	default:
		s.Server.Found = Field[string]{}
	}
}

// SetServerCertificate stores the hash of the plex.direct certificate that the server
// shows at the saved address, which is another name; "" if it shows none.
func (s *State) SetServerCertificate(hash string) {
	s.Server.Certificate = nil
	if hash != "" {
		s.Server.Certificate = &Certificate{hash, MachineAt{s.Server.MachineID.Value, s.Server.URL.Value}}
	}
}

// SetServerAccount stores for which account the server was chosen.
func (s *State) SetServerAccount(id int64) {
	k := s.knownServer()
	k.Account = id
	s.Server.Known = &k
}

// ForgetServer removes a choice that another account made, with its credentials. An
// address that was typed stays.
func (p *Profile) ForgetServer() {
	server := &p.State.Server
	if p.SavedServer().Found {
		server.URL.set("")
		server.Found = Field[string]{}
	}
	p.SetMachine("")
	p.forgetServerToken()
	p.ForgetServerUserID()
	server.TakesJWT, server.Known, server.Certificate = nil, nil, nil
}

// takesJWT reports whether a media server has accepted the account's JWT as its token, at
// this very address.
func (s *State) takesJWT(machineID, address string) bool {
	m := s.Server.TakesJWT
	return m != nil && !s.Disowned() && machineID != "" && m.MachineID == machineID && address != "" && netaddr.SameAddress(m.URL, address)
}

// SetTakesJWT stores whether a media server accepts the account's JWT as its token.
func (s *State) SetTakesJWT(machineID, address string, takes bool) {
	if takes {
		s.Server.TakesJWT = &MachineAt{machineID, address}
	} else if s.takesJWT(machineID, address) {
		s.Server.TakesJWT = nil
	}
}

// ServerUserID returns the number by which the media server knows the user, 0 if unknown.
func (p *Profile) ServerUserID() int64 { return lax.Whole(p.ServerUserIDText()) }

// ServerUserIDText returns the stored text of ServerUserID, which need not be a number.
func (p *Profile) ServerUserIDText() string { return p.State.ServerUserID.Value }

// ForgetServerUserID empties the number by which the media server knows the user.
func (s *State) ForgetServerUserID() { s.ServerUserID.set("") }

// SetServerUserID stores the number by which the media server knows the user.
func (s *State) SetServerUserID(n int64) { s.ServerUserID.set(strconv.FormatInt(n, 10)) }
