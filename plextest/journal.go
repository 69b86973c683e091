package plextest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
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

// maxEntries limits the number of entries in the journal.
const maxEntries = 100000

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
	if len(j.entries) >= maxEntries {
		j.entries = append(j.entries[:0], j.entries[maxEntries/10:]...)
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

// secretPattern matches every token that the fake makes and every JWT.
var secretPattern = regexp.MustCompile(`FAKE_[a-z]+-[A-Za-z0-9_-]{11,}|eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

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
