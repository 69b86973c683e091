package profile

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/secret"
)

// SavedServer is what a profile says about its media server.
type SavedServer struct {
	Url, MachineID string
	Owner          int64        // plex.tv's number of its owner, 0 where unknown
	Token          secret.Value // for the server at url; zero where the stored one may be for another
	Held           bool         // some token is stored
	Bound          bool         // it was got for the server at url
	Confirmed      bool         // machineID has answered at url
	Found          bool         // url was found, not typed: it may be replaced when the server moves
	Verify         bool         // check the certificate at url
	off            bool         // verify_ssl is false
	offFor         string       // the address that off counts for; empty: for one that a person types next
	Account        int64        // plex.tv's number of the account that it was chosen for, 0 where unknown

	Certificate string // hash of the plex.direct certificate that it showed at url, which is another name
}

func (b *Profile) Server() SavedServer {
	s := SavedServer{Verify: true}
	if b.block == nil {
		return s
	}
	s.Url = strings.TrimSpace(b.text("server_url"))
	s.MachineID = b.text("machine_id")
	answered := b.knownServer()
	s.Account = answered.account
	if answered.machineID == s.MachineID {
		s.Owner = answered.owner
		s.Confirmed = s.MachineID != "" && netaddr.SameServer(answered.url, s.Url)
	}
	if note := strings.SplitN(b.text("_server_certificate"), " ", 3); len(note) == 3 && note[1] == s.MachineID && netaddr.SameServer(note[2], s.Url) {
		s.Certificate = note[0]
	}
	at := b.text("pms_token_server")
	b.readServerToken(&s, at)
	at = cmp.Or(at, answered.url)
	edited := at != "" && !netaddr.SameServer(at, s.Url) // then it is new, and a choice
	s.Found = !edited && (netaddr.SameServer(b.text("server_url_found"), s.Url) || b.block.Get("server_url_found") == nil && netaddr.PlexDirect(s.Url))
	b.readVerify(&s, edited)
	return s
}

// readServerToken sets what s says about the server's token, which is stored for
// the server at an address; "" where no program has noted that.
func (b *Profile) readServerToken(s *SavedServer, at string) {
	t := b.token("pms_token")
	if devicekey.IsJWT(t.Secret()) || !secret.UsableToken(t.Secret()) { // a program took it for the server's, or has damaged it
		t = secret.Value{}
	}
	s.Held = !t.IsZero()
	s.Bound = s.Held && s.Url != "" && netaddr.SameServer(at, s.Url)
	if s.Bound || at == "" && s.Confirmed {
		s.Token = t
	}
	if account := b.AccountToken(); s.Token.IsZero() && b.takesJWT(s.MachineID, s.Url) && devicekey.IsJWT(account.Secret()) && !b.damaged() {
		s.Token = account
	}
}

// readVerify sets what s says about certificates. verify_ssl: false counts for
// the one address that a person typed: the saved one, or the one that
// verify_ssl_server keeps after another was chosen.
func (b *Profile) readVerify(s *SavedServer, edited bool) {
	verify, known := lax.Bool(b.block.Get("verify_ssl"))
	s.off = known && !verify
	s.offFor = b.text("verify_ssl_server")
	if (edited || s.offFor == "") && !s.Found && !netaddr.PlexDirect(s.Url) {
		s.offFor = s.Url
	}
	s.Verify = !s.off || s.Url != "" && (s.Found || !s.Unverified(s.Url))
}

