package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// saveApproval saves the token of an approval, which may have retired an older token at
// plex.tv: it must not be lost.
func (a *attempt) saveApproval(ctx context.Context, t secret.Value) (over bool, err error) {
	late, cancel := gate.Outlive(ctx, saveGrace)
	defer cancel()
	var now *profile.Profile
	var saved profile.Saved
	err = a.logins.saveToken(ctx, a, t, func(b *profile.Profile) (err error) {
		now = b
		saved, err = b.Approve(a.pin.stored(), t)
		return err
	})
	switch {
	case errors.Is(err, fault.ErrNoPendingPin), errors.Is(err, fault.ErrPinSuperseded): // in another process
		if a.pin.device == nil {
			a.logins.dropApproval(late, t, a.pin.clientID)
		}
		return a.finish(err)
	case errors.Is(err, fault.ErrAccountMismatch), errors.Is(err, fault.ErrTokenRejected), err == nil && saved == profile.SavedBefore:
		return a.finish(err)
	case err != nil:
		return true, err // the PIN is still pending, and another poll finds the token again
	case saved == profile.SavedParked:
		return a.settle(ctx, now)
	}
	a.logins.logf(ctx, LevelSuccess, "token stored")
	return a.readOwner(ctx, t, now)
}

// dropApproval gives the token of an approval that came too late to the profiles whose own
// it has retired. If there are none, it ends the token at plex.tv.
func (l *logins) dropApproval(ctx context.Context, t secret.Value, clientID string) {
	err := func() error {
		u, err := l.readAccount(ctx, t, clientID, true)
		if err != nil {
			return err
		}
		if err := l.passOn(ctx, u.ID, t, clientID); err != nil {
			return err
		}
		held := false // an Update tells what is stored; a read may lag behind
		err = l.update(ctx, func(b *profile.Profile) error { held = len(b.Holders(t)) > 0; return nil })
		if err != nil || held {
			return err
		}
		return public(l.client.Revoke(ctx, t, clientID))
	}()
	if err != nil {
		l.warn(ctx, "a token that was approved too late was dropped, but not revoked", err)
	}
}

// readOwner completes a login whose token was stored at once with the account of the token.
// b is the profile as it was saved.
func (a *attempt) readOwner(ctx context.Context, t secret.Value, b *profile.Profile) (over bool, err error) {
	reading, finished := a.interruptible(plextv.WithAttemptLimit(ctx, a.requestLimit()))
	defer finished()
	othersHash := b.OthersHash()
	if unknown := b.UnidentifiedOthers(a.pin.clientID); len(unknown) > 0 {
		a.logins.learn(reading, unknown)
	}
	_, err = a.logins.adoptSeen(reading, t, a.pin.clientID, false, othersHash, a.updateLast)
	switch {
	case errors.Is(err, fault.ErrTokenRejected): // signed out again already
		_, rejectErr := a.logins.reject(ctx, t)
		return a.finish(errors.Join(err, rejectErr))
	case err != nil:
		a.logins.warn(ctx, "signed in, but the account could not be read yet", err)
	}
	return a.finish(nil)
}

// updateLast edits the profile of an attempt that is about to end, and keeps the status
// for those who wait.
func (a *attempt) updateLast(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	var left Status
	err := a.logins.update(ctx, func(b *profile.Profile) error {
		if err := edit(b); err != nil {
			return err
		}
		left = a.logins.status(b)
		return nil
	}, secrets...)
	if err == nil {
		a.setFinalStatus(left)
	}
	return err
}

// requestLimit returns how long one request may take.
func (a *attempt) requestLimit() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.schedule.RequestLimit()
}

// saveToken saves an approved token, and notes in its attempt since when. a may be nil.
func (l *logins) saveToken(ctx context.Context, a *attempt, t secret.Value, edit func(*profile.Profile) error) error {
	a.setSaving(true)
	err := l.save(ctx, saveLimit, t, edit)
	a.setSaving(errors.Is(err, ErrStore))
	return err
}

