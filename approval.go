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
	var already, known bool
	l.saves(true)
	err := p.save(ctx, saveLimit, t, func(b *profile) error {
		parked, already = nil, false
		v := b.pending()
		switch {
		case v == nil || v.id != l.pin.ID:
			already = b.holds(t, l.pin.device, l.pin.CreatedAt)
			switch {
			case already: // by another process, or by an Update that said otherwise
				known = b.cloudID() != 0
				return nil
			case v == nil:
				return ErrNoPendingPin
			}
			return ErrPinSuperseded
		case b.cloudID() != 0 && !v.options.SwitchAccount, v.device != nil:
			b.park(t) // until it is known whose it is, or that it is genuine
			v.token = t
			parked = v
			return nil
		}
		b.doubt() // whose token this is, the account will tell
		b.signIn(t, l.pin.clientID)
		return nil
	})
	l.saves(errors.Is(err, ErrStore)) // it is tried again
	switch {
	case errors.Is(err, ErrNoPendingPin), errors.Is(err, ErrPinSuperseded), err == nil && already && known:
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
		return p.ended(l, errors.Join(err, p.reject(ctx, t)))
	case err != nil:
		p.warn(ctx, "signed in, but the account could not be read yet", err)
	}
	return p.ended(l, nil)
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
		if err == nil || errors.Is(err, ErrAccountMismatch) || errors.Is(err, ErrTokenRejected) {
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
	l := p.loginOf(v.id)
	l.saves(true)
	err = p.save(ctx, saveLimit, v.token, func(b *profile) error {
		mismatch, inherited = false, false
		now := b.pending()
		if now == nil || now.id != v.id {
			switch {
			case b.holds(t, v.device, v.created):
				return nil
			case now == nil:
				return ErrNoPendingPin
			}
			return ErrPinSuperseded
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
	l.saves(errors.Is(err, ErrStore))
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
	return nil
}
