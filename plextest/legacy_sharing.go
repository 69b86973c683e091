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

// This file has the calls of plex.tv's first API that other clients make after a
// sign-in: with whom an account shares its servers, and its devices. All of them
// only list, except for the removal of a device.

// rowID returns a numeric id that depends only on the given names.
func rowID(of ...string) int64 {
	sum := sha256.Sum256([]byte("plextest row " + strings.Join(of, " ")))
	return int64(binary.BigEndian.Uint32(sum[:4])>>1) + 1
}

// answerSharing routes the calls of this file. It returns false for other calls.
func (s *Server) answerSharing(c *call) (reply, bool) {
	var list func(*token) reply
	get := c.method == http.MethodGet || c.method == http.MethodHead
	parts := strings.Split(strings.Trim(c.route, "/"), "/")
	switch route := strings.Join(parts, "/"); {
	case get && (route == "api/users" || route == "pms/friends/all"):
		list = s.listFriends
	case get && (route == "api/invites/requested" || route == "api/invites/requests"):
		list = func(*token) reply { return newXML(http.StatusOK, legacyContainer(0)) }
	case get && route == "devices":
		list = func(t *token) reply { return s.listDevices(c, t) }
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
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return legacyUnauthorized(), true
	}
	return list(t), true
}

// shareDocument describes the share of m with u to the owner of m. s.mu must be
// held.
func (s *Server) shareDocument(u *User, m *MediaServer) object {
	return object{"Server", []field{
		required("id", rowID("share", u.UUID, m.MachineID)),
		required("serverId", rowID("server", m.MachineID)),
		required("machineIdentifier", m.MachineID),
		required("name", m.Name),
		required("lastSeenAt", s.lastSeen().Unix()),
		required("numLibraries", len(sections)),
		required("allLibraries", true),
		required("owned", true),
		required("pending", false),
	}}
}

// lastSeen returns the time when plex.tv last heard from a server that is online.
// s.mu must be held.
func (s *Server) lastSeen() time.Time { return time.Now().Add(s.offset - time.Minute) }

// listFriends answers GET /api/users and /pms/friends/all. It lists the members of the account's Plex
// Home and all users with whom it shares a server, without the account itself.
// s.mu must be held.
func (s *Server) listFriends(t *token) reply {
	var users []object
	_, home := s.home(t.user)
	for _, u := range s.users {
		inHome := slices.Contains(home, u)
		var shares []object
		for _, m := range s.media {
			if m.owner == t.user && m.isServer() && m.mayUse(u) {
				shares = append(shares, s.shareDocument(u, m))
			}
		}
		if u == t.user || !inHome && len(shares) == 0 {
			continue
		}
		user := object{"User", []field{
			required("id", u.ID), required("title", u.Title), required("username", u.Username), required("email", u.Email),
			required("recommendationsPlaylistId", ""), required("thumb", u.Thumb), required("protected", u.HomePIN != ""), required("home", inHome),
			required("allowTuners", false), required("allowSync", false), required("allowCameraUpload", false), required("allowChannels", false), required("allowSubtitleAdmin", false),
			required("filterAll", ""), required("filterMovies", ""), required("filterMusic", ""), required("filterPhotos", ""), required("filterTelevision", ""),
			required("restricted", u.Restricted),
		}}
		for _, share := range shares {
			user.add(share)
		}
		users = append(users, user)
	}
	container := legacyContainer(len(users))
	for _, u := range users {
		container.add(u)
	}
	return newXML(http.StatusOK, container)
}

// listDevices answers GET /devices.xml and /devices.json. It lists the account's own
// servers and players, and every client with a token of the account. As of 2026
// plex.tv shows no tokens of other devices. s.mu must be held.
func (s *Server) listDevices(c *call, t *token) reply {
	devices := list{}
	for _, m := range s.media {
		if m.owner != t.user {
			continue
		}
		connections := list{}
		for _, conn := range m.live {
			if !conn.Unlisted && !conn.Relay {
				connections.items = append(connections.items, object{"Connection", []field{required("uri", conn.URI)}})
			}
		}
		devices.items = append(devices.items, s.deviceDocument(t, m.MachineID, m.Name, m.Product, m.Version, m.Provides, connections))
	}
	for _, client := range s.clientTokens(t.user) {
		product := s.product(client.clientID)
		devices.items = append(devices.items, s.deviceDocument(t, client.clientID, cmp.Or(product, client.clientID), product, "1.0", "", list{}))
	}
	if strings.HasSuffix(c.path, ".json") {
		return newReply(http.StatusOK, "application/json; charset=utf-8", devices.appendJSON(nil, c.quirks))
	}
	container := object{"MediaContainer", []field{required("publicAddress", "203.0.113.1")}}
	for _, d := range devices.items {
		d.writeDates(func(at time.Time) any { return at.Unix() })
		connections := d.fields[len(d.fields)-1].value.(list)
		d = d.without("connections")
		for _, conn := range connections.items {
			d.add(conn)
		}
		container.add(d)
	}
	return newXML(http.StatusOK, container)
}