// refusalInterval is how often plex.tv is asked again for what it has refused to tell. It
// answers the same, unless a person does something about it.
const refusalInterval = time.Minute

// outdatedPause is how long a decision rests that went by outdated tokens: a store may have
// replicas that lag behind.
const outdatedPause = 500 * time.Millisecond

// settlingEnd says how an attempt to settle has ended.
type settlingEnd int

const (
	settlingDecided     settlingEnd = iota // the login has ended
	settlingPostponed                      // something is not known yet, and another poll tries again
	settlingInterrupted                    // another caller wants a turn
	settlingCutShort                       // with this caller's context; others go on
)

// endOfSettling returns how an attempt to settle has ended that was made with the context
// settling, on behalf of a caller with ctx.
func (a *attempt) endOfSettling(ctx, settling context.Context, err error) settlingEnd {
	fromPlexTV := plextv.FailureIn(err) != nil
	switch {
	case settling.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled):
		return settlingInterrupted
	case ctx.Err() != nil && err != nil && (!fromPlexTV || errors.Is(err, ctx.Err())):
		return settlingCutShort
	case a.lifeLeft() > 0 && (fromPlexTV && !isSettled(err) || errors.As(err, new(unread))):
		return settlingPostponed
	case ctx.Err() != nil && err != nil:
		return settlingCutShort
	}
	return settlingDecided
}

// settle decides on the approved token that is parked in b, as it was just read. It asks
// plex.tv for the token's account first.
func (a *attempt) settle(ctx context.Context, b *profile.Profile) (over bool, err error) {
	settling, finished := a.interruptible(plextv.WithAttemptLimit(ctx, a.requestLimit()))
	defer finished()
	limit := untilExpiry
	if a.lifeLeft() <= 0 { // which need not be the stored expiry
		limit = whenReplaced
	}
	err = a.logins.settlePIN(settling, b.Pending(), b, limit)
	switch a.endOfSettling(ctx, settling, err) {
	case settlingInterrupted:
		return false, nil
	case settlingCutShort:
		return false, err
	case settlingPostponed:
		a.logTrouble(ctx, err)
		a.recordFailure(err)
		a.allowLonger(err)
		if isPermanent(err) {
			a.mu.Lock()
			a.schedule.Rest(refusalInterval)
			a.mu.Unlock()
		}
		return false, err
	}
	return a.finish(err)
}

// patience says how long an approved token may wait for what plex.tv does not tell yet.
type patience int

const (
	untilExpiry  patience = iota // of the PIN
	whenReplaced                 // another login waits for its place: an unknown account counts as another one
	oneAttempt                   // the same, with one attempt for each request
)

// settle reads the account of the parked token of v and installs the token, or drops it:
// with [ErrAccountMismatch], [ErrTokenRejected] or, once it need not wait any longer, with
// plex.tv's refusal to tell the account. That ends the login for all who wait. Any other
// error leaves the token parked.
func (l *logins) settle(ctx context.Context, v *profile.PendingPIN, limit patience) (err error) {
	b, err := l.load(ctx)
	if err != nil {
		return unread{err}
	}
	return l.settlePIN(ctx, v, b, limit)
}

// settlePIN does the work of settle with b, the profile as it was just read.
func (l *logins) settlePIN(ctx context.Context, v *profile.PendingPIN, b *profile.Profile, limit patience) (err error) {
	defer func() {
		if a := l.attemptFor(v.ID); a != nil && isSettled(err) {
			a.finish(err)
		}
	}()
	for { // another login may retire the token while its account is read
		again, err := l.settleOnce(ctx, v, b, limit)
		if err != nil || !again {
			return err
		}
		if err := gate.Sleep(ctx, outdatedPause); err != nil {
			return fmt.Errorf("plexauth: %w", err)
		}
		if b, err = l.load(ctx); err != nil {
			return unread{err}
		}
	}
}

