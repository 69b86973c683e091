package plextest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

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

// carriesSecret reports whether any part of the request contains a secret.
func (c *call) carriesSecret() bool {
	for _, values := range c.header {
		if secretPattern.MatchString(strings.Join(values, " ")) {
			return true
		}
	}
	for name, values := range c.query {
		if secretPattern.MatchString(name + " " + strings.Join(values, " ")) {
			return true
		}
	}
	return secretPattern.MatchString(c.path) || secretPattern.Match(c.body)
}

// checkMedia records a token that the client must not send to this media server.
// s.mu must be held.
func (s *Server) checkMedia(c *call) {
	if c.token == "" && !c.carriesSecret() {
		return
	}
	t, m := s.tokens[c.token], c.media
	if c.conn.Impostor {
		s.violate(c, "a token is sent to an impostor")
		return
	}
	if strings.HasPrefix(c.origin, "http:") && isPublic(c.conn.at.Addr()) {
		s.violate(c, "a token is sent over plain http to a public address")
	}
	if t == nil {
		return
	}
	switch t.kind {
	case serverToken:
		if t.machine != m.MachineID {
			s.violate(c, "the token of another media server is sent to this one")
		}
	case jwtToken:
		if !m.AcceptsJWT && m.refusedJWT { // a client cannot know before the first refusal
			s.violate(c, "a JWT is sent to a media server that has refused one")
		}
		m.refusedJWT = !m.AcceptsJWT
	case accountToken:
		if t.user != m.owner {
			s.violate(c, "an account token is sent to another user's media server")
		}
	}
}

// checkPrivateKey records a violation if a client sends a private key. s.mu must
// be held.
func (s *Server) checkPrivateKey(c *call, j *jwk) {
	if j.D != "" {
		s.violate(c, "a private key is sent")
	}
}
