package plexauth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/ordered"
)

// savedServer is what a profile says about its media server.
type savedServer struct {
	url, machineID string
	token          Token // for the server at url; zero where the stored one is for another
	held           bool  // some token is stored
	bound          bool  // it was got for the server at url
	found          bool  // url was found, not typed: it may be replaced when the server moves
	verify         bool  // check its certificate
	account        int64 // plex.tv's number of the account that it was chosen for, 0 where unknown
}

func (b *profile) server() savedServer {
	s := savedServer{verify: true}
	if b.block == nil {
		return s
	}
	s.url = strings.TrimSpace(b.text("server_url"))
	s.machineID = b.text("machine_id")
	s.account = integer(b.block.Get("_server_account"))
	t, at := b.token("pms_token"), b.text("pms_token_server")
	if isJWT(t.Secret()) { // some program took it for the server's
		t = Token{}
	}
	s.held = !t.IsZero()
	s.bound = s.held && s.url != "" && sameServer(at, s.url)
	if s.bound || at == "" { // of a token without this note CrossWatch takes it to be the server's, too
		s.token = t
	}
	if account := b.accountToken(); s.token.IsZero() && b.takesJWT(s.machineID, s.url) && isJWT(account.Secret()) {
		s.token = account
	}
	if at == "" || sameServer(at, s.url) { // else it is new, and a choice
		s.found = sameServer(b.text("server_url_found"), s.url) || b.block.Get("server_url_found") == nil && plexDirect(s.url)
	}
	if verify, known := truth(b.block.Get("verify_ssl")); known {
		s.verify = verify
	}
	return s
}

// errAnotherServer matches the error of a round of probing that found a different
// media server at the saved address.
var errAnotherServer = errors.New("plexauth: another media server answers at the saved address")

// strange reports whether a server other than the expected one answers at s.url.
func (s savedServer) strange(found []ProbedAddress) bool {
	return slices.ContainsFunc(found, func(a ProbedAddress) bool { return !a.OK && a.MachineID != "" && sameServer(a.URL, s.url) })
}

// unreachable returns the error for found, none of which is the expected server.
func (s savedServer) unreachable(found []ProbedAddress) error {
	err := unreachable(found)
	if s.strange(found) {
		return fmt.Errorf("%w: %w", errAnotherServer, inner{err})
	}
	return err
}

// setServer notes the server that answers at an address. A token for another
// server goes.
func (b *profile) setServer(address, machineID string) {
	before := b.server()
	if b.takesJWT(machineID, before.url) { // it answers as the same machine, at another address perhaps
		b.setTakesJWT(machineID, address, true)
	}
	if !sameServer(address, before.url) {
		b.setText("server_url", address)
	}
	switch {
	case before.machineID != "" && before.machineID != machineID:
		b.forgetAccountNumber() // another server numbers otherwise
		b.forgetServerToken()
	case before.bound: // it has moved
		b.bindToken()
	}
	b.setMachine(machineID)
}

// setMachine notes which server it is, whatever its address.
func (b *profile) setMachine(id string) { b.setText("machine_id", id) }

// serverToken is the token for the server, zero where there is none.
func (b *profile) serverToken() Token { return b.token("pms_token") }

func (b *profile) forgetServerToken() {
	b.setText("pms_token", "")
	b.remove("pms_token_server")
}

// setServerToken replaces the token for the server at server_url.
func (b *profile) setServerToken(t Token) {
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

// plexDirect reports whether an address goes by a name that plex.tv makes.
func plexDirect(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Hostname()), ".plex.direct")
}

// setServerAccount notes for which account the server was chosen.
func (b *profile) setServerAccount(id int64) { b.set("_server_account", ordered.Int(id)) }

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
	b.remove("_jwt_server", "_server_account")
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
