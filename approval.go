package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// approved saves a token in hand. plex.tv has retired the older one already,
// so this must not be lost.
func (p *PlexAuth) approved(ctx context.Context, l *login, t Token) (bool, error) {
	var parked *pendingPIN
	var known bool
	err := p.saveToken(ctx, l, t, func(b *profile) error {
		parked, known = nil, false
		v, err := b.stillPending(l.pin.ID, t, l.pin.device, l.pin.CreatedAt)
		switch {
		case err != nil:
			return err
		case v == nil:
			known = b.cloudID() != 0
			return nil
		case b.cloudID() != 0 && !v.options.SwitchAccount, v.device != nil:
			b.park(t) // until it is known whose it is, or that it is genuine
			v.token = t
			parked = v
			return nil
		}
		b.setAside() // whose token this is, the account will tell
		b.signIn(t, l.pin.clientID)
		return nil
	})
	switch {
	case errors.Is(err, ErrNoPendingPin), errors.Is(err, ErrPinSuperseded), err == nil && known:
		return p.ended(l, err)
	case err != nil:
		return true, err // given up, but the PIN is still pending and another look finds the token again
	case parked != nil:
		return p.lookParked(ctx, l, parked)
	}
	p.logf(ctx, LevelSuccess, "token stored")
	reading, done := l.abortable(ctx)
	defer done()
	a, err := p.client.readAccount(reading, t, l.pin.clientID, false)
	if err == nil {
		err = p.adopt(ctx, t, a)
	}
	switch {
	case errors.Is(err, ErrTokenRejected): // signed out again already
		_, rejectErr := p.reject(ctx, t)
		return p.ended(l, errors.Join(err, rejectErr))
	case err != nil:
		p.warn(ctx, "signed in, but the account could not be read yet", err)
	}
	return p.ended(l, nil)
}

// saveToken saves an approved token, and lets its login tell since when. l may
// be nil.
func (p *PlexAuth) saveToken(ctx context.Context, l *login, t Token, edit func(*profile) error) error {
	l.saves(true)
	err := p.save(ctx, saveLimit, t, edit)
	l.saves(errors.Is(err, ErrStore)) // it is tried again
	return err
}

// stillPending returns the PIN with this number if it is the one that is
// pending. If it is not, somebody was faster: where the profile holds its token t
// already, by another process or by an Update that said otherwise, there is no
// error; else it is [ErrNoPendingPin] or [ErrPinSuperseded].
func (b *profile) stillPending(id int64, t Token, d *device, created time.Time) (*pendingPIN, error) {
	v := b.pending()
	switch {
	case v != nil && v.id == id:
		return v, nil
	case b.holds(t, d, created):
		return nil, nil
	case v == nil:
		return nil, ErrNoPendingPin
	}
	return nil, ErrPinSuperseded
}

// lookParked decides on an approved token that waits for its account to be
// known.
func (p *PlexAuth) lookParked(ctx context.Context, l *login, v *pendingPIN) (bool, error) {
	sent := time.Now()
	settling, done := l.abortable(ctx)
	defer done()
	err := p.settleParked(settling, v, false)
	if settling.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil // somebody wants the turn
	}
	var e *Error
	if errors.As(err, &e) && e.is != ErrTokenRejected && time.Now().Before(l.deadline) {
		p.disturbed(ctx, l, e, err)
		l.postpone(sent, e, err)
		return false, err
	}
	if ctx.Err() != nil && err != nil {
		return false, err
	}
	return p.ended(l, err)
}

// settleParked reads the account of a parked token and promotes the token, or
// drops it with [ErrAccountMismatch] or [ErrTokenRejected], which ends the login
// for all who wait. Any other error leaves it parked. once: one attempt will do.
func (p *PlexAuth) settleParked(ctx context.Context, v *pendingPIN, once bool) (err error) {
	defer func() {
		if decides(err) {
			p.endedPIN(v.id, err)
		}
	}()
	var a *Account
	t, told, err := p.prove(ctx, v)
	if err == nil {
		a, err = p.client.readAccount(ctx, t, v.clientID, once)
	}
	if errors.Is(err, ErrTokenRejected) { // revoked before it was ever used
		return errors.Join(err, p.dropPending(ctx, v.id))
	}
	if err != nil && told != nil && told.ID > 0 {
		p.warn(ctx, "the account could not be read, only what the token says", err)
		a, err = told, nil
	}
	if err != nil {
		return err
	}
	mismatch, inherited := false, false
	var replaced *revocation
	err = p.saveToken(ctx, p.loginOf(v.id), v.token, func(b *profile) error {
		mismatch, inherited, replaced = false, false, nil
		now, err := b.stillPending(v.id, t, v.device, v.created)
		if now == nil {
			return err
		}
		if linked := b.cloudID(); linked != 0 && linked != a.ID && !now.options.SwitchAccount {
			mismatch = true
			b.remove("_pending_pin")
			for _, other := range b.others() { // whose token this approval has retired
				if v.device == nil && other.sameCredential(a.ID, v.clientID) {
					other.succeed(t)
					inherited = true
				}
			}
			return nil
		}
		if old := b.life(); v.device != nil && old.renewable() && b.cloudID() == a.ID && old.device.clientID != v.clientID {
			replaced = &revocation{old.token, old.device.clientID, old.device}
		}
		if v.device != nil {
			b.signInDevice(t, v.device, p.options.Scopes, p.client.clock.skew())
		} else {
			if b.cloudID() == a.ID {
				b.succeed(t)
			}
			b.signIn(t, v.clientID)
		}
		b.adopt(a)
		return nil
	})
	if err != nil {
		return err
	}
	if mismatch {
		if inherited {
			p.info(ctx, "the token went to the profile of that account")
		} else if err := p.client.revoke(ctx, t, v.clientID); err != nil {
			p.warn(ctx, "the other account's token was dropped, but not revoked", err)
		}
		p.info(ctx, "login refused: another account than the one linked")
		return fmt.Errorf("%w: %s; use SwitchAccount to accept it", ErrAccountMismatch, oneLine(a.name()))
	}
	p.logf(ctx, LevelSuccess, "token stored")
	if replaced != nil { // it must not stay in the person's list
		if err := p.revoke(ctx, *replaced); err != nil {
			p.warn(ctx, "the device that this login replaces was not signed out", err)
		}
	}
	return nil
}

// decides reports whether settleParked has settled the token, one way or the
// other.
func decides(err error) bool {
	return err == nil || errors.Is(err, ErrAccountMismatch) || errors.Is(err, ErrTokenRejected)
}
