package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	widestPace      = 10 * time.Second        // between polls while plex.tv does not answer
	pollMaxAge      = time.Second             // how long the result of a poll counts for other callers
	expiryPrecision = 2 * time.Second         // of an expiresIn, which has whole seconds
	longestPoll     = 3 * plextv.AttemptLimit // for one request, where shorter ones have timed out
	finalPollLimit  = 3 * time.Second         // for a poll that a Start, Cancel or SignOut waits for
)

// pollDue returns when the next poll is due: not before pace and guard allow it, and at
// the deadline at the latest.
func (a *attempt) pollDue(guard time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.nextPoll
	if guard = a.boundGuard(guard); guard.After(t) {
		t = guard
	}
	if left := a.deadline.Left(); time.Until(t)+pollMaxAge > left { // rather at the deadline than just before it
		t = time.Now().Add(left)
	}
	if least := a.lastPoll.Add(pollMaxAge); t.Before(least) {
		t = least
	}
	return t
}

// step polls the PIN, or takes the result of a poll that was just made. over reports that
// the attempt has ended, with err.
func (a *attempt) step(ctx context.Context) (over bool, err error) {
	select {
	case a.gate <- struct{}{}:
		defer func() { <-a.gate }()
	case <-a.done:
		return true, a.how()
	case <-ctx.Done():
		return false, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	select {
	case <-a.done:
		return true, a.how()
	default:
	}
	if err, ok := a.recent(a.logins.client.Guard.Clear()); ok {
		return false, err
	}
	return a.poll(ctx)
}

// recent returns the result of the last poll if it is fresh, or if no other poll may be
// made now: a caller wants the gate, or plex.tv has asked to slow down.
func (a *attempt) recent(guard time.Time) (error, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	switch {
	case a.seizers > 0, !a.lastPoll.IsZero() && now.Sub(a.lastPoll) < pollMaxAge:
		return a.lastResult, true
	case a.deadline.Left() <= 0:
		return nil, false
	}
	return a.lastResult, now.Before(a.boundGuard(guard))
}

// boundGuard returns guard, but at most plextv.WaitLimit after the last poll: what plex.tv
// tells other callers must not park this PIN (G12). a.mu must be held.
func (a *attempt) boundGuard(guard time.Time) time.Time {
	last := a.lastPoll
	if last.IsZero() {
		last = a.began
	}
	if most := last.Add(plextv.WaitLimit); guard.After(most) {
		return most
	}
	return guard
}

// whereabouts is what the store says of an attempt's PIN.
type whereabouts int

const (
	pinPending    whereabouts = iota // it is there, as far as known
	pinParked                        // its approved token is beside it
	pinGone                          // cancelled, or finished by another process
	pinSuperseded                    // another PIN has its place
)

// errInterrupted means that another caller wants the gate.
var errInterrupted = errors.New("plexauth: interrupted")

// poll asks plex.tv once about the PIN and does what the answer asks for. The caller
// holds the gate.
func (a *attempt) poll(ctx context.Context) (over bool, err error) {
	at, b, err := a.readStore(ctx)
	switch {
	case errors.Is(err, errInterrupted):
		return false, nil
	case at == pinSuperseded:
		return a.finish(fault.ErrPinSuperseded)
	case at == pinParked:
		return a.settle(ctx, b)
	case ctx.Err() != nil:
		return false, err
	}
	a.logUnreadable(ctx, err)
	r := a.ask(ctx)
	if r.interrupted {
		if ctx.Err() == nil {
			return false, nil
		}
		return false, r.err
	}
	return a.handlePoll(ctx, r, at)
}

// readStore looks the PIN up in the store, as long as no one else wants the gate, and no
// longer than a poll may take. b is a profile in which its token is parked. With an error
// the PIN counts as pending, because the login goes on without the store.
func (a *attempt) readStore(ctx context.Context) (at whereabouts, b *profile.Profile, err error) {
	if a.takeResumed() {
		return pinPending, nil, nil
	}
	raw, err := a.loadRaw(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return pinPending, nil, errInterrupted
	}
	if err != nil || a.isStored(raw) {
		return pinPending, nil, err
	}
	if b, err = a.logins.parse(raw); err != nil {
		return pinPending, nil, err
	}
	switch v := b.Pending(); {
	case v == nil:
		return pinGone, nil, nil
	case v.Id != a.pin.ID:
		return pinSuperseded, nil, nil
	case !v.Token.IsZero():
		return pinParked, b, nil
	}
	a.noteStored(raw, b)
	return pinPending, nil, nil
}

func (a *attempt) loadRaw(ctx context.Context) (json.RawMessage, error) {
	reading, finished := a.interruptible(ctx)
	defer finished()
	return a.logins.loadWithin(reading, plextv.AttemptLimit)
}

// logUnreadable logs the error of a store that cannot be read, once until it can be read
// again.
func (a *attempt) logUnreadable(ctx context.Context, err error) {
	a.mu.Lock()
	was := a.unreadable
	a.unreadable = err != nil
	a.mu.Unlock()
	if err != nil && !was {
		a.logins.warn(ctx, "cannot read the store, the login goes on", err)
	}
}

// pollResult is what one request about a PIN brought.
type pollResult struct {
	reply       plextv.PinReply
	sent        time.Time // when the request left
	err         error
	final       bool // the PIN had expired by this machine's clock, so no other poll follows
	interrupted bool // by ctx, or by a caller that wants the gate
}

// answer is what plex.tv says of a PIN.
type answer int

const (
	answerPending  answer = iota // it waits for the approval
	answerApproved               // here is the token
	answerExpired                // it does not know the PIN any more
	answerRefused                // it will give no other answer
	answerNone                   // it could not be asked
)

func (r pollResult) answer() answer {
	switch {
	case r.err == nil && !r.reply.Token.IsZero():
		return answerApproved
	case r.err == nil:
		return answerPending
	case errors.Is(r.err, fault.ErrPinExpired):
		return answerExpired
	case isPermanent(r.err):
		return answerRefused
	}
	return answerNone
}

// ask asks plex.tv about the PIN, within what is left of its life.
func (a *attempt) ask(ctx context.Context) pollResult {
	a.mu.Lock()
	left, limit := a.deadline.Left(), a.patience
	a.mu.Unlock()
	r := pollResult{final: left <= 0}
	if !r.final {
		limit = min(limit, left)
	}
	request, cancel := context.WithTimeout(ctx, a.logins.client.AttemptLimit(limit))
	defer cancel()
	if !a.setInFlight(cancel) {
		r.interrupted = true
		return r
	}
	r.reply, r.sent, r.err = a.logins.checkPIN(ctx, request, a.pin)
	stopped := ctx.Err() != nil || errors.Is(request.Err(), context.Canceled)
	a.setInFlight(nil)
	if stopped && r.answer() != answerApproved {
		r.interrupted = true
		a.mu.Lock()
		a.lastPoll = r.sent
		a.mu.Unlock()
	}
	return r
}

// handlePoll does what the result of a poll asks for. at is where the PIN was before.
func (a *attempt) handlePoll(ctx context.Context, r pollResult, at whereabouts) (over bool, err error) {
	switch answer := r.answer(); {
	case answer == answerApproved:
		return a.saveApproval(ctx, r.reply.Token)
	case answer == answerPending && at == pinGone: // another process has cancelled it
		return a.finish(fault.ErrNoPendingPin)
	case answer == answerExpired && at == pinGone:
		return a.endedByOtherProcess(ctx)
	case answer == answerPending:
		return a.handlePending(ctx, r)
	case answer == answerExpired, answer == answerRefused:
		return a.abandon(ctx, r.err)
	}
	return a.handleFailure(ctx, r, at)
}

// handlePending records a poll that found the PIN still pending.
func (a *attempt) handlePending(ctx context.Context, r pollResult) (over bool, err error) {
	a.logRecovery(ctx)
	moved, over := a.recordPending(r)
	if over {
		return a.abandon(ctx, fault.ErrPinExpired)
	}
	if moved {
		a.saveExpiry(ctx)
	}
	return false, nil
}

// handleFailure records a poll that plex.tv has not answered, and ends an attempt that
// has no other poll.
func (a *attempt) handleFailure(ctx context.Context, r pollResult, at whereabouts) (over bool, err error) {
	a.logTrouble(ctx, r.err)
	a.slowDown(r.sent, r.err)
	a.allowLonger(r.err)
	switch {
	case at == pinGone:
		if a.countMissed() > 2 || r.final {
			return a.endedByOtherProcess(ctx)
		}
	case r.final && !a.postponeDeadline():
		return a.abandon(ctx, fmt.Errorf("%w; the last look failed: %w", fault.ErrPinExpired, fault.Inside(r.err)))
	}
	return false, r.err
}

func (a *attempt) countMissed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missed++
	return a.missed
}

