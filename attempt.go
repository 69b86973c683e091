package plexauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/registry"
	"github.com/plexauth/plexauth/internal/schedule"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/storecall"
)

// logins signs a profile in. It has the session, and the attempts of this process.
type logins struct{ session }

// on returns the logins of another profile of the document.
func (l *logins) on(instance string) *logins { return &logins{*l.session.on(instance)} }

// phase says how far an attempt has come.
type phase uint8

const (
	phaseWaiting phase = iota // for the person's approval
	phaseSaving               // saving of the approved token is under way, or has failed and goes on
	phaseEnded                // with an outcome
)

// attempt is one login that this process takes care of. All who wait for its PIN share
// it: they poll in turn, and the result of one poll counts for all.
type attempt struct {
	logins *logins
	pin    *Pin
	entry  *registry.Entry[inUse] // held from the attempt's begin to its end; nil: it never was the current one
	turns  gate.Turns             // a turn is for polling, settling or cancelling

	mu       sync.Mutex         // guards the rest; never held while waiting, or to use turns
	saving   elapsed.Instant    // since when phaseSaving lasts
	outcome  error              // of an attempt that has ended; nil: a token was saved
	reaper   *time.Timer        // forgets the attempt once no call can be waiting for it; nil while one waits
	inFlight context.CancelFunc // ends the request or store access that is under way

	schedule   schedule.Schedule
	lastResult error           // of the last poll; nil: the PIN is pending
	trouble    plextv.Kind     // kind of the failure that was logged last
	stored     uint64          // hash of the document that was last seen to hold this PIN unapproved; 0: none
	read       elapsed.Instant // when it was read
	before     secret.Value    // token of the profile before an approval
	final      *Status         // of the profile, as the attempt has left it; nil: not known

	waiters     int32 // callers that wait for the end
	seizers     int32 // callers that want a turn for something other than a poll
	missed      int32 // polls that failed since the PIN has left the store
	phase       phase
	unreadable  bool // the store could not be read, and that was logged
	knowsBefore bool
}

// reapAfter is how long after the end of its PIN an attempt is kept for those who wait:
// longer than the final poll and a save take.
const reapAfter = saveLimit + 2*time.Minute

// newAttempt returns an attempt for pin that is not the current one of any profile.
func (l *logins) newAttempt(pin *Pin) *attempt {
	return &attempt{
		logins: l, pin: pin,
		schedule: schedule.New(max(l.options.PollInterval, time.Second), pin.ends, pin.ExpiresAt, pin.lifetimeKnown),
	}
}

// startAttempt makes pin, which was found in the store or put there, the current
// attempt; Wait first polls it after one interval. An attempt for the same PIN stays; one
// for another PIN is superseded. version is that of the slot before the caller read the
// store, with the entry held: if an attempt has begun or ended since, pin may be outdated,
// and ok is false.
func (l *logins) startAttempt(pin *Pin, version int) (a *attempt, ok bool) {
	e := l.hold()
	defer e.Release()
	return e.Known.attempts.Begin(version, func(a *attempt) bool { return a.pin.ID == pin.ID }, func(present *attempt) *attempt {
		if present != nil {
			present.end(fault.ErrPinSuperseded)
		}
		a := l.newAttempt(pin)
		a.entry = l.hold()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.startReaper()
		return a
	})
}

// startReaper lets the attempt be forgotten if no call ends it. mu must be held.
func (a *attempt) startReaper() {
	a.reaper = time.AfterFunc(max(a.schedule.Left(), 0)+reapAfter, a.reap)
}

// reap forgets an attempt whose PIN has long expired and that no call has polled since.
// Its PIN may be in the store: another call resumes it.
func (a *attempt) reap() {
	isPolled := a.turns.IsBusy()
	a.mu.Lock()
	left, isWaited := a.schedule.Left()+reapAfter, a.reaper == nil
	if isPolled || a.schedule.Age() < reapAfter { // a call takes care of it
		left = reapAfter
	}
	if left > 0 && !isWaited {
		a.reaper.Reset(left)
	}
	a.mu.Unlock()
	if left <= 0 && !isWaited {
		a.finish(fault.ErrPinExpired)
	}
}

