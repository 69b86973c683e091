package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ErrHomePin means that the Plex Home user is protected by a PIN, and that the
// one given is missing or wrong; the error's text says which.
var ErrHomePin = errors.New("plexauth: the Home user's PIN is needed")

// HomeUser is a member of the account's Plex Home.
type HomeUser struct {
	ID         int64  `json:"id"`       // plex.tv's number of the account
	UUID       string `json:"uuid"`     // by which [PlexAuth.SwitchHomeUser] switches
	Title      string `json:"title"`    // the display name
	Username   string `json:"username"` // empty for a managed user
	Thumb      string `json:"thumb"`    // URL of the picture
	Admin      bool   `json:"admin"`
	Guest      bool   `json:"guest"`
	Restricted bool   `json:"restricted"` // a managed user
	Protected  bool   `json:"protected"`  // has a Home PIN
}

// homeUser is a [HomeUser] inside the package.
type homeUser struct {
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

// HomeUsers asks plex.tv for the members of the account's Plex Home. An account
// without one is alone in it. Its errors are those of [PlexAuth.Account].
func (p *PlexAuth) HomeUsers(ctx context.Context) ([]HomeUser, error) {
	found, err := p.homeUsers(ctx)
	if err != nil {
		return nil, err
	}
	return publicHomeUsers(found), nil
}

func publicHomeUsers(found []homeUser) []HomeUser {
	users := make([]HomeUser, len(found))
	for i, u := range found {
		users[i] = HomeUser(u)
	}
	return users
}

func (p *PlexAuth) homeUsers(ctx context.Context) (users []homeUser, err error) {
	err = p.ask(ctx, func(t secretValue, clientID string) (err error) {
		users, err = p.client.homeUsers(ctx, t, clientID)
		return public(err)
	})
	return users, err
}

// homeUsers asks plex.tv for the members of the Plex Home of t's account.
func (c *client) homeUsers(ctx context.Context, t secretValue, clientID string) (users []homeUser, err error) {
	err = c.do(ctx, &call{
		op: "list Home users", method: http.MethodGet, url: c.plexTV + "/api/v2/home/users",
		clientID: clientID, token: t, account: true,
		decode: func(body []byte) (err error) {
			users, err = decodeHomeUsers(body)
			return err
		},
	})
	return users, err
}

// decodeHomeUsers takes the fields it knows, each in any shape; a user without
// number or uuid cannot be switched to and is left out.
func decodeHomeUsers(body []byte) ([]homeUser, error) {
	var home struct {
		Users []struct {
			ID           laxInt  `json:"id"`
			UUID         laxText `json:"uuid"`
			Title        laxText `json:"title"`
			Username     laxText `json:"username"`
			FriendlyName laxText `json:"friendlyName"`
			Thumb        laxText `json:"thumb"`
			Admin        laxBool `json:"admin"`
			Guest        laxBool `json:"guest"`
			Restricted   laxBool `json:"restricted"`
			Protected    laxBool `json:"protected"`
		} `json:"users"`
	}
	if err := unmarshal(body, &home); err != nil {
		return nil, err
	}
	if home.Users == nil {
		return nil, errors.New("no list where Home users were asked for")
	}
	users := make([]homeUser, 0, len(home.Users))
	for _, u := range home.Users {
		if u.ID > 0 && u.UUID != "" {
			users = append(users, homeUser{
				ID: int64(u.ID), UUID: string(u.UUID), Title: string(cmp.Or(u.Title, u.FriendlyName, u.Username)),
				Username: string(u.Username), Thumb: string(u.Thumb), Admin: bool(u.Admin), Guest: bool(u.Guest),
				Restricted: bool(u.Restricted), Protected: bool(u.Protected),
			})
		}
	}
	return users, nil
}

// SwitchHomeUser gets an account token of another member of the Plex Home, u
// as from [PlexAuth.HomeUsers]; its UUID is enough. pin is that user's Home PIN, empty where the
// user has none; it is used for this one request, and neither stored nor
// logged.
//
// The token speaks for that user, and is the caller's to use: this profile's
// login stays what it was. It is for plex.tv; media servers want another, see
// [Server].Token. plex.tv keeps one token for each account and client
// identifier, so the switch retires an earlier one of u: profiles of the store
// that live on it get the new one.
//
// Its errors are [ErrHomePin] where the PIN is missing or wrong, else those of
// [PlexAuth.Account]. With one of the store the token is returned all the same.
func (p *PlexAuth) SwitchHomeUser(ctx context.Context, u HomeUser, pin string) (Token, error) {
	t, _, err := p.switchHomeUser(ctx, homeUser(u), pin)
	return Token{t}, err
}

// switchHomeUser is SwitchHomeUser. It also returns the client identifier that the
// token was made under.
func (p *PlexAuth) switchHomeUser(ctx context.Context, u homeUser, pin string) (token secretValue, madeUnder string, err error) {
	if u.UUID == "" {
		return secretValue{}, "", errors.New("plexauth: switch Home user: a user without UUID; take one of HomeUsers")
	}
	if u.Protected && pin == "" {
		// plex.tv does not always insist on the PIN. We do: it is a parent's word.
		return secretValue{}, "", fmt.Errorf("%w, and it is missing", ErrHomePin)
	}
	var account int64
	err = p.ask(ctx, func(t secretValue, clientID string) (err error) {
		madeUnder = clientID
		if b, err := p.load(ctx); err == nil { // who loses a token by this is to get the next one
			p.learn(ctx, b.unknownLogins(clientID))
		}
		token, account, err = p.client.switchUser(ctx, t, clientID, u, pin)
		return public(err)
	})
	if err != nil {
		return secretValue{}, "", err
	}
	return token, madeUnder, p.passOn(ctx, cmp.Or(account, u.ID), token, madeUnder)
}

// passOn gives a token of an account to the profiles whose own was retired by it.
func (p *PlexAuth) passOn(ctx context.Context, account int64, t secretValue, clientID string) error {
	retired := func(b *profile) []*profile {
		return slices.DeleteFunc(append(b.others(), b), func(b *profile) bool {
			return !b.sameCredential(account, clientID) || b.accountToken().Equal(t)
		})
	}
	b, err := p.load(ctx)
	if err != nil || len(retired(b)) == 0 {
		return err
	}
	return p.save(ctx, saveLimit, t, func(b *profile) error {
		for _, b := range retired(b) {
			b.succeed(t)
		}
		return nil
	})
}

// switchUser asks plex.tv for a token of u, and says whose it is; 0 where plex.tv
// does not.
func (c *client) switchUser(ctx context.Context, t secretValue, clientID string, u homeUser, pin string) (token secretValue, account int64, err error) {
	q := &call{
		op: "switch Home user", method: http.MethodPost, url: c.plexTV + "/api/v2/home/users/" + url.PathEscape(u.UUID) + "/switch",
		clientID: clientID, token: t, account: true,
		decode: func(body []byte) (err error) {
			token, account, err = decodeSwitch(body, u)
			return err
		},
	}
	if pin != "" {
		q.url += "?pin=" + escape(pin)
		q.secrets = []string{pin, escape(pin), url.QueryEscape(pin)}
	}
	q.refine = func(f *failure) {
		if refusesHomePin(f) {
			f.is, f.transient, f.Message = ErrHomePin, false, "the user's Home PIN is wrong"
		}
	}
	err = c.do(ctx, q)
	if pin == "" && errors.Is(err, ErrHomePin) {
		return secretValue{}, 0, fmt.Errorf("%w, and it is missing", ErrHomePin)
	}
	return token, account, err
}

func decodeSwitch(body []byte, u homeUser) (secretValue, int64, error) {
	var j struct {
		ID        laxInt  `json:"id"`
		UUID      laxText `json:"uuid"`
		AuthToken laxText `json:"authToken"`
	}
	if err := unmarshal(body, &j); err != nil {
		return secretValue{}, 0, err
	}
	if j.UUID != "" && string(j.UUID) != u.UUID || j.ID != 0 && u.ID != 0 && int64(j.ID) != u.ID {
		return secretValue{}, 0, errors.New("another user than the one asked for")
	}
	secret := strings.TrimSpace(string(j.AuthToken))
	if !usableToken(secret) {
		return secretValue{}, 0, errors.New("no token")
	}
	return newValue(secret), int64(j.ID), nil
}

// refusesHomePin recognizes plex.tv's word on the PIN (403 with 1041 or 1038;
// older parts answer 401 "Incorrect PIN"), which is none on the token.
func refusesHomePin(e *failure) bool {
	switch e.Code {
	case 1038, 1041:
		return true
	case 0:
		refused := e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden
		return refused && strings.Contains(strings.ToLower(e.Message), "pin")
	}
	return false
}
