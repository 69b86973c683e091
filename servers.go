package plexauth

import (
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

// errNeedsLongLived matches an [ErrServerToken] that only another kind of login ends.
var errNeedsLongLived = errors.New("plexauth: media servers do not accept the token of a device key")

// deviceKeyError is an [ErrServerToken] that matches [errNeedsLongLived] too.
type deviceKeyError struct{ error }

func (e deviceKeyError) Is(target error) bool { return target == errNeedsLongLived }
func (e deviceKeyError) Unwrap() error        { return e.error }

// Server is a media server that the account may use, as plex.tv lists it.
type Server struct {
	Name      string `json:"name"`
	MachineID string `json:"machine_id"` // its machineIdentifier: what identifies it, names and addresses change
	Version   string `json:"version"`
	Platform  string `json:"platform"`

	Owned   bool   `json:"owned"`    // by the account
	Home    bool   `json:"home"`     // by the admin of the account's Plex Home
	OwnerID int64  `json:"owner_id"` // the owner's number at plex.tv; 0 where Owned
	Owner   string `json:"owner"`    // the owner's name; empty where Owned

	Presence             bool   `json:"presence"`       // connected to plex.tv just now
	HTTPSRequired        bool   `json:"https_required"` // refuses plain http
	Relay                bool   `json:"relay"`          // may be reached through Plex's relay
	PublicAddressMatches bool   `json:"public_address_matches"`
	PublicAddress        string `json:"public_address"` // IP address; it matches if this machine has the same one to plex.tv

	// Token is for this server and no other. It is zero where plex.tv gives
	// none, or only a JWT, which media servers do not take.
	Token       Token        `json:"-"`
	Connections []Connection `json:"connections"` // may be empty
}

// Connection is an address of a [Server], as it told plex.tv.
type Connection struct {
	URI     string `json:"uri"`     // scheme, host and port, "https://192-168-1-5.….plex.direct:32400"
	Address string `json:"address"` // the IP address or name in it
	Port    int    `json:"port"`
	Local   bool   `json:"local"` // in the server's own network
	Relay   bool   `json:"relay"` // through Plex's relay: slow, the last resort
	IPv6    bool   `json:"ipv6"`
}

// publicServers returns servers as callers see them.
func publicServers(servers []plextv.MediaServer) []Server {
	if servers == nil {
		return nil
	}
	all := make([]Server, len(servers))
	for i, s := range servers {
		all[i] = Server{
			Name: s.Name, MachineID: s.MachineID, Version: s.Version, Platform: s.Platform,
			Owned: s.Owned, Home: s.Home, OwnerID: s.OwnerID, Owner: s.Owner,
			Presence: s.Presence, HTTPSRequired: s.HTTPSRequired, Relay: s.Relay,
			PublicAddressMatches: s.PublicAddressMatches, PublicAddress: s.PublicAddress,
			Token: Token{s.Token}, Connections: make([]Connection, len(s.Connections)),
		}
		for j, c := range s.Connections {
			all[i].Connections[j] = Connection(c)
		}
	}
	return all
}

// These two bound the text of a [ServerChoiceError].
const (
	longestName   = 100 // bytes of one name
	longestChoice = 500
)

// ServerChoiceError is an [ErrServerChoice] with the servers to choose from.
type ServerChoiceError struct {
	Servers []Server // those of the account first; may be empty
}

// Error names the candidates, as many as a short text holds.
func (e *ServerChoiceError) Error() string {
	if len(e.Servers) == 0 {
		return fault.ErrServerChoice.Error() + ": the account may use none"
	}
	var b strings.Builder
	b.WriteString(fault.ErrServerChoice.Error() + ": choose one of ")
	for i, s := range e.Servers {
		name := fmt.Sprintf("%q", plain.Cut(s.Name, longestName))
		if !s.Owned && s.Owner != "" {
			name += " of " + plain.Cut(s.Owner, longestName)
		}
		if b.Len()+len(name) > longestChoice {
			fmt.Fprintf(&b, " and %d more", len(e.Servers)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
	}
	return b.String()
}

// Is reports whether target is [ErrServerChoice].
func (e *ServerChoiceError) Is(target error) bool { return target == fault.ErrServerChoice }

// Servers asks plex.tv for the media servers that the account may use: its
// own first, then those of its Plex Home, then those that are shared with it.
// Its errors are those of [PlexAuth.Account].
func (p *PlexAuth) Servers(ctx context.Context) ([]Server, error) {
	servers, err := p.servers(ctx)
	return publicServers(servers), err
}

func (s *session) servers(ctx context.Context) (servers []plextv.MediaServer, err error) {
	err = s.ask(ctx, func(t secret.Value, clientID string) error {
		servers, err = s.client.ReadServers(ctx, t, clientID)
		return public(err)
	})
	return servers, err
}

// typedFor makes candidates of an address that a person has just entered, in a profile
// with the saved server s.
func typedFor(s profile.SavedServer, address string) []mediaserver.Candidate {
	all := mediaserver.Typed(address, true)
	for i := range all {
		all[i].Insecure = s.Unverified(all[i].Url)
	}
	return all
}

// listed returns the saved server out of servers. The same machine of another
// owner is another server, since anybody can claim a machine's identifier.
func listed(s profile.SavedServer, servers []plextv.MediaServer, account int64) *plextv.MediaServer {
	for i := range servers {
		if v := &servers[i]; s.MachineID != "" && v.MachineID == s.MachineID && s.BelongsTo(v.OwnedBy(account)) {
			return v
		}
	}
	return nil
}

// errAnotherServer matches the error of a round of probing that found a different
// media server at the saved address.
var errAnotherServer = errors.New("plexauth: another media server answers at the saved address")

// strange reports whether a server other than the expected one answers at s.url.
func strange(s profile.SavedServer, found []mediaserver.Address) bool {
	return slices.ContainsFunc(found, func(a mediaserver.Address) bool {
		return !a.OK && a.MachineID != "" && netaddr.SameServer(a.URL, s.Url)
	})
}

// savedUnreachable returns the error for found, none of which is the expected server.
func savedUnreachable(s profile.SavedServer, found []mediaserver.Address) error {
	err := mediaserver.Unreachable(found)
	if strange(s, found) {
		return fmt.Errorf("%w: %w", errAnotherServer, fault.Inside(err))
	}
	return err
}

// savedCandidates are the address of the saved server s. One at which the server has answered is
// complete.
func savedCandidates(s profile.SavedServer) []mediaserver.Candidate {
	all := mediaserver.Typed(s.Url, s.Verify)
	if s.Bound && len(all) > 1 {
		all = all[:1]
	}
	for i := range all {
		all[i].Entered = !s.Found
	}
	return all
}

// directOf returns the plex.direct certificate that may be shown at the saved address,
// nil if there is none.
func directOf(s profile.SavedServer) mediaserver.DirectOwners {
	if s.Certificate == "" {
		return nil
	}
	return mediaserver.DirectOwners{s.Certificate: {s.MachineID}}
}

// ProbeResult is what [PlexAuth.Probe] found at a media server's addresses.
type ProbeResult struct {
	URL       string `json:"url"`        // the best address at which the expected server answers; empty: none
	MachineID string `json:"machine_id"` // of the server that answered. With an empty URL it is the wrong one
	Version   string `json:"version"`    // of that server
	Local     bool   `json:"local"`      // URL is in the server's own network
	Relay     bool   `json:"relay"`      // nothing but Plex's relay answers, which is slow

	TokenAccepted bool            `json:"token_accepted"` // the server took the saved token
	Addresses     []ProbedAddress `json:"addresses"`      // all that were considered, the better ones first
}

// ProbedAddress is one address of a [ProbeResult], and what happened there.
type ProbedAddress struct {
	URL       string        `json:"url"`
	Local     bool          `json:"local"`
	Relay     bool          `json:"relay"`
	OK        bool          `json:"ok"`         // the expected server answers there
	MachineID string        `json:"machine_id"` // of the media server that answers there; empty: none does
	Took      time.Duration `json:"took"`       // in nanoseconds
	Finding   string        `json:"finding"`    // what happened and what helps, for a person
	Err       error         `json:"-"`          // an [*Error] where something was tried and failed
}

// probed gives the errors of found the form that callers see.
func probed(found []mediaserver.Address) []mediaserver.Address {
	for i := range found {
		found[i].Err = public(found[i].Err)
	}
	return found
}

// publicAddresses returns addresses as callers see them.
func publicAddresses(addresses []mediaserver.Address) []ProbedAddress {
	if addresses == nil {
		return nil
	}
	all := make([]ProbedAddress, len(addresses))
	for i, a := range addresses {
		all[i] = ProbedAddress{a.URL, a.Local, a.Relay, a.OK, a.MachineID, a.Took, a.Finding, a.Err}
	}
	return all
}

// Probe finds out whether a media server can be reached at serverURL, as a
// person may have typed it: "192.168.1.5" and "plex:32400" will do, https and
// http are both tried then. An empty serverURL stands for the saved server:
// its saved address and those that plex.tv lists for it.
//
// All addresses are tried at once, for four seconds at most, by a request that
// carries neither token nor identity. Once the best has answered, the others have
// a second to show what is wrong with them. plex.tv has four seconds to list the
// addresses; without it the saved one is tried alone. The server that answers must
// be the saved one, if one is saved. At a typed name a media server's own
// plex.direct certificate will do, if plex.tv lists it for the server that answers.
// At the saved address, and there alone, the saved token is tried as well.
//
// To a login with a device key plex.tv gives only its own JWT for a server that
// the account owns, and few servers, if any, take that. The Probe of such a
// server, with an empty serverURL, is the one place where it is tried. If the
// server accepts it, it is the server's token from then on, until a Probe finds
// it refused.
//
// The error is nil if the expected server answers, and takes the token if that
// was tried. If none does it matches [ErrUnavailable] or [ErrServerToken], and the
// result says for each address what happened and what to do about it. Other
// errors match [ErrStore], or say that serverURL is no address; for an empty one
// they are those of [PlexAuth.Servers], where no address is saved, and
// [ErrServerChoice] where no server is.
func (p *PlexAuth) Probe(ctx context.Context, serverURL string) (ProbeResult, error) {
	b, err := p.load(ctx)
	if err != nil {
		return ProbeResult{}, err
	}
	saved := b.Server()
	var t probeTarget
	if serverURL = strings.TrimSpace(serverURL); serverURL == "" {
		t, err = p.savedTarget(ctx, saved, b.CloudID())
	} else if t.candidates = typedFor(saved, serverURL); len(t.candidates) == 0 {
		err = mediaserver.ErrNoAddress
	}
	if err != nil {
		return ProbeResult{}, err
	}
	run := mediaserver.NewProbe(p.client)
	run.Patient = true
	defer run.Close()
	expected := func(id string) bool { return saved.MachineID == "" || id == saved.MachineID }
	found := p.probeTarget(ctx, run, &t, saved, expected)
	if err := ctx.Err(); err != nil {
		return ProbeResult{Addresses: publicAddresses(found)}, fmt.Errorf("plexauth: probe server: %w", err)
	}
	r, best := resultOf(found, expected)
	if best == nil {
		return r, savedUnreachable(saved, found)
	}
	if saved.Token.IsZero() && !t.onlyJWT || !netaddr.SameServer(best.URL, saved.Url) || saved.MachineID != best.MachineID {
		return r, nil
	}
	if t.onlyJWT {
		err = p.tryJWT(ctx, run, best)
	} else {
		err = public(run.Try(ctx, best, saved.Token, b.ClientID()))
	}
	r.TokenAccepted = err == nil
	return r, err
}

// resultOf sums up what was found. best is nil where the expected server does not
// answer.
func resultOf(found []mediaserver.Address, expected func(machineID string) bool) (r ProbeResult, best *mediaserver.Address) {
	r.Addresses = publicAddresses(found)
	if best = mediaserver.BestOf(found); best == nil {
		for _, a := range found {
			if a.MachineID != "" && !expected(a.MachineID) {
				r.MachineID, r.Version = a.MachineID, a.Version
				break
			}
		}
		return r, nil
	}
	r.URL, r.MachineID, r.Version, r.Local, r.Relay = best.URL, best.MachineID, best.Version, best.Local, best.Relay
	if slices.ContainsFunc(found, func(a mediaserver.Address) bool { return a.OK && !a.Relay }) {
		r.Relay = false // it was typed
	}
	return r, best
}

// probeTarget probes what a Probe is to try. Where a media server's certificate
// stands at a typed name, plex.tv is asked whose it is.
func (s *session) probeTarget(ctx context.Context, r *mediaserver.ProbeRun, t *probeTarget, saved profile.SavedServer, expected func(machineID string) bool) []mediaserver.Address {
	mediaserver.Vouch(t.candidates, t.owners(saved))
	found := probed(r.Probe(ctx, t.candidates, expected))
	if t.servers != nil || mediaserver.BestOf(found) != nil || !slices.ContainsFunc(found, mediaserver.Address.ShowsDirectName) {
		return found
	}
	servers, err := s.serversWithin(ctx, mediaserver.ProbeLimit)
	if err != nil {
		return found
	}
	t.servers = servers
	mediaserver.Vouch(t.candidates, t.owners(saved))
	return probed(r.Probe(ctx, t.candidates, expected))
}

// probeTarget is what a Probe tries.
type probeTarget struct {
	candidates []mediaserver.Candidate
	servers    []plextv.MediaServer // as plex.tv lists them, nil where it was not asked
	onlyJWT    bool                 // plex.tv gives no other token for the server
}

// owners are those whose certificates are known.
func (t *probeTarget) owners(saved profile.SavedServer) mediaserver.DirectOwners {
	owners := mediaserver.OwnersOf(t.servers)
	owners.Add(saved.Certificate, saved.MachineID)
	return owners
}

// savedTarget is the saved server: its saved address and those that plex.tv lists.
func (s *session) savedTarget(ctx context.Context, saved profile.SavedServer, account int64) (t probeTarget, err error) {
	if saved.Url == "" && saved.MachineID == "" {
		return t, fmt.Errorf("%w: none is saved", fault.ErrServerChoice)
	}
	t.candidates = savedCandidates(saved)
	if saved.MachineID == "" {
		return t, nil
	}
	limit := plextv.AttemptLimit
	if saved.Url != "" { // which can be tried without plex.tv
		limit = mediaserver.ProbeLimit
	}
	t.servers, err = s.serversWithin(ctx, limit)
	if err != nil && saved.Url == "" {
		return t, err
	}
	if s := listed(saved, t.servers, account); s != nil {
		t.candidates = mediaserver.Addresses(t.candidates, s)
		t.onlyJWT = s.OnlyJWT && s.Owned && (saved.Token.IsZero() || devicekey.IsJWT(saved.Token.Secret()))
	}
	return t, nil
}

func (s *session) serversWithin(ctx context.Context, limit time.Duration) (servers []plextv.MediaServer, err error) {
	err = within(ctx, limit, "list servers", func(ctx context.Context) (err error) {
		servers, err = s.servers(ctx)
		return err
	})
	return servers, err
}

// within asks plex.tv for something, for so long at most.
func within(ctx context.Context, limit time.Duration, op string, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := ask(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return tooLate(op, "plex.tv", limited.Err())
	}
	return err
}

// tryJWT finds out whether a server takes the account's JWT, and notes it.
func (s *session) tryJWT(ctx context.Context, run *mediaserver.ProbeRun, server *mediaserver.Address) error {
	t, clientID, err := s.usableToken(ctx)
	if err != nil {
		return err
	}
	if !devicekey.IsJWT(t.Secret()) { // somebody has signed in otherwise meanwhile
		return nil
	}
	err = public(run.Try(ctx, server, t, clientID))
	if errors.Is(err, fault.ErrServerToken) {
		err = deviceKeyError{err}
	}
	if err == nil || errors.Is(err, fault.ErrServerToken) {
		err = errors.Join(err, s.update(ctx, func(b *profile.Profile) error {
			if b.Server().MachineID == server.MachineID && devicekey.IsJWT(b.AccountToken().Secret()) {
				b.SetTakesJWT(server.MachineID, server.URL, err == nil)
			}
			return nil
		}))
	}
	return err
}
