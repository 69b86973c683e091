package plexauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// leaseReserve is what is left of a lease, for saving, when the exchange must end.
	leaseReserve   = renewSaveLimit + 2*time.Second
	leasePollPause = 250 * time.Millisecond
	renewSaveLimit = 3 * time.Second

	// renewWaitLimit bounds how long a request with a good token waits for the next one.
	renewWaitLimit = 800 * time.Millisecond
)

// Refresh gets a new JWT for a login with a device key, whether or not the old one
// is due. [PlexAuth.Token] and [PlexAuth.Transport] renew a JWT that is due by
// themselves. Concurrent callers share one exchange, and its new token also answers
// those who call within the next second. Refresh works even weeks after the JWT has
// expired. A long-lived token, or a JWT whose key is not stored here, cannot be
// renewed: for these Refresh does what [PlexAuth.Verify] does.
//
// The error matches [ErrTokenRejected], and NeedsLogin is set, only if plex.tv says
// that the device is no longer authorized. Any other failure leaves the JWT as it
// was: [ErrUnavailable], also if plex.tv answers with a token that is not this
// device's or another account's; [ErrRateLimited]; [ErrCorruptConfig] if the key
// cannot be read; and other errors of the store. Without a token the error is
// [ErrNotConnected].
func (p *PlexAuth) Refresh(ctx context.Context) (Status, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.blank(), err
	}
	err = b.CheckToken()
	switch l := p.lifeOf(b); {
	case err != nil:
	case l.Err != nil:
		err = l.Err
	case l.Renewable():
		err = p.renew(ctx, l.Token, renewbackoff.Forced)
	default:
		return p.Verify(ctx)
	}
	return p.statusNow(ctx, err)
}

// lifeOf returns the life of a profile's token.
func (s *session) lifeOf(b *profile.Profile) *profile.Lifetime {
	l := b.Lifetime()
	s.client.Clock.Recall(l.Skew)
	return l
}

// expiredError returns the error for an expired token that was not renewed because of
// why. nil means that there is no device key.
func expiredError(why error) error {
	if why == nil {
		return fmt.Errorf("%w, and there is no device key to renew it: sign in again", fault.ErrTokenExpired)
	}
	return fmt.Errorf("%w, and there is no new one yet: %w", fault.ErrTokenExpired, fault.Inside(why))
}

// errNotNow tells a caller with a good token to keep using it.
var errNotNow = errors.New("plexauth: not renewed now")

// ensureFresh renews a token that is due. It reports whether the profile has another
// token now. An error means that the old one has expired.
func (s *session) ensureFresh(ctx context.Context, l *profile.Lifetime) (renewed bool, err error) {
	now := s.client.Clock.Now()
	switch {
	case profile.Past(l.UnusableAt(), now):
		if l.Err != nil || !l.Renewable() {
			return false, expiredError(l.Err)
		}
		if err = s.renew(ctx, l.Token, renewbackoff.Required); err == nil {
			return true, nil
		}
		err = notRenewed(ctx, err)
		if errors.Is(err, fault.ErrTokenExpired) && !profile.Past(l.UnusableAt(), s.client.Clock.Now()) {
			return false, nil // plex.tv's answer has shown that this machine's clock is fast
		}
		return false, err
	case profile.Past(l.RenewAt(), now):
		return s.renewInBackground(ctx, l.Token), nil
	}
	return false, nil
}

// notRenewed returns the error for a caller without a good token, after err has ended the renewal.
func notRenewed(ctx context.Context, err error) error {
	if errors.Is(err, fault.ErrTokenRejected) || errors.Is(err, fault.ErrNotConnected) || ctx.Err() != nil {
		return err
	}
	return expiredError(err)
}

// afterRefusal renews the token t, which plex.tv has refused with err. It reports
// whether the profile has another token now. A device's 401 counts only once its key
// was tried: another process may have renewed, or plex.tv may end a JWT early.
func (s *session) afterRefusal(ctx context.Context, t secret.Value, err error) (renewed bool, _ error) {
	b, loadErr := s.load(ctx)
	if loadErr != nil {
		return false, loadErr
	}
	expired := errors.Is(err, fault.ErrTokenExpired)
	switch l := b.Lifetime(); {
	case !l.Token.Equal(t):
		return !l.Token.IsZero(), err
	case l.Err != nil && expired:
		return false, fmt.Errorf("%w; it cannot be renewed: %w", err, fault.Inside(l.Err))
	case !l.Renewable(), expired && s.isFutile():
		return false, err
	}
	renewErr := s.renew(ctx, t, renewbackoff.Required)
	if renewErr != nil && expired {
		renewErr = notRenewed(ctx, renewErr)
	}
	return renewErr == nil, renewErr
}

