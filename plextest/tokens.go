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

// A token is something that opens a door at plex.tv or at a media server.
type token struct {
	value    string
	kind     tokenKind
	user     *User
	clientID string    // the device it was made for; "" for a server token
	machine  string    // the media server it was made for
	expires  time.Time // of a JWT, by plex.tv's clock
	dead     bool
}

// An account is what plex.tv keeps one token for.
type account struct {
	user     *User
	clientID string
}

// An access is what a media server's token is for.
type access struct {
	user    *User
	machine string
}

// Token returns the live account token that u has under a client identifier,
// "" if there is none.
func (s *Server) Token(u *User, clientID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.accounts[account{u, clientID}]; t != nil {
		return t.value
	}
	return ""
}

// IssueToken gives u a new account token under a client identifier, as if a
// PIN had been approved: the one before it ends.
func (s *Server) IssueToken(u *User, clientID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issue(u, clientID).value
}

// issue makes the account token of a user and client identifier, and ends the
// one before it. s.mu is held.
func (s *Server) issue(u *User, clientID string) *token {
	key := account{u, clientID}
	if old := s.accounts[key]; old != nil {
		old.dead = true
	}
	t := &token{value: s.canary("tok"), kind: accountToken, user: u, clientID: clientID}
	if s.quirks.LongTokens {
		t.value += strings.Repeat("x", 300-len(t.value))
	}
	s.tokens[t.value] = t
	s.accounts[key] = t
	return t
}

// Revoke ends all tokens of u and all keys of devices of u, as "sign out of
// all devices" does.
func (s *Server) Revoke(u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.user == u {
			s.kill(t)
		}
	}
	for _, d := range s.devices {
		if d.user == u {
			d.revoked = true
		}
	}
}

// kill ends one token. s.mu is held.
func (s *Server) kill(t *token) {
	t.dead = true
	if key := (account{t.user, t.clientID}); s.accounts[key] == t {
		delete(s.accounts, key)
	}
}

// statusTokenExpired is plex.tv's own status. Which code comes with it is not
// known.
const statusTokenExpired = 498

// authenticate finds whose token a call carries. A reply instead of a token
// is the refusal. s.mu is held.
func (s *Server) authenticate(c *call) (*token, *reply) {
	t := s.tokens[c.token]
	if t == nil || t.dead || t.kind == serverToken {
		if c.token != "" {
			s.rejected[c.token] = true
		}
		no := c.fail(1001)
		return nil, &no
	}
	if s.expired(t) {
		no := c.failWith(statusTokenExpired, statusTokenExpired, "The token has expired")
		return nil, &no
	}
	return t, nil
}
