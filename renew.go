package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// leaseLife is how long one process has the renewing to itself, leaseRest what
	// must be left of that for saving when the exchange ends.
	leaseLife      = 30 * time.Second
	leaseRest      = renewSaveLimit + 2*time.Second
	leasePoll      = 250 * time.Millisecond
	renewSaveLimit = 3 * time.Second
	// patience is how long a request waits for the next token while its own still
	// works.
	patience = 800 * time.Millisecond
)

// Refresh gets a new JWT for a login with a device key, whether or not the old
// one is due; [PlexAuth.Token] and [PlexAuth.Transport] do so by themselves when
// it is. Callers at the same time share one exchange, and for a second its new
// token answers those who come later. It works as well weeks after the JWT has
// expired. For a long-lived token, and for a JWT that has no key here, it is
// [PlexAuth.Verify]: those cannot be renewed.
//
// Only where plex.tv says that the device is not authorized any more is the
// error [ErrTokenRejected], and NeedsLogin set. Any other failure leaves the JWT
// as it was: [ErrUnavailable], also where plex.tv answers with what is none of this
// device's or of another account, [ErrRateLimited], [ErrCorruptConfig] where the key
// cannot be read, and other errors of the store. Without a token it is
// [ErrNotConnected].
func (p *PlexAuth) Refresh(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	err = b.Unusable()
	switch l := p.lifeOf(b); {
	case err != nil:
	case l.Err != nil:
		err = l.Err
	case l.Renewable():
		err = p.renew(ctx, l.Token, asked)
	default:
		return p.Verify(ctx)
	}
	return p.statusNow(ctx, err)
}

// errNotNow tells a caller with a good token to go on with it.
var errNotNow = errors.New("plexauth: not renewed now")

// freshen renews a token that is due. It reports whether the profile has another
// one now; an error means that the old one is over.
func (p *PlexAuth) freshen(ctx context.Context, l *profile.Life) (bool, error) {
	now := p.client.Clock.Now()
	switch {
	case profile.Past(l.Over(), now):
		if l.Err != nil || !l.Renewable() {
			return false, expiredError(l.Err)
		}
		err := p.renew(ctx, l.Token, needed)
		if err == nil {
			return true, nil
		}
		err = p.notRenewed(ctx, err)
		if errors.Is(err, fault.ErrTokenExpired) && !profile.Past(l.Over(), p.client.Clock.Now()) {
			return false, nil // plex.tv gave none, but told that this machine's clock is fast
		}
		return false, err
	case profile.Past(l.Due(), now):
		return p.renewBeside(ctx, l.Token), nil
	}
	return false, nil
}

// notRenewed is the error for a caller who has no good token.
func (p *PlexAuth) notRenewed(ctx context.Context, err error) error {
	if errors.Is(err, fault.ErrTokenRejected) || errors.Is(err, fault.ErrNotConnected) || ctx.Err() != nil {
		return err
	}
	return expiredError(err)
}

// outlived deals with a token that plex.tv does not take any more, as its err
// says. It reports whether the profile has another one now. A device's 401 is no
// verdict before its key was tried: another process may have renewed, or plex.tv
// may end a JWT early.
func (p *PlexAuth) outlived(ctx context.Context, t secret.Value, err error) (bool, error) {
	b, loadErr := p.load(ctx)
	if loadErr != nil {
		return false, loadErr
	}
	l := b.Life()
	switch {
	case !l.Token.Equal(t):
		return !l.Token.IsZero(), err
	case l.Err != nil && errors.Is(err, fault.ErrTokenExpired):
		return false, fmt.Errorf("%w; it cannot be renewed: %w", err, fault.Inside(l.Err))
	case !l.Renewable(), errors.Is(err, fault.ErrTokenExpired) && p.renewals.vain(p.instance):
		return false, err
	}
	renewErr := p.renew(ctx, t, needed)
	if renewErr != nil && errors.Is(err, fault.ErrTokenExpired) {
		renewErr = p.notRenewed(ctx, renewErr)
	}
	return renewErr == nil, renewErr
}

// renew gets the successor of t, the token that the caller found, unless there
// is one already. Of the callers in one process one makes the exchange; each
// waits only as long as its own context lasts.
func (p *PlexAuth) renew(ctx context.Context, t secret.Value, u urgency) error {
	r, leave := p.renewals.join(p.instance)
	defer leave()
	came := r.count()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return fmt.Errorf("plexauth: waiting for a new token: %w", ctx.Err())
	}
	if err, ok := r.answer(t, came); ok {
		return err
	}
	return p.renewInTurn(ctx, r, t, u)
}

// renewBeside renews a token that still works, unless that is being done or has
// just failed. The caller waits a moment and then goes on with the old one,
// while the renewal does until ctx ends, ten seconds at most.
func (p *PlexAuth) renewBeside(ctx context.Context, t secret.Value) (renewed bool) {
	r, leave := p.renewals.join(p.instance)
	came := r.count()
	if r.paused(t, spare) != nil {
		leave()
		return false
	}
	select {
	case r.turn <- struct{}{}:
	default:
		leave()
		return false
	}
	done := make(chan error, 1)
	go func() {
		defer leave()
		defer func() { <-r.turn }()
		limited, cancel := context.WithTimeout(ctx, plextv.AttemptLimit)
		defer cancel()
		err, ok := r.answer(t, came)
		if !ok {
			err = p.renewInTurn(limited, r, t, spare)
		}
		done <- err
	}()
	moment := time.NewTimer(patience)
	defer moment.Stop()
	select {
	case err := <-done:
		return err == nil
	case <-moment.C:
	case <-ctx.Done():
	}
	return false
}

