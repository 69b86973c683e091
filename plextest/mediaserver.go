package plextest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// MediaServer is a fake Plex Media Server, or a player: what plex.tv lists as
// a resource. Zero fields are filled in by [Server.AddMediaServer].
//
// A server answers /identity to everyone, /accounts to its owner, and / and
// /library/sections to everyone who may use it. A wrong token is answered with
// 401 and a page of HTML, as by the real one.
type MediaServer struct {
	Name      string
	MachineID string // 40 hex characters
	Provides  string // "" is "server"; for a player "client,player"
	Product   string
	Version   string

	SharedWith []*User // who may use it beside its owner; the owner's Plex Home may anyway

	HTTPSRequired        bool // plain http is cut off
	PublicAddressMatches bool // plex.tv sees the caller and the server at the same address
	Offline              bool // presence is false, and no address answers
	AcceptsJWT           bool // takes an account's JWT; servers in the field do not
	NoAccessToken        bool // plex.tv lists it with a null accessToken
	PublicAddress        string

	AccountsRefusal int  // the status by which /accounts refuses those who may use the server but do not own it; 0 is 401
	PlexHeader      bool // its answers have X-Plex-Protocol, as real ones do; a proxy in front may take it away

	Connections []Connection // may be empty: listed, but unreachable

	refusedJWT bool
	owner      *User
	s          *Server
	former     []netip.AddrPort // where it was before it moved
	live       []*Connection    // Connections, with what they need to answer
}

// Connection is an address of a media server, and how it behaves. The zero
// value of each field is the ordinary: listed, reachable, quick, honest.
type Connection struct {
	// Address is an IP address, or a name of one's own. Port 0 is 32400.
	Address string
	Port    int

	// URI is what plex.tv lists. "": https with a plex.direct name where
	// Address is an IP address, else with the name. An http URI is listed as
	// such.
	URI string

	// IP is what Address resolves to where it is a name; "" is some public
	// address.
	IP string

	Local, Relay bool
	Unlisted     bool // it answers, but plex.tv does not list it

	BlackHole bool          // nothing comes back, not even a refusal
	Refused   bool          // nothing listens there
	Latency   time.Duration // until an answer begins
	Impostor  bool          // another server answers: another machine id, and no token belongs there
	BadCert   bool          // its certificate is of no known authority

	server *MediaServer
	at     netip.AddrPort
	host   string // of URI
	hash   string // the server's part of its plex.direct names
}

// AddMediaServer gives u a media server and returns it, complete. The value
// returned is its name in other calls.
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
	m.place(m.Connections)
	s.index()
	return &m
}

// ChangeMediaServer changes a media server, for example takes it offline.
// change must not call the server.
func (s *Server) ChangeMediaServer(m *MediaServer, change func(*MediaServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(m)
	m.place(m.Connections)
	s.index()
}

// MoveServer gives m other addresses. Nobody listens at the old ones any
// more.
func (s *Server) MoveServer(m *MediaServer, to ...Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range m.live {
		m.former = append(m.former, conn.at)
	}
	m.place(to)
	s.index()
}

// ServerToken returns the token that plex.tv hands to u for m.
func (s *Server) ServerToken(u *User, m *MediaServer) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serverToken(u, m).value
}

// Handler returns m as an http.Handler, for a listener of one's own. Requests
// count as sent to its first connection.
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

