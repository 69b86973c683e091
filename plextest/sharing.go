package plextest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The calls of plex.tv's first API that clients of other makes go on with after
// a sign-in: whom the account shares its servers with, and its devices. They
// only list. Changing what is shared is not played, but for the removal of a
// device.

// number makes a row's id of what it stands for.
func number(of ...string) int64 {
	sum := sha256.Sum256([]byte("plextest row " + strings.Join(of, " ")))
	return int64(binary.BigEndian.Uint32(sum[:4])>>1) + 1
}

// plexContainer begins a list of the first API.
func plexContainer(size int) object {
	return object{"MediaContainer", []field{
		is("friendlyName", "myPlex"),
		is("identifier", "com.plexapp.plugins.myplex"),
		is("machineIdentifier", machineID("myplex")),
		is("totalSize", size),
		is("size", size),
	}}
}

// add appends an element to a list of the first API.
func (o *object) add(child object) { o.fields = append(o.fields, is("", child)) }

// answerSharing answers the calls of this file. false: it is another.
func (s *Server) answerSharing(c *call) (reply, bool) {
	var list func(*token) reply
	get := c.method == http.MethodGet || c.method == http.MethodHead
	parts := strings.Split(strings.Trim(c.route, "/"), "/")
	switch route := strings.Join(parts, "/"); {
	case get && route == "api/users":
		list = s.friends
	case get && (route == "api/invites/requested" || route == "api/invites/requests"):
		list = func(*token) reply { return newXML(http.StatusOK, plexContainer(0)) }
	case get && route == "devices":
		list = s.listDevices
	case c.method == http.MethodDelete && parts[0] == "devices" && len(parts) == 2:
		list = func(t *token) reply { return s.removeDevice(t, parts[1]) }
	case get && (route == "api/servers" || route == "pms/servers"):
		list = func(t *token) reply { return s.listServers(t, "") }
	case get && strings.HasPrefix(route, "api/servers/") && len(parts) == 3:
		list = func(t *token) reply { return s.listServers(t, parts[2]) }
	case get && strings.HasPrefix(route, "api/servers/") && parts[3] == "shared_servers" && len(parts) <= 5:
		list = func(t *token) reply { return s.listShares(t, parts[2], append(parts, "")[4]) }
	default:
		return reply{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return legacyUnauthorized(), true
	}
	return list(t), true
}

// notFound is how the first API says that there is no such thing.
func notFound() reply {
	return newXML(http.StatusNotFound, object{"Response", []field{is("code", 404), is("status", "Not Found")}})
}

// share describes m to its owner, as it is shared with u. s.mu is held.
func (s *Server) share(u *User, m *MediaServer) object {
	return object{"Server", []field{
		is("id", number("share", u.UUID, m.MachineID)),
		is("serverId", number("server", m.MachineID)),
		is("machineIdentifier", m.MachineID),
		is("name", m.Name),
		is("lastSeenAt", s.lastSeen().Unix()),
		is("numLibraries", len(sections)),
		is("allLibraries", true),
		is("owned", true),
		is("pending", false),
	}}
}

// lastSeen is when plex.tv heard of what is on now.
func (s *Server) lastSeen() time.Time { return time.Now().Add(s.offset - time.Minute) }

// friends answers GET /api/users: the members of the account's Plex Home and
// all others whom it shares a server with, but not itself. s.mu is held.
func (s *Server) friends(t *token) reply {
	var users []object
	_, home := s.home(t.user)
	for _, u := range s.users {
		inHome := slices.Contains(home, u)
		var shares []object
		for _, m := range s.media {
			if m.owner == t.user && m.isServer() && m.mayUse(u) {
				shares = append(shares, s.share(u, m))
			}
		}
		if u == t.user || !inHome && len(shares) == 0 {
			continue
		}
		user := object{"User", []field{
			is("id", u.ID), is("title", u.Title), is("username", u.Username), is("email", u.Email),
			is("recommendationsPlaylistId", ""), is("thumb", u.Thumb), is("protected", u.HomePIN != ""), is("home", inHome),
			is("allowTuners", false), is("allowSync", false), is("allowCameraUpload", false), is("allowChannels", false), is("allowSubtitleAdmin", false),
			is("filterAll", ""), is("filterMovies", ""), is("filterMusic", ""), is("filterPhotos", ""), is("filterTelevision", ""),
			is("restricted", u.Restricted),
		}}
		for _, share := range shares {
			user.add(share)
		}
		users = append(users, user)
	}
	container := plexContainer(len(users))
	for _, u := range users {
		container.add(u)
	}
	return newXML(http.StatusOK, container)
}

// listDevices answers GET /devices.xml: the account's own servers and players,
// and every client that holds a token of it. As of 2026 the tokens of other
// devices are not shown. s.mu is held.
func (s *Server) listDevices(t *token) reply {
	container := object{"MediaContainer", []field{is("publicAddress", "203.0.113.1")}}
	entry := func(id, name, product, version, platform, provides, token string) object {
		return object{"Device", []field{
			is("name", name), is("publicAddress", "203.0.113.1"), is("product", product), is("productVersion", version),
			is("platform", platform), is("platformVersion", ""), is("device", platform), is("model", ""), is("vendor", ""),
			is("provides", provides), is("clientIdentifier", id), is("version", version), is("id", deviceNumber(id)), is("token", token),
			is("createdAt", t.user.JoinedAt.Unix()), is("lastSeenAt", s.lastSeen().Unix()), is("screenResolution", ""), is("screenDensity", ""),
		}}
	}
	for _, m := range s.media {
		if m.owner != t.user {
			continue
		}
		device := entry(m.MachineID, m.Name, m.Product, m.Version, "Linux", m.Provides, "")
		for _, conn := range m.live {
			if !conn.Unlisted && !conn.Relay {
				device.add(object{"Connection", []field{is("uri", conn.URI)}})
			}
		}
		container.add(device)
	}
	for _, client := range s.clients(t.user) {
		shown := ""
		if client.clientID == t.clientID {
			shown = t.value
		}
		product := s.product(client.clientID)
		container.add(entry(client.clientID, cmp.Or(product, client.clientID), product, "1.0", "Linux", "", shown))
	}
	return newXML(http.StatusOK, container)
}

func deviceNumber(clientID string) int64 { return number("device", clientID) }

// clients returns a live token of each client of u, in order. s.mu is held.
func (s *Server) clients(u *User) (all []*token) {
	for _, t := range s.tokens {
		if t.user == u && t.kind != serverToken && !t.dead && t.clientID != "" &&
			!slices.ContainsFunc(all, func(have *token) bool { return have.clientID == t.clientID }) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *token) int { return cmp.Compare(a.clientID, b.clientID) })
	return all
}

