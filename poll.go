package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/storecall"
)

// Due returns when the next poll is due. It implements [gate.Work].
func (a *attempt) Due() time.Time {
	guard := a.logins.client.Guard.OpenAt()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.schedule.Due(guard)
}

// Step polls the PIN, or takes the result of a poll that was just made. over reports that
// the caller is done: the attempt has ended with err, or its token could not be saved. It
// implements [gate.Work].
func (a *attempt) Step(ctx context.Context) (over bool, err error) {
	entered, err := a.turns.Enter(ctx, a.mayPoll)
	if err != nil {
		return false, fmt.Errorf("plexauth: %w", err)
	}
	if !entered {
		return a.last()
	}
	defer a.turns.Leave()
	return a.poll(ctx)
}

// mayPoll reports whether a poll may be made now. It may not if the last one is fresh, if
// a caller wants a turn, or if plex.tv has asked to slow down.
func (a *attempt) mayPoll() bool {
	guard := a.logins.client.Guard.OpenAt()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seizers == 0 && a.schedule.MayPoll(guard)
}

// last returns the outcome if the attempt has ended, else the result of the last poll.
func (a *attempt) last() (over bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseEnded {
		return true, a.outcome
	}
	return false, a.lastResult
}

// storedPIN is what the store says of an attempt's PIN.
type storedPIN struct {
	place   pinPlace
	profile *profile.Profile // nil if the PIN is pending
}

// pinPlace says where an attempt's PIN is.
type pinPlace int

const (
	pinPending    pinPlace = iota // it is there, as far as known
	pinParked                     // its approved token is beside it
	pinGone                       // cancelled, or finished by another process
	pinSuperseded                 // another PIN has its place
	pinDecided                    // nothing is left for a poll to do
)

// errInterrupted means that another caller wants a turn.
var errInterrupted = errors.New("plexauth: interrupted")

// storeReadInterval is how often polls read the store: another process may have ended the
// login. With polls a second apart it is every fifth one.
const storeReadInterval = 4900 * time.Millisecond

// poll asks plex.tv once about the PIN and does what follows. It must be the caller's turn.
func (a *attempt) poll(ctx context.Context) (over bool, err error) {
	var at storedPIN
	spared := a.wasReadLately()
	if !spared {
		if at, over, err = a.checkStore(ctx); at.place == pinDecided {
			return over, err
		}
	}
	r := a.ask(ctx)
	switch {
	case r.interrupted && ctx.Err() == nil:
		return false, nil
	case r.interrupted:
		return false, r.err
	case spared && r.mayEnd():
		if at, over, err = a.checkStore(ctx); at.place == pinDecided {
			return over, err
		}
	}
	return a.handlePoll(ctx, r, at)
}

// checkStore reads the store, and does what it asks for. If that leaves nothing for a poll
// to do, it returns pinDecided with the result of the poll.
func (a *attempt) checkStore(ctx context.Context) (at storedPIN, over bool, err error) {
	at, err = a.readStore(ctx)
	decided := storedPIN{place: pinDecided}
	switch {
	case errors.Is(err, errInterrupted):
		return decided, false, nil
	case at.place == pinSuperseded:
		over, err = a.finish(fault.ErrPinSuperseded)
		return decided, over, err
	case at.place == pinParked:
		over, err = a.settle(ctx, at.profile)
		return decided, over, err
	case ctx.Err() != nil:
		return decided, false, err
	}
	a.logUnreadable(ctx, err)
	return at, false, nil
}

// readStore looks the PIN up in the store, as long as no one else wants a turn, and for no
// longer than one attempt of a request. With an error the PIN counts as pending, because
// the login goes on without the store.
func (a *attempt) readStore(ctx context.Context) (at storedPIN, err error) {
	began := elapsed.Now()
	d, err := a.readDocument(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return at, errInterrupted
	}
	if err != nil {
		return at, err
	}
	if a.isStored(d) {
		a.noteRead(began)
		return at, nil
	}
	b, err := a.logins.parse(d)
	if err != nil {
		return at, err
	}
	switch v := b.Pending(); {
	case v == nil:
		return storedPIN{pinGone, b}, nil
	case v.ID != a.pin.ID:
		return storedPIN{pinSuperseded, b}, nil
	case !v.Token.IsZero():
		return storedPIN{pinParked, b}, nil
	}
	a.noteStored(d, b, began)
	return at, nil
}

func (a *attempt) readDocument(ctx context.Context) (storecall.Document, error) {
	limited, finished := a.interruptible(ctx)
	defer finished()
	return a.logins.read(limited, plextv.AttemptLimit)
}

// logUnreadable logs the error of a store that cannot be read, once until it can be read
// again.
func (a *attempt) logUnreadable(ctx context.Context, err error) {
	a.mu.Lock()
	was := a.unreadable
	a.unreadable = err != nil
	a.mu.Unlock()
	if err != nil && !was {
		a.logins.warn(ctx, "cannot read the store; the login continues", err)
	}
}