// postponeDeadline lets an attempt go on whose stored date is past, because only plex.tv
// can tell whether its PIN lives. It reports whether it does.
func (a *attempt) postponeDeadline() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.dateUnsure || time.Since(a.began) >= profile.DefaultLifetime {
		return false
	}
	a.deadline = elapsed.Now().Add(widestPace)
	return true
}

// endedByOtherProcess ends an attempt whose PIN another process has taken out of the
// store: with success if the profile has another token since, with [ErrAccountMismatch]
// if that process has refused the approval as another account's.
func (a *attempt) endedByOtherProcess(ctx context.Context) (over bool, err error) {
	b, err := a.logins.load(ctx)
	if err != nil {
		return a.finish(fault.ErrNoPendingPin)
	}
	a.mu.Lock()
	known, before := a.stored != 0, a.before
	a.mu.Unlock()
	switch {
	case known && hasTokenOf(b, a.pin, before):
		return a.finish(nil)
	case b.Refused(a.pin.ID):
		return a.finish(fault.ErrAccountMismatch)
	}
	return a.finish(fault.ErrNoPendingPin)
}

// hasTokenOf reports whether b has another token than before, and one that the approval
// of pin may have brought.
func hasTokenOf(b *profile.Profile, pin *Pin, before secret.Value) bool {
	t := b.AccountToken()
	return !t.IsZero() && !t.Equal(before) && b.MayComeFrom(pin.device)
}