// settleOnce makes one attempt to settle. again reports that nothing was decided, because
// the tokens that the decision depends on have changed.
func (l *logins) settleOnce(ctx context.Context, v *profile.PendingPIN, b *profile.Profile, limit patience) (again bool, err error) {
	canWait := func() bool { return limit == untilExpiry && l.left(v) > 0 }
	app := profile.Approval{PIN: v, Previous: b.AccountToken(), OthersHash: b.OthersHash()}
	app.Token, app.Account, err = l.identifyParked(ctx, v, limit == oneAttempt)
	switch {
	case errors.Is(err, fault.ErrTokenRejected):
		return false, l.dropRejected(ctx, v, err)
	case isPermanent(err) && !isNotGenuine(err) && !canWait():
		return false, l.dropRefused(ctx, v, err)
	case err != nil:
		return false, err
	}
	if !v.Options.SwitchAccount && b.Linked() && b.AccountID() == 0 {
		app.PreviousOwner, err = l.identifyCurrent(ctx, b, limit == oneAttempt)
		// What the store says of the linked account may be old, but is all there is if
		// plex.tv refuses to tell.
		knows := app.Account.Matches(b.ClaimedAccountID(), b.Username())
		if err != nil && (app.PreviousOwner != profile.OwnerRefused || canWait() && !knows) {
			return false, err
		}
	}
	return l.install(ctx, app, b)
}

// unread is the error of a store that has failed before anything was decided.
type unread struct{ error }

func (e unread) Unwrap() error { return e.error }

// identifyParked reads the account of a parked token. t is that token, or its successor
// if it was a JWT and has expired.
func (l *logins) identifyParked(ctx context.Context, v *profile.PendingPIN, once bool) (t secret.Value, o profile.Owner, err error) {
	t, told, err := l.prove(ctx, v)
	var u *plextv.User
	if err == nil {
		u, err = l.readAccount(ctx, t, v.ClientID, once)
	}
	if err != nil && !errors.Is(err, fault.ErrTokenRejected) && told != nil && told.ID > 0 {
		l.warn(ctx, "could not read the account from plex.tv; using the account that the token names", err)
		u, err = told, nil
	}
	if err != nil {
		return t, profile.Owner{}, err
	}
	return t, ownerOf(u), nil
}

// identifyCurrent finds out whose login a parked token would replace, so that another
// account's is refused. A JWT tells it where plex.tv does not. The error with
// profile.OwnerRefused is plex.tv's refusal.
func (l *logins) identifyCurrent(ctx context.Context, b *profile.Profile, once bool) (profile.Ownership, error) {
	t := b.AccountToken()
	_, err := l.adoptToken(ctx, t, b.ClientID(), once)
	claims, _ := devicekey.ReadClaims(t)
	switch {
	case err == nil:
		return profile.OwnerKnown, nil
	case errors.Is(err, fault.ErrTokenRejected):
		if _, err = l.reject(ctx, t); errors.Is(err, ErrStore) { // plex.tv is not asked again for that
			l.warn(ctx, "could not record that the previous token was rejected", err)
			err = nil
		}
		return profile.TokenDead, err
	case isPermanent(err) && claims.Account.ID > 0:
		err = l.update(ctx, func(b *profile.Profile) error {
			if b.AccountToken().Equal(t) {
				b.Adopt(claimedOwner(claims.Account))
			}
			return nil
		}, t)
		return profile.OwnerKnown, asUnread(err)
	case errors.Is(err, fault.ErrTokenExpired), isPermanent(err) && plextv.FailureIn(err).NamesToken():
		return profile.TokenDead, nil
	case isPermanent(err):
		return profile.OwnerRefused, err
	}
	return profile.OwnerUnasked, asUnread(err)
}

// asUnread marks an error of the store.
func asUnread(err error) error {
	if errors.Is(err, ErrStore) {
		return unread{err}
	}
	return err
}

// dropRejected drops a parked token that plex.tv does not accept, because it was revoked
// before it was used, and returns how its login has ended.
func (l *logins) dropRejected(ctx context.Context, v *profile.PendingPIN, rejected error) error {
	late, cancel := gate.Outlive(ctx, saveGrace) // a caller that wants a turn has it soon enough
	defer cancel()
	outcome := rejected
	err := l.update(late, func(b *profile.Profile) error {
		outcome = b.DropRejected(v, rejected)
		return nil
	})
	if outcome == nil || err != nil && late.Err() != nil { // it stays for the next caller
		return err
	}
	return errors.Join(outcome, err)
}

