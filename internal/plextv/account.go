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

// User is an account, as GET /api/v2/user describes it. A field that plex.tv leaves out
// is empty; only ID is always there.
type User struct {
	ID           int64  // plex.tv's number of the account
	UUID         string // 16 hex digits
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

// DisplayName returns what to call the person, "" if no name is known.
func (u *User) DisplayName() string {
	return cmp.Or(u.Username, u.Title, u.FriendlyName)
}

// ReadAccount asks plex.tv whose token t is. once allows one attempt only.
func (c *Client) ReadAccount(ctx context.Context, t secret.Value, clientID string, once bool) (u *User, err error) {
	err = c.Do(ctx, &Call{
		Op: OpReadAccount, Method: http.MethodGet, URL: c.PlexTV + "/api/v2/user", ClientID: clientID, Token: t, Once: once,
		Decode: func(body []byte) (err error) {
			u, err = decodeUser(body)
			return err
		},
	})
	return u, err
}

// OpReadAccount is the Op of [Client.ReadAccount].
const OpReadAccount = "read account"

// decodeUser reads an account. Each field may have any shape; only the number must be
// there.
func decodeUser(body []byte) (*User, error) {
	u := &User{}
	err := lax.Object(body, func(key []byte, v json.RawMessage) {
		if text := u.text(string(key)); text != nil {
			*text = lax.Text(v)
		}
		if flag := u.flag(string(key)); flag != nil {
			*flag, _ = lax.Bool(v)
		}
		switch string(key) {
		case "id":
			u.ID = lax.Int(v)
		case "subscription":
			u.PlexPass = isActive(v)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case u.ID <= 0:
		return nil, errors.New("an account without a number")
	}
	return u, nil
}

// text returns the field for a text of the answer, nil if key is not that of a text.
func (u *User) text(key string) *string {
	switch key {
	case "uuid":
		return &u.UUID
	case "username":
		return &u.Username
	case "title":
		return &u.Title
	case "email":
		return &u.Email
	case "friendlyName":
		return &u.FriendlyName
	case "thumb":
		return &u.Thumb
	}
	return nil
}

// flag returns the field for a boolean of the answer, nil if key is not that of one.
func (u *User) flag(key string) *bool {
	switch key {
	case "home":
		return &u.Home
	case "homeAdmin":
		return &u.HomeAdmin
	case "guest":
		return &u.Guest
	case "restricted":
		return &u.Restricted
	case "protected":
		return &u.Protected
	}
	return nil
}

// isActive reports whether the subscription v is active.
func isActive(v json.RawMessage) (active bool) {
	_ = lax.Object(v, func(key []byte, v json.RawMessage) { // what is not an object is not one
		if string(key) == "active" {
			active, _ = lax.Bool(v)
		}
	})
	return active
}

// Revoke ends t at plex.tv (DELETE /api/v2/users/signout). A token that plex.tv rejects
// has ended already, which is a success.
func (c *Client) Revoke(ctx context.Context, t secret.Value, clientID string) error {
	return c.Do(ctx, &Call{
		Op: "sign out", Method: http.MethodDelete, URL: c.PlexTV + "/api/v2/users/signout", ClientID: clientID, Token: t,
		Decode: decodeConfirmation,
		refine: func(f *Failure) *Failure {
			if f.Sentinel == fault.ErrTokenRejected {
				return nil
			}
			return f
		},
	})
}

// decodeConfirmation accepts an answer of which nothing is needed. It may be empty, but
// not a page or an error, after which nothing has happened.
func decodeConfirmation(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if _, failed := parseEnvelope(body); failed || !json.Valid(body) {
		return errors.New("no confirmation")
	}
	return nil
}
