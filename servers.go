package plexauth

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/inspect"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// Server is a media server that the account may use, as plex.tv lists it.
type Server struct {
	Name      string `json:"name"`
	MachineID string `json:"machine_id"` // machineIdentifier; it identifies the server, whose name and addresses may change
	Version   string `json:"version"`
	Platform  string `json:"platform"`

	Owned   bool   `json:"owned"`    // by the account
	Home    bool   `json:"home"`     // by the admin of the account's Plex Home
	OwnerID int64  `json:"owner_id"` // the owner's number at plex.tv; 0 where Owned
	Owner   string `json:"owner"`    // the owner's name; empty where Owned

	Presence             bool   `json:"presence"`       // connected to plex.tv at the moment
	HTTPSRequired        bool   `json:"https_required"` // refuses plain http
	Relay                bool   `json:"relay"`          // may be reached through Plex's relay
	PublicAddressMatches bool   `json:"public_address_matches"`
	PublicAddress        string `json:"public_address"` // IP address. It matches if plex.tv sees this machine at the same one

	// Token is for this server and no other. It is zero if plex.tv gives none, or only
	// a JWT, which media servers do not accept.
	Token       Token        `json:"-"`
	Connections []Connection `json:"connections"` // may be empty
}

// Connection is an address of a [Server], as the server told plex.tv.
type Connection struct {
	URI     string `json:"uri"`     // scheme, host and port, "https://192-168-1-5.….plex.direct:32400"
	Address string `json:"address"` // the IP address or name in it
	Port    int    `json:"port"`
	Local   bool   `json:"local"` // in the server's own network
	Relay   bool   `json:"relay"` // through Plex's relay, which is slow
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

// The text of a [ServerChoiceError] has choiceMaxLen bytes at most, a name in it
// nameMaxLen.
const nameMaxLen, choiceMaxLen = 100, 500

// ServerChoiceError is an [ErrServerChoice] with the servers to choose from.
type ServerChoiceError struct {
	Servers []Server // those of the account first; may be empty
}

// Error names as many candidates as a short text holds.
func (e *ServerChoiceError) Error() string {
	if len(e.Servers) == 0 {
		return fault.ErrServerChoice.Error() + ": the account may use none"
	}
	var b strings.Builder
	b.WriteString(fault.ErrServerChoice.Error() + ": choose one of ")
	for i, s := range e.Servers {
		name := fmt.Sprintf("%q", plain.Cut(s.Name, nameMaxLen))
		if !s.Owned && s.Owner != "" {
			name += " of " + plain.Cut(s.Owner, nameMaxLen)
		}
		if b.Len()+len(name) > choiceMaxLen {
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

// Servers asks plex.tv for the media servers that the account may use: its own first,
// then those of its Plex Home, then those that others share with it. Its errors are
// those of [PlexAuth.Account].
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

// ProbeResult is what [PlexAuth.Probe] found at a media server's addresses.
type ProbeResult struct {
	URL       string `json:"url"`        // the best address at which the expected server answers; empty: none
	MachineID string `json:"machine_id"` // of the server that answered. If URL is empty, it is not the expected one
	Version   string `json:"version"`    // of that server
	Local     bool   `json:"local"`      // URL is in the server's own network
	Relay     bool   `json:"relay"`      // only Plex's relay answers, which is slow

	TokenAccepted bool            `json:"token_accepted"` // the server accepted the saved token
	Addresses     []ProbedAddress `json:"addresses"`      // all that were considered, the better ones first
}

// ProbedAddress is one address of a [ProbeResult], and what happened there.
type ProbedAddress struct {
	URL       string        `json:"url"`
	Local     bool          `json:"local"`
	Relay     bool          `json:"relay"`
	OK        bool          `json:"ok"`         // the expected server answers there
	MachineID string        `json:"machine_id"` // of the media server that answers there; empty: none
	Took      time.Duration `json:"took"`       // in nanoseconds
	Finding   string        `json:"finding"`    // what happened and what helps, for a person
	Err       error         `json:"-"`          // an [*Error] if the address was tried and failed
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

// Probe finds out whether a media server can be reached at serverURL. A person may
// have typed that: "192.168.1.5" and "plex:32400" are tried with https and http. An
// empty serverURL stands for the saved server, at its saved address and at those that
// plex.tv lists for it.
//
// All addresses are tried at once, for four seconds at most, by a request that carries
// neither token nor identity. Once the best has answered, the others have a second to
// show what is wrong with them. plex.tv has four seconds to list the addresses;
// otherwise only the saved one is tried. If a server is saved, the one that answers
// must be the same. At a typed address, a media server may show its own plex.direct
// certificate if plex.tv lists that for the server. The saved token is tried too, but
// only at the saved address.
//
// To a login with a device key plex.tv gives only its own JWT for a server that the
// account owns, and few media servers, if any, accept that. A Probe of such a server
// with an empty serverURL is the only place that tries it. If the server accepts the
// JWT, it is the server's token from then on, until a Probe finds it refused.
//
// The error is nil if the expected server answers, and accepts the token if that was
// tried. If no server does, the error matches [ErrUnavailable] or [ErrServerToken], and
// the result says for each address what happened and what to do about it. Other errors
// match [ErrStore], or say that serverURL is not an address. With an empty serverURL
// they are also those of [PlexAuth.Servers] if no address is saved, and
// [ErrServerChoice] if no server is.
func (p *PlexAuth) Probe(ctx context.Context, serverURL string) (ProbeResult, error) {
	r, err := inspect.Probe(ctx, p.client, profileLogin{&p.session}, serverURL)
	return ProbeResult{r.URL, r.MachineID, r.Version, r.Local, r.Relay, r.TokenAccepted, publicAddresses(r.Addresses)}, err
}
