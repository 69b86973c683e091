package plextest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MediaServer is a fake Plex Media Server or player, which plex.tv lists as a
// resource. [Server.AddMediaServer] fills in zero fields.
//
// A server answers /identity to everyone, /accounts to its owner, and / and
// /library/sections to everyone who may use it. Like the real one, it answers a
// wrong token with 401 and an HTML page.
type MediaServer struct {
	Name      string
	MachineID string // 40 hex characters
	Provides  string // by default "server"; for a player use "client,player"
	Product   string
	Version   string

	SharedWith []*User // users who may use it, beside its owner and the owner's Plex Home

	HTTPSRequired        bool // close connections over plain http
	PublicAddressMatches bool // plex.tv sees the caller and the server at the same address
	Offline              bool // presence is false, and no address answers
	AcceptsJWT           bool // accept an account's JWT; real servers do not
	NoAccessToken        bool // plex.tv lists it with a null accessToken
	PublicAddress        string

	AccountsRefusal int  // status of /accounts for users who are not the owner; 0 means 401
	PlexHeader      bool // send X-Plex-Protocol, as real servers do when no proxy removes it

	Connections []Connection // its addresses; if empty, it is listed but cannot be reached

	refusedJWT bool // it has already refused a JWT
	owner      *User
	s          *Server
	former     []netip.AddrPort // its addresses before it moved
	live       []*Connection    // copies of Connections that requests use
}

// Connection is an address of a media server and its behaviour. With zero fields
// it is listed and reachable, answers at once and has a valid certificate.
type Connection struct {
	// Address is an IP address or a custom host name. Port 0 means 32400.
	Address string
	Port    int

	// URI is the URI that plex.tv lists. The default is https, with a plex.direct
	// name if Address is an IP address, and with Address otherwise.
	URI string

	// IP is the address to which the host name in Address resolves. The default
	// is a public address.
	IP string

	Local, Relay bool
	Unlisted     bool // it answers, but plex.tv does not list it

	BlackHole bool          // connection attempts get no answer at all
	Refused   bool          // connection attempts are refused
	Latency   time.Duration // time to connect
	Impostor  bool          // another server with another machine id answers; clients must not send it a token
	BadCert   bool          // an unknown authority signed its certificate

	server *MediaServer
	at     netip.AddrPort
	host   string // the host name in URI
	hash   string // the server's part of its plex.direct names
}

// AddMediaServer adds a media server of u and returns it with all fields filled
// in. Other methods identify the server by the returned pointer.
func (s *Server) AddMediaServer(u *User, m MediaServer) *MediaServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.owner, m.s = u, s
	n := len(s.media) + 1
	if m.Provides == "" {
		m.Provides = "server"
	}
	if m.Product == "" {
		m.Product = "Plex Media Server"
		if !m.isServer() {
			m.Product = "Plex for Roku"
		}
	}
	if m.Name == "" {
		m.Name = fmt.Sprintf("Box %d", n)
	}
	if m.MachineID == "" {
		m.MachineID = machineID(fmt.Sprint("server ", n))
	}
	if m.Version == "" {
		m.Version = "1.43.2.10687-563d026ea"
	}
	if m.PublicAddress == "" {
		m.PublicAddress = "203.0.113.7"
	}
	s.media = append(s.media, &m)
	m.setConnections(m.Connections)
	s.indexHosts()
	return &m
}

// ChangeMediaServer calls change to edit a media server, for example to take it
// offline. The function must not call methods of s.
func (s *Server) ChangeMediaServer(m *MediaServer, change func(*MediaServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(m)
	m.setConnections(m.Connections)
	s.indexHosts()
}

// MoveServer replaces the addresses of m. Its old addresses refuse connections.
func (s *Server) MoveServer(m *MediaServer, to ...Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range m.live {
		m.former = append(m.former, conn.at)
	}
	m.setConnections(to)
	s.indexHosts()
}

// Handler returns m as an http.Handler, for your own listener. It treats requests
// as sent to the first connection of m.
func (m *MediaServer) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.s.mu.Lock()
		conn := &Connection{server: m, at: netip.MustParseAddrPort("127.0.0.1:32400")}
		if len(m.live) > 0 {
			conn = m.live[0]
		}
		m.s.mu.Unlock()
		m.s.serveMedia(w, r, conn)
	})
}

func (m *MediaServer) isServer() bool {
	return slices.Contains(strings.Split(m.Provides, ","), "server")
}

// setConnections replaces the connections of m and fills in their zero fields. The
// server's mu must be held.
func (m *MediaServer) setConnections(connections []Connection) {
	sum := sha256.Sum256([]byte("plex.direct " + m.MachineID))
	hash := hex.EncodeToString(sum[:16])
	m.Connections = slices.Clone(connections)
	m.live = nil
	for i := range m.Connections {
		c := &m.Connections[i]
		c.complete(hash, slices.Index(m.s.media, m)*16+i)
		live := *c
		live.server = m
		m.live = append(m.live, &live)
	}
}

// complete fills in the zero fields of conn. The hash is the server's part of
// plex.direct names, and n varies the addresses that it makes up for names.
func (conn *Connection) complete(hash string, n int) {
	if conn.Port == 0 {
		conn.Port = 32400
	}
	ip, err := netip.ParseAddr(conn.Address)
	if err != nil {
		ip, err = netip.ParseAddr(conn.IP)
		if err != nil {
			ip = netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + n%240)})
		}
	}
	conn.at = netip.AddrPortFrom(ip, uint16(conn.Port))
	conn.hash = hash
	if conn.URI == "" {
		host := conn.Address
		if host == "" {
			host = ip.String()
			conn.Address = host
		}
		if _, err := netip.ParseAddr(host); err == nil {
			host = strings.NewReplacer(".", "-", ":", "-").Replace(ip.String()) + "." + hash + ".plex.direct"
		}
		conn.URI = fmt.Sprintf("https://%s:%d", host, conn.Port)
	}
	if u, err := url.Parse(conn.URI); err == nil {
		conn.host = strings.ToLower(u.Hostname())
	}
}