// deviceDocument describes a device of t's user. s.mu must be held.
func (s *Server) deviceDocument(t *token, id, name, product, version, provides string, connections list) object {
	shown := ""
	if id == t.clientID {
		shown = t.value
	}
	return object{"Device", []field{
		required("name", name), required("publicAddress", "203.0.113.1"), required("product", product), required("productVersion", version),
		required("platform", "Linux"), required("platformVersion", ""), required("device", "Linux"), required("model", ""), required("vendor", ""),
		required("provides", provides), required("clientIdentifier", id), required("version", version), required("id", deviceID(id)), required("token", shown),
		required("createdAt", t.user.JoinedAt), required("lastSeenAt", s.lastSeen()), required("screenResolution", ""), required("screenDensity", ""),
		required("connections", connections),
	}}
}

// deviceID returns the numeric id of a client in the list of devices.
func deviceID(clientID string) int64 { return rowID("device", clientID) }

// clientTokens returns one valid token of each client of u, ordered by client
// identifier. s.mu must be held.
func (s *Server) clientTokens(u *User) (all []*token) {
	for _, t := range s.tokens {
		if t.user == u && t.kind != serverToken && !t.ended && t.clientID != "" &&
			!slices.ContainsFunc(all, func(have *token) bool { return have.clientID == t.clientID }) {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *token) int { return cmp.Compare(a.clientID, b.clientID) })
	return all
}

// product returns the product name that a client gave with its latest PIN, or ""
// if it created no PIN. s.mu must be held.
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

// removeDevice answers DELETE /devices/{id}.xml. It ends all tokens of that
// client and revokes its device keys. s.mu must be held.
func (s *Server) removeDevice(t *token, id string) reply {
	for _, client := range s.clientTokens(t.user) {
		if strconv.FormatInt(deviceID(client.clientID), 10) != id {
			continue
		}
		for _, other := range s.tokens {
			if other.user == t.user && other.clientID == client.clientID {
				s.endToken(other)
			}
		}
		if d := s.devices[client.clientID]; d != nil && d.user == t.user {
			d.revoked = true
		}
		return newReply(http.StatusOK, "application/xml; charset=utf-8", nil)
	}
	return notFound()
}

// listServers answers GET /api/servers and GET /api/servers/{machine}. The latter
// also has the libraries. s.mu must be held.
func (s *Server) listServers(t *token, machine string) reply {
	var servers []object
	for _, m := range s.media {
		if m.owner != t.user || !m.isServer() || machine != "" && machine != m.MachineID {
			continue
		}
		server := object{"Server", []field{
			required("accessToken", s.serverToken(t.user, m).value), required("name", m.Name), required("address", m.PublicAddress), required("port", 32400),
			required("version", m.Version), required("scheme", "http"), required("host", m.PublicAddress), required("localAddresses", m.localAddresses()),
			required("machineIdentifier", m.MachineID), required("createdAt", m.owner.JoinedAt.Unix()), required("updatedAt", s.lastSeen().Unix()),
			required("owned", true), required("synced", false),
		}}
		if machine != "" {
			server = server.without("accessToken")
			for _, l := range sections {
				server.add(l.document(m))
			}
		}
		servers = append(servers, server)
	}
	if machine != "" && len(servers) == 0 {
		return notFound()
	}
	container := legacyContainer(len(servers))
	for _, server := range servers {
		container.add(server)
	}
	return newXML(http.StatusOK, container)
}

// localAddresses returns m's listed local addresses, separated by commas.
func (m *MediaServer) localAddresses() string {
	var all []string
	for _, conn := range m.live {
		if conn.Local && !conn.Unlisted {
			all = append(all, conn.Address)
		}
	}
	return strings.Join(all, ",")
}

// listShares answers GET /api/servers/{machine}/shared_servers. If id is not
// empty, it lists only the share with that id. s.mu must be held.
func (s *Server) listShares(t *token, machine, id string) reply {
	i := slices.IndexFunc(s.media, func(m *MediaServer) bool { return m.MachineID == machine && m.owner == t.user })
	if i < 0 {
		return notFound()
	}
	m := s.media[i]
	var shares []object
	for _, u := range s.users {
		n := rowID("share", u.UUID, m.MachineID)
		if u == t.user || !m.mayUse(u) || id != "" && id != strconv.FormatInt(n, 10) {
			continue
		}
		// As of 2026 plex.tv does not show the tokens of others here either.
		share := object{"SharedServer", []field{
			required("id", n), required("username", u.Username), required("email", u.Email), required("userID", u.ID), required("accessToken", ""), required("name", m.Name),
			required("acceptedAt", u.JoinedAt.Unix()), required("invitedAt", u.JoinedAt.Unix()),
			required("allowSync", false), required("allowCameraUpload", false), required("allowChannels", false), required("owned", true), required("allLibraries", true),
			required("filterAll", ""), required("filterMovies", ""), required("filterMusic", ""), required("filterPhotos", ""), required("filterTelevision", ""),
		}}
		for _, l := range sections {
			share.add(l.document(m, required("shared", true)))
		}
		shares = append(shares, share)
	}
	if id != "" && len(shares) == 0 {
		return notFound()
	}
	container := legacyContainer(len(shares))
	for _, share := range shares {
		container.add(share)
	}
	return newXML(http.StatusOK, container)
}

// A section is a library.
type section struct{ key, kind, title string }

// sections lists the libraries of every fake media server.
var sections = []section{{"1", "movie", "Films"}}

// document describes l as a library of m, with additional fields.
func (l section) document(m *MediaServer, more ...field) object {
	return object{"Section", append([]field{
		required("id", rowID("section", m.MachineID, l.key)), required("key", l.key), required("type", l.kind), required("title", l.title),
	}, more...)}
}
