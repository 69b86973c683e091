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

// approved saves a token in hand. plex.tv has retired the older one already,
// so this must not be lost.
func (p *PlexAuth) approved(ctx context.Context, l *login, t secret.Value) (bool, error) {
	var parked *profile.PendingPIN
	var known bool
	err := p.saveToken(ctx, l, t, func(b *profile.Profile) error {
		parked, known = nil, false
		v, err := b.StillPending(l.pin.ID, t, l.pin.device, l.pin.CreatedAt)
		switch {
		case err != nil:
			return err
		case v == nil:
			known = b.CloudID() != 0
			return nil
		case b.Linked() && !v.Options.SwitchAccount, v.Device != nil:
			b.Park(t) // until it is known whose it is, or that it is genuine
			parked = b.Pending()
			return nil
		}
		b.SetAside() // whose token this is, the account will tell
		b.SignIn(t, l.pin.clientID)
		return nil
	})
	switch {
	case errors.Is(err, fault.ErrNoPendingPin), errors.Is(err, fault.ErrPinSuperseded), errors.Is(err, fault.ErrAccountMismatch), err == nil && known:
		return p.ended(l, err)
	case err != nil:
		return true, err // given up, but the PIN is still pending and another look finds the token again
	case parked != nil:
		return p.lookParked(ctx, l, parked)
	}
	p.logf(ctx, LevelSuccess, "token stored")
	reading, done := l.abortable(plextv.WithAttemptLimit(ctx, l.patience))
	defer done()
	p.learnSiblings(reading, l.pin.clientID)
	_, err = p.adoptToken(reading, t, l.pin.clientID, false)
	switch {
	case errors.Is(err, fault.ErrTokenRejected): // signed out again already
		_, rejectErr := p.reject(ctx, t)
		return p.ended(l, errors.Join(err, rejectErr))
	case err != nil:
		p.warn(ctx, "signed in, but the account could not be read yet", err)
	}
	return p.ended(l, nil)
}

// saveToken saves an approved token, and lets its login tell since when. l may
// be nil.
func (p *PlexAuth) saveToken(ctx context.Context, l *login, t secret.Value, edit func(*profile.Profile) error) error {
	l.saves(true)
	again := false
	defer func() { l.saves(again) }()
	err := p.save(ctx, saveLimit, t, edit)
	again = errors.Is(err, ErrStore)
	return err
}

// lookParked decides on an approved token that waits for its account to be
// known.
func (p *PlexAuth) lookParked(ctx context.Context, l *login, v *profile.PendingPIN) (bool, error) {
	sent := time.Now()
	settling, done := l.abortable(plextv.WithAttemptLimit(ctx, l.patience))
	defer done()
	h := patient
	if l.left() <= 0 { // which need not be the stored one
		h = wanted
	}
	err := p.settleParked(settling, v, h)
	if settling.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil // somebody wants the turn
	}
	e := failureOf(err)
	if ctx.Err() != nil && err != nil && e == nil { // nobody else's affair
		return false, err
	}
	waits := !decides(err) && e != nil || errors.As(err, new(unread))
	if waits && l.left() > 0 {
		p.disturbed(ctx, l, e, err)
		l.postpone(sent, e, err)
		l.allowMore(e)
		if lasts(err) {
			l.rest(refusalPace)
		}
		return false, err
	}
	if ctx.Err() != nil && err != nil {
		return false, err
	}
	return p.ended(l, err)
}

// refusalPace is how often plex.tv is asked again what it has refused to tell. It
// would answer the same, unless a person does something about it.
const refusalPace = time.Minute

// rest makes no look before a pause is over.
func (l *login) rest(pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = time.Now().Add(jitter(pause))
}

// haste says how long an approved token may wait for what plex.tv does not tell yet.
type haste int

const (
	patient haste = iota // until the PIN's end
	wanted               // its place is wanted: what cannot be known counts against it
	hurried              // and one attempt will do
)

