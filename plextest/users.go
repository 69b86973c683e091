package plextest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// User is an account at the fake plex.tv. [Server.AddUser] fills in zero fields
// with invented values, which are the same in every run.
type User struct {
	ID           int64  // the account's number; by default above 7 million
	UUID         string // 16 hex characters
	Username     string // empty for a managed user
	Title        string // the name to show; by default the username, or the friendly name of a managed user
	FriendlyName string
	Email        string // by default username@example.com; empty for a managed user
	Thumb        string

	HomeAdmin  *User  // the admin of this user's Plex Home; nil for an admin, and for users without a Home
	HomePIN    string // four digits that protect a switch to this user; "" for no protection
	Restricted bool   // a managed user, without username and e-mail address
	Guest      bool   // a guest of the Plex Home
	PlexPass   bool

	JoinedAt time.Time
}

// AddUser adds an account and returns it with all fields filled in. Other methods
// identify the account by the returned pointer. Change the account only by
// [Server.ChangeUser].
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

// ChangeUser calls change to edit an account, for example its e-mail address. The
// function must not call methods of the server.
func (s *Server) ChangeUser(u *User, change func(*User)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(u)
}

// hasUser reports whether u was added to s. s.mu must be held.
func (s *Server) hasUser(u *User) bool {
	for _, have := range s.users {
		if have == u {
			return true
		}
	}
	return false
}

// home returns the admin and all users of u's Plex Home, or nil if u is in no
// Plex Home. s.mu must be held.
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
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	return c.write(http.StatusOK, s.userDocument(t.user, t.value))
}

// userDocument describes u to the holder of token. s.mu must be held.
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
		required("id", u.ID),
		required("uuid", u.UUID),
		required("username", u.Username),
		required("title", u.Title),
		required("email", u.Email),
		optional("friendlyName", u.FriendlyName),
		optional("locale", nil),
		optional("confirmed", true),
		optional("joinedAt", u.JoinedAt.Unix()),
		optional("emailOnlyAuth", false),
		optional("hasPassword", !u.Restricted),
		optional("protected", u.HomePIN != ""),
		optional("thumb", u.Thumb),
		required("authToken", token),
		optional("mailingListStatus", "unsubscribed"),
		optional("mailingListActive", false),
		optional("scrobbleTypes", ""),
		optional("country", "GB"),
		optional("subscription", object{"subscription", []field{
			required("active", u.PlexPass),
			optional("subscribedAt", subscribed),
			optional("status", status),
			optional("paymentService", nil),
			optional("plan", plan),
			optional("features", features),
		}}),
		optional("subscriptionDescription", description),
		optional("restricted", u.Restricted),
		optional("anonymous", nil),
		optional("home", admin != nil),
		optional("guest", u.Guest),
		optional("homeSize", homeSize),
		optional("homeAdmin", admin == u),
		optional("maxHomeSize", 15),
		optional("rememberExpiresAt", time.Now().Add(s.offset+14*24*time.Hour).Unix()),
		optional("profile", object{"profile", []field{
			optional("autoSelectAudio", true),
			optional("defaultAudioLanguage", nil),
			optional("defaultSubtitleLanguage", nil),
			optional("autoSelectSubtitle", 1),
			optional("defaultSubtitleAccessibility", 0),
			optional("defaultSubtitleForced", 0),
		}}),
		optional("entitlements", []string{}),
		optional("subscriptions", []string{}),
		optional("pastSubscriptions", []string{}),
		optional("trials", []string{}),
		optional("services", list{"services", []object{{"service", []field{
			required("identifier", "metadata"),
			required("endpoint", "https://metadata.provider.plex.tv"),
			required("token", "FAKE_service-token00"),
			required("status", "online"),
		}}}}),
		optional("adsConsent", nil),
		optional("adsConsentSetAt", nil),
		optional("adsConsentReminderAt", nil),
		optional("experimentalFeatures", false),
		optional("twoFactorEnabled", false),
		optional("backupCodesCreated", false),
	}}
	if u.HomePIN != "" {
		sum := sha256.Sum256([]byte(u.HomePIN + token)) // lets televisions check the PIN offline
		o.fields = append(o.fields, optional("pin", hex.EncodeToString(sum[:])))
	}
	if u.PlexPass {
		o.fields = append(o.fields, optional("roles", []string{"plexpass"}))
	}
	return o
}

// ping answers GET ping.
func (s *Server) ping(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, refusal := s.authenticate(c); refusal != nil {
		return *refusal
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
	t, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	s.endToken(t)
	if d := s.devices[t.clientID]; d != nil && t.kind == jwtToken && d.user == t.user {
		d.revoked = true // a sign-out removes the device
	}
	return newReply(http.StatusNoContent, "", nil)
}

// readWebhooks answers GET user/webhooks with an empty list. Webhooks need a Plex
// Pass.
func (s *Server) readWebhooks(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, refusal := s.authenticate(c)
	switch {
	case refusal != nil:
		return *refusal
	case !t.user.PlexPass:
		return c.fail(1012)
	}
	return c.write(http.StatusOK, list{tag: "webhooks"})
}
