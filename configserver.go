package plexauth

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// savedServer is what a profile says about its media server.
type savedServer struct {
	url, machineID string
	owner          int64       // plex.tv's number of its owner, 0 where unknown
	token          secretValue // for the server at url; zero where the stored one may be for another
	held           bool        // some token is stored
	bound          bool        // it was got for the server at url
	confirmed      bool        // machineID has answered at url
	found          bool        // url was found, not typed: it may be replaced when the server moves
	verify         bool        // check the certificate at url
	off            bool        // verify_ssl is false
	offFor         string      // the address that off counts for; empty: for one that a person types next
	account        int64       // plex.tv's number of the account that it was chosen for, 0 where unknown

	direct directOwners // the plex.direct certificate that it showed at url, which is another name
}

func (b *profile) server() savedServer {
	s := savedServer{verify: true}
	if b.block == nil {
		return s
	}
	s.url = strings.TrimSpace(b.text("server_url"))
	s.machineID = b.text("machine_id")
	answered := b.knownServer()
	s.account = answered.account
	if answered.machineID == s.machineID {
		s.owner = answered.owner
		s.confirmed = s.machineID != "" && sameServer(answered.url, s.url)
	}
	if note := strings.SplitN(b.text("_server_certificate"), " ", 3); len(note) == 3 && note[1] == s.machineID && sameServer(note[2], s.url) {
		s.direct = directOwners{note[0]: {s.machineID}}
	}
	at := b.text("pms_token_server")
	b.readServerToken(&s, at)
	at = cmp.Or(at, answered.url)
	edited := at != "" && !sameServer(at, s.url) // then it is new, and a choice
	s.found = !edited && (sameServer(b.text("server_url_found"), s.url) || b.block.Get("server_url_found") == nil && plexDirect(s.url))
	b.readVerify(&s, edited)
	return s
}

// readServerToken sets what s says about the server's token, which is stored for
// the server at an address; "" where no program has noted that.
func (b *profile) readServerToken(s *savedServer, at string) {
	t := b.token("pms_token")
	if isJWT(t.Secret()) || !usableToken(t.Secret()) { // a program took it for the server's, or has damaged it
		t = secretValue{}
	}
	s.held = !t.IsZero()
	s.bound = s.held && s.url != "" && sameServer(at, s.url)
	if s.bound || at == "" && s.confirmed {
		s.token = t
	}
	if account := b.accountToken(); s.token.IsZero() && b.takesJWT(s.machineID, s.url) && isJWT(account.Secret()) && !b.damaged() {
		s.token = account
	}
}

// readVerify sets what s says about certificates. verify_ssl: false counts for
// the one address that a person typed: the saved one, or the one that
// verify_ssl_server keeps after another was chosen.
func (b *profile) readVerify(s *savedServer, edited bool) {
	verify, known := truth(b.block.Get("verify_ssl"))
	s.off = known && !verify
	s.offFor = b.text("verify_ssl_server")
	if (edited || s.offFor == "") && !s.found && !plexDirect(s.url) {
		s.offFor = s.url
	}
	s.verify = !s.off || s.url != "" && (s.found || !s.unverified(s.url))
}

// unverified reports whether the certificate at an address that a person typed is
// not checked. A plex.direct name always has a good one.
func (s savedServer) unverified(address string) bool {
	switch {
	case !s.off || plexDirect(address):
		return false
	case s.offFor == "" || s.offFor == address:
		return true
	}
	return slices.ContainsFunc(typed(s.offFor, true), func(c candidate) bool { return sameServer(c.url, address) })
}

// typed makes candidates of an address that a person has just entered.
func (s savedServer) typed(address string) []candidate {
	all := typed(address, true)
	for i := range all {
		all[i].insecure = s.unverified(all[i].url)
	}
	return all
}

// listed returns the saved server out of servers. The same machine of another
// owner is another server, since anybody can claim a machine's identifier.
func (s savedServer) listed(servers []mediaServer, account int64) *mediaServer {
	for i := range servers {
		if v := &servers[i]; s.machineID != "" && v.MachineID == s.machineID && s.belongsTo(v.owner(account)) {
			return v
		}
	}
	return nil
}

// isAnother reports whether a machine of that owner is a server other than the
// saved one.
func (s savedServer) isAnother(machineID string, owner int64) bool {
	return s.machineID != "" && s.machineID != machineID || !s.belongsTo(owner)
}

// belongsTo reports whether the server may be one of that owner's.
func (s savedServer) belongsTo(owner int64) bool {
	return s.owner == 0 || owner == 0 || s.owner == owner
}

// knownServer is what "_server_account" holds: for which account the server was
// chosen, which machine has answered at which address, and who owns it. It was the
// account's number alone once.
type knownServer struct {
	account        int64
	url, machineID string
	owner          int64
}

func (b *profile) knownServer() knownServer {
	raw := b.block.Get("_server_account")
	o, err := ordered.Parse(raw)
	if err != nil {
		return knownServer{account: integer(raw)}
	}
	return knownServer{integer(o.Get("account")), text(o.Get("url")), text(o.Get("machine_id")), integer(o.Get("owner"))}
}

