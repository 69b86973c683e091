package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Account is the person that an account token belongs to, as GET /api/v2/user says.
// Only ID identifies a person: names and e-mail address can change.
type Account struct {
	ID           int64  // plex.tv's number of the account
	UUID         string // 16 hex digits; [PlexAuth.SwitchHomeUser] needs it
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
	return &plextv.User{ID: c.ID, UUID: c.UUID, Username: c.Username, Email: c.Email, FriendlyName: c.FriendlyName}
}

// ownerOf returns what a profile keeps of an account.
func ownerOf(u *plextv.User) profile.Owner {
	return profile.Owner{ID: u.ID, Name: u.DisplayName(), Username: u.Username, Email: u.Email}
}

func claimedOwner(c devicekey.ClaimedAccount) profile.Owner { return ownerOf(claimedUser(c)) }

// Account asks plex.tv who the token belongs to. Its errors are those of
// [PlexAuth.Token] and [*Error]: see [ErrTokenRejected], [ErrUnavailable],
// [ErrRateLimited].
func (p *PlexAuth) Account(ctx context.Context) (*Account, error) {
	u, err := p.askAccount(ctx)
	return (*Account)(u), err
}

// askAccount asks plex.tv who the token belongs to, and saves it.
func (s *session) askAccount(ctx context.Context) (owner *plextv.User, err error) {
	err = s.ask(ctx, func(t secret.Value, clientID string) error {
		owner, err = s.adoptToken(ctx, t, clientID, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return owner, nil
}

// Verify asks plex.tv whether the token is valid, and saves what a login could not
// read about its account. Only plex.tv's own rejection changes the status: Verify then
// returns [ErrTokenRejected] and sets NeedsLogin, and later calls return the same
// without a request. With any other error of [PlexAuth.Account] the status stays as it
// was. If the token of an approved login waits for its account, Verify finishes that
// login first, with the errors of [PlexAuth.Finish].
func (p *PlexAuth) Verify(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	if v := b.Pending(); v != nil && !v.Token.IsZero() {
		err := p.settle(ctx, v, untilExpiry)
		if err != nil && !errors.Is(err, fault.ErrTokenRejected) && !errors.Is(err, fault.ErrPinSuperseded) {
			return p.statusNow(ctx, err)
		}
	}
	_, err = p.askAccount(ctx)
	return p.statusNow(ctx, err)
}

// adoptToken asks plex.tv who t belongs to, and saves it if t is still the profile's token. It
// asks again if another profile has got a token in the meantime, which may have retired t.
func (s *session) adoptToken(ctx context.Context, t secret.Value, clientID string, once bool) (*plextv.User, error) {
	b, err := s.load(ctx)
	if err == nil && clientID == "" { // another program has written t
		b, err = s.ensureClientID(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s.adoptSeen(ctx, t, cmp.Or(clientID, b.ClientID()), once, b.OthersHash(), s.updateIfNeeded)
}

// updateFunc is how a profile is edited: update or updateIfNeeded.
type updateFunc func(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error

// adoptSeen does what adoptToken does, for a caller that has just read othersHash and saves by update.
func (s *session) adoptSeen(ctx context.Context, t secret.Value, clientID string, once bool, othersHash uint64, update updateFunc) (*plextv.User, error) {
	owner, err := s.readAccount(ctx, t, clientID, once)
	for err == nil {
		before := othersHash
		if othersHash, err = saveOwner(ctx, t, owner, before, update); err != nil || othersHash == before {
			break
		}
		var now *plextv.User
		if now, err = s.readAccount(ctx, t, clientID, once); errors.Is(err, fault.ErrTokenRejected) {
			err = s.replaceRetired(ctx, t, clientID, owner)
			break
		}
		owner = now
	}
	if err != nil {
		return nil, err
	}
	return owner, nil
}

// saveOwner saves who t belongs to, if t is still the profile's token and no other
// profile has got a token since othersHash was read. It returns the present value of
// othersHash if one has, else the old one.
func saveOwner(ctx context.Context, t secret.Value, owner *plextv.User, othersHash uint64, update updateFunc) (now uint64, err error) {
	err = update(ctx, func(b *profile.Profile) error {
		now = othersHash
		if b.AccountToken().Equal(t) {
			if now = b.OthersHash(); now == othersHash {
				b.Adopt(ownerOf(owner))
			}
		}
		return nil
	}, t)
	return now, err
}

// replaceRetired gives the profile the token of owner that has retired t. It returns a
// rejection if there is none.
func (s *session) replaceRetired(ctx context.Context, t secret.Value, clientID string, owner *plextv.User) error {
	var rejected error
	err := s.updateIfNeeded(ctx, func(b *profile.Profile) error {
		if rejected = nil; !b.ReplaceRetired(t, ownerOf(owner), clientID) {
			rejected = public(plextv.TokenRetired(plextv.OpReadAccount))
		}
		return nil
	}, t)
	return cmp.Or(err, rejected)
}

// learn finds out who the unknown tokens belong to, before a login that may retire
// them. A profile that loses its token can then get the next one of the same account.
// A failure does not stop the login.
func (s *session) learn(ctx context.Context, unknown []profile.UnidentifiedToken) {
	for _, u := range unknown {
		other := s.on(u.Instance)
		_, err := other.adoptToken(ctx, u.Token, u.ClientID, true)
		if errors.Is(err, fault.ErrTokenRejected) {
			_, err = other.reject(ctx, u.Token)
		}
		if err != nil {
			other.warn(ctx, "could not find out which account the stored login belongs to", err)
			if !isPermanent(err) {
				return // the next request would fail as well
			}
		}
	}
}

// readAccount asks plex.tv who t belongs to. once makes a single attempt.
func (s *session) readAccount(ctx context.Context, t secret.Value, clientID string, once bool) (*plextv.User, error) {
	a, err := s.client.ReadAccount(ctx, t, clientID, once)
	return a, public(err)
}

// HomeUser is a member of the account's Plex Home.
type HomeUser struct {
	ID         int64  `json:"id"`       // plex.tv's number of the account
	UUID       string `json:"uuid"`     // [PlexAuth.SwitchHomeUser] needs it
	Title      string `json:"title"`    // the display name
	Username   string `json:"username"` // empty for a managed user
	Thumb      string `json:"thumb"`    // URL of the picture
	Admin      bool   `json:"admin"`
	Guest      bool   `json:"guest"`
	Restricted bool   `json:"restricted"` // a managed user
	Protected  bool   `json:"protected"`  // has a Home PIN
}

// HomeUsers asks plex.tv for the members of the account's Plex Home. Without a Home,
// the account is the only member. Its errors are those of [PlexAuth.Account].
func (p *PlexAuth) HomeUsers(ctx context.Context) ([]HomeUser, error) {
	found, err := p.homeUsers(ctx)
	if err != nil {
		return nil, err
	}
	users := make([]HomeUser, len(found))
	for i, u := range found {
		users[i] = HomeUser(u)
	}
	return users, nil
}

func (s *session) homeUsers(ctx context.Context) (users []plextv.HomeUser, err error) {
	err = s.ask(ctx, func(t secret.Value, clientID string) (err error) {
		users, err = s.client.HomeUsers(ctx, t, clientID)
		return public(err)
	})
	return users, err
}

// SwitchHomeUser gets an account token of another member of the Plex Home. u is one of
// [PlexAuth.HomeUsers]; its UUID is enough. pin is that user's Home PIN, empty if the
// user has none. It is used for this one request, and neither stored nor logged.
//
// The token acts for that user and is the caller's to use; this profile's login does
// not change. It is for plex.tv. Media servers want another one, see [Server].Token.
// plex.tv keeps one token for each account and client identifier, so the switch
// retires an earlier one of u. Profiles of the store with that token get the new one.
//
// The error matches [ErrHomePin] if the PIN is missing or wrong. Others are those of
// [PlexAuth.Account]. If only the store fails, the token is returned as well.
func (p *PlexAuth) SwitchHomeUser(ctx context.Context, u HomeUser, pin string) (Token, error) {
	t, _, err := p.switchHomeUser(ctx, plextv.HomeUser(u), pin)
	return Token{t}, err
}

// switchHomeUser does the work of SwitchHomeUser. It also returns the client identifier
// that the token was made under.
func (s *session) switchHomeUser(ctx context.Context, u plextv.HomeUser, pin string) (token secret.Value, madeUnder string, err error) {
	if u.UUID == "" {
		return secret.Value{}, "", errors.New("plexauth: switch Home user: the user has no UUID; use one that HomeUsers returned")
	}
	if u.Protected && pin == "" {
		// plex.tv does not always ask for the PIN. A parent has set it, so we do.
		return secret.Value{}, "", fmt.Errorf("%w, and it is missing", fault.ErrHomePin)
	}
	var account int64
	err = s.ask(ctx, func(t secret.Value, clientID string) (err error) {
		madeUnder = clientID
		if b, err := s.load(ctx); err == nil { // a profile that loses its token by this gets the new one
			s.learn(ctx, b.UnidentifiedTokens(clientID))
		}
		token, account, err = s.client.SwitchUser(ctx, t, clientID, u, pin)
		return public(err)
	})
	if err != nil {
		return secret.Value{}, "", err
	}
	return token, madeUnder, s.passOn(ctx, cmp.Or(account, u.ID), token, madeUnder)
}

// passOn gives a new token of an account to the profiles whose own it has retired.
func (s *session) passOn(ctx context.Context, account int64, t secret.Value, clientID string) error {
	b, err := s.load(ctx)
	if err != nil || !b.PassOnToAll(t, account, clientID) {
		return err
	}
	return s.save(ctx, saveLimit, t, func(b *profile.Profile) error {
		b.PassOnToAll(t, account, clientID)
		return nil
	})
}

// profileLogin is the login of a profile as the packages see it that complete it. It
// implements [homeuser.Login] and [inspect.Login].
type profileLogin struct{ *session }

// Load reads the stored profile.
func (l profileLogin) Load(ctx context.Context) (*profile.Profile, error) { return l.load(ctx) }

// Update edits the stored profile.
func (l profileLogin) Update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	return l.update(ctx, edit, secrets...)
}

// ReadAccount asks plex.tv who the token belongs to, and saves it.
func (l profileLogin) ReadAccount(ctx context.Context) error {
	_, err := l.askAccount(ctx)
	return err
}

// HomeUsers asks plex.tv for the members of the account's Plex Home.
func (l profileLogin) HomeUsers(ctx context.Context) ([]plextv.HomeUser, error) {
	return l.homeUsers(ctx)
}

// Servers asks plex.tv for the media servers that the account may use.
func (l profileLogin) Servers(ctx context.Context) ([]plextv.MediaServer, error) {
	return l.servers(ctx)
}

// SwitchHomeUser gets an account token of u, and tells the client identifier that it was
// made under.
func (l profileLogin) SwitchHomeUser(ctx context.Context, u plextv.HomeUser, pin string) (secret.Value, string, error) {
	return l.switchHomeUser(ctx, u, pin)
}

// Revoke ends a token at plex.tv.
func (l profileLogin) Revoke(ctx context.Context, t secret.Value, clientID string) error {
	return public(l.client.Revoke(ctx, t, clientID))
}

// UsableToken returns the account token, renewed if need be, and its client identifier.
func (l profileLogin) UsableToken(ctx context.Context) (secret.Value, string, error) {
	return l.usableToken(ctx)
}

// ToChoose returns the error that names the servers to choose from.
func (l profileLogin) ToChoose(servers []plextv.MediaServer) error {
	return &ServerChoiceError{publicServers(servers)}
}

// Public gives a failure the form that callers see.
func (l profileLogin) Public(err error) error { return public(err) }

// Info logs what has happened.
func (l profileLogin) Info(ctx context.Context, what string) { l.info(ctx, what) }

// Warn logs a failure.
func (l profileLogin) Warn(ctx context.Context, what string, err error) { l.warn(ctx, what, err) }