// pollResult is what one request about a PIN brought.
type pollResult struct {
	reply       plextv.PINReply
	sent        time.Time // when the request left
	err         error
	final       bool // the PIN had expired by what is known here, so another poll follows only if that changes
	interrupted bool // by ctx, or by a caller that wants a turn
}

// answer returns what plex.tv says of the PIN.
func (r pollResult) answer() plextv.PINAnswer { return r.reply.Answer(r.err) }

// mayEnd reports whether r may end the login without a token.
func (r pollResult) mayEnd() bool {
	switch r.answer() {
	case plextv.AnswerExpired, plextv.AnswerRefused:
		return true
	}
	return r.final
}

// ask asks plex.tv about the PIN: within what is left of its life, or, if that is over, a
// last time.
func (a *attempt) ask(ctx context.Context) pollResult {
	a.mu.Lock()
	left, limit := a.schedule.Left(), a.schedule.RequestLimit()
	a.mu.Unlock()
	r := pollResult{final: left <= 0}
	if !r.final {
		limit = min(limit, left)
	}
	request, cancel := context.WithTimeout(ctx, a.logins.client.LimitAttempt(limit))
	defer cancel()
	if !a.setInFlight(cancel) {
		r.interrupted = true
		return r
	}
	r.reply, r.sent, r.err = a.logins.checkPIN(ctx, request, a.pin)
	stopped := ctx.Err() != nil || errors.Is(request.Err(), context.Canceled)
	r.interrupted = stopped && r.answer() != plextv.AnswerApproved
	a.setInFlight(nil)
	a.mu.Lock()
	if !r.interrupted {
		a.lastResult = nil
	}
	a.schedule.NotePoll()
	a.mu.Unlock()
	return r
}

// handlePoll does what the result of a poll asks for. at is where the PIN was before.
func (a *attempt) handlePoll(ctx context.Context, r pollResult, at storedPIN) (over bool, err error) {
	switch answer := r.answer(); {
	case answer == plextv.AnswerApproved:
		return a.saveApproval(ctx, r.reply.Token)
	case at.place == pinGone && (answer == plextv.AnswerExpired || answer == plextv.AnswerPending && r.final):
		return a.finishElsewhere(at.profile, fault.ErrPinExpired)
	case at.place == pinGone && answer == plextv.AnswerPending: // another process has cancelled it
		return a.finish(fault.ErrNoPendingPin)
	case answer == plextv.AnswerPending:
		return a.handlePending(ctx, r)
	case answer == plextv.AnswerExpired && a.mayBeTaken():
		return a.handleTaken(ctx, r.err)
	case answer == plextv.AnswerExpired, answer == plextv.AnswerRefused:
		return a.abandon(ctx, r.err)
	}
	return a.handleFailure(ctx, r, at)
}

// takenWait is how long a PIN stays in the store that plex.tv does not know any more long
// before its end; the store is read at takenPause.
const (
	takenWait  = 3 * time.Second
	takenPause = 500 * time.Millisecond
)

// mayBeTaken reports whether another process may have the token of a PIN that plex.tv does
// not know any more: it should live for longer, and the store is not in memory.
func (a *attempt) mayBeTaken() bool {
	return a.pin.lifetimeKnown && a.lifeLeft() > takenWait && a.logins.store.Parsed == nil
}

// handleTaken ends an attempt whose PIN has expired too early, with err. plex.tv may forget a
// PIN once it has given its token away: to another process, which may be about to save it.
func (a *attempt) handleTaken(ctx context.Context, err error) (over bool, _ error) {
	for end := time.Now().Add(takenWait); time.Now().Before(end); {
		waiting, finished := a.interruptible(ctx)
		ended := gate.Sleep(waiting, takenPause)
		finished()
		switch {
		case ctx.Err() != nil:
			return false, fmt.Errorf("plexauth: %w", ctx.Err())
		case ended != nil: // another caller wants a turn
			return false, nil
		}
		at, over, storeErr := a.checkStore(ctx)
		switch at.place {
		case pinDecided:
			return over, storeErr
		case pinGone:
			return a.finishElsewhere(at.profile, err)
		}
	}
	return a.abandon(ctx, err)
}

// handlePending records a poll that found the PIN still pending.
func (a *attempt) handlePending(ctx context.Context, r pollResult) (over bool, err error) {
	a.logRecovery(ctx)
	if a.recordPending(r) {
		return a.abandon(ctx, fault.ErrPinExpired)
	}
	a.saveExpiry(ctx)
	return false, nil
}

