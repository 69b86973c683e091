package plexauth

import (
	"context"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/schedule"
	"github.com/plexauth/plexauth/internal/secret"
)

// finalPollLimit bounds the polls that a Start, Cancel or SignOut waits for.
const finalPollLimit = 3 * time.Second

// finalPollInTurn seizes the PIN v that Start found, and polls it a last time.
func (l *logins) finalPollInTurn(ctx context.Context, v *profile.PendingPIN) (*profile.PendingPIN, error) {
	seize := l.seize
	if l.attemptFor(v.ID) == nil { // after a restart
		seize = l.seizePending
	}
	release, err := seize(ctx)
	if err != nil {
		return nil, err
	}
	defer release(nil)
	return l.finalPoll(ctx, v)
}

// finalPoll polls a PIN that is about to be given up, if its approval would have retired
// a token that a profile lives on, so that the approval is not lost. It parks the token.
// It returns the PIN as it is then, nil if it is not pending any more. If plex.tv does not
// answer within four seconds, the PIN is given up all the same. The caller holds the gate.
func (l *logins) finalPoll(ctx context.Context, v *profile.PendingPIN) (*profile.PendingPIN, error) {
	b, err := l.load(ctx)
	if err != nil {
		return nil, err
	}
	now := b.Pending()
	switch {
	case now == nil || now.ID != v.ID: // settled while the gate was waited for
		return nil, nil
	case !now.Token.IsZero() || now.Device != nil || !b.WouldRetire(now.ClientID):
		return now, nil
	}
	now, _, err = l.fetchApproval(ctx, now)
	return now, err
}

// fetchApproval polls a PIN and parks the token of an approval that has not been seen
// yet. It returns the PIN as it is then, nil if another process has taken it, and in unseen
// why plex.tv could not be asked. A poll that fails is repeated while there is time. The
// caller holds the gate.
func (l *logins) fetchApproval(ctx context.Context, v *profile.PendingPIN) (now *profile.PendingPIN, unseen, err error) {
	if l.left(v) <= 0 {
		return v, nil, nil
	}
	a := l.attemptFor(v.ID)
	wait, limit := max(0, min(time.Until(a.lastPolled(v.Created).Add(schedule.PollMaxAge)), schedule.PollMaxAge)), finalPollLimit
	if end, ok := ctx.Deadline(); ok { // what comes after the poll needs time, too
		limit = min(limit, (time.Until(end)-wait)/2)
	}
	end := time.Now().Add(wait + limit)
	unseen = tooLate(plextv.OpCheckPIN, "plex.tv", context.DeadlineExceeded)
	for {
		if pause := time.Until(l.client.Guard.OpenAt()); pause > wait {
			wait = pause
			unseen = public(plextv.HeldBack(plextv.OpCheckPIN, pause))
		}
		if !time.Now().Add(wait).Before(end) {
			return v, unseen, nil
		}
		if err := gate.Sleep(ctx, wait); err != nil {
			return nil, nil, fmt.Errorf("plexauth: %w", err)
		}
		r := l.pollUntil(ctx, end, v)
		a.noteFinalPoll(ctx, r)
		switch r.answer() {
		case plextv.AnswerPending, plextv.AnswerExpired:
			return v, nil, nil
		case plextv.AnswerApproved:
			now, err = l.parkApproval(ctx, a, v.ID, r.reply.Token)
			return now, nil, err
		case plextv.AnswerRefused:
			return v, r.err, nil
		}
		if unseen = r.err; plextv.FailureIn(r.err) == nil {
			return v, unseen, nil
		}
		wait = max(0, time.Until(r.sent.Add(schedule.PollMaxAge)))
	}
}

// lastPolled returns when the last poll left, or made if that is later. a may be nil.
func (a *attempt) lastPolled(made time.Time) time.Time {
	if a == nil {
		return made
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := a.schedule.LastPoll(); last.After(made) {
		return last
	}
	return made
}

// pollUntil polls a PIN once, until end at the latest.
func (l *logins) pollUntil(ctx context.Context, end time.Time, v *profile.PendingPIN) (r pollResult) {
	request, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	r.reply, r.sent, r.err = l.checkPIN(ctx, request, l.newPin(*v))
	return r
}

// noteFinalPoll records a final poll, so that those who wait keep their pace, and stop if
// there is nothing to wait for. a may be nil.
func (a *attempt) noteFinalPoll(ctx context.Context, r pollResult) {
	switch {
	case a == nil:
	case ctx.Err() != nil:
		a.mu.Lock()
		defer a.mu.Unlock()
		a.schedule.NotePoll(r.sent)
	case r.answer() == plextv.AnswerExpired:
		_, _ = a.abandon(ctx, r.err)
	case r.err == nil:
		if a.recordPending(r); r.answer() == plextv.AnswerPending {
			a.saveExpiry(ctx)
		}
	default:
		a.recordFailure(r.sent, r.err)
	}
}

// parkApproval parks a token beside its PIN. It returns the PIN as it is then, nil if it
// is not pending any more. a may be nil.
func (l *logins) parkApproval(ctx context.Context, a *attempt, id int64, t secret.Value) (now *profile.PendingPIN, err error) {
	err = l.saveToken(ctx, a, t, func(b *profile.Profile) error {
		now = b.Park(id, t)
		return nil
	})
	return now, err
}