// recordPending updates deadline and pace after a poll that found the PIN still pending.
// moved reports that the stored date is to be corrected, over that the PIN has expired.
func (a *attempt) recordPending(r pollResult) (moved, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dateUnsure = false
	a.lastPoll, a.lastResult = r.sent, nil
	a.nextPoll = time.Now().Add(jitter(a.pace)) // from the answer on: so no two arrive within a second, however slow the way
	in := r.reply.ExpiresIn
	switch {
	case r.reply.Expires && in < 0 && a.lifetimeKnown:
		return false, true // it is past its life, and plex.tv still answers
	case r.reply.Expires && (in > 0 || a.lifetimeKnown):
		a.lifetimeKnown = true
		at := min(elapsed.At(r.sent).Add(max(in, pollMaxAge)), a.latest) // 0 is less than a second
		if off := time.Duration(at - a.deadline); off.Abs() > expiryPrecision {
			a.deadline = at
		}
	}
	a.redate()
	return a.dateUnsaved, r.final && a.deadline.Left() <= 0
}

// slowDown widens the pace after a poll that failed with err.
func (a *attempt) slowDown(sent time.Time, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastPoll, a.lastResult = sent, err
	widest := max(plextv.WaitLimit, a.leastPace)
	if f := failureOf(err); f != nil && errors.Is(f, fault.ErrRateLimited) {
		a.pace = min(max(a.pace+plextv.DefaultSlow, f.RetryAfter), widest)
	} else {
		a.pace = max(a.pace, min(2*a.pace, widestPace))
	}
	a.nextPoll = time.Now().Add(min(jitter(a.pace), widest))
}

// rest prevents polls for a pause.
func (a *attempt) rest(pause time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nextPoll = time.Now().Add(jitter(pause))
}

// allowLonger gives the next request more time if the last one has timed out.
func (a *attempt) allowLonger(err error) {
	if f := failureOf(err); f == nil || f.Kind() != plextv.KindTimeout {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.patience = min(a.patience+plextv.AttemptLimit, longestPoll)
}

// logTrouble logs the error of a poll, once until its class changes.
func (a *attempt) logTrouble(ctx context.Context, err error) {
	class := "other"
	if f := failureOf(err); f != nil {
		class = f.Kind().Word()
	}
	a.mu.Lock()
	was := a.trouble
	a.trouble = class
	a.mu.Unlock()
	if was != class {
		a.logins.warn(ctx, "plex.tv cannot be asked about the PIN, the login goes on", err)
	}
}

// logRecovery logs that plex.tv answers again, and restores the pace. After a 429 the
// pace stays wide.
func (a *attempt) logRecovery(ctx context.Context) {
	a.mu.Lock()
	was := a.trouble
	switch was {
	case "":
	case "rate_limited":
		a.pace = min(a.pace, max(widestPace, a.leastPace))
	default:
		a.pace = a.leastPace
	}
	a.trouble = ""
	a.mu.Unlock()
	if was != "" {
		a.logins.info(ctx, "plex.tv answers again")
	}
}

// abandon removes the PIN of an attempt that cannot succeed any more, and ends it.
func (a *attempt) abandon(ctx context.Context, err error) (over bool, _ error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	dropErr := a.logins.update(late, func(b *profile.Profile) error {
		b.DropPending(a.pin.ID)
		if a.pin.device != nil && isTaken(err) {
			b.DropDevice(a.pin.clientID)
		}
		return nil
	})
	if dropErr != nil {
		a.logins.warn(ctx, "the dead PIN was not removed", dropErr)
	}
	reason := "plex.tv refused"
	if errors.Is(err, fault.ErrPinExpired) {
		reason = "the PIN expired"
	}
	a.logins.info(ctx, "login ended: "+reason)
	return a.finish(err)
}

// isPermanent reports whether plex.tv would answer the same again.
func isPermanent(err error) bool { return failureOf(err).IsPermanent() }