func (b *profile) setKnownServer(k knownServer) {
	o := &ordered.Object{}
	o.Set("account", ordered.Int(k.account))
	o.Set("url", ordered.String(k.url))
	o.Set("machine_id", ordered.String(k.machineID))
	o.Set("owner", ordered.Int(k.owner))
	b.set("_server_account", o.Bytes())
}

// errAnotherServer matches the error of a round of probing that found a different
// media server at the saved address.
var errAnotherServer = errors.New("plexauth: another media server answers at the saved address")

// strange reports whether a server other than the expected one answers at s.url.
func (s savedServer) strange(found []address) bool {
	return slices.ContainsFunc(found, func(a address) bool { return !a.OK && a.MachineID != "" && sameServer(a.URL, s.url) })
}

// unreachable returns the error for found, none of which is the expected server.
func (s savedServer) unreachable(found []address) error {
	err := unreachable(found)
	if s.strange(found) {
		return fmt.Errorf("%w: %w", errAnotherServer, inner{err})
	}
	return err
}

// setServer notes that v, a server of account's list, answers at an address. A
// token for another server goes, and so does one of which it is not certain that
// it was v's.
func (b *profile) setServer(address string, v *mediaServer, account int64) {
	before, owner := b.server(), v.owner(account)
	another := before.isAnother(v.MachineID, owner)
	certain := !another && (v.Owned || owner != 0 && owner == before.owner)
	if !another {
		owner = cmp.Or(owner, before.owner) // plex.tv may not have said this time
	}
	moved := !sameServer(address, before.url)
	if certain && b.takesJWT(v.MachineID, before.url) { // it answers as the same machine, at another address perhaps
		b.setTakesJWT(v.MachineID, address, true)
	}
	if moved {
		b.setText("server_url", address)
	}
	if another {
		b.forgetAccountNumber() // another server numbers otherwise
	}
	if another || before.bound && moved && !certain {
		b.forgetServerToken()
	} else if before.bound {
		b.bindToken()
	}
	b.setMachine(v.MachineID)
	b.setKnownServer(knownServer{b.knownServer().account, b.text("server_url"), v.MachineID, owner})
}

// bindVerify keeps verify_ssl: false to the address that it was typed for, which
// before tells, or else to the one that is saved now if a person typed it.
func (b *profile) bindVerify(before savedServer, isTyped bool) {
	meant := before.offFor
	if at := b.text("server_url"); meant == "" && isTyped && !plexDirect(at) {
		meant = at
	}
	if !before.off || meant == "" {
		b.remove("verify_ssl_server")
		return
	}
	b.setText("verify_ssl_server", meant)
}

// setMachine notes which server it is, whatever its address.
func (b *profile) setMachine(id string) { b.setText("machine_id", id) }

// serverToken is the token for the server, zero where there is none.
func (b *profile) serverToken() secretValue { return b.token("pms_token") }

func (b *profile) forgetServerToken() {
	b.setText("pms_token", "")
	b.remove("pms_token_server")
}

// setServerToken replaces the token for the server at server_url.
func (b *profile) setServerToken(t secretValue) {
	b.setText("pms_token", t.Secret())
	b.bindToken()
}

// bindToken notes which server the token is for, as CrossWatch does.
func (b *profile) bindToken() {
	b.setText("pms_token_server", strings.TrimRight(strings.TrimSpace(b.text("server_url")), "/"))
}

// setFound notes whether server_url was found, and may be replaced, or is a
// person's. Without a note a plex.direct name counts as found, since nobody
// types one: CrossWatch has found it.
func (b *profile) setFound(found bool) {
	at := b.text("server_url")
	switch {
	case found:
		b.setText("server_url_found", at)
	case plexDirect(at):
		b.setText("server_url_found", "")
	default:
		b.remove("server_url_found")
	}
}

// setServerCertificate notes that the server at server_url shows its plex.direct
// certificate there, though the address goes by another name; "": it does not.
func (b *profile) setServerCertificate(hash string) {
	if hash == "" {
		b.remove("_server_certificate")
		return
	}
	b.setText("_server_certificate", strings.Join([]string{hash, b.text("machine_id"), strings.TrimSpace(b.text("server_url"))}, " "))
}

// setServerAccount notes for which account the server was chosen.
func (b *profile) setServerAccount(id int64) {
	k := b.knownServer()
	k.account = id
	b.setKnownServer(k)
}

// forgetServer drops a choice that another account made, with its credentials. An
// address that was typed stays.
func (b *profile) forgetServer() {
	if b.server().found {
		b.setText("server_url", "")
		b.remove("server_url_found")
	}
	b.setMachine("")
	b.forgetServerToken()
	b.forgetAccountNumber()
	b.remove("_jwt_server", "_server_account", "_server_certificate")
}

// accountNumber is the media server's number of the account, 0 where unknown.
func (b *profile) accountNumber() int64 {
	if b.block == nil {
		return 0
	}
	return integer(b.block.Get("account_id"))
}

// numbered is that number as it stands, be it one or not.
func (b *profile) numbered() string { return b.text("account_id") }

func (b *profile) forgetAccountNumber() { b.setText("account_id", "") }

func (b *profile) setAccountNumber(n int64) { b.set("account_id", ordered.Int(n)) }
