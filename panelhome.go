package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// user makes a member of the Plex Home the one whom the program works for. Where
// that member has a PIN it is checked, and kept nowhere.
func (h *panel) user(w http.ResponseWriter, r *http.Request) {
	var body struct {
		UUID string `json:"uuid"`
		PIN  string `json:"pin"`
	}
	if !decode(w, r, &body) {
		return
	}
	select {
	case h.choosing <- struct{}{}: // so that PINs are tried one after the other
		defer func() { <-h.choosing }()
	case <-r.Context().Done():
		return
	}
	known, failure := h.chooseUser(r.Context(), body.UUID, body.PIN)
	if failure != nil {
		fail(w, failure)
		return
	}
	if known {
		h.news(h.outcome())
	} else {
		h.mu.Lock()
		h.search() // finds the server's own number of the user
		h.mu.Unlock()
	}
	h.answer(w, r, nil)
}

// chooseUser does what user is asked for. known is false where the media server's
// number of that user is still to be found out.
func (h *panel) chooseUser(ctx context.Context, uuid, pin string) (known bool, _ *problem) {
	before, err := h.load(ctx)
	if err != nil {
		return false, problemOf(err)
	}
	if wait := before.PinPause(uuid, time.Now()); wait > 0 {
		return false, &problem{status: http.StatusTooManyRequests, Word: "too_soon", RetryAfter: seconds(wait),
			Message: fmt.Sprintf("Too many wrong PINs. Try again in %s.", cmp.Or(wait.Round(time.Second), time.Second))}
	}
	if before.CloudID() == 0 || before.AccountName() == "" { // else account and user would be one
		if _, err = h.Account(ctx); err == nil {
			before, err = h.load(ctx)
		}
		if err != nil {
			return false, problemOf(err)
		}
	}
	users, err := h.homeUsers(ctx)
	if err != nil {
		return false, problemOf(err)
	}
	i := slices.IndexFunc(users, func(u plextv.HomeUser) bool { return u.UUID == uuid })
	if i < 0 {
		return false, badRequest("There is no such user in this Plex Home.")
	}
	user := &users[i]
	if user.Protected {
		if err := h.checkHomePIN(user, pin); err != nil {
			return false, problemOf(err)
		}
	}
	known, err = h.saveHomeUser(ctx, before, user)
	if err != nil {
		return false, problemOf(err)
	}
	return known, nil
}

// saveHomeUser saves the choice of a user of the Home that before is signed in to.
func (h *panel) saveHomeUser(ctx context.Context, before *profile.Profile, user *plextv.HomeUser) (known bool, err error) {
	owner := h.serverOwner(ctx, before)
	err = h.update(ctx, func(b *profile.Profile) error {
		switch account := before.CloudID(); {
		case b.AccountToken().IsZero():
			return fault.ErrNotConnected
		case !b.AccountToken().Equal(before.AccountToken()) && (account == 0 || b.CloudID() != account):
			return errChangedMeanwhile // the user is of another account's Home
		}
		b.ForgetWrongPINs(user.UUID)
		known = b.SetHomeUser(user.ID, user.Title, owner)
		return nil
	})
	return known, err
}

// checkHomePIN asks plex.tv whether a PIN is u's. It does so by a switch, and ends
// the token that this makes. A request that is broken off ends neither: the token
// would be lost.
func (h *panel) checkHomePIN(u *plextv.HomeUser, pin string) error {
	t, madeUnder, err := h.switchHomeUser(h.ctx, *u, pin)
	if !t.IsZero() {
		go h.endToken(t, madeUnder)
	}
	if pin == "" || !errors.Is(err, fault.ErrHomePin) {
		return err
	}
	noted := h.update(h.ctx, func(b *profile.Profile) error {
		b.NoteWrongPIN(u.UUID, time.Now())
		return nil
	})
	return cmp.Or(noted, err)
}

// endToken ends a token that is not needed, and goes on until that has succeeded or
// h.ctx has ended. A profile may live on the token since it retired its own.
func (h *panel) endToken(t secret.Value, clientID string) {
	for pause := refresh; ; pause = min(2*pause, time.Minute) {
		b, err := h.load(h.ctx)
		if err == nil {
			for _, b := range append(b.Others(), b) {
				if b.AccountToken().Equal(t) {
					return
				}
			}
			err = public(h.client.Revoke(h.ctx, t, clientID))
		}
		if err == nil || h.ctx.Err() != nil {
			return
		}
		if pause == refresh || isPermanent(err) {
			h.warn(h.ctx, "the token of a Home PIN's check could not be ended at plex.tv yet", err)
		}
		if isPermanent(err) || gate.Sleep(h.ctx, pause) != nil {
			return
		}
	}
}

// serverOwner returns plex.tv's number of the saved server's owner, 0 where it
// cannot be found out.
func (h *panel) serverOwner(ctx context.Context, b *profile.Profile) int64 {
	saved := b.Server()
	if saved.MachineID == "" || saved.Owner != 0 {
		return saved.Owner
	}
	servers, err := h.serverList.get(ctx, h, h.PlexAuth.servers)
	if s := listed(saved, servers, b.CloudID()); err == nil && s != nil {
		return s.OwnedBy(b.CloudID())
	}
	return 0
}
