package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/registry"
	"github.com/plexauth/plexauth/internal/secret"
)

// minReuse is how much of its life a pending PIN must have left to be returned again.
const minReuse = time.Minute

// Start begins a login. It makes sure that the store can take the result, asks plex.tv for
// a PIN and saves that as pending. If a PIN is pending that was made with the same options
// and lives for another minute, Start returns that one. Any other pending PIN is
// superseded.
//
// Its errors say what is wrong with o, match [ErrStore], or are an [*Error]
// ([ErrUnavailable], [ErrRateLimited]). Another says that another profile's device key has
// taken over the client identifier at the same moment. After an error no new login is
// pending.
func (p *PlexAuth) Start(ctx context.Context, o PinOptions) (*Pin, error) {
	a, err := p.start(ctx, o, false)
	if err != nil {
		return nil, err
	}
	return a.shown(), nil
}

// start does what Start does, and returns the attempt. With keep, an approval of the pending
// PIN counts as the success of this login, unless only one of both may switch accounts. The
// attempt that start returns has ended then.
func (l *logins) start(ctx context.Context, o PinOptions, keep bool) (*attempt, error) {
	if l.invalid != nil {
		return nil, l.invalid
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	e := l.hold()
	defer e.Release()
	leave, err := e.Known.starting.Enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	if err := l.check(ctx); err != nil {
		return nil, err
	}
	return l.startInTurn(ctx, e, o, keep)
}

// startInTurn does what start does, while no other Start of the profile is under way.
func (l *logins) startInTurn(ctx context.Context, e *registry.Entry[inUse], o PinOptions, keep bool) (*attempt, error) {
	version := e.Known.attempts.Version()
	var seen reading
	in, err := l.gatherInputs(ctx, &seen, o)
	if err != nil {
		return nil, err
	}
	if in.Reusable {
		return l.join(ctx, l.newPin(*in.Pending), version, in.Token)
	}
	keep = keep && in.Pending != nil && in.Pending.Options.SwitchAccount == o.SwitchAccount
	replaced, kept, err := l.settleBeforeStart(ctx, &seen, in, keep, false)
	if err != nil || kept != nil {
		return kept, err
	}
	l.learn(ctx, in.Unknown)
	l.info(ctx, "request PIN")
	pin, err := l.requestPIN(ctx, in, o)
	if err != nil {
		return nil, err
	}
	if keep { // it may have been approved while the new one was made
		if replaced, kept, err = l.settleBeforeStart(ctx, &seen, in, keep, true); err != nil || kept != nil {
			return kept, err
		}
	}
	version = e.Known.attempts.Version()
	pin, before, err := l.savePendingOrReplace(ctx, &seen, pin, replaced)
	if err != nil {
		return nil, err
	}
	return l.join(ctx, pin, version, before)
}

// gatherInputs reads the inputs of a Start from the store, and saves client identifier
// and key before the first request.
func (l *logins) gatherInputs(ctx context.Context, seen *reading, o PinOptions) (in profile.StartInputs, err error) {
	err = l.updateSeen(ctx, seen, func(b *profile.Profile) (err error) {
		in, err = b.PrepareStart(profile.StartOptions{
			ClientID: l.fixedClientID(), DeviceKey: l.options.DeviceKey, PIN: profile.PinOptions(o), Lasts: l.lasts,
		})
		return err
	})
	return in, err
}

// lasts reports whether a stored PIN lives long enough to be shown again.
func (l *logins) lasts(v *profile.PendingPIN) bool { return l.left(v) >= minReuse }

// requestPIN asks plex.tv for a PIN. A key that another device has, as in a copied store,
// is replaced once.
func (l *logins) requestPIN(ctx context.Context, in profile.StartInputs, o PinOptions) (*Pin, error) {
	pin, err := l.createPIN(ctx, in.ClientID, in.Key, o)
	if in.Key == nil || !isTaken(err) {
		return pin, err
	}
	pin, err = l.createDevicePIN(ctx, in.ClientID, o)
	if isTaken(err) {
		err = errors.Join(err, l.update(ctx, func(b *profile.Profile) error {
			b.DropDevice(in.ClientID)
			return nil
		}))
	}
	return pin, err
}

// createDevicePIN asks plex.tv for a PIN with a new key.
func (l *logins) createDevicePIN(ctx context.Context, clientID string, o PinOptions) (*Pin, error) {
	key, err := devicekey.New(clientID)
	if err != nil {
		return nil, err
	}
	return l.createPIN(ctx, clientID, key, o)
}

// savePendingOrReplace does what savePending does. If the key or the identifier of pin has
// become another login's in the meantime, it first asks plex.tv for another PIN.
func (l *logins) savePendingOrReplace(ctx context.Context, seen *reading, pin *Pin, replaced *profile.PendingPIN) (kept *Pin, before secret.Value, err error) {
	kept, before, err = l.savePending(ctx, seen, pin, replaced)
	switch {
	case errors.Is(err, profile.ErrKeyShared):
		pin, err = l.createDevicePIN(ctx, profile.NewClientID(), pin.options)
	case errors.Is(err, profile.ErrMovedOver):
		var in profile.StartInputs
		if in, err = l.gatherInputs(ctx, seen, pin.options); err == nil {
			pin, err = l.requestPIN(ctx, in, pin.options)
		}
	default:
		return kept, before, err
	}
	if err != nil {
		return nil, secret.Value{}, err
	}
	return l.savePending(ctx, seen, pin, replaced)
}

// savePending saves pin as the pending one, in the place of replaced, and returns it. If
// another replica was faster, it returns that one's, so that there is one PIN for both, or
// replaces it if it is of another kind. before is the token of the profile then.
func (l *logins) savePending(ctx context.Context, seen *reading, pin *Pin, replaced *profile.PendingPIN) (kept *Pin, before secret.Value, err error) {
	for {
		var now *profile.PendingPIN
		made := pin.stored()
		err := l.updateSeen(ctx, seen, func(b *profile.Profile) (err error) {
			before = b.AccountToken()
			now, err = b.Propose(made, replaced)
			return err
		})
		switch {
		case err != nil:
			return nil, secret.Value{}, err
		case now == made:
			l.logf(ctx, LevelSuccess, "PIN issued")
			return pin, before, nil
		case now.Suits(pin.clientID, pin.device != nil, made.Options) && l.lasts(now):
			return l.newPin(*now), before, nil
		}
		if replaced, _, err = l.settleBeforeStart(ctx, seen, profile.StartInputs{Pending: now}, false, false); err != nil {
			return nil, secret.Value{}, err
		}
	}
}

// join returns the attempt for the PIN that Start has saved or found. If another caller
// has ended that login at the same time, it returns the current attempt, or one that has
// ended: with success if the profile has another token than before.
func (l *logins) join(ctx context.Context, pin *Pin, version int, before secret.Value) (*attempt, error) {
	a, ok := l.startAttempt(pin, version)
	if ok {
		a.noteBefore(before)
		return a, nil
	}
	a, err := l.resume(ctx)
	switch {
	case errors.Is(err, fault.ErrNoPendingPin):
		if a, err = l.succeeded(ctx, pin, before); a == nil && err == nil {
			a = l.newAttempt(pin)
			a.end(fault.ErrNoPendingPin)
		}
		return a, err
	case errors.Is(err, ErrStore): // the PIN is in the store all the same
		return l.joinUnread(pin, err)
	}
	return a, err
}

// succeeded returns an attempt for pin that has ended with success, if the profile has a
// token of it since it had the one before; nil otherwise.
func (l *logins) succeeded(ctx context.Context, pin *Pin, before secret.Value) (*attempt, error) {
	b, err := l.load(ctx)
	if err != nil || !b.HasTokenOf(pin.device, before) {
		return nil, err
	}
	a := l.newAttempt(pin)
	a.end(nil)
	return a, nil
}

// joinUnread returns the attempt for a PIN that is in the store, which cannot be read at
// the moment. It returns readErr if another login has its place.
func (l *logins) joinUnread(pin *Pin, readErr error) (*attempt, error) {
	e := l.hold()
	defer e.Release()
	for {
		if now := e.Known.attempts.Current(); now != nil && now.pin.ID != pin.ID {
			return nil, readErr
		}
		if a, ok := l.startAttempt(pin, e.Known.attempts.Version()); ok {
			return a, nil
		}
	}
}

// Finish checks once whether the pending PIN has been approved, and saves the token if so.
// Connected speaks of this login: it is false while the PIN is pending, even if an older
// token works. If no login is pending, Finish does what [PlexAuth.Status] does. A call
// within a second of another check answers from that.
//
// If the login has ended without a token, the error is [ErrPinExpired],
// [ErrPinSuperseded], [ErrNoPendingPin], [ErrAccountMismatch] or [ErrTokenRejected], or
// another [*Error] if plex.tv refuses permanently. The login goes on after [ErrStore], and
// after an [*Error] that matches [ErrUnavailable], [ErrRateLimited] or [ErrTokenExpired]:
// plex.tv could not be asked.
func (p *PlexAuth) Finish(ctx context.Context) (Status, error) {
	var seen reading
	a, err := p.resumeSeen(ctx, &seen)
	if errors.Is(err, fault.ErrNoPendingPin) {
		return p.Status(ctx)
	}
	if err != nil {
		return p.blank(), err
	}
	over, err := a.Step(ctx)
	s, err := p.statusAfter(ctx, &seen, a, err)
	if !over || err != nil {
		s.Connected = false
	}
	return *s, err
}

// Wait checks the pending PIN, at [Options].PollInterval, until the token is saved or the
// login has ended without one. Any process may call Wait, not only the one that called
// Start. A network that is down does not end the login. What another process does with
// it is noticed within five seconds.
//
// Its errors say how the login has ended:
//
//   - [ErrPinExpired] or [ErrPinSuperseded];
//   - [ErrNoPendingPin] if no login is pending, or if it was cancelled;
//   - [ErrAccountMismatch];
//   - [ErrTokenRejected] if the token was revoked at once;
//   - an [*Error] if plex.tv refuses permanently. If the PIN was approved and only the
//     account could not be read, that is [ErrUnavailable] when the PIN expires, and
//     [PlexAuth.Verify] finishes the login later.
//
// With [ErrStore] and the error of ctx the login goes on, and another call can wait for
// it. The former means that the store could not be read at the beginning, or that the
// token could not be saved for five minutes.
func (p *PlexAuth) Wait(ctx context.Context) (Status, error) {
	a, w, err := p.resumeAside(ctx)
	if err == nil {
		w.Wait() // called here, because each frame above it counts
		err = a.part(w)
	}
	s, err := p.statusAfter(ctx, nil, a, err)
	return *s, err
}

// resumeAside does what resume does, and returns a waiter. The caller's stack, which stays as
// long as the caller waits, does not grow.
func (l *logins) resumeAside(ctx context.Context) (a *attempt, w *gate.Waiter, err error) {
	gate.Aside(func() {
		if a, err = l.resume(ctx); err == nil {
			w = a.newWaiter(ctx)
		}
	})
	return a, w, err
}

// newWaiter returns what makes the polls for a caller that waits until a has ended. The
// caller must call its Wait, and then part.
func (a *attempt) newWaiter(ctx context.Context) *gate.Waiter {
	a.mu.Lock()
	if a.waiters++; a.reaper != nil {
		a.reaper.Stop()
		a.reaper = nil
	}
	a.mu.Unlock()
	return a.turns.NewWaiter(ctx, a)
}

// part ends what newWaiter has begun, and returns why it has ended.
func (a *attempt) part(w *gate.Waiter) error {
	a.mu.Lock()
	if a.waiters--; a.waiters == 0 && a.phase != phaseEnded && a.entry != nil {
		a.startReaper()
	}
	a.mu.Unlock()
	over, err := w.Result()
	if !over {
		return fmt.Errorf("plexauth: waiting for the approval: %w", err)
	}
	return err
}

// Login makes sure that the profile is signed in. If it is connected and needs no login,
// Login returns its Status at once, without a request, unless SwitchAccount is set. A
// program that begins with Login thus asks a person once, and not at each start.
//
// Otherwise Login calls [PlexAuth.Start], show and [PlexAuth.Wait], and returns their
// errors. An error of show cancels the login. To begin a login in any case, call
// [PlexAuth.Start].
func (p *PlexAuth) Login(ctx context.Context, o PinOptions, show func(*Pin) error) (Status, error) {
	if show == nil {
		return p.statusNow(ctx, errors.New("plexauth: Login needs a function that shows the PIN"))
	}
	if err := o.check(); err != nil {
		return p.statusNow(ctx, err)
	}
	if !o.SwitchAccount {
		if s, err := p.Status(ctx); err != nil || s.Connected && !s.NeedsLogin {
			return s, err
		}
	}
	a, err := p.start(ctx, o, false)
	if err != nil {
		return p.statusNow(ctx, err)
	}
	if err := show(a.shown()); err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
		defer cancel()
		if cancelErr := p.Cancel(late); cancelErr != nil {
			p.warn(ctx, "could not cancel the login", cancelErr)
		}
		return p.statusNow(ctx, err)
	}
	w := a.newWaiter(ctx)
	w.Wait()
	s, err := p.statusAfter(ctx, nil, a, a.part(w))
	return *s, err
}