// product is what a client called itself when it made a PIN; "" if it made
// none. s.mu is held.
func (s *Server) product(clientID string) string {
	var latest *pin
	for _, p := range s.pinsByID {
		if p.clientID == clientID && (latest == nil || p.created.After(latest.created)) {
			latest = p
		}
	}
	if latest == nil {
		return ""
	}
	return latest.product
}

// removeDevice answers DELETE /devices/{id}.xml: the tokens of that client end.
// s.mu is held.
func (s *Server) removeDevice(t *token, id string) reply {
	for _, client := range s.clients(t.user) {
		if strconv.FormatInt(deviceNumber(client.clientID), 10) != id {
			continue
		}
		for _, other := range s.tokens {
			if other.user == t.user && other.clientID == client.clientID {
				s.kill(other)
			}
		}
		if d := s.devices[client.clientID]; d != nil && d.user == t.user {
			d.revoked = true
		}
		return newReply(http.StatusOK, "application/xml; charset=utf-8", nil)
	}
	return notFound()
}

// listServers answers GET /api/servers, and GET /api/servers/{machine}, which
// has the libraries too. s.mu is held.
func (s *Server) listServers(t *token, machine string) reply {
	var servers []object
	for _, m := range s.media {
		if m.owner != t.user || !m.isServer() || machine != "" && machine != m.MachineID {
			continue
		}
		server := object{"Server", []field{
			is("accessToken", s.serverToken(t.user, m).value), is("name", m.Name), is("address", m.PublicAddress), is("port", 32400),
			is("version", m.Version), is("scheme", "http"), is("host", m.PublicAddress), is("localAddresses", m.localAddresses()),
			is("machineIdentifier", m.MachineID), is("createdAt", m.owner.JoinedAt.Unix()), is("updatedAt", s.lastSeen().Unix()),
			is("owned", true), is("synced", false),
		}}
		if machine != "" {
			server = server.without("accessToken")
			for _, l := range sections {
				server.add(l.shared(m))
			}
		}
		servers = append(servers, server)
	}
	if machine != "" && len(servers) == 0 {
		return notFound()
	}
	container := plexContainer(len(servers))
	for _, server := range servers {
		container.add(server)
	}
	return newXML(http.StatusOK, container)
}