// handleFailure records a poll that brought no answer about the PIN, and ends an attempt that
// has no other poll.
func (a *attempt) handleFailure(ctx context.Context, r pollResult, at storedPIN) (over bool, err error) {
	a.logTrouble(ctx, r.err)
	a.recordFailure(r.err)
	a.allowLonger(r.err)
	switch {
	case at.place == pinGone:
		if a.countMissed() > 2 || r.final {
			return a.finishElsewhere(at.profile, fault.ErrNoPendingPin)
		}
	case r.final && !a.postponeDeadline():
		return a.abandon(ctx, fmt.Errorf("%w; the last check failed: %w", fault.ErrPinExpired, fault.Inside(r.err)))
	}
	return false, r.err
}

func (a *attempt) countMissed() int32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missed++
	return a.missed
}

// postponeDeadline lets an attempt go on whose PIN may live, whatever its stored date. It
// reports whether it does.
func (a *attempt) postponeDeadline() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.schedule.Postpone()
}

// finishElsewhere ends an attempt whose PIN another process has taken out of the store. b
// is the profile since: the end is a success if it has another token, and
// [ErrAccountMismatch] if that process has refused the approval as another account's. If b
// does not tell, the end is otherwise.
func (a *attempt) finishElsewhere(b *profile.Profile, otherwise error) (over bool, err error) {
	a.mu.Lock()
	known, before := a.knowsBefore, a.before
	a.mu.Unlock()
	switch {
	case known && b.HasTokenOf(a.pin.device, before):
		return a.finish(nil)
	case b.Refused(a.pin.ID):
		return a.finish(fault.ErrAccountMismatch)
	case b.Pending() != nil:
		return a.finish(fault.ErrPinSuperseded)
	}
	return a.finish(otherwise)
}

// recordPending records a poll that found the PIN still pending. It reports whether the
// PIN has expired.
func (a *attempt) recordPending(r pollResult) (expired bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastResult = nil
	return a.schedule.RecordPending(r.sent, r.reply, r.final)
}

// recordFailure slows polling down after a poll that failed with err.
func (a *attempt) recordFailure(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastResult = err
	if f := plextv.FailureIn(err); f != nil && f.Is(fault.ErrRateLimited) {
		a.schedule.RecordRateLimit(f.RetryAfter)
	} else {
		a.schedule.RecordFailure()
	}
}

// allowLonger gives the next request more time if the last one has timed out.
func (a *attempt) allowLonger(err error) {
	if f := plextv.FailureIn(err); f != nil && f.Kind() == plextv.KindTimeout {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.schedule.AllowLonger()
	}
}

// otherTrouble stands for trouble that is not a failed request.
const otherTrouble plextv.Kind = "other"

// logTrouble logs the error of a poll, once until its kind changes.
func (a *attempt) logTrouble(ctx context.Context, err error) {
	kind := otherTrouble
	if f := plextv.FailureIn(err); f != nil {
		kind = f.Kind()
	}
	if a.setTrouble(kind) != kind {
		a.logins.warn(ctx, "cannot ask plex.tv about the PIN; the login continues", err)
	}
}

// logRecovery logs that plex.tv answers again, and restores the pace.
func (a *attempt) logRecovery(ctx context.Context) {
	was := a.setTrouble("")
	if was == "" {
		return
	}
	a.mu.Lock()
	a.schedule.Recover(was == plextv.KindRateLimited)
	a.mu.Unlock()
	a.logins.info(ctx, "plex.tv answers again")
}

// setTrouble replaces the kind of trouble that was logged last, and returns it.
func (a *attempt) setTrouble(kind plextv.Kind) (was plextv.Kind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was, a.trouble = a.trouble, kind
	return was
}

// abandon removes the PIN of an attempt that cannot succeed any more, and ends it with err,
// unless another process has ended it.
func (a *attempt) abandon(ctx context.Context, err error) (over bool, _ error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	var elsewhere *profile.Profile // once the PIN has gone
	dropErr := a.logins.update(late, func(b *profile.Profile) error {
		elsewhere = nil
		if v := b.Pending(); v == nil || v.ID != a.pin.ID {
			elsewhere = b
		}
		b.DropPending(a.pin.ID)
		if a.pin.device != nil && isTaken(err) {
			b.DropDevice(a.pin.clientID)
		}
		return nil
	})
	if dropErr == nil && elsewhere != nil {
		return a.finishElsewhere(elsewhere, err)
	}
	if dropErr != nil {
		a.logins.warn(ctx, "could not remove the PIN of the ended login", dropErr)
	}
	reason := "plex.tv refused"
	if errors.Is(err, fault.ErrPinExpired) {
		reason = "the PIN expired"
	}
	a.logins.info(ctx, "login ended: "+reason)
	return a.finish(err)
}

// isPermanent reports whether plex.tv would answer the same again.
func isPermanent(err error) bool { return plextv.FailureIn(err).IsPermanent() }
