// Package homeuser makes a member of the account's Plex Home the user that a profile works
// for. A Home PIN is checked and kept nowhere.
package homeuser

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Login is the login of a profile as a choice sees it. It is safe for concurrent use.
type Login interface {
	// Load reads the stored profile.
	Load(ctx context.Context) (*profile.Profile, error)
	// Update edits the stored profile. secrets are what an error must not quote.
	Update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error
	// ReadAccount asks plex.tv who the token belongs to, and saves it.
	ReadAccount(ctx context.Context) error
	// HomeUsers asks plex.tv for the members of the account's Plex Home.
	HomeUsers(ctx context.Context) ([]plextv.HomeUser, error)
	// Servers asks plex.tv for the media servers that the account may use.
	Servers(ctx context.Context) ([]plextv.MediaServer, error)
	// SwitchHomeUser gets an account token of u, and tells the client identifier that it
	// was made under. The token may come with an error. The error matches
	// fault.ErrHomePin if the PIN is missing or wrong.
	SwitchHomeUser(ctx context.Context, u plextv.HomeUser, pin string) (t secret.Value, madeUnder string, err error)
	// Revoke ends a token at plex.tv.
	Revoke(ctx context.Context, t secret.Value, clientID string) error
	// Warn logs a failure.
	Warn(ctx context.Context, what string, err error)
}

// chooser is one Choose.
type chooser struct {
	Login
	background context.Context
}

// Choose saves that the profile of l works for the Home member with that UUID, after a
// check of the Home PIN if there is one. complete is false if the media server's own number
// of the user is not known yet. background is for requests that the end of ctx must not
// interrupt, and to end their tokens at plex.tv, which may go on after the return.
//
// The error matches fault.ErrHomePin if the PIN is missing or wrong, and is a
// profile.WrongPINsError after too many wrong ones. It matches plextv.ErrNoSuchUser if
// nobody in the Home has the UUID. Others are those of l.
func Choose(ctx, background context.Context, l Login, uuid, pin string) (complete bool, err error) {
	c := chooser{l, background}
	before, err := c.Load(ctx)
	if err != nil {
		return false, err
	}
	if wait := before.PinPause(uuid, time.Now()); wait > 0 {
		return false, profile.WrongPINsError{Wait: wait}
	}
	if before, err = c.withAccount(ctx, before); err != nil {
		return false, err
	}
	users, err := c.HomeUsers(ctx)
	if err != nil {
		return false, err
	}
	user, err := plextv.FindHomeUser(users, uuid)
	if err != nil {
		return false, err
	}
	if user.Protected {
		if err := c.checkPIN(user, pin); err != nil {
			return false, err
		}
	}
	return c.saveUser(ctx, before, user)
}

// withAccount returns the profile with the number and the name of its account: without
// them, account and user could not be told apart.
func (c chooser) withAccount(ctx context.Context, b *profile.Profile) (*profile.Profile, error) {
	if b.AccountID() != 0 && b.AccountName() != "" {
		return b, nil
	}
	if err := c.ReadAccount(ctx); err != nil {
		return nil, err
	}
	return c.Load(ctx)
}

// saveUser saves the choice of user, who is in the Home of the account in before.
func (c chooser) saveUser(ctx context.Context, before *profile.Profile, user plextv.HomeUser) (complete bool, err error) {
	owner := c.serverOwner(ctx, before)
	err = c.Update(ctx, func(b *profile.Profile) error {
		if err := b.SameAccount(before); err != nil {
			return err
		}
		b.ForgetWrongPINs(user.UUID)
		complete = b.SetHomeUser(user.ID, user.Title, owner)
		return nil
	})
	return complete, err
}

// checkPIN asks plex.tv whether pin is the user's. It does so by a switch to the user,
// and then ends the token that this makes. It uses c.background, because an interrupted
// request would leave a token that is not known.
func (c chooser) checkPIN(user plextv.HomeUser, pin string) error {
	t, madeUnder, err := c.SwitchHomeUser(c.background, user, pin)
	if !t.IsZero() {
		go c.endToken(t, madeUnder)
	}
	if pin == "" || !errors.Is(err, fault.ErrHomePin) {
		return err
	}
	noted := c.Update(c.background, func(b *profile.Profile) error {
		b.NoteWrongPIN(user.UUID, time.Now())
		return nil
	})
	return cmp.Or(noted, err)
}

// The pauses of endToken grow from the first to the last.
const (
	firstRevokePause = time.Second
	maxRevokePause   = time.Minute
)

// endToken ends a token at plex.tv. It tries again until that succeeds, plex.tv refuses
// permanently, or c.background ends.
func (c chooser) endToken(t secret.Value, clientID string) {
	for pause := firstRevokePause; ; pause = min(2*pause, maxRevokePause) {
		err := c.endUnused(t, clientID)
		if err == nil || c.background.Err() != nil {
			return
		}
		permanent := plextv.FailureIn(err).IsPermanent()
		if pause == firstRevokePause || permanent {
			c.Warn(c.background, "could not revoke the token of a Home PIN check at plex.tv yet", err)
		}
		if permanent || gate.Sleep(c.background, pause) != nil {
			return
		}
	}
}

// endUnused ends a token at plex.tv, unless a profile uses it: the switch may have
// retired that profile's own.
func (c chooser) endUnused(t secret.Value, clientID string) error {
	b, err := c.Load(c.background)
	if err != nil || len(b.Holders(t)) > 0 {
		return err
	}
	return c.Revoke(c.background, t, clientID)
}

// serverOwner returns plex.tv's number of the saved server's owner, 0 if it is not
// known.
func (c chooser) serverOwner(ctx context.Context, b *profile.Profile) int64 {
	saved := b.SavedServer()
	if saved.MachineID == "" || saved.Owner != 0 {
		return saved.Owner
	}
	servers, _ := c.Servers(ctx)
	return choice.Listed(saved, servers, b.AccountID()).OwnedBy(b.AccountID())
}