// localAddresses are m's addresses at home.
func (m *MediaServer) localAddresses() string {
	var all []string
	for _, conn := range m.live {
		if conn.Local && !conn.Unlisted {
			all = append(all, conn.Address)
		}
	}
	return strings.Join(all, ",")
}

// listShares answers GET /api/servers/{machine}/shared_servers, and with the id
// of a share that one alone. s.mu is held.
func (s *Server) listShares(t *token, machine, id string) reply {
	i := slices.IndexFunc(s.media, func(m *MediaServer) bool { return m.MachineID == machine && m.owner == t.user })
	if i < 0 {
		return notFound()
	}
	m := s.media[i]
	var shares []object
	for _, u := range s.users {
		n := number("share", u.UUID, m.MachineID)
		if u == t.user || !m.mayUse(u) || id != "" && id != strconv.FormatInt(n, 10) {
			continue
		}
		// As of 2026 the tokens of others are not shown here either.
		share := object{"SharedServer", []field{
			is("id", n), is("username", u.Username), is("email", u.Email), is("userID", u.ID), is("accessToken", ""), is("name", m.Name),
			is("acceptedAt", u.JoinedAt.Unix()), is("invitedAt", u.JoinedAt.Unix()),
			is("allowSync", false), is("allowCameraUpload", false), is("allowChannels", false), is("owned", true), is("allLibraries", true),
			is("filterAll", ""), is("filterMovies", ""), is("filterMusic", ""), is("filterPhotos", ""), is("filterTelevision", ""),
		}}
		for _, l := range sections {
			share.add(l.shared(m, is("shared", true)))
		}
		shares = append(shares, share)
	}
	if id != "" && len(shares) == 0 {
		return notFound()
	}
	container := plexContainer(len(shares))
	for _, share := range shares {
		container.add(share)
	}
	return newXML(http.StatusOK, container)
}

// A section is a library of every media server here.
type section struct{ key, kind, title string }

var sections = []section{{"1", "movie", "Films"}}

// shared describes a library of m as the lists of shares do.
func (l section) shared(m *MediaServer, more ...field) object {
	return object{"Section", append([]field{
		is("id", number("section", m.MachineID, l.key)), is("key", l.key), is("type", l.kind), is("title", l.title),
	}, more...)}
}

// readWebhooks answers GET user/webhooks, which need a Plex Pass. There are
// none.
func (s *Server) readWebhooks(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	switch {
	case no != nil:
		return *no
	case !t.user.PlexPass:
		return c.fail(1012)
	}
	return c.write(http.StatusOK, list{tag: "webhooks"})
}
