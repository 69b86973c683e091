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
		case b.linked() && !v.options.SwitchAccount, v.device != nil:
			b.park(t) // until it is known whose it is, or that it is genuine
			parked = b.pending()
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
	_, err = p.adoptToken(reading, t, l.pin.clientID, false)
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
	err := p.settleParked(settling, v, patient)
	if settling.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil // somebody wants the turn
	}
	var e *Error
	if ctx.Err() != nil && err != nil && !errors.As(err, &e) { // nobody else's affair
		return false, err
	}
	waits := errors.As(err, &e) && e.is != ErrTokenRejected || errors.As(err, new(unread))
	if waits && time.Now().Before(l.deadline) {
		p.disturbed(ctx, l, e, err)
		l.postpone(sent, e, err)
		return false, err
	}
	if ctx.Err() != nil && err != nil {
		return false, err
	}
	return p.ended(l, err)
}

// haste says how long an approved token may wait for what plex.tv does not tell yet.
type haste int

const (
	patient haste = iota // until the PIN's end
	wanted               // its place is wanted: what cannot be known counts against it
	hurried              // and one attempt will do
)

// settleParked reads the account of a parked token and promotes the token, or
// drops it with [ErrAccountMismatch] or [ErrTokenRejected], which ends the login
// for all who wait. Any other error leaves it parked.
func (p *PlexAuth) settleParked(ctx context.Context, v *pendingPIN, h haste) (err error) {
	defer func() {
		if decides(err) {
			p.endedPIN(v.id, err)
		}
	}()
	for again := true; again; { // somebody may sign in meanwhile, and retire the token by that
		b, err := p.load(ctx)
		if err != nil {
			return unread{err}
		}
		t, a, err := p.whose(ctx, v, h == hurried)
		if errors.Is(err, ErrTokenRejected) {
			return p.dropRejected(ctx, v, err)
		}
		unasked := false
		if err == nil && !v.options.SwitchAccount && b.linked() && b.cloudID() == 0 {
			err = p.whoseBefore(ctx, b, h == hurried)
			switch {
			case !lasts(err):
			case a.wasMeant(0, b.username()):
				err = nil
			case h != patient || !time.Now().Before(v.expires):
				unasked, err = true, nil
			}
		}
		if err == nil {
			again, err = p.promote(ctx, v, t, a, b.siblings(), unasked)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unread is the error of a store that has failed before anything was decided.
type unread struct{ error }

func (e unread) Unwrap() error { return e.error }

// whose asks for the account of a parked token. t is that token, or the next one
// where it was a JWT and has expired.
func (p *PlexAuth) whose(ctx context.Context, v *pendingPIN, once bool) (t Token, a *Account, err error) {
	t, told, err := p.prove(ctx, v)
	if err == nil {
		a, err = p.client.readAccount(ctx, t, v.clientID, once)
	}
	if err != nil && !errors.Is(err, ErrTokenRejected) && told != nil && told.ID > 0 {
		p.warn(ctx, "the account could not be read, only what the token says", err)
		a, err = told, nil
	}
	return t, a, err
}

// whoseBefore finds out whose the login is that a parked token would replace, so
// that another's is refused. A JWT tells it by itself where plex.tv does not. One
// that plex.tv does not take any more is in nobody's way.
func (p *PlexAuth) whoseBefore(ctx context.Context, b *profile, once bool) error {
	t := b.accountToken()
	_, err := p.adoptToken(ctx, t, b.clientID(), once)
	claims, _ := readClaims(t)
	var e *Error
	switch {
	case errors.Is(err, ErrTokenRejected):
		if _, err = p.reject(ctx, t); errors.Is(err, ErrStore) { // it is not asked about again for that
			p.warn(ctx, "the verdict on the token before was not saved", err)
			return nil
		}
	case lasts(err) && claims.account.ID > 0:
		err = p.update(ctx, func(b *profile) error {
			if b.accountToken().Equal(t) {
				b.setCloudID(claims.account.ID)
			}
			return nil
		}, t)
	case errors.Is(err, ErrTokenExpired), lasts(err) && errors.As(err, &e) && namesToken(e.Message):
		return nil
	}
	if errors.Is(err, ErrStore) {
		return unread{err}
	}
	return err
}

// lasts reports whether plex.tv would answer the same again.
func lasts(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.transient && e.is != ErrRateLimited
}

// dropRejected drops a parked token that plex.tv does not take: it was revoked
// before it was ever used. But where the login after it has brought the profile
// the next one, that is a success.
func (p *PlexAuth) dropRejected(ctx context.Context, v *pendingPIN, rejected error) error {
	succeeded := false
	late, cancel := lasting(ctx, saveGrace) // whoever wants the turn has it soon enough
	defer cancel()
	err := p.update(late, func(b *profile) error {
		now := fingerprint(b.accountToken())
		succeeded = v.before != "" && now != "" && now != v.before && !b.rejected()
		b.dropPending(v.id)
		return nil
	})
	if succeeded || err != nil && late.Err() != nil { // it stays, for whoever comes next
		return err
	}
	return errors.Join(rejected, err)
}

// promote makes a parked token the profile's, or drops it as another account's, which
// it is taken for where nobody can say whose the login before is (unasked). Where the
// tokens of the other profiles are not what they were when the account was asked for,
// it does nothing and again is true.
func (p *PlexAuth) promote(ctx context.Context, v *pendingPIN, t Token, a *Account, siblings uint64, unasked bool) (again bool, err error) {
	mismatch, inherited := false, false
	var replaced *revocation
	err = p.saveToken(ctx, p.loginOf(v.id), v.token, func(b *profile) error {
		again, mismatch, inherited, replaced = false, false, false, nil
		now, err := b.stillPending(v.id, t, v.device, v.created)
		if now == nil {
			return err
		}
		if again = v.device == nil && b.siblings() != siblings; again {
			return nil
		}
		linked := b.cloudID()
		if another := linked != 0 && linked != a.ID || linked == 0 && unasked; another && !now.options.SwitchAccount {
			mismatch = true
			b.dropPending(v.id)
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
		if b.cloudID() == 0 {
			b.setAside()
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
	if err != nil || again {
		return again, err
	}
	if mismatch {
		if inherited {
			p.info(ctx, "the token went to the profile of that account")
		} else if err := p.client.revoke(ctx, t, v.clientID); err != nil {
			p.warn(ctx, "the other account's token was dropped, but not revoked", err)
		}
		p.info(ctx, "login refused: another account than the one linked")
		why := ""
		if unasked {
			why = " (plex.tv does not say whose the linked login is)"
		}
		return false, fmt.Errorf("%w: %s%s; use SwitchAccount to accept it", ErrAccountMismatch, oneLine(a.name()), why)
	}
	p.logf(ctx, LevelSuccess, "token stored")
	if replaced != nil { // it must not stay in the person's list
		if err := p.revoke(ctx, *replaced); err != nil {
			p.warn(ctx, "the device that this login replaces was not signed out", err)
		}
	}
	return false, nil
}

// decides reports whether settleParked has settled the token, one way or the
// other.
func decides(err error) bool {
	return err == nil || errors.Is(err, ErrAccountMismatch) || errors.Is(err, ErrTokenRejected)
}
