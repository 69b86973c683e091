package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

const (
	slowestPoll = 10 * time.Second // in bad weather
	fresh       = time.Second      // how long a look answers for those who come after it
	rounding    = 2 * time.Second  // what an expiresIn in whole seconds may be off

	longestLook   = 3 * plextv.AttemptLimit // an attempt has this long where shorter ones have timed out
	lastLookLimit = 3 * time.Second         // bounds a look that a Start, Cancel or SignOut waits for
)

// nextLook is when the next look is due: not before the others' pace allows,
// and at the deadline at the latest.
func (l *login) nextLook(guard time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.next
	if guard = l.bound(guard); guard.After(t) {
		t = guard
	}
	if left := l.deadline.Left(); time.Until(t)+fresh > left { // rather at the deadline than just before it
		t = time.Now().Add(left)
	}
	if least := l.looked.Add(fresh); t.Before(least) {
		t = least
	}
	return t
}

// jitter makes a pause a little longer, each at random: programs that began
// together do not go on together.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/20+1) }

// step takes its turn at the PIN: it looks, or takes the result of the look
// that was just made. over tells that the login has ended, with err.
func (p *PlexAuth) step(ctx context.Context, l *login) (over bool, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-l.over:
		return true, l.end
	case <-ctx.Done():
		return false, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	select {
	case <-l.over:
		return true, l.end
	default:
	}
	if err, ok := l.recent(p.client.Guard.Clear()); ok {
		return false, err
	}
	return p.look(ctx, l)
}

// recent is the result of the last look, if it is fresh or no other may be
// made now: somebody wants the turn for something else, or plex.tv has asked to
// slow down.
func (l *login) recent(guard time.Time) (error, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case l.halted > 0, !l.looked.IsZero() && now.Sub(l.looked) < fresh:
		return l.result, true
	case l.deadline.Left() <= 0:
		return nil, false
	}
	return l.result, now.Before(l.bound(guard))
}

// bound returns guard, but never more than waitLimit after the last look: what
// plex.tv tells other callers must not park this PIN (G12). mu must be held.
func (l *login) bound(guard time.Time) time.Time {
	last := l.looked
	if last.IsZero() {
		last = l.began
	}
	if most := last.Add(plextv.WaitLimit); guard.After(most) {
		return most
	}
	return guard
}

// look makes one look and does what the answer asks for. The caller has the
// turn.
func (p *PlexAuth) look(ctx context.Context, l *login) (over bool, err error) {
	gone := false
	raw, err := p.loadForLook(ctx, l)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return false, nil // Cancel or another Start wants the turn
	}
	if err == nil && !l.hasSeen(raw) {
		var b *profile.Profile
		if b, err = p.parse(raw); err == nil {
			switch v := b.Pending(); {
			case v == nil:
				gone = true // cancelled, or finished by another process: the answer tells
			case v.Id != l.pin.ID:
				return p.ended(l, fault.ErrPinSuperseded)
			case !v.Token.IsZero():
				return p.lookParked(ctx, l, v)
			default:
				l.saw(raw, b)
			}
		}
	}
	if ctx.Err() != nil {
		return false, err
	}
	if err != nil && !l.storeTrouble {
		p.warn(ctx, "cannot read the store, the login goes on", err)
	}
	l.storeTrouble = err != nil

	left := l.left()
	final, limit := left <= 0, l.patience
	if !final {
		limit = min(limit, left)
	}
	attempt, cancel := context.WithTimeout(ctx, p.client.AttemptLimit(limit))
	defer cancel()
	if !l.setCancel(cancel) {
		return false, nil
	}
	reply, sent, err := p.checkPIN(ctx, attempt, l.pin)
	stopped := ctx.Err() != nil || errors.Is(attempt.Err(), context.Canceled)
	l.setCancel(nil)
	if stopped && (err != nil || reply.Token.IsZero()) { // by ctx or by Cancel
		l.mu.Lock()
		l.looked = sent
		l.mu.Unlock()
		if ctx.Err() == nil {
			err = nil
		}
		return false, err
	}
	return p.judgeLook(ctx, l, reply, sent, err, final, gone)
}

// loadForLook reads the store for a look, as long as nothing else wants the turn. A
// look has no longer for that than for asking plex.tv.
func (p *PlexAuth) loadForLook(ctx context.Context, l *login) (json.RawMessage, error) {
	reading, done := l.abortable(ctx)
	defer done()
	return p.loadWithin(reading, plextv.AttemptLimit)
}