// place sets the connections, complete.
func (m *MediaServer) place(connections []Connection) {
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

// machineID makes an invented machine identifier.
func machineID(of string) string {
	sum := sha256.Sum256([]byte("plextest " + of))
	return hex.EncodeToString(sum[:20])
}

// serverToken finds or makes the token of a user for a media server. s.mu is
// held.
func (s *Server) serverToken(u *User, m *MediaServer) *token {
	key := access{u, m.MachineID}
	if t := s.access[key]; t != nil && !t.dead {
		return t
	}
	t := &token{value: s.canary("srv"), kind: serverToken, user: u, machine: m.MachineID}
	s.tokens[t.value] = t
	s.access[key] = t
	return t
}

// mayUse reports whether u is the owner of m, in the owner's home, or one
// whom it is shared with. s.mu is held.
func (m *MediaServer) mayUse(u *User) bool {
	return u == m.owner || slices.Contains(m.SharedWith, u) || m.inHome(u)
}

// inHome reports whether m belongs to the admin of the home that u is in.
func (m *MediaServer) inHome(u *User) bool { return m.owner != nil && u.HomeAdmin == m.owner }

// checkMedia looks at what a request tells a media server. s.mu is held.
func (s *Server) checkMedia(c *call) {
	if c.token == "" && !c.carriesSecret() {
		return
	}
	t, m := s.tokens[c.token], c.media
	if c.conn.Impostor {
		s.violate(c, "a token is sent to an impostor")
		return
	}
	if strings.HasPrefix(c.origin, "http:") && isPublic(c.conn.at.Addr()) {
		s.violate(c, "a token is sent over plain http to a public address")
	}
	if t == nil {
		return
	}
	switch t.kind {
	case serverToken:
		if t.machine != m.MachineID {
			s.violate(c, "the token of another media server is sent to this one")
		}
	case jwtToken:
		if !m.AcceptsJWT && m.refusedJWT { // a client may find out, once
			s.violate(c, "a JWT is sent to a media server that has refused one")
		}
		m.refusedJWT = !m.AcceptsJWT
	case accountToken:
		if t.user != m.owner {
			s.violate(c, "an account token is sent to a media server of somebody else")
		}
	}
}

// admits finds the user that a request to a media server speaks for, nil for
// nobody. s.mu is held.
func (s *Server) admits(c *call) *User {
	t, m := s.tokens[c.token], c.media
	if t == nil || t.dead || c.conn.Impostor {
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

// answerMedia answers as the media server.
func (s *Server) answerMedia(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mediaReply(c)
	if c.media.PlexHeader {
		r.header.Set("X-Plex-Protocol", "1.0")
	}
	return r
}

// mediaReply is answerMedia without PlexHeader. s.mu is held.
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
		return c.container(nil, is("size", 0), is("claimed", true), is("machineIdentifier", id), is("version", m.Version))
	}
	who := s.admits(c)
	switch {
	case who == nil:
		return mediaPage(http.StatusUnauthorized, "Unauthorized")
	case c.path == "/accounts" && who != m.owner:
		status := cmp.Or(m.AccountsRefusal, http.StatusUnauthorized)
		return mediaPage(status, http.StatusText(status))
	}
	switch c.path {
	case "/accounts":
		accounts := s.localAccounts(m)
		return c.container(accounts, is("size", len(accounts)), is("identifier", "com.plexapp.system.accounts"))
	case "/":
		return c.container(nil, is("size", 0), is("friendlyName", m.Name), is("machineIdentifier", id), is("multiuser", true), is("myPlex", true),
			is("myPlexSigninState", "ok"), is("myPlexSubscription", false), is("myPlexUsername", m.owner.Username), is("ownerFeatures", ""),
			is("platform", "Linux"), is("platformVersion", "6.8.0"), is("version", m.Version))
	case "/library/sections":
		var libraries []object
		for _, l := range sections {
			libraries = append(libraries, object{"Directory", []field{is("key", l.key), is("type", l.kind), is("title", l.title)}})
		}
		return c.container(libraries, is("size", len(libraries)), is("allowSync", false), is("title1", "Plex Library"))
	}
	return mediaPage(http.StatusNotFound, "Not Found")
}

// localAccounts is whom the media server knows: nobody, its owner as 1, and
// the others by their number at plex.tv. s.mu is held.
func (s *Server) localAccounts(m *MediaServer) []object {
	account := func(id int64, name, thumb string) object {
		return object{"Account", []field{
			is("id", id), is("key", fmt.Sprint("/accounts/", id)), is("name", name), is("defaultAudioLanguage", "en"),
			is("autoSelectAudio", true), is("defaultSubtitleLanguage", "en"), is("subtitleMode", 0), is("thumb", thumb),
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

// container writes a MediaContainer: in JSON its elements are an array under
// their tag, in XML they are children.
func (c *call) container(elements []object, fields ...field) reply {
	o := object{"MediaContainer", fields}
	if c.wantsJSON {
		if len(elements) > 0 {
			o.fields = append(o.fields, is(elements[0].tag, list{items: elements}))
		}
		q := c.quirks
		q.StringIDs = false
		return newReply(http.StatusOK, "application/json", object{fields: []field{is("MediaContainer", o)}}.appendJSON(nil, q))
	}
	for _, e := range elements {
		o.fields = append(o.fields, is("", e))
	}
	return newXML(http.StatusOK, o)
}

func mediaPage(status int, title string) reply {
	return newReply(status, "text/html", fmt.Appendf(nil, "<html><head><title>%s</title></head><body><h1>%d %s</h1></body></html>", title, status, title))
}
