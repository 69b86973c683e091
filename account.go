package plexauth

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
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

// user is an [Account] inside the package.
type user struct {
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

// name is what to call the person.
func (a *user) name() string {
	return cmp.Or(a.Username, a.Title, a.FriendlyName)
}

// Account asks plex.tv who the token belongs to. Its errors are those of
// [PlexAuth.Token] and [*Error]: see [ErrTokenRejected], [ErrUnavailable],
// [ErrRateLimited].
func (p *PlexAuth) Account(ctx context.Context) (*Account, error) {
	u, err := p.account(ctx)
	return (*Account)(u), err
}

// account asks plex.tv who the token belongs to, and notes it.
func (p *PlexAuth) account(ctx context.Context) (a *user, err error) {
	err = p.ask(ctx, func(t secretValue, clientID string) error {
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
	if v := b.pending(); v != nil && !v.token.IsZero() {
		if err := p.settleParked(ctx, v, patient); err != nil && !errors.Is(err, ErrTokenRejected) {
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
func (p *PlexAuth) adoptToken(ctx context.Context, t secretValue, clientID string, once bool) (*user, error) {
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	siblings := b.siblings()
	var a *user
	for {
		told, err := p.readAccount(ctx, t, clientID, once)
		retired := a != nil && errors.Is(err, ErrTokenRejected)
		if err != nil && !retired {
			return nil, err
		}
		if !retired {
			a = told
		}
		var now uint64
		again, dead := false, false
		err = p.updateIfNeeded(ctx, func(b *profile) error {
			again, dead, now = false, false, b.siblings()
			switch {
			case !b.accountToken().Equal(t):
				return nil
			case retired:
				next := b.successor(a.ID, clientID, t)
				if dead = next.IsZero(); dead {
					return nil
				}
				b.succeed(next)
			case now != siblings:
				again = true
				return nil
			}
			b.adopt(a)
			return nil
		}, t)
		switch {
		case err != nil:
			return nil, err
		case dead:
			return nil, public(&failure{Op: "read account", where: "plex.tv", StatusCode: http.StatusUnauthorized, is: ErrTokenRejected, Message: "the token was retired meanwhile"})
		case !again:
			return a, nil
		}
		siblings = now
	}
}

// learn finds out whose some stored tokens are, before a login that may retire
// them: it cannot be somebody else's unnoticed then, and who loses a token by it
// gets the next. Where that fails, the login goes on all the same.
func (p *PlexAuth) learn(ctx context.Context, unknown []unknownLogin) {
	for _, u := range unknown {
		q := p.Instance(u.instance)
		_, err := q.adoptToken(ctx, u.token, u.clientID, true)
		if errors.Is(err, ErrTokenRejected) {
			_, err = q.reject(ctx, u.token)
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
		p.learn(ctx, slices.DeleteFunc(b.unknownLogins(clientID), func(u unknownLogin) bool {
			return u.instance == b.id || b.document.profile(u.instance).claimedID() == 0
		}))
	}
}

// readAccount asks plex.tv whose token this is.
func (p *PlexAuth) readAccount(ctx context.Context, t secretValue, clientID string, once bool) (*user, error) {
	a, err := p.client.readAccount(ctx, t, clientID, once)
	return a, public(err)
}

// readAccount asks plex.tv whose token this is, with one attempt or with all
// that a GET may have.
func (c *client) readAccount(ctx context.Context, t secretValue, clientID string, once bool) (a *user, err error) {
	err = c.do(ctx, &call{
		op: "read account", method: http.MethodGet, url: c.plexTV + "/api/v2/user", clientID: clientID, token: t, account: true, once: once,
		decode: func(body []byte) (err error) {
			a, err = decodeAccount(body)
			return err
		},
	})
	return a, err
}

// decodeAccount takes the fields it knows, each in any shape; only the number
// must be there.
func decodeAccount(body []byte) (*user, error) {
	var j struct {
		ID           laxInt  `json:"id"`
		UUID         laxText `json:"uuid"`
		Username     laxText `json:"username"`
		Title        laxText `json:"title"`
		Email        laxText `json:"email"`
		FriendlyName laxText `json:"friendlyName"`
		Thumb        laxText `json:"thumb"`
		Home         laxBool `json:"home"`
		HomeAdmin    laxBool `json:"homeAdmin"`
		Guest        laxBool `json:"guest"`
		Restricted   laxBool `json:"restricted"`
		Protected    laxBool `json:"protected"`
		Subscription struct {
			Active laxBool `json:"active"`
		} `json:"subscription"`
	}
	if err := unmarshal(body, &j); err != nil {
		return nil, err
	}
	if j.ID <= 0 {
		return nil, errors.New("an account without a number")
	}
	return &user{
		ID: int64(j.ID), UUID: string(j.UUID), Username: string(j.Username), Title: string(j.Title),
		Email: string(j.Email), FriendlyName: string(j.FriendlyName), Thumb: string(j.Thumb),
		Home: bool(j.Home), HomeAdmin: bool(j.HomeAdmin), Guest: bool(j.Guest),
		Restricted: bool(j.Restricted), Protected: bool(j.Protected), PlexPass: bool(j.Subscription.Active),
	}, nil
}