// judgeLook does what the answer to a look asks for. final tells that it was the
// last one, gone that the PIN is in the store no more.
func (p *PlexAuth) judgeLook(ctx context.Context, l *login, reply plextv.PinReply, sent time.Time, err error, final, gone bool) (bool, error) {
	e := failureOf(err)
	switch {
	case err == nil && !reply.Token.IsZero():
		return p.approved(ctx, l, reply.Token)
	case gone && err == nil: // and not approved: whoever took it out of the store has cancelled it
		return p.ended(l, fault.ErrNoPendingPin)
	case gone && errors.Is(err, fault.ErrPinExpired):
		return p.endedElsewhere(ctx, l)
	case err == nil:
		l.unsure = false
		p.recovered(ctx, l)
		moved, expired := l.notYet(reply, sent, final)
		if expired {
			return p.giveUp(ctx, l, fault.ErrPinExpired)
		}
		if moved {
			p.noteExpiry(ctx, l)
		}
		return false, nil
	case errors.Is(err, fault.ErrPinExpired):
		return p.giveUp(ctx, l, err)
	case lasts(err):
		return p.giveUp(ctx, l, err) // refused for good
	}
	p.disturbed(ctx, l, e, err)
	l.postpone(sent, e, err)
	l.allowMore(e)
	switch {
	case gone:
		if l.missing++; l.missing > 2 || final {
			return p.endedElsewhere(ctx, l)
		}
	case final && l.unsure && time.Since(l.began) < profile.DefaultLifetime: // only plex.tv can tell whether the PIN lives
		l.mu.Lock()
		l.deadline = elapsed.Now().Add(slowestPoll)
		l.mu.Unlock()
	case final:
		return p.giveUp(ctx, l, fmt.Errorf("%w; the last look failed: %w", fault.ErrPinExpired, fault.Inside(err)))
	}
	return false, err
}

// endedElsewhere ends a login whose PIN another process has taken out of the
// store: with success if another token is there since, with [ErrAccountMismatch] if
// that process has refused the approval as another account's.
func (p *PlexAuth) endedElsewhere(ctx context.Context, l *login) (bool, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.ended(l, fault.ErrNoPendingPin)
	}
	l.mu.Lock()
	known, before := l.seen != 0, l.before
	l.mu.Unlock()
	if t := b.AccountToken(); known && !t.IsZero() && !t.Equal(before) && b.MayComeFrom(l.pin.device) {
		return p.ended(l, nil)
	}
	if b.Refused(l.pin.ID) {
		return p.ended(l, fault.ErrAccountMismatch)
	}
	return p.ended(l, fault.ErrNoPendingPin)
}

// notYet takes in that answer: when the PIN really expires, and when to look
// again.
func (l *login) notYet(r plextv.PinReply, sent time.Time, final bool) (moved, expired bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked, l.result = sent, nil
	l.next = time.Now().Add(jitter(l.gap)) // from the answer on: so no two arrive within a second, however slow the way
	switch {
	case r.Expires && r.ExpiresIn < 0 && l.known:
		return false, true // past its life, and plex.tv still answers
	case r.Expires && (r.ExpiresIn > 0 || l.known):
		l.known = true
		r.ExpiresIn = max(r.ExpiresIn, fresh) // 0 is less than a second
		at := min(elapsed.At(sent).Add(r.ExpiresIn), l.latest)
		if off := time.Duration(at - l.deadline); off.Abs() > rounding {
			l.deadline = at
		}
	}
	l.redate()
	return l.undated, final && l.deadline.Left() <= 0
}

// postpone takes in that a look failed.
func (l *login) postpone(sent time.Time, e *plextv.Failure, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked, l.result = sent, err
	widest := max(plextv.WaitLimit, l.interval)
	if e != nil && e.Sentinel == fault.ErrRateLimited {
		l.gap = min(max(l.gap+plextv.DefaultSlow, e.RetryAfter), widest)
	} else {
		l.gap = max(l.gap, min(2*l.gap, slowestPoll))
	}
	l.next = time.Now().Add(min(jitter(l.gap), widest))
}

// allowMore gives the next attempt more time where the last one has timed out.
func (l *login) allowMore(e *plextv.Failure) {
	if e != nil && e.Kind() == plextv.KindTimeout {
		l.patience = min(l.patience+plextv.AttemptLimit, longestLook)
	}
}

// disturbed logs trouble once, until its kind changes.
func (p *PlexAuth) disturbed(ctx context.Context, l *login, e *plextv.Failure, err error) {
	kind := "other"
	if e != nil {
		kind = e.Kind().Word()
	}
	if l.trouble != kind {
		l.trouble = kind
		p.warn(ctx, "no look at the PIN possible, the login goes on", err)
	}
}

// recovered logs that the trouble is over. After a 429 the pace stays wide.
func (p *PlexAuth) recovered(ctx context.Context, l *login) {
	if l.trouble == "" {
		return
	}
	l.mu.Lock()
	if l.trouble == "rate_limited" {
		l.gap = min(l.gap, max(slowestPoll, l.interval))
	} else {
		l.gap = l.interval
	}
	l.mu.Unlock()
	l.trouble = ""
	p.info(ctx, "plex.tv answers again")
}

// giveUp ends a login that cannot succeed any more.
func (p *PlexAuth) giveUp(ctx context.Context, l *login, err error) (bool, error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	dropErr := p.update(late, func(b *profile.Profile) error {
		b.DropPending(l.pin.ID)
		if l.pin.device != nil && isTaken(err) {
			b.DropDevice(l.pin.clientID)
		}
		return nil
	})
	if dropErr != nil {
		p.warn(ctx, "the dead PIN was not removed", dropErr)
	}
	p.info(ctx, "login ended: "+reason(err))
	return p.ended(l, err)
}

func reason(err error) string {
	if errors.Is(err, fault.ErrPinExpired) {
		return "the PIN expired"
	}
	return "plex.tv refused"
}

// dropPending removes the PIN from the store, if it is still the one.
func (p *PlexAuth) dropPending(ctx context.Context, id int64) error {
	return p.update(ctx, func(b *profile.Profile) error {
		b.DropPending(id)
		return nil
	})
}