// renew replaces t, the token that the caller has found, unless it is replaced
// already. One caller in this process makes the exchange. The others wait for its
// result, each as long as its own context lasts.
func (s *session) renew(ctx context.Context, t secret.Value, u renewbackoff.Urgency) error {
	e := s.hold()
	defer e.Release()
	renewals := &e.Known.token().renewals
	arrived := renewals.Count()
	leave, err := renewals.Gate.Enter(ctx)
	if err != nil {
		return fmt.Errorf("plexauth: waiting for a new token: %w", err)
	}
	defer leave()
	if isKnown, err := renewals.ResultFor(t, arrived); isKnown {
		return err
	}
	return s.renewHoldingGate(ctx, t, u)
}

// renewInBackground renews a token that still works, unless that is under way, has just
// failed, or plex.tv has asked to wait. The caller waits for renewWaitLimit at most. The
// renewal ends after ten seconds, and at the latest a second after ctx.
func (s *session) renewInBackground(ctx context.Context, t secret.Value) (renewed bool) {
	e := s.hold()
	defer e.Release()
	renewals := &e.Known.token().renewals
	arrived := renewals.Count()
	if renewals.Paused(t, renewbackoff.Background) != nil || s.client.Guard.OpenAt().After(time.Now()) {
		return false
	}
	leave, ok := renewals.Gate.TryEnter()
	if !ok {
		return false
	}
	done := make(chan error, 1)
	inUse := s.hold() // the renewal may outlive this call
	go func() {
		defer inUse.Release()
		defer leave()
		limited, cancel := context.WithTimeout(ctx, plextv.AttemptLimit)
		defer cancel()
		isKnown, err := renewals.ResultFor(t, arrived)
		if !isKnown {
			err = s.renewHoldingGate(limited, t, renewbackoff.Background)
		}
		done <- err
	}()
	late := time.NewTimer(renewWaitLimit)
	defer late.Stop()
	select {
	case err := <-done:
		return err == nil
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// renewHoldingGate replaces t, for the one caller that holds the profile's gate.
func (s *session) renewHoldingGate(ctx context.Context, t secret.Value, u renewbackoff.Urgency) error {
	replaced, err := s.isReplaced(ctx, t)
	if err != nil {
		return err
	}
	if replaced { // by another process
		s.inUse.Wrote(s.namespace)
		return nil
	}
	if err := s.pausedRenewal(t, u); err != nil {
		return err
	}
	lease, err := s.lease(ctx, t, u)
	var next secret.Value
	switch {
	case err != nil:
	case lease.State == profile.LeaseUnneeded:
		return nil
	case lease.State == profile.LeaseTaken:
		return errNotNow
	default:
		next, err = s.exchangeAndSave(ctx, lease)
	}
	if err != nil {
		if replaced, _ := s.isReplaced(ctx, t); replaced { // by a login or a Disconnect
			return nil
		}
	}
	return s.noteOutcome(ctx, t, next, err, lease.State == profile.LeaseGranted, u)
}

// noteRenewal adds to the history of the profile's renewals, and keeps it while it matters.
func (s *session) noteRenewal(add func(*renewbackoff.History)) {
	e := s.hold()
	defer e.Release()
	add(&e.Known.token().renewals)
	e.Keep(e.Known.token().renewals.Matters())
}

// pausedRenewal returns the last failure if t may not be renewed yet.
func (s *session) pausedRenewal(t secret.Value, u renewbackoff.Urgency) error {
	e := s.hold()
	defer e.Release()
	return e.Known.token().renewals.Paused(t, u)
}

// isFutile reports whether another renewal of the profile's token would not help now.
func (s *session) isFutile() bool {
	e := s.hold()
	defer e.Release()
	return e.Known.token().renewals.IsFutile()
}

// isReplaced reports whether the profile has another token than t, or none.
func (s *session) isReplaced(ctx context.Context, t secret.Value) (bool, error) {
	b, err := s.load(ctx)
	return err == nil && !b.AccountToken().Equal(t), err
}

// exchangeAndSave gets the successor of the leased token and saves it, before the lease ends.
func (s *session) exchangeAndSave(ctx context.Context, lease profile.Lease) (next secret.Value, err error) {
	l := lease.Life
	limited, cancel := context.WithDeadline(ctx, lease.Until.Add(-leaseReserve)) // then another process may begin
	defer cancel()
	next, err = s.exchange(limited, l.Device, s.scopes(l), nil)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = tooLate(plextv.OpRenew, "plex.tv", limited.Err())
	}
	if err == nil {
		err = s.saveRenewed(ctx, l, next)
		if err != nil && ctx.Err() != nil { // no time is left, and the lease ends by itself
			return next, err
		}
	}
	if err != nil {
		s.endLease(ctx, l.Token, err)
	}
	return next, err
}

// noteOutcome keeps and logs the outcome of a renewal, and returns its error. asked
// reports whether plex.tv may have been asked.
func (s *session) noteOutcome(ctx context.Context, t, next secret.Value, err error, asked bool, u renewbackoff.Urgency) error {
	first := false
	switch {
	case err == nil:
		s.noteRenewal(func(h *renewbackoff.History) { h.Succeeded(t, next) })
		s.info(ctx, "token renewed")
	case ctx.Err() == nil:
		f := plextv.FailureIn(err)
		failure := renewbackoff.Failure{Err: err, Answered: f != nil && f.Cause == nil}
		if f != nil {
			failure.RetryAfter = f.RetryAfter
		}
		s.noteRenewal(func(h *renewbackoff.History) { first = h.Failed(t, failure) })
	default:
		err = fmt.Errorf("plexauth: renewing the token: %w", ctx.Err())
		if asked || u == renewbackoff.Background { // a request has waited
			cut := tooLate(plextv.OpRenew, "plex.tv", os.ErrDeadlineExceeded) // matches no context's error: another caller's has ended
			s.noteRenewal(func(h *renewbackoff.History) { first = h.CutShort(t, u, cut) })
		}
	}
	if first {
		s.warn(ctx, "the token could not be renewed", err)
	}
	return err
}

// scopes returns the claims to ask for: the program's, or those of the last time.
func (s *session) scopes(l *profile.Lifetime) []string {
	if len(s.options.Scopes) > 0 {
		return s.options.Scopes
	}
	return l.Scopes
}

// lease takes the lease on renewing t. While another process has it, lease waits for its
// result, or returns a lease that is taken in the background.
func (s *session) lease(ctx context.Context, t secret.Value, u renewbackoff.Urgency) (profile.Lease, error) {
	for {
		var lease profile.Lease
		err := s.update(ctx, func(b *profile.Profile) (err error) {
			lease, err = b.LeaseRenewal(t, time.Now())
			return err
		}, t)
		switch {
		case err != nil:
			return profile.Lease{}, err
		case lease.State != profile.LeaseTaken || u == renewbackoff.Background:
			return lease, nil
		}
		if err := gate.Sleep(ctx, leasePollPause); err != nil {
			return profile.Lease{}, fmt.Errorf("plexauth: waiting for a new token: %w", err)
		}
	}
}

// endLease ends the lease on renewing t after a failure.
func (s *session) endLease(ctx context.Context, t secret.Value, err error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	updateErr := s.update(late, func(b *profile.Profile) error {
		b.EndLease(t, err)
		return nil
	}, t)
	if updateErr != nil {
		s.warn(ctx, "the outcome of a renewal was not saved", updateErr)
	}
}

// saveRenewed saves next as the successor of l's token.
func (s *session) saveRenewed(ctx context.Context, l *profile.Lifetime, next secret.Value) error {
	return s.save(ctx, renewSaveLimit, next, func(b *profile.Profile) error {
		err := b.Renew(l, profile.Credential{Token: next, Device: l.Device, Scopes: s.scopes(l), Skew: s.client.Clock.Skew()})
		if err != nil {
			return public(plextv.NotGenuine(err))
		}
		return nil
	})
}
