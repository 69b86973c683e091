// Package watch keeps a login alive and tells what changes. It has its rules as well: when
// the store is read again, and when plex.tv is asked whether the token still works.
package watch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

const (
	// readInterval is the least time between two reads of the store for one profile, unless
	// this process has written it. Work that has ended is followed by as long a rest.
	readInterval = 15 * time.Second
	// undoLimit bounds how long a check is undone after its context has ended.
	undoLimit = 800 * time.Millisecond
)

// Login is a login that is watched. S is the status that the program is told. A Login is
// safe for concurrent use.
type Login[S any] interface {
	// Written returns a channel that is closed when this process next writes the document.
	Written() <-chan struct{}
	// Writes returns how often this process has written it.
	Writes() int
	// Read reads what is stored. It returns last if that is still the state.
	Read(ctx context.Context, last *State[S]) (*State[S], error)
	// Update edits the stored profile.
	Update(ctx context.Context, edit func(*profile.Profile) error) error
	// Ask asks plex.tv about the token, and saves its answer.
	Ask(ctx context.Context) error
	// Reject saves that plex.tv has rejected the token t.
	Reject(ctx context.Context, t secret.Value) error
	// MayRenew reports whether the token t, which still works, may be renewed now.
	MayRenew(t secret.Value) bool
	// Renew renews the token t, which still works. It logs a failure.
	Renew(ctx context.Context, t secret.Value) error
	// Log logs what has happened.
	Log(ctx context.Context, level slog.Level, what string, attrs ...slog.Attr)
}

// State is the state of a login as it is stored.
type State[S any] struct {
	Status  S
	View    View
	Passing bool         // Status changes with time
	Token   secret.Value // for plex.tv
	Checked time.Time    // when Token was last checked
	Hash    uint64       // of the document

	RenewAt, UnusableAt time.Time // see [profile.Lifetime]

	id string // of Token
}

// View is what is told of a login. A View that differs is news.
type View struct {
	Connected, NeedsLogin bool
	User                  string
	Account               int64 // plex.tv's number of the linked account; 0: none
	PIN                   int64 // that is pending; 0: none
}

// Shared is what the watchers of one profile in this process share. The zero value is
// ready to use.
type Shared[S any] struct {
	reading gate.Gate // guards what follows; entered to read the store
	read    time.Time // when the store was last read, or failed
	writes  int       // of the document, before that
	trouble trouble   // with the store, that was logged last
	seen    *State[S] // what was read last; it does not change; nil: nothing yet

	working  gate.Gate // entered by the one watcher that asks plex.tv; guards checking
	checking trouble   // with a check, that was logged last
	plan     Plan
}

// trouble is a kind of trouble with the store or with plex.tv; "" is none.
type trouble string

// troubleOf returns the kind of err.
func troubleOf(err error) trouble {
	f := plextv.FailureIn(err)
	switch {
	case err == nil:
		return ""
	case f != nil:
		return trouble(f.Kind())
	case errors.Is(err, fault.ErrCorruptConfig):
		return "corrupt"
	}
	return "other"
}

// Watcher watches one login for one caller.
type Watcher[S any] struct {
	Login  Login[S]
	Client *plextv.Client
	Shared *Shared[S]
	Share  float64 // of the day at which the token is checked, see [Share]

	// Changed is told the status when it has changed. rejected says that plex.tv has
	// rejected the token, which the store may not say.
	Changed func(status S, rejected bool)

	told     *View         // nil: nothing yet
	done     chan struct{} // closed when the work under way has ended; nil: none
	panicked any           // what that work has panicked with
	restTill time.Time     // when the next work may begin
}

// Run watches until ctx ends. A panic of Login or Changed passes through.
func (w *Watcher[S]) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.join()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		written := w.Login.Written() // before the store is read, so that no change is missed
		seen, next := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if seen != nil {
			w.tell(seen)
			next = min(next, w.work(ctx, seen))
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-w.done:
			w.join()
		case <-written:
		case <-timer.C:
		}
	}
}

// look returns the state of the login, at most readInterval old, nil if the store cannot
// be read. next is how long it is until it is read again.
func (w *Watcher[S]) look(ctx context.Context) (seen *State[S], next time.Duration) {
	s := w.Shared
	leave, err := s.reading.Enter(ctx)
	if err != nil {
		return nil, 0
	}
	defer leave()
	if writes := w.Login.Writes(); s.read.IsZero() || s.writes != writes || time.Since(s.read) >= readInterval {
		s.writes, s.read = writes, time.Now()
		now, err := w.Login.Read(ctx, s.seen)
		if ctx.Err() != nil {
			s.read = time.Time{} // another watcher reads again
			return nil, 0
		}
		w.noteStore(ctx, err)
		if err == nil && now != s.seen {
			now.id = secret.Fingerprint(now.Token)
			s.seen = now
		}
	}
	if s.trouble == "" {
		seen = s.seen
	}
	return seen, readInterval - time.Since(s.read)
}

// noteStore logs trouble with reading the store when it changes or ends. The caller has
// entered Shared.reading.
func (w *Watcher[S]) noteStore(ctx context.Context, err error) {
	was := w.Shared.trouble
	w.Shared.trouble = troubleOf(err)
	switch {
	case w.Shared.trouble == was:
	case err != nil:
		w.warn(ctx, "cannot read the store; the login is watched again when it can be read", err)
	default:
		w.Login.Log(ctx, slog.LevelInfo, "the store can be read again")
	}
}

