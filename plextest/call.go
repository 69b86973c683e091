package plextest

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A site is one of the hosts that the fake plays.
type site int

const (
	siteAPI   site = iota // plex.tv, clients.plex.tv
	siteApp               // app.plex.tv
	siteAll               // plex.tv and app.plex.tv under one base URL
	siteMedia             // a media server
)

// siteOf returns the site of one of plex.tv's host names.
func siteOf(host string) (at site, ok bool) {
	switch strings.ToLower(host) {
	case "plex.tv", "www.plex.tv", "clients.plex.tv":
		return siteAPI, true
	case "app.plex.tv":
		return siteApp, true
	}
	return 0, false
}

// A call is one request that the fake is answering.
type call struct {
	ctx     context.Context
	method  string
	site    site
	origin  string // scheme://host as the client wrote it
	host    string
	path    string // as sent
	route   string // path without .json or .xml
	query   url.Values
	form    url.Values
	header  http.Header
	body    []byte
	content string // media type of the body

	inProcess bool
	media     *MediaServer // for siteMedia
	conn      *Connection  // the address of media that the client used

	wantsJSON bool
	quirks    Quirks
	clientID  string
	token     string
	start     time.Time
	polled    *pin // the PIN that this call polls, until the poll has ended

	code    int  // the code of the error envelope in the answer, or 0
	rejects bool // a fault answers that the token is not valid
}

const maxBody = 1 << 20

// newCall reads r, including its body of at most maxBody bytes.
func (s *Server) newCall(r *http.Request, scheme, host string, at site) (*call, error) {
	c := &call{
		ctx: r.Context(), method: r.Method, site: at, origin: scheme + "://" + host, host: host,
		path: r.URL.Path, query: r.URL.Query(), header: r.Header, start: time.Now(),
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	if c.path == "" {
		c.path = "/"
	}
	if r.Body != nil && r.Body != http.NoBody {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			return nil, err
		}
		c.body = body
	}
	c.content, _, _ = mime.ParseMediaType(c.header.Get("Content-Type"))
	if c.content == "application/x-www-form-urlencoded" {
		c.form, _ = url.ParseQuery(string(c.body)) // like most servers, use what parses
	}
	c.wantsJSON = c.header.Get("Accept") == "application/json" && len(c.header.Values("Accept")) == 1
	c.route = c.path
	if route, ok := strings.CutSuffix(c.path, ".json"); ok {
		c.route, c.wantsJSON = route, true
	} else if route, ok := strings.CutSuffix(c.path, ".xml"); ok {
		c.route, c.wantsJSON = route, false
	}
	c.clientID = c.identity("X-Plex-Client-Identifier")
	c.token = c.identity("X-Plex-Token")
	return c, nil
}

// identity returns the X-Plex-* value name. Like plex.tv it looks in the header,
// then in the query, then in the form.
func (c *call) identity(name string) string {
	if v := c.header.Get(name); v != "" {
		return v
	}
	if v := c.query.Get(name); v != "" {
		return v
	}
	return c.form.Get(name)
}

// isAPI reports whether the request is for the API, not for a page.
func (c *call) isAPI() bool { return strings.HasPrefix(c.path, "/api/") }

// segments returns the path segments of the route after /api/v2. It returns false
// for other routes.
func (c *call) segments() ([]string, bool) {
	rest, ok := strings.CutPrefix(c.route, "/api/v2/")
	if !ok {
		return nil, false
	}
	return strings.Split(rest, "/"), true
}

// pinID returns the id if the request is GET pins/{id}, and "" otherwise.
func (c *call) pinID() string {
	parts, ok := c.segments()
	if ok && len(parts) == 2 && parts[0] == "pins" && parts[1] != "link" && c.method == http.MethodGet {
		return parts[1]
	}
	return ""
}

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
