package plextv

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// MediaServer is a media server that an account may use, as GET /api/v2/resources lists
// it.
type MediaServer struct {
	Name                 string
	MachineID            string // what identifies it: names and addresses change
	Version              string
	Platform             string
	Owned                bool         // by the account
	Home                 bool         // by the admin of the account's Plex Home
	OwnerID              int64        // the owner's number; 0 if Owned
	Owner                string       // the owner's name; "" if Owned
	Presence             bool         // connected to plex.tv just now
	HTTPSRequired        bool         // refuses plain http
	Relay                bool         // may be reached through Plex's relay
	PublicAddressMatches bool         // this machine has the same public address
	PublicAddress        string       // IP address
	Token                secret.Value // for this server and no other; zero: there is none
	OnlyJWT              bool         // the only token that plex.tv gives for it is a JWT
	Connections          []Connection // never nil
}

// Connection is an address of a media server, as it told plex.tv.
type Connection struct {
	URI     string // scheme, host and port
	Address string // the IP address or name in URI
	Port    int
	Local   bool // in the server's own network
	Relay   bool // through Plex's relay
	IPv6    bool
}

// ReadServers asks plex.tv for the media servers that the account of t may use: its own
// first, then those of its Plex Home.
func (c *Client) ReadServers(ctx context.Context, t secret.Value, clientID string) (servers []MediaServer, err error) {
	err = c.Do(ctx, &Call{
		Op: "list servers", Method: http.MethodGet, ClientID: clientID, Token: t, MaxBody: maxServerList,
		URL: c.clients + "/api/v2/resources?includeHttps=1&includeRelay=1&includeIPv6=1",
		Decode: func(body []byte) (err error) {
			servers, err = decodeServers(body)
			return err
		},
	})
	return servers, err
}

// decodeServers returns the media servers in a list of devices. A field of another shape
// counts as absent, and so does a device or connection without what identifies it.
func decodeServers(body []byte) ([]MediaServer, error) {
	var devices []device
	if err := lax.Unmarshal(body, &devices); err != nil {
		return nil, err
	}
	if devices == nil {
		return nil, errors.New("no list where servers were asked for")
	}
	var servers []MediaServer
	for i := range devices {
		if d := &devices[i]; d.MachineID != "" && provides(string(d.Provides), "server") {
			servers = append(servers, d.server())
		}
	}
	slices.SortStableFunc(servers, func(a, b MediaServer) int { return a.distance() - b.distance() })
	return servers, nil
}

// OwnedBy returns plex.tv's number of the owner, 0 if it is not known or s is nil. The
// server is in the list of account.
func (s *MediaServer) OwnedBy(account int64) int64 {
	switch {
	case s == nil:
		return 0
	case s.Owned:
		return account
	}
	return s.OwnerID
}

// distance orders servers by their owner, the account's own first.
func (s *MediaServer) distance() int {
	switch {
	case s.Owned:
		return 0
	case s.Home:
		return 1
	}
	return 2
}

// device is an entry of the list: a media server, a player, or anything else.
type device struct {
	Name                 lax.String  `json:"name"`
	Version              lax.String  `json:"productVersion"`
	Platform             lax.String  `json:"platform"`
	MachineID            lax.String  `json:"clientIdentifier"`
	Provides             lax.String  `json:"provides"`
	OwnerID              lax.Integer `json:"ownerId"`
	Owner                lax.String  `json:"sourceTitle"`
	PublicAddress        lax.String  `json:"publicAddress"`
	AccessToken          lax.String  `json:"accessToken"`
	Owned                lax.Boolean `json:"owned"`
	Home                 lax.Boolean `json:"home"`
	Presence             lax.Boolean `json:"presence"`
	HTTPSRequired        lax.Boolean `json:"httpsRequired"`
	Relay                lax.Boolean `json:"relay"`
	PublicAddressMatches lax.Boolean `json:"publicAddressMatches"`
	Connections          []struct {
		URI     lax.String  `json:"uri"`
		Address lax.String  `json:"address"`
		Port    lax.Integer `json:"port"`
		Local   lax.Boolean `json:"local"`
		Relay   lax.Boolean `json:"relay"`
		IPv6    lax.Boolean `json:"IPv6"`
	} `json:"connections"`
}

// server returns d as a media server.
func (d *device) server() MediaServer {
	s := MediaServer{
		Name: string(d.Name), MachineID: string(d.MachineID), Version: string(d.Version), Platform: string(d.Platform),
		Owned: bool(d.Owned), Home: bool(d.Home), OwnerID: int64(d.OwnerID), Owner: string(d.Owner),
		Presence: bool(d.Presence), HTTPSRequired: bool(d.HTTPSRequired), Relay: bool(d.Relay),
		PublicAddressMatches: bool(d.PublicAddressMatches), PublicAddress: string(d.PublicAddress),
		Connections: []Connection{},
	}
	if t := strings.TrimSpace(string(d.AccessToken)); secret.UsableToken(t) {
		if s.OnlyJWT = devicekey.IsJWT(t); !s.OnlyJWT {
			s.Token = secret.New(t)
		}
	}
	for _, c := range d.Connections {
		if c.URI != "" {
			s.Connections = append(s.Connections, Connection{
				URI: strings.TrimRight(string(c.URI), "/"), Address: string(c.Address), Port: int(c.Port),
				Local: bool(c.Local), Relay: bool(c.Relay), IPv6: bool(c.IPv6),
			})
		}
	}
	return s
}

// provides reports whether word is in a list like "client,player".
func provides(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(w) == word {
			return true
		}
	}
	return false
}

// ServerState is what an error answer says about a media server. ServerUnknown says
// nothing; of the others, a smaller one says more.
type ServerState int

// The states of a media server.
const (
	ServerUnknown     ServerState = iota // the answer shows no media server
	ServerStarting                       // 503 in a media server's own form
	ServerFailing                        // another status in its own form
	ServerBehindProxy                    // a proxy's own answer for a server that does not answer it
)

// stateOf returns what an error answer says about a media server. enveloped tells that
// its body has Plex's own form of an error. All answers of a media server have X-Plex-
// headers.
func stateOf(resp *http.Response, enveloped bool) ServerState {
	own := enveloped
	for name := range resp.Header {
		own = own || strings.HasPrefix(name, "X-Plex-")
	}
	switch status := resp.StatusCode; {
	case status < 400:
		return ServerUnknown
	case own && status == http.StatusServiceUnavailable:
		return ServerStarting
	case own:
		return ServerFailing
	case status >= 502 && status <= 504, status >= 520 && status <= 530: // the latter are Cloudflare's
		return ServerBehindProxy
	}
	return ServerUnknown
}