// tell calls Changed if there is news.
func (w *Watcher[S]) tell(seen *State[S]) {
	view, rejected := seen.View, w.Shared.plan.Rejected(seen.id)
	if rejected {
		view.Connected, view.NeedsLogin = false, true
	}
	if w.told == nil || *w.told != view {
		w.told = &view
		w.Changed(seen.Status, rejected)
	}
}

// work begins what is due, in the background: a renewal or a check. It does one thing at a
// time, for all watchers of the profile. It returns how long it is until something is due.
func (w *Watcher[S]) work(ctx context.Context, seen *State[S]) (next time.Duration) {
	if w.done != nil || !seen.View.Connected || w.Client.Guard.OpenAt().After(time.Now()) {
		return readInterval // after a pause, too, so that not all go on at once
	}
	now := w.Client.Clock.Now()
	do, due := w.check, w.Shared.plan.CheckIn(w.Share, seen.id, seen.Checked, now)
	if profile.Past(seen.RenewAt, now) {
		if !w.Login.MayRenew(seen.Token) {
			return readInterval
		}
		do, due = w.renew, w.Shared.plan.RenewIn(seen.id, seen.RenewAt, seen.UnusableAt, now)
	}
	if rest := max(due, time.Until(w.restTill)); rest > 0 {
		return rest
	}
	leave, ok := w.Shared.working.TryEnter()
	if !ok {
		return readInterval
	}
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		defer leave()
		defer func() { w.panicked = recover() }() // from what the program has handed in
		do(ctx, seen)
	}()
	return readInterval
}

// join waits for the work under way. A panic in it goes on here, where the caller can
// recover it.
func (w *Watcher[S]) join() {
	if w.done == nil {
		return
	}
	<-w.done
	w.done, w.restTill = nil, time.Now().Add(readInterval)
	if v := w.panicked; v != nil {
		panic(v)
	}
}

// renew renews a JWT that still works.
func (w *Watcher[S]) renew(ctx context.Context, seen *State[S]) {
	limited, cancel := context.WithTimeout(ctx, plextv.AttemptLimit)
	defer cancel()
	if errors.Is(w.Login.Renew(limited, seen.Token), fault.ErrTokenRejected) {
		w.Shared.plan.SetRejected(seen.id, w.Client.Clock.Now())
	}
}

// check asks plex.tv whether the token is valid, unless another process does.
func (w *Watcher[S]) check(ctx context.Context, seen *State[S]) {
	now := w.Client.Clock.Now()
	if w.Shared.plan.Rejected(seen.id) { // which is not saved yet
		if w.Login.Reject(ctx, seen.Token) != nil {
			w.Shared.plan.Failed(seen.id, 0, now)
		}
		return
	}
	claimed := true
	err := w.Login.Update(ctx, func(p *profile.Profile) error {
		claimed = p.ClaimCheck(seen.Checked, now)
		return nil
	})
	if !claimed {
		return
	}
	if ctx.Err() != nil { // the claim was perhaps saved
		w.undoCheck(ctx, seen, now)
		return
	}
	if err != nil { // a store that cannot be written, or not now
		w.Login.Log(ctx, slog.LevelDebug, "the time of the check was not saved", errorAttr(err))
	}
	w.noteCheck(ctx, seen, now, w.Login.Ask(ctx))
}

// noteCheck notes and logs the outcome of a check that began at the time began.
func (w *Watcher[S]) noteCheck(ctx context.Context, seen *State[S], began time.Time, err error) {
	plan, was := &w.Shared.plan, w.Shared.checking
	switch {
	case err == nil:
		plan.Succeeded(seen.id, began)
		if w.Shared.checking = ""; was != "" {
			w.Login.Log(ctx, slog.LevelInfo, "plex.tv answers again")
		}
		return
	case errors.Is(err, fault.ErrTokenRejected):
		plan.SetRejected(seen.id, began)
		w.warn(ctx, "plex.tv has rejected the token: sign in again", err)
		if errors.Is(err, fault.ErrStore) {
			plan.Failed(seen.id, 0, began)
		}
		return
	case errors.Is(err, fault.ErrNotConnected): // another caller has removed the token
		return
	}
	w.undoCheck(ctx, seen, began)
	if ctx.Err() != nil {
		return
	}
	var retryAfter time.Duration
	if f := plextv.FailureIn(err); f != nil {
		retryAfter = f.RetryAfter
	}
	plan.Failed(seen.id, retryAfter, began)
	if w.Shared.checking = troubleOf(err); w.Shared.checking != was {
		w.warn(ctx, "cannot ask plex.tv whether the login is still valid; it stays as it is", err)
	}
}

// undoCheck lets another process check the token, even if ctx has ended. If the store
// cannot be written, the others check it a day later.
func (w *Watcher[S]) undoCheck(ctx context.Context, seen *State[S], began time.Time) {
	late, cancel := gate.Outlive(ctx, undoLimit)
	defer cancel()
	_ = w.Login.Update(late, func(p *profile.Profile) error {
		p.UnclaimCheck(seen.Checked, began)
		return nil
	})
}

func (w *Watcher[S]) warn(ctx context.Context, what string, err error) {
	w.Login.Log(ctx, slog.LevelWarn, what, errorAttr(err))
}

func errorAttr(err error) slog.Attr { return slog.String("error", plain.Long(err.Error())) }