// resume returns the attempt for the PIN that is pending in the store. The error is
// [ErrNoPendingPin] or the store's.
func (l *logins) resume(ctx context.Context) (*attempt, error) { return l.resumeSeen(ctx, &reading{}) }

// resumeSeen does what resume does. seen becomes what was read.
func (l *logins) resumeSeen(ctx context.Context, seen *reading) (*attempt, error) {
	for {
		a, err := l.resumeOnce(ctx, seen)
		if a != nil || err != nil {
			return a, err
		}
	}
}

// resumeOnce returns nil if an attempt has begun or ended while the store was read.
func (l *logins) resumeOnce(ctx context.Context, seen *reading) (*attempt, error) {
	e := l.hold()
	defer e.Release()
	version := e.Known.attempts.Version()
	began := elapsed.Now()
	b, err := l.reload(ctx, seen)
	if err != nil {
		return nil, err
	}
	v := b.Pending()
	if v == nil {
		return nil, fault.ErrNoPendingPin
	}
	a, ok := l.startAttempt(l.newPin(*v), version)
	if ok && v.Token.IsZero() {
		a.noteStored(seen.document, b, began)
	}
	return a, nil
}

// setFinalStatus keeps the status of the profile as a leaves it. a may be nil.
func (a *attempt) setFinalStatus(s Status) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.final = &s
}

// statusAfter returns the status at the end of a call that waited for a, and ends with err.
// a may be nil. seen is what the call has read; nil: nothing. The status is behind a pointer,
// because it would take a good part of the stack of a goroutine that waits.
//
//go:noinline
func (l *logins) statusAfter(ctx context.Context, seen *reading, a *attempt, err error) (*Status, error) {
	if final := a.finalStatus(); err == nil && final != nil {
		s := *final
		return &s, nil
	}
	if seen == nil {
		seen = &reading{}
	}
	s, err := l.statusSeen(ctx, seen, err)
	return &s, err
}

// finalStatus returns the status of the profile as a has left it; nil: not known.
func (a *attempt) finalStatus() *Status {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.final
}

// attemptFor returns the current attempt if it is for the PIN with that ID, else nil.
func (l *logins) attemptFor(id int64) *attempt {
	e := l.hold()
	defer e.Release()
	if a := e.Known.attempts.Current(); a != nil && a.pin.ID == id {
		return a
	}
	return nil
}

// end ends a for all who wait, unless it has ended.
func (a *attempt) end(outcome error) {
	if !a.setEnded(outcome) {
		return
	}
	a.turns.End()
	if a.entry != nil {
		a.entry.Release()
	}
}

// setEnded notes the outcome. It reports whether there was none before.
func (a *attempt) setEnded(outcome error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseEnded {
		return false
	}
	a.phase, a.outcome = phaseEnded, outcome
	if a.reaper != nil {
		a.reaper.Stop()
	}
	return true
}

// finish ends a, which is then not the current attempt any more. It returns how a has
// ended, as step does.
func (a *attempt) finish(outcome error) (over bool, err error) {
	e := a.logins.hold()
	defer e.Release()
	e.Known.attempts.End(a, func() { a.end(outcome) })
	return true, a.Result()
}

// Result returns the outcome of an attempt that has ended. It implements [gate.Work].
func (a *attempt) Result() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.outcome
}

// setSaving notes whether the approved token is being saved. a may be nil.
func (a *attempt) setSaving(on bool) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !on && a.phase == phaseSaving:
		a.phase = phaseWaiting
	case on && a.phase == phaseWaiting:
		a.phase, a.saving = phaseSaving, elapsed.Now()
	}
}

// delay returns how long the approved token has been unsaved, and the last poll's error.
func (a *attempt) delay() (unsaved time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseSaving {
		unsaved = -a.saving.Left()
	}
	return unsaved, a.lastResult
}

// noteStored remembers a document that holds the PIN unapproved, so that a poll that
// reads the same again need not parse it. It keeps a hash, because a document can be large.
// The document was read at that time or later.
func (a *attempt) noteStored(d storecall.Document, b *profile.Profile, read elapsed.Instant) {
	hash, token := d.Hash(), b.AccountToken()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stored, a.read, a.before, a.knowsBefore = hash, read, token, true
}

// noteRead notes that the store held the PIN unapproved still at a time.
func (a *attempt) noteRead(read elapsed.Instant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.read = read
}

