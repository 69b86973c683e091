package plextest

import (
	"strings"
	"time"
)

type tokenKind string

const (
	accountToken tokenKind = "account"
	serverToken  tokenKind = "server"
	jwtToken     tokenKind = "jwt"
)

// A token is a credential that plex.tv issued.
type token struct {
	value    string
	kind     tokenKind
	user     *User
	clientID string    // the client identifier it belongs to; "" for a server token
	machine  string    // the media server that a server token belongs to
	expires  time.Time // when a JWT expires, by plex.tv's clock
	ended    bool
}

// An accountKey identifies an account token. plex.tv keeps one for each user and
// client identifier.
type accountKey struct {
	user     *User
	clientID string
}

// An accessKey identifies a server token: one for each user and media server.
type accessKey struct {
	user    *User
	machine string
}

// Token returns the valid account token of u for a client identifier, or "" if
// there is none.
func (s *Server) Token(u *User, clientID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.accountTokens[accountKey{u, clientID}]; t != nil {
		return t.value
	}
	return ""
}

// IssueToken returns a new account token of u for a client identifier, as if u
// had approved a PIN. The earlier token of the two ends.
func (s *Server) IssueToken(u *User, clientID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issue(u, clientID).value
}

// ServerToken returns the token that plex.tv gives u for m.
func (s *Server) ServerToken(u *User, m *MediaServer) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serverToken(u, m).value
}

// issue makes a new account token of u for a client identifier and ends the
// earlier one. s.mu must be held.
func (s *Server) issue(u *User, clientID string) *token {
	key := accountKey{u, clientID}
	if old := s.accountTokens[key]; old != nil {
		old.ended = true
	}
	t := &token{value: s.newSecret("tok"), kind: accountToken, user: u, clientID: clientID}
	if s.quirks.LongTokens {
		t.value += strings.Repeat("x", 300-len(t.value))
	}
	s.tokens[t.value] = t
	s.accountTokens[key] = t
	return t
}

// serverToken returns the token of u for m, and makes one if there is none. s.mu
// must be held.
func (s *Server) serverToken(u *User, m *MediaServer) *token {
	key := accessKey{u, m.MachineID}
	if t := s.serverTokens[key]; t != nil && !t.ended {
		return t
	}
	t := &token{value: s.newSecret("srv"), kind: serverToken, user: u, machine: m.MachineID}
	s.tokens[t.value] = t
	s.serverTokens[key] = t
	return t
}

// Revoke ends all tokens and all device keys of u, as "sign out of all devices"
// does at plex.tv.
func (s *Server) Revoke(u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.user == u {
			s.endToken(t)
		}
	}
	for _, d := range s.devices {
		if d.user == u {
			d.revoked = true
		}
	}
}

// endToken ends one token. s.mu must be held.
func (s *Server) endToken(t *token) {
	t.ended = true
	if key := (accountKey{t.user, t.clientID}); s.accountTokens[key] == t {
		delete(s.accountTokens, key)
	}
}

// statusTokenExpired is plex.tv's status for an expired JWT. The code in its
// envelope is not known.
const statusTokenExpired = 498

// authenticate returns the token that c carries, or the reply that refuses it.
// s.mu must be held.
func (s *Server) authenticate(c *call) (*token, *reply) {
	t := s.tokens[c.token]
	if t == nil || t.ended || t.kind == serverToken {
		if c.token != "" {
			s.rejected[c.token] = true
		}
		refusal := c.fail(1001)
		return nil, &refusal
	}
	if s.expired(t) {
		refusal := c.failWith(statusTokenExpired, statusTokenExpired, "The token has expired")
		return nil, &refusal
	}
	return t, nil
}

// expired reports whether t is an expired JWT. s.mu must be held.
func (s *Server) expired(t *token) bool {
	return !t.expires.IsZero() && !time.Now().Add(s.offset).Before(t.expires)
}
