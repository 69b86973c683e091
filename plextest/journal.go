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

// A Request is one entry of the journal. It has no secrets: REDACTED replaces
// tokens in headers and parameters, and {id} replaces the id of a PIN in the
// path. The journal keeps no bodies.
type Request struct {
	Time   time.Time
	Method string
	Host   string // as the client wrote it, for example plex.tv
	Path   string // for example /api/v2/pins/{id}
	Query  url.Values
	Header http.Header

	// Credential says what kind of token the request carries and whose it is:
	// "account alice", "server alice" or "jwt alice". A token that is no longer
	// valid has " (ended)" after it. It is "unknown" for a token that this
	// Server did not issue, and "" if there is no token.
	Credential string

	Status int           // status of the answer; 0 until there is one, or if there is none
	Code   int           // code of plex.tv's error envelope, or 0
	Broken bool          // the connection broke, hung until it was closed, or was refused
	Took   time.Duration // time until the answer began
}

// String returns the request in one line, without secrets.
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

// keepRequests limits the number of entries in the journal.
const keepRequests = 100000

// A journal is what the Server records about its clients.
type journal struct {
	entries    []*Request
	violations []string        // each text once, in the order of their first occurrence
	counts     map[string]int  // number of occurrences of each violation
	gone       map[string]bool // PIN ids, known or unknown, that were answered with 404/1020
}

func newJournal() journal {
	return journal{counts: map[string]int{}, gone: map[string]bool{}}
}

// addEntry adds an entry for c to the journal. If the journal is full, it drops
// the oldest tenth. s.mu must be held.
func (s *Server) addEntry(c *call) *Request {
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

// Requests returns the journal, oldest first. It has the last hundred thousand
// requests at most, including those without an answer yet.
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

// Violations returns what clients did and must never do: one line each, without
// secrets, in the order of their first occurrence. These are violations:
//
//   - an API call whose Accept header is not exactly application/json
//   - an API call without X-Plex-Client-Identifier or X-Plex-Product, or with a
//     header that is not UTF-8
//   - a token or another secret in a URL, or in a body that must not contain it
//   - a PIN polled more than once a second, twice at the same time, after an
//     answer with 404/1020, or with another client identifier
//   - a token used again after an answer with 401/1001, or with another client
//     identifier than its own
//   - a token sent to a host that has no right to it
//   - the private key of a device sent to any host
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

// violate records a violation of c and counts how often it occurs. s.mu must be
// held.
func (s *Server) violate(c *call, text string) {
	line := c.method + " " + c.host + redactPath(c.path) + ": " + text
	if s.journal.counts[line] == 0 {
		s.journal.violations = append(s.journal.violations, line)
	}
	s.journal.counts[line]++
}

// beginEntry adds c to the journal and records the violations that show before
// the answer. s.mu must be held.
func (s *Server) beginEntry(c *call) *Request {
	entry := s.addEntry(c)
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
		s.checkHeaders(c)
	}
	if id := c.pinID(); id != "" {
		s.checkPoll(c, id)
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

// endEntry completes the entry of c with its answer. s.mu must be held.
func (s *Server) endEntry(c *call, entry *Request, r reply, err error) {
	entry.Status, entry.Code, entry.Broken = r.status, c.code, err != nil
	entry.Took = time.Since(c.start)
	if c.rejects {
		s.rejected[c.token] = true
	}
	if id := c.pinID(); id != "" {
		s.endPoll(c)
		if c.code == 1020 {
			s.journal.gone[id] = true
		}
	}
}

// checkHeaders records violations in the headers of an API call. s.mu must be
// held.
func (s *Server) checkHeaders(c *call) {
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

// pollTolerance allows for the jitter of clocks and networks between two polls.
const pollTolerance = 50 * time.Millisecond

// checkPoll records violations in the polling of a PIN, and begins the poll. s.mu
// must be held.
func (s *Server) checkPoll(c *call, id string) {
	if s.journal.gone[id] {
		s.violate(c, "a PIN is polled after it was answered with 404/1020")
	}
	p := s.pinsByID[id]
	if p == nil {
		return
	}
	if p.polls > 0 {
		s.violate(c, "a PIN is polled twice at the same time")
	} else if !p.lastPoll.IsZero() && c.start.Sub(p.lastPoll) < time.Second-pollTolerance {
		s.violate(c, "a PIN is polled more than once a second")
	}
	p.polls++
	p.lastPoll = c.start
	c.polled = p
}

// endPoll ends the poll that checkPoll began, if any. s.mu must be held.
func (s *Server) endPoll(c *call) {
	if c.polled != nil {
		c.polled.polls--
		c.polled = nil
	}
}

// secretPattern matches every token that the fake makes and every JWT.
var secretPattern = regexp.MustCompile(`FAKE_[a-z]+-[A-Za-z0-9_-]{11,}|eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// checkSecrets records secrets in the URL, and in a body that must not contain
// them. s.mu must be held.
func (s *Server) checkSecrets(c *call) {
	at := c.site
	for name, values := range c.query {
		text := strings.Join(values, " ")
		switch {
		case strings.EqualFold(name, "X-Plex-Token") && text != "":
			s.violate(c, "a token is in the URL")
		case name == "deviceJWT" && at != siteMedia && c.pinID() != "": // plex.tv requires it there
		case secretPattern.MatchString(text) || secretPattern.MatchString(name):
			s.violate(c, "a secret is in the URL")
		}
	}
	if secretPattern.MatchString(c.path) {
		s.violate(c, "a secret is in the URL")
	}
	if len(c.body) > 0 && secretPattern.Match(c.body) && !(at != siteMedia && c.route == "/api/v2/auth/token") && c.form.Get("X-Plex-Token") == "" {
		s.violate(c, "a secret is in a body that must not contain it")
	}
}

// credential describes a token without showing it. s.mu must be held.
func (s *Server) credential(value string) string {
	if value == "" {
		return ""
	}
	t := s.tokens[value]
	if t == nil {
		return "unknown"
	}
	text := string(t.kind) + " " + t.user.Title
	if t.ended {
		text += " (ended)"
	}
	return text
}

const redacted = "REDACTED"

// redactPath replaces the id of a PIN and all secrets in a path.
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
	if !secretPattern.MatchString(path) {
		return path
	}
	return secretPattern.ReplaceAllString(path, redacted)
}

// redactQuery returns a copy of q without secrets, or nil if q is empty.
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
			out.Add(secretPattern.ReplaceAllString(name, redacted), secretPattern.ReplaceAllString(v, redacted))
		}
	}
	return out
}

// redactHeader returns a copy of h without secrets.
func redactHeader(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		if isSecretName(name) {
			values = []string{redacted}
		} else if name == "Referer" || name == "Cookie" {
			values = []string{secretPattern.ReplaceAllString(strings.Join(values, ", "), redacted)}
		}
		out[name] = values
	}
	return out
}

// isSecretName reports whether a header or parameter of this name holds a secret.
func isSecretName(name string) bool {
	switch strings.ToLower(name) {
	case "x-plex-token", "authorization", "devicejwt", "pin", "token", "jwt":
		return true
	}
	return false
}