// Cancel ends the pending login, if there is one. When it returns, this process makes no
// more requests about the PIN, and all who wait for it get [ErrNoPendingPin], or the end that
// another process has given it. A login that has been approved already is finished instead. If
// the approval would have ended an older token, or one of a login pending beside it, plex.tv is
// asked once more, for four seconds.
//
// Its errors match [ErrStore], or are an [*Error] ([ErrUnavailable], [ErrRateLimited]) if
// an approved login cannot be finished now.
func (p *PlexAuth) Cancel(ctx context.Context) error {
	for {
		if again, err := p.cancelOnce(ctx); err != nil || !again {
			return err
		}
		if err := gate.Sleep(ctx, outdatedPause); err != nil {
			return fmt.Errorf("plexauth: %w", err)
		}
	}
}

// cancelOnce cancels the login that is pending when it is the caller's turn. again reports that
// another login has its place.
func (l *logins) cancelOnce(ctx context.Context) (again bool, err error) {
	a, release, err := l.seizePending(ctx)
	if err != nil {
		return false, err
	}
	var outcome error
	defer func() { release(outcome) }() // also if the store panics
	b, err := l.load(ctx)
	if err != nil {
		return false, err
	}
	switch v := b.Pending(); {
	case v == nil && a == nil:
		return false, nil
	case v == nil:
		_, _ = a.finishElsewhere(b, fault.ErrNoPendingPin)
		return false, nil
	case a == nil:
		return true, nil
	case a.pin.ID != v.ID:
		outcome = fault.ErrPinSuperseded
		return true, nil
	}
	return l.cancel(ctx, a, b.Pending())
}

