package plexauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/plain"
)

// What can be wrong with a media server or with the choice of one.
var (
	// ErrServerChoice: the account may use several media servers, or none of
	// its own, and none has been chosen. A [*ServerChoiceError] names the
	// candidates; [PlexAuth.UseServer] chooses.
	ErrServerChoice = errors.New("plexauth: which media server to use has not been chosen")
	// ErrServerToken: there is no token that may be sent to the media server,
	// or it refuses the one there is. plex.tv gives none for a server that
	// the account may not use, and to a login with a device key only a JWT,
	// which media servers do not take.
	ErrServerToken = errors.New("plexauth: no token for the media server")
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

// mediaServer is a [Server] inside the package.
type mediaServer struct {
	Name                 string
	MachineID            string
	Version              string
	Platform             string
	Owned                bool
	Home                 bool
	OwnerID              int64
	Owner                string
	Presence             bool
	HTTPSRequired        bool
	Relay                bool
	PublicAddressMatches bool
	PublicAddress        string
	Token                secretValue
	Connections          []connection

	onlyJWT bool // the only token that plex.tv gives for it is a JWT
}

// connection is a [Connection] inside the package.
type connection struct {
	URI     string
	Address string
	Port    int
	Local   bool
	Relay   bool
	IPv6    bool
}

// publicServers returns servers as callers see them.
func publicServers(servers []mediaServer) []Server {
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
		return ErrServerChoice.Error() + ": the account may use none"
	}
	var b strings.Builder
	b.WriteString(ErrServerChoice.Error() + ": choose one of ")
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
func (e *ServerChoiceError) Is(target error) bool { return target == ErrServerChoice }

// Servers asks plex.tv for the media servers that the account may use: its
// own first, then those of its Plex Home, then those that are shared with it.
// Its errors are those of [PlexAuth.Account].
func (p *PlexAuth) Servers(ctx context.Context) ([]Server, error) {
	servers, err := p.servers(ctx)
	return publicServers(servers), err
}

func (p *PlexAuth) servers(ctx context.Context) (servers []mediaServer, err error) {
	err = p.ask(ctx, func(t secretValue, clientID string) error {
		servers, err = p.client.readServers(ctx, t, clientID)
		return public(err)
	})
	return servers, err
}

// readServers asks plex.tv for the media servers that a token opens.
func (c *client) readServers(ctx context.Context, t secretValue, clientID string) (servers []mediaServer, err error) {
	err = c.do(ctx, &call{
		op: "list servers", method: http.MethodGet, clientID: clientID, token: t, account: true, most: maxServers,
		url: c.clients + "/api/v2/resources?includeHttps=1&includeRelay=1&includeIPv6=1",
		decode: func(body []byte) (err error) {
			servers, err = decodeServers(body)
			return err
		},
	})
	return servers, err
}

// decodeServers takes the media servers out of a list of devices. A field of
// another shape counts as absent; so does a device or connection that is none.
func decodeServers(body []byte) ([]mediaServer, error) {
	var devices []resource
	if err := unmarshal(body, &devices); err != nil {
		return nil, err
	}
	if devices == nil {
		return nil, errors.New("no list where servers were asked for")
	}
	var servers []mediaServer
	for i := range devices {
		if d := &devices[i]; d.MachineID != "" && provides(string(d.Provides), "server") {
			servers = append(servers, d.server())
		}
	}
	slices.SortStableFunc(servers, func(a, b mediaServer) int { return a.distance() - b.distance() })
	return servers, nil
}

// owner returns plex.tv's number of the server's owner, 0 where unknown. account
// is the one whose list the server is in.
func (s *mediaServer) owner(account int64) int64 {
	if s.Owned {
		return account
	}
	return s.OwnerID
}

// distance orders servers by whose they are.
func (s mediaServer) distance() int {
	switch {
	case s.Owned:
		return 0
	case s.Home:
		return 1
	}
	return 2
}

// resource is an entry of the list: a media server, a player, anything.
type resource struct {
	Name                 laxText `json:"name"`
	Version              laxText `json:"productVersion"`
	Platform             laxText `json:"platform"`
	MachineID            laxText `json:"clientIdentifier"`
	Provides             laxText `json:"provides"`
	OwnerID              laxInt  `json:"ownerId"`
	Owner                laxText `json:"sourceTitle"`
	PublicAddress        laxText `json:"publicAddress"`
	AccessToken          laxText `json:"accessToken"`
	Owned                laxBool `json:"owned"`
	Home                 laxBool `json:"home"`
	Presence             laxBool `json:"presence"`
	HTTPSRequired        laxBool `json:"httpsRequired"`
	Relay                laxBool `json:"relay"`
	PublicAddressMatches laxBool `json:"publicAddressMatches"`
	Connections          []struct {
		URI     laxText `json:"uri"`
		Address laxText `json:"address"`
		Port    laxInt  `json:"port"`
		Local   laxBool `json:"local"`
		Relay   laxBool `json:"relay"`
		IPv6    laxBool `json:"IPv6"`
	} `json:"connections"`
}

func (d *resource) server() mediaServer {
	s := mediaServer{
		Name: string(d.Name), MachineID: string(d.MachineID), Version: string(d.Version), Platform: string(d.Platform),
		Owned: bool(d.Owned), Home: bool(d.Home), OwnerID: int64(d.OwnerID), Owner: string(d.Owner),
		Presence: bool(d.Presence), HTTPSRequired: bool(d.HTTPSRequired), Relay: bool(d.Relay),
		PublicAddressMatches: bool(d.PublicAddressMatches), PublicAddress: string(d.PublicAddress),
		Connections: []connection{}, // in JSON it is a list for everybody
	}
	if t := strings.TrimSpace(string(d.AccessToken)); usableToken(t) {
		if s.onlyJWT = isJWT(t); !s.onlyJWT {
			s.Token = newValue(t)
		}
	}
	for _, c := range d.Connections {
		if c.URI != "" {
			s.Connections = append(s.Connections, connection{
				URI: strings.TrimRight(string(c.URI), "/"), Address: string(c.Address), Port: int(c.Port),
				Local: bool(c.Local), Relay: bool(c.Relay), IPv6: bool(c.IPv6),
			})
		}
	}
	return s
}

// provides looks a word up in a list like "client,player".
func provides(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(w) == word {
			return true
		}
	}
	return false
}