// Unverified reports whether the certificate at an address that a person typed is
// not checked. A plex.direct name always has a good one.
func (s SavedServer) Unverified(address string) bool {
	switch {
	case !s.off || netaddr.PlexDirect(address):
		return false
	case s.offFor == "" || s.offFor == address:
		return true
	}
	return slices.ContainsFunc(netaddr.TypedURLs(s.offFor), func(u *url.URL) bool { return netaddr.SameServer(u.String(), address) })
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

// knownServer is what "_server_account" holds: for which account the server was
// chosen, which machine has answered at which address, and who owns it. It was the
// account's number alone once.
type knownServer struct {
	account        int64
	url, machineID string
	owner          int64
}

func (b *Profile) knownServer() knownServer {
	raw := b.block.Get("_server_account")
	o, err := ordered.Parse(raw)
	if err != nil {
		return knownServer{account: lax.Int(raw)}
	}
	return knownServer{lax.Int(o.Get("account")), lax.Text(o.Get("url")), lax.Text(o.Get("machine_id")), lax.Int(o.Get("owner"))}
}

func (b *Profile) setKnownServer(k knownServer) {
	o := &ordered.Object{}
	o.Set("account", ordered.Int(k.account))
	o.Set("url", ordered.String(k.url))
	o.Set("machine_id", ordered.String(k.machineID))
	o.Set("owner", ordered.Int(k.owner))
	b.set("_server_account", o.Bytes())
}

// OwnedServer is a media server and whose it is.
type OwnedServer struct {
	MachineID string
	Owner     int64 // plex.tv's number, 0 where unknown
	Owned     bool  // by the account
}

// SetServer notes that the server v answers at an address. A
// token for another server goes, and so does one of which it is not certain that
// it was v's.
func (b *Profile) SetServer(address string, v OwnedServer) {
	before, owner := b.Server(), v.Owner
	another := before.isAnother(v.MachineID, owner)
	certain := !another && (v.Owned || owner != 0 && owner == before.Owner)
	if !another {
		owner = cmp.Or(owner, before.Owner) // plex.tv may not have said this time
	}
	moved := !netaddr.SameServer(address, before.Url)
	if certain && b.takesJWT(v.MachineID, before.Url) { // it answers as the same machine, at another address perhaps
		b.SetTakesJWT(v.MachineID, address, true)
	}
	if moved {
		b.setText("server_url", address)
	}
	if another {
		b.ForgetAccountNumber() // another server numbers otherwise
	}
	if another || before.Bound && moved && !certain {
		b.ForgetServerToken()
	} else if before.Bound {
		b.bindToken()
	}
	b.SetMachine(v.MachineID)
	b.setKnownServer(knownServer{b.knownServer().account, b.text("server_url"), v.MachineID, owner})
}

// BindVerify keeps verify_ssl: false to the address that it was typed for, which
// before tells, or else to the one that is saved now if a person typed it.
func (b *Profile) BindVerify(before SavedServer, isTyped bool) {
	meant := before.offFor
	if at := b.text("server_url"); meant == "" && isTyped && !netaddr.PlexDirect(at) {
		meant = at
	}
	if !before.off || meant == "" {
		b.remove("verify_ssl_server")
		return
	}
	b.setText("verify_ssl_server", meant)
}

// SetMachine notes which server it is, whatever its address.
func (b *Profile) SetMachine(id string) { b.setText("machine_id", id) }

// ServerToken is the token for the server, zero where there is none.
func (b *Profile) ServerToken() secret.Value { return b.token("pms_token") }

func (b *Profile) ForgetServerToken() {
	b.setText("pms_token", "")
	b.remove("pms_token_server")
}

// SetServerToken replaces the token for the server at server_url.
func (b *Profile) SetServerToken(t secret.Value) {
	b.setText("pms_token", t.Secret())
	b.bindToken()
}

// bindToken notes which server the token is for, as CrossWatch does.
func (b *Profile) bindToken() {
	b.setText("pms_token_server", strings.TrimRight(strings.TrimSpace(b.text("server_url")), "/"))
}

// SetFound notes whether server_url was found, and may be replaced, or is a
// person's. Without a note a plex.direct name counts as found, since nobody
// types one: CrossWatch has found it.
func (b *Profile) SetFound(found bool) {
	at := b.text("server_url")
	switch {
	case found:
		b.setText("server_url_found", at)
	case netaddr.PlexDirect(at):
		b.setText("server_url_found", "")
	default:
		b.remove("server_url_found")
	}
}

// SetServerCertificate notes that the server at server_url shows its plex.direct
// certificate there, though the address goes by another name; "": it does not.
func (b *Profile) SetServerCertificate(hash string) {
	if hash == "" {
		b.remove("_server_certificate")
		return
	}
	b.setText("_server_certificate", strings.Join([]string{hash, b.text("machine_id"), strings.TrimSpace(b.text("server_url"))}, " "))
}

// SetServerAccount notes for which account the server was chosen.
func (b *Profile) SetServerAccount(id int64) {
	k := b.knownServer()
	k.account = id
	b.setKnownServer(k)
}

// ForgetServer drops a choice that another account made, with its credentials. An
// address that was typed stays.
func (b *Profile) ForgetServer() {
	if b.Server().Found {
		b.setText("server_url", "")
		b.remove("server_url_found")
	}
	b.SetMachine("")
	b.ForgetServerToken()
	b.ForgetAccountNumber()
	b.remove("_jwt_server", "_server_account", "_server_certificate")
}

// AccountNumber is the media server's number of the account, 0 where unknown.
func (b *Profile) AccountNumber() int64 {
	if b.block == nil {
		return 0
	}
	return lax.Int(b.block.Get("account_id"))
}

// Numbered is that number as it stands, be it one or not.
func (b *Profile) Numbered() string { return b.text("account_id") }

func (b *Profile) ForgetAccountNumber() { b.setText("account_id", "") }

func (b *Profile) SetAccountNumber(n int64) { b.set("account_id", ordered.Int(n)) }
