package plextest

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// readResources answers GET resources.
func (s *Server) readResources(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	all := list{tag: "resources"}
	for _, m := range s.media {
		if m.mayUse(t.user) {
			r := s.resource(c, t, m)
			// Unlike PINs and accounts, this list has RFC 3339 dates in XML, too.
			r.writeDates(func(at time.Time) any { return at.UTC().Format(time.RFC3339) })
			all.items = append(all.items, r)
		}
	}
	return c.write(http.StatusOK, all)
}

// resource describes m to the holder of t. s.mu must be held.
func (s *Server) resource(c *call, t *token, m *MediaServer) object {
	var ownerID, sourceTitle, access any
	owned := t.user == m.owner
	if !owned {
		ownerID, sourceTitle = m.owner.ID, m.owner.Title
	}
	switch {
	case m.NoAccessToken || !m.isServer(): // null
	case owned && (t.kind == jwtToken || c.quirks.OwnedTokenIsAccountToken):
		access = t.value
	default:
		access = s.serverToken(t.user, m).value
	}
	platform, device, platformVersion := "Linux", "Docker Container", "6.8.0"
	if !m.isServer() {
		platform, device, platformVersion = "Roku", "Roku 3", "4.3"
	}
	connections := list{tag: "connections"}
	relay := false
	for _, conn := range m.live {
		relay = relay || conn.Relay
		if o, ok := conn.document(c); ok {
			connections.items = append(connections.items, o)
		}
	}
	return object{"resource", []field{
		required("name", m.Name),
		optional("product", m.Product),
		optional("productVersion", m.Version),
		optional("platform", platform),
		optional("platformVersion", platformVersion),
		optional("device", device),
		required("clientIdentifier", m.MachineID),
		optional("createdAt", m.owner.JoinedAt),
		optional("lastSeenAt", s.lastSeen()),
		required("provides", m.Provides),
		optional("ownerId", ownerID),
		optional("sourceTitle", sourceTitle),
		optional("publicAddress", m.PublicAddress),
		required("accessToken", access),
		optional("searchEnabled", true),
		required("owned", owned),
		optional("home", m.inHome(t.user)),
		optional("synced", false),
		optional("relay", relay),
		optional("presence", !m.Offline),
		optional("httpsRequired", m.HTTPSRequired),
		optional("publicAddressMatches", m.PublicAddressMatches),
		optional("dnsRebindingProtection", s.rebindProtection),
		optional("natLoopbackSupported", false),
		required("connections", connections),
	}}
}

// document describes conn in a list of resources. It returns false if conn is not
// listed, or if c did not ask for its kind.
func (conn *Connection) document(c *call) (object, bool) {
	ipv6 := conn.at.Addr().Is6()
	if conn.Unlisted || conn.Relay && !isTrue(c.query.Get("includeRelay")) || ipv6 && !isTrue(c.query.Get("includeIPv6")) {
		return object{}, false
	}
	uri := conn.URI
	if strings.HasPrefix(uri, "https:") && !isTrue(c.query.Get("includeHttps")) {
		uri = "http://" + net.JoinHostPort(conn.Address, strconv.Itoa(conn.Port))
	}
	protocol, _, _ := strings.Cut(uri, ":")
	return object{"connection", []field{
		required("protocol", protocol),
		required("address", conn.Address),
		required("port", conn.Port),
		required("uri", uri),
		required("local", conn.Local),
		required("relay", conn.Relay),
		required("IPv6", ipv6),
	}}, true
}