// settleParked reads the account of a parked token and promotes the token, or
// drops it with [ErrAccountMismatch], [ErrTokenRejected] or, once it need not wait
// any longer, with plex.tv's refusal to tell the account. That ends the login for
// all who wait. Any other error leaves it parked.
func (p *PlexAuth) settleParked(ctx context.Context, v *profile.PendingPIN, h haste) (err error) {
	defer func() {
		if decides(err) {
			p.endedPIN(v.Id, err)
		}
	}()
	waits := func() bool { return h == patient && p.left(v) > 0 }
	for again := true; again; { // another login may retire the token while its account is asked for
		b, err := p.load(ctx)
		if err != nil {
			return unread{err}
		}
		a := approval{pin: v, over: b.AccountToken(), siblings: b.Siblings()}
		a.token, a.account, err = p.whose(ctx, v, h == hurried)
		switch {
		case errors.Is(err, fault.ErrTokenRejected):
			return p.dropRejected(ctx, v, err)
		case lasts(err) && !isNotGenuine(err) && !waits():
			return p.dropRefused(ctx, v, err)
		case err != nil:
			return err
		}
		a.before, err = p.askBefore(ctx, b, v, h)
		if err != nil && (a.before != untold || waits() && !ownerOf(a.account).WasMeant(b.ClaimedID(), b.Username())) {
			return err
		}
		if again, err = p.promote(ctx, a); err != nil {
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
func (p *PlexAuth) whose(ctx context.Context, v *profile.PendingPIN, once bool) (t secret.Value, a *plextv.User, err error) {
	t, told, err := p.prove(ctx, v)
	if err == nil {
		a, err = p.readAccount(ctx, t, v.ClientID, once)
	}
	if err != nil && !errors.Is(err, fault.ErrTokenRejected) && told != nil && told.ID > 0 {
		p.warn(ctx, "the account could not be read, only what the token says", err)
		a, err = told, nil
	}
	return t, a, err
}

// before is what plex.tv says of the login that a parked token would replace.
type before int

const (
	unasked before = iota
	told           // whose it is, which is stored now
	dead           // its token is not taken any more
	untold         // it refuses to say whose it is
)

// askBefore is whoseBefore, where the decision on the approval needs that.
func (p *PlexAuth) askBefore(ctx context.Context, b *profile.Profile, v *profile.PendingPIN, h haste) (before, error) {
	if v.Options.SwitchAccount || !b.Linked() || b.CloudID() != 0 {
		return unasked, nil
	}
	return p.whoseBefore(ctx, b, h == hurried)
}

// whoseBefore finds out whose the login is that a parked token would replace, so
// that another's is refused. A JWT tells it by itself where plex.tv does not. The
// error with untold is plex.tv's refusal.
func (p *PlexAuth) whoseBefore(ctx context.Context, b *profile.Profile, once bool) (before, error) {
	t := b.AccountToken()
	_, err := p.adoptToken(ctx, t, b.ClientID(), once)
	claims, _ := devicekey.ReadClaims(t)
	e := failureOf(err)
	said := unasked
	switch {
	case err == nil:
		return told, nil
	case errors.Is(err, fault.ErrTokenRejected):
		if _, err = p.reject(ctx, t); errors.Is(err, ErrStore) { // it is not asked about again for that
			p.warn(ctx, "the verdict on the token before was not saved", err)
			err = nil
		}
		return dead, err
	case lasts(err) && claims.Account.Id > 0:
		said, err = told, p.update(ctx, func(b *profile.Profile) error {
			if b.AccountToken().Equal(t) {
				b.Adopt(claimedOwner(claims.Account))
			}
			return nil
		}, t)
	case errors.Is(err, fault.ErrTokenExpired), lasts(err) && plextv.NamesToken(e.Message):
		return dead, nil
	case lasts(err):
		return untold, err
	}
	if errors.Is(err, ErrStore) {
		err = unread{err}
	}
	return said, err
}

// lasts reports whether plex.tv would answer the same again.
func lasts(err error) bool {
	return failureOf(err).IsPermanent()
}

// dropRejected drops a parked token that plex.tv does not take: it was revoked
// before it was ever used. But where the login after it has brought the profile
// the next one, that is a success; where another caller or process has refused it as
// another account's, and ended it by that, it is ErrAccountMismatch.
func (p *PlexAuth) dropRejected(ctx context.Context, v *profile.PendingPIN, rejected error) error {
	succeeded, mismatch := false, false
	late, cancel := gate.Outlive(ctx, saveGrace) // whoever wants the turn has it soon enough
	defer cancel()
	err := p.update(late, func(b *profile.Profile) error {
		now := secret.Fingerprint(b.AccountToken())
		succeeded = v.Before != "" && now != "" && now != v.Before && !b.Rejected()
		mismatch = b.Refused(v.Id)
		b.DropPending(v.Id)
		return nil
	})
	switch {
	case succeeded, err != nil && late.Err() != nil: // it stays for the next caller
		return err
	case mismatch:
		return errors.Join(fault.ErrAccountMismatch, err)
	}
	return errors.Join(rejected, err)
}

// dropRefused drops a parked token of which plex.tv does not say whose it is, and
// ends it there. The login before goes on.
func (p *PlexAuth) dropRefused(ctx context.Context, v *profile.PendingPIN, refusal error) error {
	late, cancel := gate.Outlive(ctx, saveGrace)
	defer cancel()
	dropped := false
	err := p.update(late, func(b *profile.Profile) error {
		now := b.Pending()
		dropped = now != nil && now.Id == v.Id && now.Token.Equal(v.Token)
		if dropped {
			b.DropPending(v.Id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if dropped {
		if err := p.revoke(ctx, revocation{v.Token, v.ClientID, v.Device}); err != nil {
			p.warn(ctx, "the approved token was dropped, but not revoked", err)
		}
		p.info(ctx, "login ended: plex.tv does not say whose the approved token is")
	}
	return refused{refusal}
}

// refused is plex.tv's refusal to tell the account of an approved token, which was
// dropped for that.
type refused struct{ error }

func (e refused) Unwrap() error { return e.error }

// approval is a parked token whose account is known, and what the decision on it
// goes by.
type approval struct {
	pin      *profile.PendingPIN
	token    secret.Value // the PIN's, or the JWT after it
	account  *plextv.User
	over     secret.Value // the profile's own when the account was asked for
	siblings uint64       // a hash of the other profiles' then
	before   before       // what was found out about over
}

// settlement is what became of an approval.
type settlement struct {
	again     bool // nothing: the tokens that it went by are others now
	mismatch  bool // it is dropped, as another account's
	inherited bool // but it went to other profiles of that account
	promoted  bool
	replaced  *revocation // the device that it replaces
}

// promote makes a parked token the profile's, or drops it as another account's.
// again is true where nothing was done, because there are other tokens now.
func (p *PlexAuth) promote(ctx context.Context, a approval) (again bool, err error) {
	if a.pin.Device == nil {
		p.learnSiblings(ctx, a.pin.ClientID)
	}
	var done settlement
	err = p.saveToken(ctx, p.loginOf(a.pin.Id), a.pin.Token, func(b *profile.Profile) (err error) {
		done, err = a.settle(b, p.options.Scopes, p.client.Clock.Skew())
		return err
	})
	switch {
	case err != nil || done.again:
		return done.again, err
	case done.mismatch:
		return false, p.refuse(ctx, a, done.inherited)
	case done.promoted:
		p.logf(ctx, LevelSuccess, "token stored")
	}
	if done.replaced != nil { // it must not stay in the person's list
		if err := p.revoke(ctx, *done.replaced); err != nil {
			p.warn(ctx, "the device that this login replaces was not signed out", err)
		}
	}
	return false, nil
}

// settle carries the decision on an approval out in the profile.
func (a approval) settle(b *profile.Profile, scopes []string, skew time.Duration) (done settlement, err error) {
	v := a.pin
	now, err := b.StillPending(v.Id, a.token, v.Device, v.Created)
	switch {
	case now == nil:
		return settlement{}, err
	case secret.Fingerprint(b.AccountToken()) != secret.Fingerprint(a.over), v.Device == nil && b.Siblings() != a.siblings:
		return settlement{again: true}, nil
	case !now.Options.SwitchAccount && a.isAnothers(b):
		b.RefusePending(v.Id)
		return settlement{mismatch: true, inherited: a.bequeath(b)}, nil
	}
	done.promoted = true
	same := b.CloudID() == a.account.ID
	if b.CloudID() == 0 {
		b.SetAside()
	}
	if v.Device == nil {
		if same {
			b.Succeed(a.token)
		}
		b.SignIn(a.token, v.ClientID)
	} else {
		if old := b.Life(); same && !b.Rejected() && old.Renewable() && old.Device.ClientID != v.ClientID {
			done.replaced = &revocation{old.Token, old.Device.ClientID, old.Device}
		}
		b.SignInDevice(a.token, v.Device, scopes, skew)
	}
	b.Adopt(ownerOf(a.account))
	return done, nil
}

// isAnothers reports whether the approval counts as another account's than the one
// that is linked. Where plex.tv cannot or will not say whose the login before is,
// the stored number and name decide, and what cannot be known is another's.
func (a approval) isAnothers(b *profile.Profile) bool {
	linked := b.CloudID()
	switch {
	case linked != 0:
	case a.before == untold:
		return !ownerOf(a.account).WasMeant(b.ClaimedID(), b.Username())
	case a.before == dead:
		linked = b.ClaimedID()
	}
	return linked != 0 && linked != a.account.ID
}

// bequeath gives the token to the other profiles whose own was retired by the
// approval.
func (a approval) bequeath(b *profile.Profile) (inherited bool) {
	if a.pin.Device != nil {
		return false
	}
	for _, other := range b.Others() {
		if other.SameCredential(a.account.ID, a.pin.ClientID) {
			other.Succeed(a.token)
			inherited = true
		}
	}
	return inherited
}

// refuse is the end of an approval that was dropped as another account's.
func (p *PlexAuth) refuse(ctx context.Context, a approval, inherited bool) error {
	if inherited {
		p.info(ctx, "the token went to the profile of that account")
	} else if err := public(p.client.Revoke(ctx, a.token, a.pin.ClientID)); err != nil {
		p.warn(ctx, "the other account's token was dropped, but not revoked", err)
	}
	p.info(ctx, "login refused: another account than the one linked")
	why := ""
	if a.before == untold {
		why = " (plex.tv does not say whose the linked login is)"
	}
	return fmt.Errorf("%w: %s%s; use SwitchAccount to accept it", fault.ErrAccountMismatch, plain.Short(a.account.DisplayName()), why)
}

// decides reports whether settleParked has settled the token, one way or the
// other.
func decides(err error) bool {
	return err == nil || errors.Is(err, fault.ErrAccountMismatch) || errors.Is(err, fault.ErrTokenRejected) || errors.As(err, new(refused))
}