// noteBefore notes the token of the profile when the PIN was saved.
func (a *attempt) noteBefore(t secret.Value) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.knowsBefore {
		a.before, a.knowsBefore = t, true
	}
}

// wasReadLately reports whether a poll need not read the store.
func (a *attempt) wasReadLately() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read != 0 && -a.read.Left() < storeReadInterval
}

// isStored reports whether r is the document that noteStored has remembered.
func (a *attempt) isStored(d storecall.Document) bool {
	hash := d.Hash()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stored == hash
}

// seizePending resumes the attempt that is pending in the store, if there is one, and
// then seizes it: so that all callers take turns after a restart, too (G6).
func (l *logins) seizePending(ctx context.Context) (a *attempt, release func(outcome error), err error) {
	if _, err := l.resume(ctx); err != nil && !errors.Is(err, fault.ErrNoPendingPin) {
		return nil, nil, err
	}
	return l.seize(ctx)
}

// seize interrupts the poll that is under way and takes a turn of a, the current attempt,
// which has not ended; nil if there is none. release ends the turn, and the attempt as well if
// outcome is not nil.
func (l *logins) seize(ctx context.Context) (a *attempt, release func(outcome error), err error) {
	if l.invalid != nil {
		return nil, nil, l.invalid
	}
	e := l.hold()
	defer e.Release()
	for {
		a := e.Known.attempts.CurrentOrInvalidate()
		if a == nil {
			return nil, func(error) {}, nil
		}
		a.interrupt()
		entered, err := a.turns.Enter(ctx, func() bool { return true })
		if entered {
			return a, a.release, nil
		}
		a.allow()
		if err != nil {
			return nil, nil, fmt.Errorf("plexauth: %w", err)
		}
	}
}

// release ends the turn that seize has taken.
func (a *attempt) release(outcome error) {
	if outcome != nil {
		a.finish(outcome)
	}
	a.allow()
	a.turns.Leave()
}

// interrupt ends what is under way for a, and prevents polls until allow is called as often.
func (a *attempt) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seizers++
	if a.inFlight != nil {
		a.inFlight()
	}
}

func (a *attempt) allow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seizers--
}

// setInFlight makes cancel what interrupt calls. It reports whether no one wants the gate.
func (a *attempt) setInFlight(cancel context.CancelFunc) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight = cancel
	return a.seizers == 0
}

// interruptible returns a context that interrupt ends.
func (a *attempt) interruptible(ctx context.Context) (_ context.Context, finished func()) {
	ctx, cancel := context.WithCancel(ctx)
	if !a.setInFlight(cancel) {
		cancel()
	}
	return ctx, func() { a.setInFlight(nil); cancel() }
}

// lifeLeft returns how long the PIN still lives, as far as this process knows.
func (a *attempt) lifeLeft() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.schedule.Left()
}

// left returns how long a stored PIN still lives: by its attempt if there is one, else by
// the stored date.
func (l *logins) left(v *profile.PendingPIN) time.Duration {
	if a := l.attemptFor(v.ID); a != nil {
		return a.lifeLeft()
	}
	return v.Ends.Left()
}

// shown returns the PIN with its expiry as it is known now, by the present wall clock.
func (a *attempt) shown() *Pin {
	a.mu.Lock()
	defer a.mu.Unlock()
	pin := *a.pin
	pin.ends, pin.ExpiresAt = a.schedule.Expiry()
	return &pin
}

// shown returns a stored PIN, with the expiry of its attempt if there is one.
func (l *logins) shown(v *profile.PendingPIN) *Pin {
	if a := l.attemptFor(v.ID); a != nil {
		return a.shown()
	}
	return l.newPin(*v)
}

// saveExpiry saves the expiry if it was corrected, for the countdowns of other processes.
func (a *attempt) saveExpiry(ctx context.Context) {
	a.mu.Lock()
	at, corrected := a.schedule.TakeUnsaved()
	a.mu.Unlock()
	if !corrected {
		return
	}
	err := a.logins.update(ctx, func(b *profile.Profile) error {
		b.SetPendingExpiry(a.pin.ID, at)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		a.logins.warn(ctx, "the PIN's expiry was not saved", err)
	}
}
