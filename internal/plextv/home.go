package plextv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// HomeUser is a [HomeUser] inside the package.
type HomeUser struct {
	ID         int64
	UUID       string
	Title      string
	Username   string
	Thumb      string
	Admin      bool
	Guest      bool
	Restricted bool
	Protected  bool
}

// HomeUsers asks plex.tv for the members of the Plex Home of t's account.
func (c *Client) HomeUsers(ctx context.Context, t secret.Value, clientID string) (users []HomeUser, err error) {
	err = c.Do(ctx, &Call{
		Op: "list Home users", Method: http.MethodGet, Url: c.PlexTV + "/api/v2/home/users",
		ClientID: clientID, Token: t, account: true,
		Decode: func(body []byte) (err error) {
			users, err = decodeHomeUsers(body)
			return err
		},
	})
	return users, err
}

// decodeHomeUsers takes the fields it knows, each in any shape; a user without
// number or uuid cannot be switched to and is left out.
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

// SwitchUser asks plex.tv for a token of u, and says whose it is; 0 where plex.tv
// does not.
func (c *Client) SwitchUser(ctx context.Context, t secret.Value, clientID string, u HomeUser, pin string) (token secret.Value, account int64, err error) {
	q := &Call{
		Op: "switch Home user", Method: http.MethodPost, Url: c.PlexTV + "/api/v2/home/users/" + url.PathEscape(u.UUID) + "/switch",
		ClientID: clientID, Token: t, account: true,
		Decode: func(body []byte) (err error) {
			token, account, err = decodeSwitch(body, u)
			return err
		},
	}
	if pin != "" {
		q.Url += "?pin=" + Escape(pin)
		q.secrets = []string{pin, Escape(pin), url.QueryEscape(pin)}
	}
	q.refine = func(f *Failure) {
		if refusesHomePin(f) {
			f.Sentinel, f.Transient, f.Message = fault.ErrHomePin, false, "the user's Home PIN is wrong"
		}
	}
	err = c.Do(ctx, q)
	if pin == "" && errors.Is(err, fault.ErrHomePin) {
		return secret.Value{}, 0, fmt.Errorf("%w, and it is missing", fault.ErrHomePin)
	}
	return token, account, err
}

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

// refusesHomePin recognizes plex.tv's word on the PIN (403 with 1041 or 1038;
// older parts answer 401 "Incorrect PIN"), which is none on the token.
func refusesHomePin(e *Failure) bool {
	switch e.Code {
	case 1038, 1041:
		return true
	case 0:
		refused := e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden
		return refused && strings.Contains(strings.ToLower(e.Message), "pin")
	}
	return false
}
