package plextest

import (
	"net/http"
	"time"
)

// homeUsers answers GET home/users. For a user without a Plex Home it lists only
// that user.
func (s *Server) homeUsers(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	admin, members := s.home(t.user)
	if admin == nil {
		admin, members = t.user, []*User{t.user}
	}
	users := list{tag: "users"}
	for _, u := range members {
		users.items = append(users.items, homeUser(u, u == admin))
	}
	return c.write(http.StatusOK, object{"home", []field{
		required("id", admin.ID+900000000),
		optional("name", admin.Title+"'s Home"),
		optional("guestUserID", admin.ID+800000000),
		optional("guestUserUUID", "d8a7cf1f0c2d9a11"),
		optional("guestEnabled", false),
		optional("subscription", admin.PlexPass),
		required("users", users),
	}})
}

// homeUser describes u in the list of a Plex Home.
func homeUser(u *User, admin bool) object {
	var username, email, friendly, profile any
	if !u.Restricted {
		username, email = u.Username, u.Email
	} else {
		profile = "little_kid"
	}
	if u.FriendlyName != "" {
		friendly = u.FriendlyName
	}
	updated := any(int64(1690000000))
	if u.Restricted {
		updated = time.Unix(1690000001, 0) // plex.tv sends either form
	}
	return object{"user", []field{
		required("id", u.ID),
		required("uuid", u.UUID),
		required("title", u.Title),
		optional("username", username),
		optional("email", email),
		optional("friendlyName", friendly),
		optional("thumb", u.Thumb),
		optional("hasPassword", !u.Restricted),
		optional("restricted", u.Restricted),
		optional("updatedAt", updated),
		optional("restrictionProfile", profile),
		required("admin", admin),
		optional("guest", u.Guest),
		required("protected", u.HomePIN != ""),
	}}
}

// switchUser answers POST home/users/{uuid}/switch.
func (s *Server) switchUser(c *call, uuid string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	target := s.userByUUID(uuid)
	if target == nil || !s.sameHome(t.user, target) {
		return c.fail(1002) // also for an account's number, which only the first API accepts
	}
	if target.HomePIN != "" && c.query.Get("pin") != target.HomePIN {
		return c.fail(1041)
	}
	return c.write(http.StatusCreated, s.userDocument(target, s.switchTo(t, target, c.clientID).value))
}

// switchTo returns the account token that the holder of t gets by a switch to
// target. s.mu must be held.
func (s *Server) switchTo(t *token, target *User, clientID string) *token {
	if live := s.accountTokens[accountKey{target, clientID}]; live != nil && target == t.user {
		return live
	}
	return s.issue(target, clientID)
}

// sameHome reports whether a and b are the same user or in the same Plex Home.
// s.mu must be held.
func (s *Server) sameHome(a, b *User) bool {
	if a == b {
		return true
	}
	home, _ := s.home(a)
	other, _ := s.home(b)
	return home != nil && home == other
}
