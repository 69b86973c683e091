package plextest

import (
	"net/http"
)

// answer routes c by its site and path, and returns the answer. It applies no
// fault and records nothing in the journal.
func (s *Server) answer(c *call) reply {
	if c.site == siteMedia {
		return s.answerMedia(c)
	}
	if c.site != siteApp {
		if parts, ok := c.segments(); ok {
			return s.answerAPI(c, parts)
		}
		if c.isLegacy() {
			return s.answerLegacy(c)
		}
	}
	if !c.isAPI() {
		return s.answerPage(c)
	}
	return c.fail(1002)
}

// answerAPI routes the calls under /api/v2. The parts are the segments after it.
func (s *Server) answerAPI(c *call, parts []string) reply {
	// These calls need no client identifier.
	if len(parts) == 3 && parts[0] == "pins" && parts[1] == "qr" && c.method == http.MethodGet {
		return s.pinQR(c, parts[2])
	}
	if len(parts) == 2 && parts[0] == "auth" && c.method == http.MethodGet {
		switch parts[1] {
		case "keys":
			return s.listKeys(c)
		case "nonce":
			return s.createNonce(c)
		}
	}
	if c.clientID == "" {
		return c.fail(1000)
	}
	on := func(method string, path ...string) bool {
		if c.method != method || len(parts) != len(path) {
			return false
		}
		for i, p := range path {
			if p != "*" && p != parts[i] {
				return false
			}
		}
		return true
	}
	switch {
	case on("POST", "pins"):
		return s.createPin(c)
	case on("PUT", "pins", "link"):
		return s.linkPin(c)
	case on("GET", "pins", "*"):
		return s.readPin(c, parts[1])
	case on("GET", "user"):
		return s.readUser(c)
	case on("GET", "user", "webhooks"):
		return s.readWebhooks(c)
	case on("GET", "ping"):
		return s.ping(c)
	case on("DELETE", "users", "signout"):
		return s.signOut(c)
	case on("GET", "home", "users"):
		return s.homeUsers(c)
	case on("POST", "home", "users", "*", "switch"):
		return s.switchUser(c, parts[2])
	case on("POST", "auth", "jwk"):
		return s.registerKey(c)
	case on("POST", "auth", "token"):
		return s.exchangeJWT(c)
	case on("GET", "resources"):
		return s.readResources(c)
	}
	return c.fail(1002)
}
