package plexauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// lastLookInTurn takes the turn at the PIN that Start found, and then calls lastLook.
func (p *PlexAuth) lastLookInTurn(ctx context.Context, v *profile.PendingPIN) (*profile.PendingPIN, error) {
	done, err := p.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer done(nil)
	return p.lastLook(ctx, v)
}

// lastLook looks at a PIN that is about to be given up, if the approval would have
// retired a token that a profile lives on: that must not be lost. It parks the
// token and returns the PIN as it is then, nil where it is not pending any more. The
// caller has the turn. Where plex.tv does not answer within four seconds, the PIN is
// given up all the same.
func (p *PlexAuth) lastLook(ctx context.Context, v *profile.PendingPIN) (*profile.PendingPIN, error) {
	b, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	now := b.Pending()
	switch {
	case now == nil || now.Id != v.Id: // settled while the turn was waited for
		return nil, nil
	case !now.Token.IsZero() || now.Device != nil || !b.Retires(now.ClientID):
		return now, nil
	}
	now, _, err = p.fetchApproval(ctx, now)
	return now, err
}

// fetchApproval looks at a PIN and parks the token of an approval that has not been
// seen yet. It returns the PIN as it is then, nil where it is not pending any
// more, and in unseen why plex.tv could not be asked. A look that fails is repeated
// while there is time. The caller has the turn.
func (p *PlexAuth) fetchApproval(ctx context.Context, v *profile.PendingPIN) (now *profile.PendingPIN, unseen, err error) {
	if p.left(v) <= 0 {
		return v, nil, nil
	}
	l := p.loginOf(v.Id)
	last := l.lastLooked(v.Created)
	wait, limit := max(0, min(time.Until(last.Add(fresh)), fresh)), lastLookLimit
	if end, ok := ctx.Deadline(); ok { // what comes after the look needs time, too
		limit = min(limit, (time.Until(end)-wait)/2)
	}
	end := time.Now().Add(wait + limit)
	unseen = tooLate("check PIN", "plex.tv", context.DeadlineExceeded)
	for {
		if pause := time.Until(p.client.Guard.Clear()); pause > wait {
			wait = pause
			unseen = public(&plextv.Failure{Op: "check PIN", Where: "plex.tv", StatusCode: http.StatusTooManyRequests, Sentinel: fault.ErrRateLimited, RetryAfter: pause})
		}
		if !time.Now().Add(wait).Before(end) {
			return v, unseen, nil
		}
		if err := gate.Sleep(ctx, wait); err != nil {
			return nil, nil, fmt.Errorf("plexauth: %w", err)
		}
		reply, sent, err := p.lookUntil(ctx, end, v)
		if l != nil {
			p.noteLook(ctx, l, reply, sent, err)
		}
		switch {
		case err == nil && reply.Token.IsZero(), errors.Is(err, fault.ErrPinExpired):
			return v, nil, nil
		case err == nil:
			now, err = p.parkApproval(ctx, l, v.Id, reply.Token)
			return now, nil, err
		}
		if unseen = err; failureOf(err) == nil || lasts(err) {
			return v, unseen, nil
		}
		wait = max(0, time.Until(sent.Add(fresh)))
	}
}

// lastLooked returns when the last look left, or made where that is later. l may be
// nil.
func (l *login) lastLooked(made time.Time) time.Time {
	if l == nil {
		return made
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looked.After(made) {
		return l.looked
	}
	return made
}

// lookUntil makes one look, which ends at a time.
func (p *PlexAuth) lookUntil(ctx context.Context, end time.Time, v *profile.PendingPIN) (r plextv.PinReply, sent time.Time, err error) {
	attempt, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	return p.checkPIN(ctx, attempt, p.newPin(*v))
}

// parkApproval parks a token beside its PIN, and returns that as it is then; nil
// where it is not pending any more. l may be nil.
func (p *PlexAuth) parkApproval(ctx context.Context, l *login, id int64, t secret.Value) (now *profile.PendingPIN, err error) {
	err = p.saveToken(ctx, l, t, func(b *profile.Profile) error {
		if now = b.Pending(); now == nil || now.Id != id { // it has been dealt with elsewhere
			now = nil
			return nil
		}
		if now.Token.IsZero() {
			b.Park(t)
		}
		now = b.Pending()
		return nil
	})
	return now, err
}

// noteLook takes a look in that was not made for the login, but at its PIN: those
// who wait keep their pace, and look no more where there is nothing to look at.
func (p *PlexAuth) noteLook(ctx context.Context, l *login, r plextv.PinReply, sent time.Time, err error) {
	switch {
	case ctx.Err() != nil:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.looked = sent
	case errors.Is(err, fault.ErrPinExpired):
		_, _ = p.giveUp(ctx, l, err)
	case err == nil:
		if moved, _ := l.notYet(r, sent, false); moved && r.Token.IsZero() {
			p.noteExpiry(ctx, l)
		}
	default:
		l.postpone(sent, failureOf(err), err)
	}
}