// dropRefused drops and revokes a parked token whose account plex.tv refuses to tell. The
// previous login stays.
func (l *logins) dropRefused(ctx context.Context, v *profile.PendingPIN, refusal error) error {
	late, cancel := gate.Outlive(ctx, saveGrace)
	defer cancel()
	dropped := false
	err := l.update(late, func(b *profile.Profile) error {
		dropped = b.DropParked(v)
		return nil
	})
	if err != nil {
		return err
	}
	if dropped {
		if err := l.revoke(ctx, profile.Revocation{Token: v.Token, ClientID: v.ClientID, Device: v.Device}); err != nil {
			l.warn(ctx, "the approved token was dropped, but not revoked", err)
		}
		l.info(ctx, "login ended: plex.tv does not tell the account of the approved token")
	}
	return droppedError{refusal}
}

// droppedError is plex.tv's refusal to tell the account of an approved token, which was
// dropped for that.
type droppedError struct{ error }

func (e droppedError) Unwrap() error { return e.error }

// isSettled reports whether err, from settle, means that a decision was made.
func isSettled(err error) bool {
	return err == nil || errors.Is(err, fault.ErrAccountMismatch) || errors.Is(err, fault.ErrTokenRejected) || errors.As(err, new(droppedError))
}

// install makes a parked token the profile's, or drops it as another account's. b is the
// profile that the decision goes by. again reports that nothing was done, because there
// are other tokens now.
func (l *logins) install(ctx context.Context, app profile.Approval, b *profile.Profile) (again bool, err error) {
	if app.PIN.Device == nil && len(b.UnidentifiedOthers(app.PIN.ClientID)) > 0 {
		if now, err := l.load(ctx); err == nil { // some may be known or rejected since b was read
			l.learn(ctx, now.UnidentifiedOthers(app.PIN.ClientID))
		}
	}
	var decision profile.Decision
	var replaced *profile.Revocation
	var left Status
	a := l.attemptFor(app.PIN.ID)
	err = l.saveToken(ctx, a, app.PIN.Token, func(b *profile.Profile) (err error) {
		decision, replaced, err = app.Apply(b, l.options.Scopes, l.client.Clock.Skew())
		left = l.status(b)
		return err
	})
	switch {
	case err != nil || decision == profile.Outdated:
		return decision == profile.Outdated, err
	case decision == profile.Mismatch, decision == profile.Inherited:
		return false, l.endMismatch(ctx, app, decision)
	case decision == profile.Installed:
		a.setFinalStatus(left)
		l.logf(ctx, LevelSuccess, "token stored")
	}
	if replaced != nil { // it must not stay in the person's list
		if err := l.revoke(ctx, *replaced); err != nil {
			l.warn(ctx, "the device that this login replaces was not signed out", err)
		}
	}
	return false, nil
}

// endMismatch ends an approval that was dropped as another account's, and returns its error.
func (l *logins) endMismatch(ctx context.Context, app profile.Approval, d profile.Decision) error {
	if d == profile.Inherited {
		l.info(ctx, "the token went to the profile of that account")
	} else if err := public(l.client.Revoke(ctx, app.Token, app.PIN.ClientID)); err != nil {
		l.warn(ctx, "the other account's token was dropped, but not revoked", err)
	}
	l.info(ctx, "login refused: approved by another account than the linked one")
	return mismatchError(app)
}

// mismatchError returns the error for an approval by another account than the linked one.
func mismatchError(app profile.Approval) error {
	why := ""
	if app.PreviousOwner == profile.OwnerRefused {
		why = " (plex.tv does not tell the account of the linked login)"
	}
	return fmt.Errorf("%w: %s%s; use SwitchAccount to accept it", fault.ErrAccountMismatch, plain.Short(app.Account.Name), why)
}