// machineID returns an invented machine identifier that depends only on of.
func machineID(of string) string {
	sum := sha256.Sum256([]byte("plextest " + of))
	return hex.EncodeToString(sum[:20])
}

// mayUse reports whether u owns m, is in the owner's Plex Home, or has m shared
// with them. The server's mu must be held.
func (m *MediaServer) mayUse(u *User) bool {
	return u == m.owner || slices.Contains(m.SharedWith, u) || m.inHome(u)
}

// inHome reports whether the admin of u's Plex Home owns m.
func (m *MediaServer) inHome(u *User) bool { return m.owner != nil && u.HomeAdmin == m.owner }

// authorizedUser returns the user whose token a request to a media server
// carries, or nil if the token is not valid there. s.mu must be held.
func (s *Server) authorizedUser(c *call) *User {
	t, m := s.tokens[c.token], c.media
	if t == nil || t.ended || c.conn.Impostor {
		return nil
	}
	ok := false
	switch t.kind {
	case serverToken:
		ok = t.machine == m.MachineID && m.mayUse(t.user)
	case jwtToken:
		ok = m.AcceptsJWT && t.user == m.owner && !s.expired(t)
	case accountToken:
		ok = t.user == m.owner
	}
	if !ok {
		return nil
	}
	return t.user
}

// answerMedia returns the answer of a media server, with X-Plex-Protocol if it
// has PlexHeader.
func (s *Server) answerMedia(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mediaReply(c)
	if c.media.PlexHeader {
		r.header.Set("X-Plex-Protocol", "1.0")
	}
	return r
}

// mediaReply routes a request to a media server. s.mu must be held.
func (s *Server) mediaReply(c *call) reply {
	c.wantsJSON = strings.Contains(c.header.Get("Accept"), "application/json") && !c.quirks.XMLAlways
	m, id := c.media, c.media.MachineID
	if c.conn.Impostor {
		id = machineID("impostor of " + id)
	}
	if c.method != http.MethodGet && c.method != http.MethodHead {
		return mediaPage(http.StatusMethodNotAllowed, "Method Not Allowed")
	}
	if c.path == "/identity" {
		return c.container(nil, required("size", 0), required("claimed", true), required("machineIdentifier", id), required("version", m.Version))
	}
	user := s.authorizedUser(c)
	switch {
	case user == nil:
		return mediaPage(http.StatusUnauthorized, "Unauthorized")
	case c.path == "/accounts" && user != m.owner:
		status := cmp.Or(m.AccountsRefusal, http.StatusUnauthorized)
		return mediaPage(status, http.StatusText(status))
	}
	switch c.path {
	case "/accounts":
		accounts := s.localAccounts(m)
		return c.container(accounts, required("size", len(accounts)), required("identifier", "com.plexapp.system.accounts"))
	case "/":
		return c.container(nil, required("size", 0), required("friendlyName", m.Name), required("machineIdentifier", id), required("multiuser", true), required("myPlex", true),
			required("myPlexSigninState", "ok"), required("myPlexSubscription", false), required("myPlexUsername", m.owner.Username), required("ownerFeatures", ""),
			required("platform", "Linux"), required("platformVersion", "6.8.0"), required("version", m.Version))
	case "/library/sections":
		var libraries []object
		for _, l := range sections {
			libraries = append(libraries, object{"Directory", []field{required("key", l.key), required("type", l.kind), required("title", l.title)}})
		}
		return c.container(libraries, required("size", len(libraries)), required("allowSync", false), required("title1", "Plex Library"))
	}
	return mediaPage(http.StatusNotFound, "Not Found")
}

// localAccounts returns the accounts in a media server's own list: an empty one
// with the number 0, the owner with 1, and the others with their numbers at
// plex.tv. s.mu must be held.
func (s *Server) localAccounts(m *MediaServer) []object {
	account := func(id int64, name, thumb string) object {
		return object{"Account", []field{
			required("id", id), required("key", fmt.Sprint("/accounts/", id)), required("name", name), required("defaultAudioLanguage", "en"),
			required("autoSelectAudio", true), required("defaultSubtitleLanguage", "en"), required("subtitleMode", 0), required("thumb", thumb),
		}}
	}
	accounts := []object{account(0, "", ""), account(1, m.owner.Title, m.owner.Thumb)}
	for _, u := range s.users {
		if u != m.owner && m.mayUse(u) {
			accounts = append(accounts, account(u.ID, u.Title, u.Thumb))
		}
	}
	return accounts
}

// container returns a reply with a MediaContainer. In JSON its elements are an
// array named by their tag; in XML they are children.
func (c *call) container(elements []object, fields ...field) reply {
	o := object{"MediaContainer", fields}
	if c.wantsJSON {
		if len(elements) > 0 {
			o.fields = append(o.fields, required(elements[0].tag, list{items: elements}))
		}
		q := c.quirks
		q.StringIDs = false
		return newReply(http.StatusOK, "application/json", object{fields: []field{required("MediaContainer", o)}}.appendJSON(nil, q))
	}
	for _, e := range elements {
		o.fields = append(o.fields, required("", e))
	}
	return newXML(http.StatusOK, o)
}

// mediaPage returns an HTML error page of a media server.
func mediaPage(status int, title string) reply {
	return newReply(status, "text/html", fmt.Appendf(nil, "<html><head><title>%s</title></head><body><h1>%d %s</h1></body></html>", title, status, title))
}
