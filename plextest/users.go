package plextest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// User is an account at the fake plex.tv. Zero fields are filled in by
// [Server.AddUser], the same in every run, all invented.
type User struct {
	ID           int64  // the account's number, above 7 million
	UUID         string // 16 hex characters
	Username     string // "" stays empty for a managed user
	Title        string // the name shown: the username, or the friendly name
	FriendlyName string
	Email        string // username@example.com; "" stays empty for a managed user
	Thumb        string

	HomeAdmin  *User  // whose Plex Home this user belongs to; nil: their own, if anybody joined it
	HomePIN    string // four digits that a switch to this user asks for; "" for none
	Restricted bool   // a managed user, without username and e-mail
	Guest      bool   // a guest of the home
	PlexPass   bool

	JoinedAt time.Time
}

// AddUser makes an account and returns it, complete. The value returned is
// the account's name in other calls; change it only by [Server.ChangeUser].
func (s *Server) AddUser(u User) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.users) + 1
	if u.ID == 0 {
		u.ID = 7000000 + int64(n)*1009
	}
	if u.UUID == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "plextest user %d", u.ID))
		u.UUID = hex.EncodeToString(sum[:8])
	}
	if u.Restricted {
		if u.FriendlyName == "" {
			u.FriendlyName = u.Title
		}
		if u.FriendlyName == "" {
			u.FriendlyName = fmt.Sprintf("Kid %d", n)
		}
	} else {
		if u.Username == "" {
			u.Username = fmt.Sprintf("user%d", n)
		}
		if u.Email == "" {
			u.Email = u.Username + "@example.com"
		}
	}
	if u.Title == "" {
		u.Title = u.Username
		if u.Restricted {
			u.Title = u.FriendlyName
		}
	}
	if u.Thumb == "" {
		u.Thumb = "https://plex.tv/users/" + u.UUID + "/avatar?c=1630875354"
	}
	if u.JoinedAt.IsZero() {
		u.JoinedAt = time.Unix(1339124759, 0).UTC()
	}
	s.users = append(s.users, &u)
	return &u
}

// ChangeUser changes an account, for example its e-mail address. change must
// not call the server.
func (s *Server) ChangeUser(u *User, change func(*User)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(u)
}

// knows reports whether u is an account here. s.mu is held.
func (s *Server) knows(u *User) bool {
	for _, have := range s.users {
		if have == u {
			return true
		}
	}
	return false
}

// home returns the admin and all users of u's Plex Home, nil if there is
// none. s.mu is held.
func (s *Server) home(u *User) (admin *User, members []*User) {
	admin = u
	if u.HomeAdmin != nil {
		admin = u.HomeAdmin
	}
	for _, m := range s.users {
		if m == admin || m.HomeAdmin == admin {
			members = append(members, m)
		}
	}
	if len(members) < 2 {
		return nil, nil
	}
	return admin, members
}

// readUser answers GET user.
func (s *Server) readUser(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return *no
	}
	return c.write(http.StatusOK, s.userDocument(t.user, t.value))
}

// userDocument describes u to the holder of a token. s.mu is held.
func (s *Server) userDocument(u *User, token string) object {
	admin, members := s.home(u)
	homeSize := max(len(members), 1)
	status, description, plan := "Inactive", any(nil), any(nil)
	var subscribed any
	features := []string{"home", "adaptive_bitrate"}
	if u.PlexPass {
		status, description, plan = "Active", "Lifetime Plex Pass", "lifetime"
		subscribed = u.JoinedAt
		features = append(features, "hardware_transcoding", "sync")
	}
	o := object{"user", []field{
		is("id", u.ID),
		is("uuid", u.UUID),
		is("username", u.Username),
		is("title", u.Title),
		is("email", u.Email),
		maybe("friendlyName", u.FriendlyName),
		maybe("locale", nil),
		maybe("confirmed", true),
		maybe("joinedAt", u.JoinedAt.Unix()),
		maybe("emailOnlyAuth", false),
		maybe("hasPassword", !u.Restricted),
		maybe("protected", u.HomePIN != ""),
		maybe("thumb", u.Thumb),
		is("authToken", token),
		maybe("mailingListStatus", "unsubscribed"),
		maybe("mailingListActive", false),
		maybe("scrobbleTypes", ""),
		maybe("country", "GB"),
		maybe("subscription", object{"subscription", []field{
			is("active", u.PlexPass),
			maybe("subscribedAt", subscribed),
			maybe("status", status),
			maybe("paymentService", nil),
			maybe("plan", plan),
			maybe("features", features),
		}}),
		maybe("subscriptionDescription", description),
		maybe("restricted", u.Restricted),
		maybe("anonymous", nil),
		maybe("home", admin != nil),
		maybe("guest", u.Guest),
		maybe("homeSize", homeSize),
		maybe("homeAdmin", admin == u),
		maybe("maxHomeSize", 15),
		maybe("rememberExpiresAt", time.Now().Add(s.offset+14*24*time.Hour).Unix()),
		maybe("profile", object{"profile", []field{
			maybe("autoSelectAudio", true),
			maybe("defaultAudioLanguage", nil),
			maybe("defaultSubtitleLanguage", nil),
			maybe("autoSelectSubtitle", 1),
			maybe("defaultSubtitleAccessibility", 0),
			maybe("defaultSubtitleForced", 0),
		}}),
		maybe("entitlements", []string{}),
		maybe("subscriptions", []string{}),
		maybe("pastSubscriptions", []string{}),
		maybe("trials", []string{}),
		maybe("services", list{"services", []object{{"service", []field{
			is("identifier", "metadata"),
			is("endpoint", "https://metadata.provider.plex.tv"),
			is("token", "FAKE_service-token00"),
			is("status", "online"),
		}}}}),
		maybe("adsConsent", nil),
		maybe("experimentalFeatures", false),
		maybe("twoFactorEnabled", false),
		maybe("backupCodesCreated", false),
	}}
	if u.HomePIN != "" {
		sum := sha256.Sum256([]byte(u.HomePIN + token)) // for offline checks on televisions
		o.fields = append(o.fields, maybe("pin", hex.EncodeToString(sum[:])))
	}
	if u.PlexPass {
		o.fields = append(o.fields, maybe("roles", []string{"plexpass"}))
	}
	return o
}

// ping answers GET ping.
func (s *Server) ping(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, no := s.authenticate(c); no != nil {
		return *no
	}
	if c.wantsJSON {
		return newReply(http.StatusOK, "application/json; charset=utf-8", []byte(`{"pong":true}`))
	}
	return newReply(http.StatusOK, "application/xml; charset=utf-8", []byte(`<?xml version="1.0" encoding="UTF-8"?>`+"\n<pong>true</pong>\n"))
}

// signOut answers DELETE users/signout.
func (s *Server) signOut(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, no := s.authenticate(c)
	if no != nil {
		return *no
	}
	s.kill(t)
	if d := s.devices[t.clientID]; d != nil && t.kind == jwtToken && d.user == t.user {
		d.revoked = true // signing out removes the device
	}
	return newReply(http.StatusNoContent, "", nil)
}
