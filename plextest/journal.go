package plextest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// A Request is one line of the journal. Secrets are replaced: token headers
// and parameters by REDACTED, the id of a PIN in a path by {id}. Bodies are
// not kept.
type Request struct {
	Time   time.Time
	Method string
	Host   string // as the client wrote it, for example plex.tv
	Path   string // for example /api/v2/pins/{id}
	Query  url.Values
	Header http.Header

	// Credential says whose token came along, and of which kind: "account
	// alice", "server alice", "jwt alice", with " (ended)" behind it if it no
	// longer works; "unknown" for a token never made here, "" for none.
	Credential string

	Status int           // of the answer; 0 while there is none, and if none was given
	Code   int           // of plex.tv's error envelope; 0 for none
	Broken bool          // the connection broke, hung to its end, or was refused
	Took   time.Duration // until the answer began
}

// String is the request in one line, without secrets.
func (r Request) String() string {
	text := fmt.Sprintf("%s %s %s%s", r.Time.UTC().Format("15:04:05.000"), r.Method, r.Host, r.Path)
	if len(r.Query) > 0 {
		text += "?" + r.Query.Encode()
	}
	if r.Credential != "" {
		text += " [" + r.Credential + "]"
	}
	switch {
	case r.Status == 0 && !r.Broken:
		return text + " …"
	case r.Broken:
		text += " broken"
	}
	if r.Status != 0 {
		text += fmt.Sprintf(" %d", r.Status)
	}
	if r.Code != 0 {
		text += fmt.Sprintf("/%d", r.Code)
	}
	return text
}

// keepRequests is how long the journal may grow: the oldest are dropped.
const keepRequests = 100000

type journal struct {
	entries    []*Request
	violations []string
	counts     map[string]int
	lost       map[string]bool // ids of PINs, known or not, that were answered with 404/1020
}

func newJournal() journal {
	return journal{counts: map[string]int{}, lost: map[string]bool{}}
}

// note begins the entry of a request. s.mu is held.
func (s *Server) note(c *call) *Request {
	entry := &Request{
		Time: c.start, Method: c.method, Host: c.host, Path: redactPath(c.path),
		Query: redactQuery(c.query), Header: redactHeader(c.header), Credential: s.credential(c.token),
	}
	j := &s.journal
	if len(j.entries) >= keepRequests {
		j.entries = append(j.entries[:0], j.entries[keepRequests/10:]...)
	}
	j.entries = append(j.entries, entry)
	return entry
}

// Requests returns the journal, oldest first: the last hundred thousand
// requests, those under way included.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.journal.entries))
	for i, e := range s.journal.entries {
		all[i] = *e
		all[i].Header = e.Header.Clone()
	}
	return all
}

// Violations returns what the client did and must never do, one line each, in
// the order of their first time, without secrets. It is empty for a polite
// client:
//
//   - Accept other than exactly application/json on an API call
//   - no X-Plex-Client-Identifier or X-Plex-Product on one, or header text
//     that is not UTF-8
//   - a token, or another secret, in a URL; in a body that has no place for it
//   - a PIN polled more than once a second, twice at the same time, after it
//     was answered with 404/1020, or under another client identifier
//   - a token used again after a 401/1001, or with another client identifier
//     than it was made for
//   - a token shown to a host that has no right to it
//   - a device's private key, shown to anybody
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, v := range s.journal.violations {
		if n := s.journal.counts[v]; n > 1 {
			v = fmt.Sprintf("%s (%d times)", v, n)
		}
		lines = append(lines, v)
	}
	return lines
}

// violate notes a violation once, and counts it. s.mu is held.
func (s *Server) violate(c *call, text string) {
	line := c.method + " " + c.host + redactPath(c.path) + ": " + text
	if s.journal.counts[line] == 0 {
		s.journal.violations = append(s.journal.violations, line)
	}
	s.journal.counts[line]++
}

// begin notes a request and checks all that can be seen before the answer.
// s.mu is held.
func (s *Server) begin(c *call) *Request {
	entry := s.note(c)
	s.checkSecrets(c)
	if c.site == siteMedia {
		s.checkMedia(c)
		return entry
	}
	if c.site == siteApp && (c.token != "" || c.carriesSecret()) {
		s.violate(c, "a token is sent to app.plex.tv")
	}
	if !c.isAPI() && !c.isLegacy() {
		return entry
	}
	if c.isAPI() && !c.isLegacy() {
		s.checkManners(c)
	}
	if id := c.pinID(); id != "" {
		s.checkLook(c, id)
	}
	if c.token != "" {
		if s.rejected[c.token] {
			s.violate(c, "a token is used again after plex.tv rejected it")
		}
		if t := s.tokens[c.token]; t != nil {
			if t.kind == serverToken {
				s.violate(c, "the token of a media server is sent to plex.tv")
			} else if c.clientID != "" && t.clientID != c.clientID {
				s.violate(c, "a token is used with another client identifier than it was made for")
			}
		}
	}
	return entry
}

