package plexauth

import (
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

// Account asks plex.tv who the token belongs to. Its errors are those of
// [PlexAuth.Token] and [*Error]: see [ErrTokenRejected], [ErrUnavailable],
// [ErrRateLimited].
func (p *PlexAuth) Account(ctx context.Context) (a *Account, err error) {
	err = p.ask(ctx, func(t Token, clientID string) error {
		if a, err = p.client.readAccount(ctx, t, clientID, false); err != nil {
			return err
		}
		return p.adopt(ctx, t, a)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Verify asks plex.tv whether the token holds, and completes what a login
// could not read of its account. Only plex.tv's own rejection changes the
// status: it returns [ErrTokenRejected] then, sets NeedsLogin, and later calls
// answer so without asking again. With [ErrUnavailable] or [ErrRateLimited]
// the status stays as it was. Without a token it returns [ErrNotConnected].
func (p *PlexAuth) Verify(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	if v := b.pending(); v != nil && !v.token.IsZero() {
		if err := p.settleParked(ctx, v, false); err != nil && !errors.Is(err, ErrTokenRejected) {
			return p.statusNow(ctx, err)
		}
	}
	_, err = p.Account(ctx)
	return p.statusNow(ctx, err)
}

// adopt notes whose token t is, if it is still the one.
func (p *PlexAuth) adopt(ctx context.Context, t Token, a *Account) error {
	return p.update(ctx, func(b *profile) error {
		if b.token("account_token").Equal(t) {
			b.adopt(a)
		}
		return nil
	}, t)
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
