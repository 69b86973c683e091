package plextest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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

// errReset means that the connection breaks without an answer.
var errReset = errors.New("plextest: connection reset")

// handle records c in the journal, applies its fault, and returns the answer. The
// in-process client and the HTTP handler both use it.
//
// The caller turns an error (errReset, errClosed, or the context's) into a broken
// connection. It also applies the faults of the body, for which handle returns
// the fault. The fault is never nil if the error is nil.
func (s *Server) handle(c *call) (reply, *Fault, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return reply{}, nil, errClosed
	}
	c.quirks = s.quirks
	if c.quirks.XMLAlways {
		c.wantsJSON = false
	}
	entry := s.beginEntry(c)
	f := s.takeFault(c)
	if f == nil {
		f = &Fault{}
	}
	if !c.inProcess && (f.Hang || f.Delay > 0) {
		s.endPoll(c) // a client that gives up may poll again before its socket closes
	}
	s.mu.Unlock()

	r, err := s.perform(c, f)

	s.mu.Lock()
	s.endEntry(c, entry, r, err)
	if err == nil && c.isAPI() && c.site != siteMedia && !f.replaces() {
		s.addAPIHeaders(c, &r)
	}
	date := time.Now().Add(s.offset)
	s.mu.Unlock()
	if err != nil {
		return reply{}, f, err
	}
	if _, set := r.header["Date"]; !set {
		r.header.Set("Date", date.UTC().Format(http.TimeFormat))
	}
	f.applyHeaders(&r)
	return r, f, nil
}

// perform applies the faults that act before or instead of the answer, and
// returns the answer.
func (s *Server) perform(c *call, f *Fault) (reply, error) {
	if f.Delay > 0 {
		if err := s.wait(c.ctx, f.Delay); err != nil {
			return reply{}, err
		}
	}
	switch {
	case f.Hang:
		return reply{}, s.wait(c.ctx, -1)
	case f.Err != nil:
		return reply{}, f.Err
	case f.Reset:
		return reply{}, errReset
	}
	if err := c.ctx.Err(); err != nil {
		return reply{}, err
	}
	var r reply
	switch {
	case f.replaces():
		r = f.reply(c)
	case c.quirks.CORS && c.method == http.MethodOptions && c.isAPI():
		r = newReply(http.StatusNoContent, "", nil)
	default:
		r = s.answer(c)
	}
	if c.quirks.CORS && c.isAPI() {
		r.header.Set("Access-Control-Allow-Origin", "*")
		r.header.Set("Access-Control-Expose-Headers", "Location")
		if c.method == http.MethodOptions {
			r.header.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
			r.header.Set("Access-Control-Allow-Headers", c.header.Get("Access-Control-Request-Headers"))
		}
	}
	if f.ResetAfter {
		return reply{status: r.status}, errReset
	}
	return r, nil
}

// addAPIHeaders adds the headers that plex.tv's API sent in 2020. No client needs
// them, and the fake ignores If-None-Match. An answer of a fault has none of
// them, because it may come from a proxy. s.mu must be held.
func (s *Server) addAPIHeaders(c *call, r *reply) {
	s.answered++
	id := sha256.Sum256(fmt.Appendf(nil, "%srequest %d", s.seed, s.answered))
	r.header.Set("X-Request-Id", uuid(id[:]))
	r.header.Set("X-Runtime", fmt.Sprintf("%.6f", time.Since(c.start).Seconds()))
	r.header.Set("Vary", "Origin")
	if r.status == http.StatusOK || r.status == http.StatusCreated {
		r.header.Set("Cache-Control", "max-age=0, private, must-revalidate")
		r.header.Set("ETag", fmt.Sprintf(`W/"%.16x"`, sha256.Sum256(r.body)))
	}
}
