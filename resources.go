package plexauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
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

func (p *PlexAuth) servers(ctx context.Context) (servers []plextv.MediaServer, err error) {
	err = p.ask(ctx, func(t secret.Value, clientID string) error {
		servers, err = p.client.ReadServers(ctx, t, clientID)
		return public(err)
	})
	return servers, err
}
