package plextest

import (
	"net/http"
	"time"
)

// homeUsers answers GET home/users. Somebody without a home is alone in it.
func (s *Server) homeUsers(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return *no
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
		is("id", admin.ID+900000000),
		maybe("name", admin.Title+"'s Home"),
		maybe("guestUserID", admin.ID+800000000),
		maybe("guestUserUUID", "d8a7cf1f0c2d9a11"),
		maybe("guestEnabled", false),
		maybe("subscription", admin.PlexPass),
		is("users", users),
	}})
}

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
		updated = time.Unix(1690000001, 0) // both forms are seen
	}
	return object{"user", []field{
		is("id", u.ID),
		is("uuid", u.UUID),
		is("title", u.Title),
		maybe("username", username),
		maybe("email", email),
		maybe("friendlyName", friendly),
		maybe("thumb", u.Thumb),
		maybe("hasPassword", !u.Restricted),
		maybe("restricted", u.Restricted),
		maybe("updatedAt", updated),
		maybe("restrictionProfile", profile),
		is("admin", admin),
		maybe("guest", u.Guest),
		is("protected", u.HomePIN != ""),
	}}
}

// switchUser answers POST home/users/{uuid}/switch.
func (s *Server) switchUser(c *call, uuid string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return *no
	}
	target := s.userByUUID(uuid)
	if target == nil || !s.sameHome(t.user, target) {
		return c.fail(1002) // also for the number that the older call takes
	}
	if target.HomePIN != "" && c.query.Get("pin") != target.HomePIN {
		return c.fail(1041)
	}
	return c.write(http.StatusCreated, s.userDocument(target, s.switchTo(t, target, c.clientID).value))
}

// switchTo gives an account token of target to the holder of t. s.mu is held.
func (s *Server) switchTo(t *token, target *User, clientID string) *token {
	if live := s.accounts[account{target, clientID}]; live != nil && target == t.user {
		return live
	}
	return s.issue(target, clientID)
}

// sameHome reports whether a may switch to b. s.mu is held.
func (s *Server) sameHome(a, b *User) bool {
	if a == b {
		return true
	}
	home, _ := s.home(a)
	other, _ := s.home(b)
	return home != nil && home == other
}
