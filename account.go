package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// Account is the person behind an account token, as GET /api/v2/user tells.
// Only ID identifies a person: names and e-mail can be changed by anybody.
type Account struct {
	ID           int64  // plex.tv's number of the account
	UUID         string // 16 hex digits; a Plex Home user is switched to by it
	Username     string // empty for a managed user
	Title        string // the display name
	Email        string // empty for a managed user
	FriendlyName string // often empty; the name of a managed user
	Thumb        string // URL of the picture
	Home         bool   // member of a Plex Home
	HomeAdmin    bool   // its admin
	Guest        bool   // guest of the Home
	Restricted   bool   // a managed user
	Protected    bool   // has a Home PIN
	PlexPass     bool   // has an active subscription
}

// name is what to call the person.
func (a *Account) name() string {
	for _, name := range []string{a.Username, a.Title, a.FriendlyName} {
		if name != "" {
			return name
		}
	}
	return ""
}

// decodeAccount takes the fields it knows, each in any shape; only the number
// must be there.
func decodeAccount(body []byte) (*Account, error) {
	var j struct {
		ID           json.RawMessage `json:"id"`
		UUID         json.RawMessage `json:"uuid"`
		Username     json.RawMessage `json:"username"`
		Title        json.RawMessage `json:"title"`
		Email        json.RawMessage `json:"email"`
		FriendlyName json.RawMessage `json:"friendlyName"`
		Thumb        json.RawMessage `json:"thumb"`
		Home         json.RawMessage `json:"home"`
		HomeAdmin    json.RawMessage `json:"homeAdmin"`
		Guest        json.RawMessage `json:"guest"`
		Restricted   json.RawMessage `json:"restricted"`
		Protected    json.RawMessage `json:"protected"`
		Subscription json.RawMessage `json:"subscription"`
	}
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, err
	}
	a := &Account{
		ID: integer(j.ID), UUID: text(j.UUID), Username: text(j.Username), Title: text(j.Title),
		Email: text(j.Email), FriendlyName: text(j.FriendlyName), Thumb: text(j.Thumb),
	}
	a.Home, _ = truth(j.Home)
	a.HomeAdmin, _ = truth(j.HomeAdmin)
	a.Guest, _ = truth(j.Guest)
	a.Restricted, _ = truth(j.Restricted)
	a.Protected, _ = truth(j.Protected)
	var subscription struct {
		Active json.RawMessage `json:"active"`
	}
	if json.Unmarshal(j.Subscription, &subscription) == nil {
		a.PlexPass, _ = truth(subscription.Active)
	}
	if a.ID <= 0 {
		return nil, errors.New("an account without a number")
	}
	return a, nil
}

// readAccount asks plex.tv whose token this is, with one attempt or with all
// that a GET may have.
func (c *client) readAccount(ctx context.Context, t Token, clientID string, once bool) (a *Account, err error) {
	err = c.do(ctx, &call{
		once: once, op: "read account", method: http.MethodGet, url: c.plexTV + "/api/v2/user", clientID: clientID, token: t, account: true,
		decode: func(body []byte) (err error) {
			a, err = decodeAccount(body)
			return err
		},
	})
	return a, err
}

// revoke ends a token at plex.tv. One that is dead already is no error.
func (c *client) revoke(ctx context.Context, t Token, clientID string) error {
	err := c.do(ctx, &call{
		op: "sign out", method: http.MethodDelete, url: c.plexTV + "/api/v2/users/signout", clientID: clientID, token: t, account: true,
		decode: confirmed,
	})
	if errors.Is(err, ErrTokenRejected) {
		return nil
	}
	return err
}

// confirmed is for an answer of which nothing is needed: it may be empty, but
// not a portal's page or an error, after which nothing has happened.
func confirmed(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if _, failed := parseEnvelope(body); failed || !json.Valid(body) {
		return errors.New("no confirmation")
	}
	return nil
}
