package plexauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// A token is renewed when renewAfter of its life is over, and up to
	// renewJitter more, each process at its own time.
	renewAfter, renewJitter = 0.70, 0.05
	// lastMinute of a token counts as over: it must last for the request.
	lastMinute = time.Minute
	// leaseLife is how long one process has the renewing to itself, leaseRest what
	// must be left of that for saving when the exchange ends.
	leaseLife      = 30 * time.Second
	leaseRest      = renewSaveLimit + 2*time.Second
	leasePoll      = 250 * time.Millisecond
	renewSaveLimit = 3 * time.Second
	// patience is how long a request waits for the next token while its own still
	// works.
	patience = 800 * time.Millisecond
	// verifyLeeway is how far the clocks may be apart where a new token's life
	// is checked.
	verifyLeeway = time.Minute
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
	err = b.unusable()
	switch l := p.lifeOf(b); {
	case err != nil:
	case l.err != nil:
		err = l.err
	case l.renewable():
		err = p.renew(ctx, l.token, asked)
	default:
		return p.Verify(ctx)
	}
	return p.statusNow(ctx, err)
}

// errNotNow tells a caller with a good token to go on with it.
var errNotNow = errors.New("plexauth: not renewed now")

// freshen renews a token that is due. It reports whether the profile has another
// one now; an error means that the old one is over.
func (p *PlexAuth) freshen(ctx context.Context, l *life) (bool, error) {
	now := p.client.clock.now()
	switch {
	case past(l.over(), now):
		if l.err != nil || !l.renewable() {
			return false, expiredError(l.err)
		}
		err := p.renew(ctx, l.token, needed)
		if err == nil {
			return true, nil
		}
		err = p.notRenewed(ctx, err)
		if errors.Is(err, ErrTokenExpired) && !past(l.over(), p.client.clock.now()) {
			return false, nil // plex.tv gave none, but told that this machine's clock is fast
		}
		return false, err
	case past(l.due(), now):
		return p.renewBeside(ctx, l.token), nil
	}
	return false, nil
}

// notRenewed is the error for a caller who has no good token.
func (p *PlexAuth) notRenewed(ctx context.Context, err error) error {
	if errors.Is(err, ErrTokenRejected) || errors.Is(err, ErrNotConnected) || ctx.Err() != nil {
		return err
	}
	return expiredError(err)
}

// outlived deals with a token that plex.tv does not take any more, as its err
// says. It reports whether the profile has another one now. A device's 401 is no
// verdict before its key was tried: another process may have renewed, or plex.tv
// may end a JWT early.
func (p *PlexAuth) outlived(ctx context.Context, t secretValue, err error) (bool, error) {
	b, loadErr := p.load(ctx)
	if loadErr != nil {
		return false, loadErr
	}
	l := b.life()
	switch {
	case !l.token.Equal(t):
		return !l.token.IsZero(), err
	case l.err != nil && errors.Is(err, ErrTokenExpired):
		return false, fmt.Errorf("%w; it cannot be renewed: %w", err, inner{l.err})
	case !l.renewable(), errors.Is(err, ErrTokenExpired) && p.renewals.vain(p.instance):
		return false, err
	}
	renewErr := p.renew(ctx, t, needed)
	if renewErr != nil && errors.Is(err, ErrTokenExpired) {
		renewErr = p.notRenewed(ctx, renewErr)
	}
	return renewErr == nil, renewErr
}

