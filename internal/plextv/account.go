package plextv

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/secret"
)

// User is an [Account] inside the package.
type User struct {
	ID           int64
	UUID         string
	Username     string
	Title        string
	Email        string
	FriendlyName string
	Thumb        string
	Home         bool
	HomeAdmin    bool
	Guest        bool
	Restricted   bool
	Protected    bool
	PlexPass     bool
}

// DisplayName is what to call the person.
func (a *User) DisplayName() string {
	return cmp.Or(a.Username, a.Title, a.FriendlyName)
}

// ReadAccount asks plex.tv whose token this is, with one attempt or with all
// that a GET may have.
func (c *Client) ReadAccount(ctx context.Context, t secret.Value, clientID string, once bool) (a *User, err error) {
	err = c.Do(ctx, &Call{
		Op: "read account", Method: http.MethodGet, Url: c.PlexTV + "/api/v2/user", ClientID: clientID, Token: t, account: true, Once: once,
		Decode: func(body []byte) (err error) {
			a, err = decodeAccount(body)
			return err
		},
	})
	return a, err
}

// decodeAccount takes the fields it knows, each in any shape; only the number
// must be there.
func decodeAccount(body []byte) (*User, error) {
	var j struct {
		ID           lax.Integer `json:"id"`
		UUID         lax.String  `json:"uuid"`
		Username     lax.String  `json:"username"`
		Title        lax.String  `json:"title"`
		Email        lax.String  `json:"email"`
		FriendlyName lax.String  `json:"friendlyName"`
		Thumb        lax.String  `json:"thumb"`
		Home         lax.Boolean `json:"home"`
		HomeAdmin    lax.Boolean `json:"homeAdmin"`
		Guest        lax.Boolean `json:"guest"`
		Restricted   lax.Boolean `json:"restricted"`
		Protected    lax.Boolean `json:"protected"`
		Subscription struct {
			Active lax.Boolean `json:"active"`
		} `json:"subscription"`
	}
	if err := lax.Unmarshal(body, &j); err != nil {
		return nil, err
	}
	if j.ID <= 0 {
		return nil, errors.New("an account without a number")
	}
	return &User{
		ID: int64(j.ID), UUID: string(j.UUID), Username: string(j.Username), Title: string(j.Title),
		Email: string(j.Email), FriendlyName: string(j.FriendlyName), Thumb: string(j.Thumb),
		Home: bool(j.Home), HomeAdmin: bool(j.HomeAdmin), Guest: bool(j.Guest),
		Restricted: bool(j.Restricted), Protected: bool(j.Protected), PlexPass: bool(j.Subscription.Active),
	}, nil
}

// Revoke ends a token at plex.tv. One that is dead already is no error.
func (c *Client) Revoke(ctx context.Context, t secret.Value, clientID string) error {
	err := c.Do(ctx, &Call{
		Op: "sign out", Method: http.MethodDelete, Url: c.PlexTV + "/api/v2/users/signout", ClientID: clientID, Token: t, account: true,
		Decode: confirmed,
	})
	if errors.Is(err, fault.ErrTokenRejected) {
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
	if _, failed := ParseEnvelope(body); failed || !json.Valid(body) {
		return errors.New("no confirmation")
	}
	return nil
}
