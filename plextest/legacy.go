package plextest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answerLegacy routes the calls of plex.tv's first API. They need no client
// identifier, and answer in XML regardless of Accept.
func (s *Server) answerLegacy(c *call) reply {
	if r, ok := s.answerSharing(c); ok {
		return r
	}
	parts := strings.Split(strings.Trim(c.route, "/"), "/")
	switch {
	case c.method == http.MethodGet && (c.route == "/api/resources" || c.route == "/pms/resources"):
		return s.legacyResources(c)
	case c.method == http.MethodGet && c.route == "/api/home/users":
		return s.legacyHomeUsers(c)
	case c.method == http.MethodPost && len(parts) == 5 && strings.HasPrefix(c.route, "/api/home/users/") && parts[4] == "switch":
		return s.legacySwitch(c, parts[3])
	case c.method == http.MethodGet && c.route == "/users/account":
		return s.legacyAccount(c)
	}
	return c.fail(1002)
}

// isLegacy reports whether the request is for plex.tv's first API.
func (c *call) isLegacy() bool {
	for _, at := range []string{"/users/account", "/devices", "/pms/servers", "/pms/resources", "/pms/friends/all"} {
		if c.route == at {
			return true
		}
	}
	return strings.HasPrefix(c.route, "/devices/") || strings.HasPrefix(c.route, "/api/") && !strings.HasPrefix(c.route, "/api/v2/")
}

// legacyContainer returns the beginning of a list of the first API.
func legacyContainer(size int) object {
	return object{"MediaContainer", []field{
		required("friendlyName", "myPlex"),
		required("identifier", "com.plexapp.plugins.myplex"),
		required("machineIdentifier", machineID("myplex")),
		required("totalSize", size),
		required("size", size),
	}}
}

// add appends a child element to o, which is only written in XML.
func (o *object) add(child object) { o.fields = append(o.fields, required("", child)) }

// legacyAccount answers GET /users/account and /users/account.json.
func (s *Server) legacyAccount(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return legacyUnauthorized()
	}
	u := s.userDocument(t.user, t.value)
	if strings.HasSuffix(c.path, ".json") {
		return newReply(http.StatusOK, "application/json; charset=utf-8", object{fields: []field{required("user", u)}}.appendJSON(nil, c.quirks))
	}
	u.fields = append(u.fields, required("authenticationToken", t.value))
	return newXML(http.StatusOK, u)
}

// legacyHomeUsers answers GET /api/home/users.
func (s *Server) legacyHomeUsers(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return legacyUnauthorized()
	}
	admin, members := s.home(t.user)
	if admin == nil {
		admin, members = t.user, []*User{t.user}
	}
	container := legacyContainer(len(members))
	for _, u := range members {
		container.add(object{"User", []field{
			required("id", u.ID), required("uuid", u.UUID), required("admin", u == admin), required("guest", u.Guest), required("restricted", u.Restricted),
			required("restrictionProfile", ""), required("hasPassword", !u.Restricted), required("protected", u.HomePIN != ""),
			required("title", u.Title), required("username", u.Username), required("email", u.Email), required("thumb", u.Thumb),
		}})
	}
	return newXML(http.StatusOK, container)
}

// legacySwitch answers POST /api/home/users/{id}/switch. The id is the number of
// the account, not its UUID.
func (s *Server) legacySwitch(c *call, id string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return legacyUnauthorized()
	}
	var target *User
	for _, u := range s.users {
		if strconv.FormatInt(u.ID, 10) == id && s.sameHome(t.user, u) {
			target = u
		}
	}
	if target == nil {
		return notFound()
	}
	pin := c.query.Get("pin")
	if pin == "" {
		pin = c.form.Get("pin")
	}
	if target.HomePIN != "" && pin != target.HomePIN {
		return newXML(http.StatusUnauthorized, object{"Response", []field{required("code", 401), required("status", "Incorrect PIN")}})
	}
	return newXML(http.StatusCreated, object{"user", []field{
		required("id", target.ID), required("uuid", target.UUID), required("title", target.Title), required("username", target.Username),
		required("authenticationToken", s.switchTo(t, target, c.clientID).value),
	}})
}

// legacyUnauthorized returns the first API's refusal of a token.
func legacyUnauthorized() reply {
	return newReply(http.StatusUnauthorized, "application/xml; charset=utf-8",
		[]byte(`<?xml version="1.0" encoding="UTF-8"?>`+"\n<errors><error>Invalid authentication token.</error></errors>\n"))
}

// notFound returns the first API's answer for a missing resource.
func notFound() reply {
	return newXML(http.StatusNotFound, object{"Response", []field{required("code", 404), required("status", "Not Found")}})
}

// legacyResources answers GET /api/resources and /pms/resources.
func (s *Server) legacyResources(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return legacyUnauthorized()
	}
	container := object{"MediaContainer", []field{required("size", 0)}}
	n := 0
	for _, m := range s.media {
		if !m.mayUse(t.user) {
			continue
		}
		n++
		device := s.resource(c, t, m).without("ownerId", "sourceTitle", "home", "searchEnabled", "connections")
		device.tag = "Device"
		if t.user != m.owner {
			device.fields = append(device.fields, required("ownerId", m.owner.ID), required("sourceTitle", m.owner.Title), required("home", m.inHome(t.user)))
		}
		device.writeDates(func(at time.Time) any { return at.Unix() })
		for _, conn := range m.live {
			if o, ok := conn.document(c); ok {
				o.tag = "Connection"
				device.add(o)
			}
		}
		container.add(device)
	}
	container.fields[0].value = n
	return newXML(http.StatusOK, container)
}