// renewInTurn is renew for the one whose turn it is.
func (p *PlexAuth) renewInTurn(ctx context.Context, r *renewal, t secret.Value, u urgency) error {
	b, err := p.load(ctx)
	if err != nil {
		return err
	}
	if now := b.AccountToken(); !now.Equal(t) { // another process was faster
		p.sources.forget()
		return nil
	}
	if err := r.paused(t, u); err != nil {
		return err
	}
	l, until, err := p.lease(ctx, t, u)
	var renewed secret.Value
	if l != nil {
		renewed, err = p.exchangeBefore(ctx, until.Add(-leaseRest), l)
		saving := err == nil
		if saving {
			err = p.saveRenewed(ctx, l, renewed)
		}
		if err != nil && !(saving && ctx.Err() != nil) { // else there is no time left, and the lease ends by itself
			p.endLease(ctx, l, err)
		}
	} else if err == nil || errors.Is(err, errNotNow) {
		return err
	}
	if err != nil {
		if b, loadErr := p.load(ctx); loadErr == nil && !b.AccountToken().Equal(t) {
			return nil // somebody has signed in meanwhile, or out
		}
	}
	var failures int
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("plexauth: renewing the token: %w", ctx.Err())
		if l != nil || u == spare { // plex.tv was asked, or a request has waited
			failures = r.cutShort(t, u)
		}
	} else {
		failures = r.note(t, renewed, err)
	}
	switch {
	case err == nil:
		p.info(ctx, "token renewed")
	case failures == 1:
		p.warn(ctx, "the token could not be renewed", err)
	}
	return err
}

// exchangeBefore is exchange with an end, so that no other process has begun the
// same meanwhile.
func (p *PlexAuth) exchangeBefore(ctx context.Context, end time.Time, l *profile.Life) (secret.Value, error) {
	limited, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	t, err := p.exchange(limited, l.Device, p.scopes(l), nil)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = tooLate(plextv.OpRenew, "plex.tv", limited.Err())
	}
	return t, err
}

// scopes are the claims to ask for: the program's, or those asked for last.
func (p *PlexAuth) scopes(l *profile.Life) []string {
	if len(p.options.Scopes) > 0 {
		return p.options.Scopes
	}
	return l.Scopes
}

// lease claims the renewing for this process, until a time. It returns nil where
// the store has another token than t already. While another process renews, it
// waits for that one's result.
func (p *PlexAuth) lease(ctx context.Context, t secret.Value, u urgency) (l *profile.Life, until time.Time, err error) {
	for {
		var busy bool
		err = p.update(ctx, func(b *profile.Profile) error {
			l, busy = nil, false
			found := b.Life()
			switch {
			case !found.Token.Equal(t):
				return nil
			case b.Rejected():
				return b.Unusable()
			case found.Err != nil:
				return found.Err
			case !found.Renewable():
				return nil
			}
			now := time.Now()
			if theirs := b.LeasedUntil(); theirs.After(now) && !theirs.After(now.Add(leaseLife)) {
				busy = true
				return nil
			}
			l, until = found, now.Add(leaseLife)
			b.SetLease(until)
			return nil
		}, t)
		switch {
		case err != nil:
			return nil, until, err
		case !busy:
			return l, until, nil
		case u == spare:
			return nil, until, errNotNow
		}
		if err := gate.Sleep(ctx, leasePoll); err != nil {
			return nil, until, fmt.Errorf("plexauth: waiting for a new token: %w", err)
		}
	}
}

// endLease lets others try after a failure, and keeps plex.tv's verdict on the
// device. Nothing else of the credential changes.
func (p *PlexAuth) endLease(ctx context.Context, l *profile.Life, err error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	updateErr := p.update(late, func(b *profile.Profile) error {
		if !b.AccountToken().IsZero() && b.AccountToken().Equal(l.Token) {
			b.SetLease(time.Time{})
			if errors.Is(err, fault.ErrTokenRejected) {
				b.SetRejected()
			}
		}
		return nil
	}, l.Token)
	if updateErr != nil {
		p.warn(ctx, "the outcome of a renewal was not saved", updateErr)
	}
}

// saveRenewed puts the new token in the old one's place. Where somebody has
// signed in meanwhile, that stands; where another process has renewed as well,
// the token that was issued last. A token of another account than the old one's is
// none that was asked for.
func (p *PlexAuth) saveRenewed(ctx context.Context, l *profile.Life, t secret.Value) error {
	old, _ := devicekey.ReadClaims(l.Token)
	got, _ := devicekey.ReadClaims(t)
	return p.save(ctx, renewSaveLimit, t, func(b *profile.Profile) error {
		now := b.Life()
		if now.Token.Equal(l.Token) {
			whose := cmp.Or(old.Account.Id, b.CloudID())
			if whose != 0 && got.Account.Id != 0 && whose != got.Account.Id {
				return public(plextv.NotGenuine(errors.New("the new token is another account's")))
			}
		} else {
			theirs, _ := devicekey.ReadClaims(now.Token)
			sameDevice := now.Renewable() && now.Device.Kid == l.Device.Kid
			if !sameDevice || theirs.Account.Id != got.Account.Id || !theirs.Issued.Before(got.Issued) {
				return nil
			}
		}
		if !devicekey.IsJWT(l.Token.Secret()) && b.ServerToken().Equal(l.Token) { // it has ended
			b.ForgetServerToken()
		}
		b.Bind(t, l.Device, p.scopes(l), p.client.Clock.Skew(), true)
		return nil
	})
}
