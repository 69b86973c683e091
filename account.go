package plexauth

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
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

// claimedUser returns what a JWT says of its account.
func claimedUser(c devicekey.ClaimedAccount) *plextv.User {
	return &plextv.User{ID: c.Id, UUID: c.Uuid, Username: c.Username, Email: c.Email, FriendlyName: c.FriendlyName}
}

// ownerOf returns what a profile keeps of an account.
func ownerOf(u *plextv.User) profile.Owner {
	return profile.Owner{Id: u.ID, Name: u.DisplayName(), Username: u.Username, Email: u.Email}
}

func claimedOwner(c devicekey.ClaimedAccount) profile.Owner { return ownerOf(claimedUser(c)) }

// Account asks plex.tv who the token belongs to. Its errors are those of
// [PlexAuth.Token] and [*Error]: see [ErrTokenRejected], [ErrUnavailable],
// [ErrRateLimited].
func (p *PlexAuth) Account(ctx context.Context) (*Account, error) {
	u, err := p.account(ctx)
	return (*Account)(u), err
}

// account asks plex.tv who the token belongs to, and notes it.
func (p *PlexAuth) account(ctx context.Context) (a *plextv.User, err error) {
	err = p.ask(ctx, func(t secret.Value, clientID string) error {
		a, err = p.adoptToken(ctx, t, clientID, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Verify asks plex.tv whether the token holds, and completes what a login
// could not read of its account. Only plex.tv's own rejection changes the
// status: it returns [ErrTokenRejected] then, sets NeedsLogin, and later calls
// answer so without asking again. With any other error of [PlexAuth.Account] the
// status stays as it was. A login whose token waits for its account is finished
// first, with the errors of [PlexAuth.Finish] where that fails.
func (p *PlexAuth) Verify(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	if v := b.Pending(); v != nil && !v.Token.IsZero() {
		if err := p.settleParked(ctx, v, patient); err != nil && !errors.Is(err, fault.ErrTokenRejected) {
			return p.statusNow(ctx, err)
		}
	}
	_, err = p.Account(ctx)
	return p.statusNow(ctx, err)
}

// adoptToken asks whose the token t is, and notes it if t is still the one.
// Somebody may sign in meanwhile and retire t by that: where another profile has
// got a token since, it asks again, and where t is dead then, the profile gets that
// one.
func (p *PlexAuth) adoptToken(ctx context.Context, t secret.Value, clientID string, once bool) (*plextv.User, error) {
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	siblings := b.Siblings()
	var a *plextv.User
	for {
		told, err := p.readAccount(ctx, t, clientID, once)
		retired := a != nil && errors.Is(err, fault.ErrTokenRejected)
		if err != nil && !retired {
			return nil, err
		}
		if !retired {
			a = told
		}
		var now uint64
		again, dead := false, false
		err = p.updateIfNeeded(ctx, func(b *profile.Profile) error {
			again, dead, now = false, false, b.Siblings()
			switch {
			case !b.AccountToken().Equal(t):
				return nil
			case retired:
				next := b.Successor(a.ID, clientID, t)
				if dead = next.IsZero(); dead {
					return nil
				}
				b.Succeed(next)
			case now != siblings:
				again = true
				return nil
			}
			b.Adopt(ownerOf(a))
			return nil
		}, t)
		switch {
		case err != nil:
			return nil, err
		case dead:
			return nil, public(&plextv.Failure{Op: "read account", Where: "plex.tv", StatusCode: http.StatusUnauthorized, Sentinel: fault.ErrTokenRejected, Message: "the token was retired meanwhile"})
		case !again:
			return a, nil
		}
		siblings = now
	}
}

// learn finds out whose some stored tokens are, before a login that may retire
// them: it cannot be somebody else's unnoticed then, and who loses a token by it
// gets the next. Where that fails, the login goes on all the same.
func (p *PlexAuth) learn(ctx context.Context, unknown []profile.UnknownLogin) {
	for _, u := range unknown {
		q := p.Instance(u.Instance)
		_, err := q.adoptToken(ctx, u.Token, u.ClientID, true)
		if errors.Is(err, fault.ErrTokenRejected) {
			_, err = q.reject(ctx, u.Token)
		}
		if err != nil {
			q.warn(ctx, "whose login is stored could not be found out", err)
			if !lasts(err) {
				return // the others would fare no better
			}
		}
	}
}

// learnSiblings is learn for the other profiles whose tokens a new one under clientID
// has retired, where an older version has stored whose they are. A login that was
// begun by that version, or by another program, comes without it.
func (p *PlexAuth) learnSiblings(ctx context.Context, clientID string) {
	if b, err := p.load(ctx); err == nil {
		p.learn(ctx, slices.DeleteFunc(b.UnknownLogins(clientID), func(u profile.UnknownLogin) bool {
			return u.Instance == b.Id || b.Sibling(u.Instance).ClaimedID() == 0
		}))
	}
}

// readAccount asks plex.tv whose token this is.
func (p *PlexAuth) readAccount(ctx context.Context, t secret.Value, clientID string, once bool) (*plextv.User, error) {
	a, err := p.client.ReadAccount(ctx, t, clientID, once)
	return a, public(err)
}
