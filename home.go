package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

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

// HomeUsers asks plex.tv for the members of the account's Plex Home. An account
// without one is alone in it. Its errors are those of [PlexAuth.Account].
func (p *PlexAuth) HomeUsers(ctx context.Context) ([]HomeUser, error) {
	found, err := p.homeUsers(ctx)
	if err != nil {
		return nil, err
	}
	return publicHomeUsers(found), nil
}

func publicHomeUsers(found []plextv.HomeUser) []HomeUser {
	users := make([]HomeUser, len(found))
	for i, u := range found {
		users[i] = HomeUser(u)
	}
	return users
}

func (p *PlexAuth) homeUsers(ctx context.Context) (users []plextv.HomeUser, err error) {
	err = p.ask(ctx, func(t secret.Value, clientID string) (err error) {
		users, err = p.client.HomeUsers(ctx, t, clientID)
		return public(err)
	})
	return users, err
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
	t, _, err := p.switchHomeUser(ctx, plextv.HomeUser(u), pin)
	return Token{t}, err
}

// switchHomeUser is SwitchHomeUser. It also returns the client identifier that the
// token was made under.
func (p *PlexAuth) switchHomeUser(ctx context.Context, u plextv.HomeUser, pin string) (token secret.Value, madeUnder string, err error) {
	if u.UUID == "" {
		return secret.Value{}, "", errors.New("plexauth: switch Home user: a user without UUID; take one of HomeUsers")
	}
	if u.Protected && pin == "" {
		// plex.tv does not always insist on the PIN. We do: it is a parent's word.
		return secret.Value{}, "", fmt.Errorf("%w, and it is missing", fault.ErrHomePin)
	}
	var account int64
	err = p.ask(ctx, func(t secret.Value, clientID string) (err error) {
		madeUnder = clientID
		if b, err := p.load(ctx); err == nil { // who loses a token by this is to get the next one
			p.learn(ctx, b.UnknownLogins(clientID))
		}
		token, account, err = p.client.SwitchUser(ctx, t, clientID, u, pin)
		return public(err)
	})
	if err != nil {
		return secret.Value{}, "", err
	}
	return token, madeUnder, p.passOn(ctx, cmp.Or(account, u.ID), token, madeUnder)
}

// passOn gives a token of an account to the profiles whose own was retired by it.
func (p *PlexAuth) passOn(ctx context.Context, account int64, t secret.Value, clientID string) error {
	retired := func(b *profile.Profile) []*profile.Profile {
		return slices.DeleteFunc(append(b.Others(), b), func(b *profile.Profile) bool {
			return !b.SameCredential(account, clientID) || b.AccountToken().Equal(t)
		})
	}
	b, err := p.load(ctx)
	if err != nil || len(retired(b)) == 0 {
		return err
	}
	return p.save(ctx, saveLimit, t, func(b *profile.Profile) error {
		for _, b := range retired(b) {
			b.Succeed(t)
		}
		return nil
	})
}