// cancel cancels the login of a, whose PIN is v. again reports that another login may have its
// place. It must be the caller's turn.
func (l *logins) cancel(ctx context.Context, a *attempt, v *profile.PendingPIN) (again bool, err error) {
	if v, err = l.finalPoll(ctx, &reading{}, v, false); err != nil || v == nil { // nil: another process has ended it
		return true, err
	}
	if !v.Token.IsZero() {
		err := l.settle(ctx, v, oneAttempt)
		elsewhere := errors.Is(err, fault.ErrNoPendingPin) || errors.Is(err, fault.ErrPinSuperseded)
		switch {
		case elsewhere, isSettled(err) && !errors.Is(err, ErrStore):
			return elsewhere, nil
		case !isNotGenuine(err):
			return false, err
		}
	}
	var left *profile.Profile
	cancelled := false
	err = l.update(ctx, func(b *profile.Profile) error { left, cancelled = b, b.CancelPending(v); return nil })
	if err != nil || left.Pending() != nil {
		return true, err
	}
	if !cancelled { // another process was faster
		_, _ = a.finishElsewhere(left, fault.ErrNoPendingPin)
		return false, nil
	}
	l.info(ctx, "login cancelled")
	_, _ = a.finish(fault.ErrNoPendingPin)
	return false, nil
}