// renew gets the successor of t, the token that the caller found, unless there
// is one already. Of the callers in one process one makes the exchange; each
// waits only as long as its own context lasts.
func (p *PlexAuth) renew(ctx context.Context, t secretValue, u urgency) error {
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
func (p *PlexAuth) renewBeside(ctx context.Context, t secretValue) (renewed bool) {
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
		limited, cancel := context.WithTimeout(ctx, attemptLimit)
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
func (p *PlexAuth) renewInTurn(ctx context.Context, r *renewal, t secretValue, u urgency) error {
	b, err := p.load(ctx)
	if err != nil {
		return err
	}
	if now := b.accountToken(); !now.Equal(t) { // another process was faster
		p.sources.forget()
		return nil
	}
	if err := r.paused(t, u); err != nil {
		return err
	}
	l, until, err := p.lease(ctx, t, u)
	var renewed secretValue
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
		if b, loadErr := p.load(ctx); loadErr == nil && !b.accountToken().Equal(t) {
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
func (p *PlexAuth) exchangeBefore(ctx context.Context, end time.Time, l *life) (secretValue, error) {
	limited, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	t, err := p.exchange(limited, l.device, p.scopes(l), nil)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = tooLate(opRenew, "plex.tv", limited.Err())
	}
	return t, err
}

// scopes are the claims to ask for: the program's, or those asked for last.
func (p *PlexAuth) scopes(l *life) []string {
	if len(p.options.Scopes) > 0 {
		return p.options.Scopes
	}
	return l.scopes
}

// lease claims the renewing for this process, until a time. It returns nil where
// the store has another token than t already. While another process renews, it
// waits for that one's result.
func (p *PlexAuth) lease(ctx context.Context, t secretValue, u urgency) (l *life, until time.Time, err error) {
	for {
		var busy bool
		err = p.update(ctx, func(b *profile) error {
			l, busy = nil, false
			found := b.life()
			switch {
			case !found.token.Equal(t):
				return nil
			case b.rejected():
				return b.unusable()
			case found.err != nil:
				return found.err
			case !found.renewable():
				return nil
			}
			now := time.Now()
			if theirs := b.leasedUntil(); theirs.After(now) && !theirs.After(now.Add(leaseLife)) {
				busy = true
				return nil
			}
			l, until = found, now.Add(leaseLife)
			b.setLease(until)
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
		if err := sleep(ctx, leasePoll); err != nil {
			return nil, until, fmt.Errorf("plexauth: waiting for a new token: %w", err)
		}
	}
}

// endLease lets others try after a failure, and keeps plex.tv's verdict on the
// device. Nothing else of the credential changes.
func (p *PlexAuth) endLease(ctx context.Context, l *life, err error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	updateErr := p.update(late, func(b *profile) error {
		if !b.accountToken().IsZero() && b.accountToken().Equal(l.token) {
			b.setLease(time.Time{})
			if errors.Is(err, ErrTokenRejected) {
				b.setRejected()
			}
		}
		return nil
	}, l.token)
	if updateErr != nil {
		p.warn(ctx, "the outcome of a renewal was not saved", updateErr)
	}
}

// saveRenewed puts the new token in the old one's place. Where somebody has
// signed in meanwhile, that stands; where another process has renewed as well,
// the token that was issued last. A token of another account than the old one's is
// none that was asked for.
func (p *PlexAuth) saveRenewed(ctx context.Context, l *life, t secretValue) error {
	old, _ := readClaims(l.token)
	got, _ := readClaims(t)
	return p.save(ctx, renewSaveLimit, t, func(b *profile) error {
		now := b.life()
		if now.token.Equal(l.token) {
			whose := cmp.Or(old.account.ID, b.cloudID())
			if whose != 0 && got.account.ID != 0 && whose != got.account.ID {
				return public(notGenuine(errors.New("the new token is another account's")))
			}
		} else {
			theirs, _ := readClaims(now.token)
			sameDevice := now.renewable() && now.device.kid == l.device.kid
			if !sameDevice || theirs.account.ID != got.account.ID || !theirs.issued.Before(got.issued) {
				return nil
			}
		}
		if !isJWT(l.token.Secret()) && b.serverToken().Equal(l.token) { // it has ended
			b.forgetServerToken()
		}
		b.bind(t, l.device, p.scopes(l), p.client.clock.skew(), true)
		return nil
	})
}
