package plextv

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// HomeUser is a member of a Plex Home, as GET /api/v2/home/users describes it.
type HomeUser struct {
	ID         int64  // plex.tv's number of the account
	UUID       string // a switch names the user by it
	Title      string // the display name
	Username   string // empty for a managed user
	Thumb      string // URL of the picture
	Admin      bool
	Guest      bool
	Restricted bool // a managed user
	Protected  bool // has a Home PIN
}

// HomeUsers asks plex.tv for the members of the Plex Home of t's account.
func (c *Client) HomeUsers(ctx context.Context, t secret.Value, clientID string) (users []HomeUser, err error) {
	err = c.Do(ctx, &Call{
		Op: "list Home users", Method: http.MethodGet, URL: c.PlexTV + "/api/v2/home/users", ClientID: clientID, Token: t,
		Decode: func(body []byte) (err error) {
			users, err = decodeHomeUsers(body)
			return err
		},
	})
	return users, err
}

// decodeHomeUsers reads a list of Home users. Each field may have any shape. A user
// without number or UUID cannot be switched to and is left out.
func decodeHomeUsers(body []byte) ([]HomeUser, error) {
	var home struct {
		Users []struct {
			ID           lax.Integer `json:"id"`
			UUID         lax.String  `json:"uuid"`
			Title        lax.String  `json:"title"`
			Username     lax.String  `json:"username"`
			FriendlyName lax.String  `json:"friendlyName"`
			Thumb        lax.String  `json:"thumb"`
			Admin        lax.Boolean `json:"admin"`
			Guest        lax.Boolean `json:"guest"`
			Restricted   lax.Boolean `json:"restricted"`
			Protected    lax.Boolean `json:"protected"`
		} `json:"users"`
	}
	if err := lax.Unmarshal(body, &home); err != nil {
		return nil, err
	}
	if home.Users == nil {
		return nil, errors.New("no list where Home users were asked for")
	}
	users := make([]HomeUser, 0, len(home.Users))
	for _, u := range home.Users {
		if u.ID > 0 && u.UUID != "" {
			users = append(users, HomeUser{
				ID: int64(u.ID), UUID: string(u.UUID), Title: string(cmp.Or(u.Title, u.FriendlyName, u.Username)),
				Username: string(u.Username), Thumb: string(u.Thumb), Admin: bool(u.Admin), Guest: bool(u.Guest),
				Restricted: bool(u.Restricted), Protected: bool(u.Protected),
			})
		}
	}
	return users, nil
}

// ErrNoSuchUser means that a Plex Home has no such member.
var ErrNoSuchUser = errors.New("plexauth: there is no such user in this Plex Home")

// FindHomeUser returns the user with that UUID, or ErrNoSuchUser.
func FindHomeUser(users []HomeUser, uuid string) (HomeUser, error) {
	for _, u := range users {
		if u.UUID == uuid {
			return u, nil
		}
	}
	return HomeUser{}, ErrNoSuchUser
}

// SwitchUser asks plex.tv for a token of u, with u's Home PIN if pin is not empty. It
// returns the number of the account that plex.tv names with the token; 0: none. The
// error matches [fault.ErrHomePin] if the PIN is wrong or missing.
func (c *Client) SwitchUser(ctx context.Context, t secret.Value, clientID string, u HomeUser, pin string) (token secret.Value, account int64, err error) {
	q := &Call{
		Op: "switch Home user", Method: http.MethodPost, URL: c.PlexTV + "/api/v2/home/users/" + url.PathEscape(u.UUID) + "/switch",
		ClientID: clientID, Token: t,
		Decode: func(body []byte) (err error) {
			token, account, err = decodeSwitch(body, u)
			return err
		},
		refine: func(f *Failure) *Failure { return judgeSwitch(f, pin != "") },
	}
	if pin != "" {
		q.URL += "?pin=" + Escape(pin)
		q.secrets = []string{pin, Escape(pin), url.QueryEscape(pin)}
	}
	err = c.Do(ctx, q)
	return token, account, err
}

// judgeSwitch refines the verdict on a switch: plex.tv's word on the Home PIN says
// nothing about the token. It is a 403 with a code; older parts answer 401 with
// "Incorrect PIN".
func judgeSwitch(f *Failure, withPIN bool) *Failure {
	isPIN := f.Code == codeHomePIN || f.Code == codeHomePINOther
	if f.Code == 0 && (f.StatusCode == http.StatusUnauthorized || f.StatusCode == http.StatusForbidden) {
		isPIN = strings.Contains(strings.ToLower(f.Message), "pin")
	}
	if isPIN {
		f.Sentinel, f.Temporary, f.Message = fault.ErrHomePin, false, "the user's Home PIN is missing"
		if withPIN {
			f.Message = "the user's Home PIN is wrong"
		}
	}
	return f
}

// decodeSwitch reads the token of u. An answer about another user is an error.
func decodeSwitch(body []byte, u HomeUser) (secret.Value, int64, error) {
	var j struct {
		ID        lax.Integer `json:"id"`
		UUID      lax.String  `json:"uuid"`
		AuthToken lax.String  `json:"authToken"`
	}
	if err := lax.Unmarshal(body, &j); err != nil {
		return secret.Value{}, 0, err
	}
	if j.UUID != "" && string(j.UUID) != u.UUID || j.ID != 0 && u.ID != 0 && int64(j.ID) != u.ID {
		return secret.Value{}, 0, errors.New("another user than the one asked for")
	}
	raw := strings.TrimSpace(string(j.AuthToken))
	if !secret.UsableToken(raw) {
		return secret.Value{}, 0, errors.New("no token")
	}
	return secret.New(raw), int64(j.ID), nil
}