// end completes the entry. s.mu is held.
func (s *Server) end(c *call, entry *Request, r reply, err error) {
	entry.Status, entry.Code, entry.Broken = r.status, c.code, err != nil
	entry.Took = time.Since(c.start)
	if c.rejects {
		s.rejected[c.token] = true
	}
	if id := c.pinID(); id != "" {
		s.endLook(c)
		if c.code == 1020 {
			s.journal.lost[id] = true
		}
	}
}

// checkManners looks at the headers of an API call.
func (s *Server) checkManners(c *call) {
	if strings.HasPrefix(c.path, "/api/v2/pins/qr/") || c.method == http.MethodOptions {
		return
	}
	if accept := c.header.Values("Accept"); c.route == c.path && (len(accept) != 1 || accept[0] != "application/json") {
		s.violate(c, "Accept is not exactly application/json")
	}
	if c.route != "/api/v2/auth/keys" {
		for _, name := range []string{"X-Plex-Client-Identifier", "X-Plex-Product"} {
			if c.identity(name) == "" {
				s.violate(c, name+" is missing")
			}
		}
	}
	for name, values := range c.header {
		for _, v := range values {
			if strings.HasPrefix(name, "X-Plex-") && !utf8.ValidString(v) {
				s.violate(c, name+" is not UTF-8")
			}
		}
	}
}

// pollTolerance is what a clock and a network may add to a second.
const pollTolerance = 50 * time.Millisecond

// checkLook watches how a PIN is polled.
func (s *Server) checkLook(c *call, id string) {
	if s.journal.lost[id] {
		s.violate(c, "a PIN is polled after it was answered with 404/1020")
	}
	p := s.pinsByID[id]
	if p == nil {
		return
	}
	if p.looks > 0 {
		s.violate(c, "a PIN is polled twice at the same time")
	} else if !p.lastLook.IsZero() && c.start.Sub(p.lastLook) < time.Second-pollTolerance {
		s.violate(c, "a PIN is polled more than once a second")
	}
	p.looks++
	p.lastLook = c.start
	c.look = p
}

// endLook notes that a look at a PIN is over. s.mu is held.
func (s *Server) endLook(c *call) {
	if c.look != nil {
		c.look.looks--
		c.look = nil
	}
}

// secret matches every token and JWT that the fake makes, and JWTs that are
// made for it.
var secret = regexp.MustCompile(`FAKE_[a-z]+-[A-Za-z0-9_-]{11,}|eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// checkSecrets looks for secrets in the URL and the body.
func (s *Server) checkSecrets(c *call) {
	at := c.site
	for name, values := range c.query {
		text := strings.Join(values, " ")
		switch {
		case strings.EqualFold(name, "X-Plex-Token") && text != "":
			s.violate(c, "a token is in the URL")
		case name == "deviceJWT" && at != siteMedia && c.pinID() != "": // the wire demands it
		case secret.MatchString(text) || secret.MatchString(name):
			s.violate(c, "a secret is in the URL")
		}
	}
	if secret.MatchString(c.path) {
		s.violate(c, "a secret is in the URL")
	}
	if len(c.body) > 0 && secret.Match(c.body) && !(at != siteMedia && c.route == "/api/v2/auth/token") && c.form.Get("X-Plex-Token") == "" {
		s.violate(c, "a secret is in a body that has no place for it")
	}
}

// credential names a token without showing it. s.mu is held.
func (s *Server) credential(value string) string {
	if value == "" {
		return ""
	}
	t := s.tokens[value]
	if t == nil {
		return "unknown"
	}
	text := string(t.kind) + " " + t.user.Title
	if t.dead {
		text += " (ended)"
	}
	return text
}

const redacted = "REDACTED"

func redactPath(path string) string {
	if rest, ok := strings.CutPrefix(path, "/api/v2/pins/"); ok {
		id, format, _ := strings.Cut(rest, ".")
		if id != "link" && !strings.Contains(id, "/") {
			path = "/api/v2/pins/{id}"
			if format != "" {
				path += "." + format
			}
		}
	}
	if !secret.MatchString(path) {
		return path
	}
	return secret.ReplaceAllString(path, redacted)
}

func redactQuery(q url.Values) url.Values {
	if len(q) == 0 {
		return nil
	}
	out := url.Values{}
	for name, values := range q {
		for _, v := range values {
			if isSecretName(name) {
				v = redacted
			}
			out.Add(secret.ReplaceAllString(name, redacted), secret.ReplaceAllString(v, redacted))
		}
	}
	return out
}

func redactHeader(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		if isSecretName(name) {
			values = []string{redacted}
		} else if name == "Referer" || name == "Cookie" {
			values = []string{secret.ReplaceAllString(strings.Join(values, ", "), redacted)}
		}
		out[name] = values
	}
	return out
}

func isSecretName(name string) bool {
	switch strings.ToLower(name) {
	case "x-plex-token", "authorization", "devicejwt", "pin", "token", "jwt":
		return true
	}
	return false
}
