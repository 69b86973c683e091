package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/schedule"
	"github.com/plexauth/plexauth/internal/secret"
)

// Disconnect removes the profile's credentials and the account's data from the store,
// and ends a pending login. It makes no request, so it works offline; the token stays
// valid at plex.tv (see [PlexAuth.SignOut]). If the pending login was approved without
// a call noticing, that approval is lost, and with it the older tokens that it has
// retired. [PlexAuth.Cancel] asks plex.tv first. The client identifier, the choice of
// a server and the members of other programs stay. Disconnect does not create a
// profile. Its errors match [ErrStore].
func (p *PlexAuth) Disconnect(ctx context.Context) (Status, error) {
	var removed *profile.PendingPIN
	err := p.update(ctx, func(b *profile.Profile) error {
		removed = b.Pending()
		b.Disconnect()
		return nil
	})
	if err != nil {
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "disconnected")
	return p.statusNow(ctx, p.endWaiting(ctx, removed))
}

// endWaiting ends the login of a PIN that was removed from the store, for all callers that
// wait for it. Another login may have begun since. removed is nil if there was none.
func (l *logins) endWaiting(ctx context.Context, removed *profile.PendingPIN) error {
	a, release, err := l.seize(ctx)
	switch {
	case err != nil:
		return err
	case a != nil && removed != nil && a.pin.ID == removed.ID:
		release(fault.ErrNoPendingPin)
	default:
		release(nil)
	}
	return nil
}

// SignOut does what [PlexAuth.Disconnect] does, for every profile with the same token,
// and then revokes the token at plex.tv. If plex.tv cannot be asked, the login is
// removed from the store all the same, and the error says so ([ErrUnavailable],
// [ErrRateLimited]). With an error that matches [ErrStore], nothing was removed.
//
// A pending login may have been approved already. Therefore plex.tv is asked first,
// for four seconds at most; if it does not answer, the error says that too. If another
// profile has lost its token to that approval, it gets the approved token.
func (p *PlexAuth) SignOut(ctx context.Context) (Status, error) {
	var gone []profile.Revocation
	unseen := p.fetchApprovals(ctx)
	approved, err := p.approvedForOthers(ctx)
	if err != nil || errors.Is(unseen, ErrStore) { // an approval of the pending login might be lost
		return p.statusNow(ctx, fault.Join(err, unseen))
	}
	var removed map[string]*profile.PendingPIN // by profile
	err = p.update(ctx, func(b *profile.Profile) error {
		removed = map[string]*profile.PendingPIN{b.ID: b.Pending()}
		for _, other := range b.OthersSharingToken() {
			removed[other.ID] = other.Pending()
		}
		gone = b.SignOut(approved, p.fixedClientID())
		return nil
	})
	switch {
	case errors.Is(err, ErrStore) && p.forgotten(ctx, gone):
		p.warn(ctx, "the store has removed the login, although it reported an error", err)
	case err != nil:
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "signed out")
	err = nil
	for id, pin := range removed {
		err = errors.Join(err, p.on(id).endWaiting(ctx, pin))
	}
	if unseen != nil {
		err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the login that was pending may have been approved, and its token may still be valid at plex.tv: %w", fault.Inside(unseen)))
	}
	for _, r := range gone {
		if revokeErr := p.revoke(ctx, r); revokeErr != nil {
			err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the token may still be valid at plex.tv: %w", fault.Inside(revokeErr)))
		}
	}
	return p.statusNow(ctx, err)
}

// fetchApprovals asks plex.tv for approvals that no call has noticed, and saves their
// tokens so that SignOut revokes them. It returns why it could not ask, or the store's error.
func (l *logins) fetchApprovals(ctx context.Context) (unseen error) {
	b, err := l.load(ctx)
	if err != nil {
		return err
	}
	for _, b := range append(b.OthersSharingToken(), b) {
		v := b.Pending()
		if v == nil || !v.Token.IsZero() {
			continue
		}
		if err := l.on(b.ID).fetchInTurn(ctx, v); err != nil {
			unseen = err
		}
	}
	return unseen
}

// fetchInTurn calls fetchApproval for v while no other call uses the PIN, if it is still
// pending then.
func (l *logins) fetchInTurn(ctx context.Context, v *profile.PendingPIN) (unseen error) {
	_, release, err := l.seizePending(ctx)
	if err != nil {
		return err
	}
	defer release(nil)
	b, err := l.load(ctx)
	if err != nil {
		return err
	}
	now := b.Pending()
	if now == nil || now.ID != v.ID || !now.Token.IsZero() {
		return nil
	}
	_, unseen, err = l.fetchApproval(ctx, now)
	return errors.Join(unseen, err)
}

// approvedForOthers returns the profile's approved token with its account, if another profile
// may have lost its own token to that approval. It is zero if there is no such
// approval, or if plex.tv does not name its account. The error is the store's.
func (s *session) approvedForOthers(ctx context.Context) (a profile.Approval, err error) {
	b, err := s.load(ctx)
	if err != nil {
		return a, err
	}
	v := b.Pending()
	if !b.MayHaveRetired(v) {
		return a, nil
	}
	s.learn(ctx, b.UnidentifiedOthers(v.ClientID))
	u, err := s.readAccount(ctx, v.Token, v.ClientID, true)
	if err != nil {
		s.warn(ctx, "could not find out which account the approved token belongs to", err)
		return a, nil
	}
	return profile.Approval{PIN: v, Token: v.Token, Account: ownerOf(u)}, nil
}

// forgotten reports whether an Update that failed was carried out all the same. Then only
// the caller can still revoke the tokens of gone.
func (s *session) forgotten(ctx context.Context, gone []profile.Revocation) bool {
	b, err := s.load(ctx)
	return err == nil && b.IsSignedOut(gone)
}

// revoke ends a token at plex.tv. A device needs a valid JWT for that, which also ends
// its older ones.
func (s *session) revoke(ctx context.Context, c profile.Revocation) error {
	err := public(s.client.Revoke(ctx, c.Token, c.ClientID))
	if c.Device == nil || !errors.Is(err, fault.ErrTokenExpired) {
		return err
	}
	t, err := s.exchange(ctx, c.Device, nil, nil)
	if err == nil {
		err = public(s.client.Revoke(ctx, t, c.ClientID))
	}
	if errors.Is(err, fault.ErrTokenRejected) {
		return nil
	}
	return err
}

// finalPollLimit bounds the polls that a Start, Cancel or SignOut waits for.
const finalPollLimit = 3 * time.Second

// settleBeforeStart polls the pending PIN a last time before a new one replaces it, and
// settles an approval, so that it is not lost. forced is as in finalPoll. It returns the PIN
// that is to be replaced, nil if there is none. With keep, kept is the attempt of a PIN that
// has just signed the profile in.
func (l *logins) settleBeforeStart(ctx context.Context, seen *reading, in profile.StartInputs, keep, forced bool) (replaced *profile.PendingPIN, kept *attempt, err error) {
	if in.Pending == nil {
		return nil, nil, nil
	}
	v, err := l.finalPollInTurn(ctx, seen, in.Pending, forced)
	if err == nil && v != nil && !v.Token.IsZero() {
		err = l.settleReplaced(ctx, v, whenReplaced)
	}
	if err == nil && keep {
		kept, err = l.succeeded(ctx, l.newPin(*in.Pending), in.Token)
	}
	return v, kept, err
}

// settleReplaced settles the approval of a PIN that is about to be replaced. Another
// caller may do so at the same time.
func (l *logins) settleReplaced(ctx context.Context, v *profile.PendingPIN, limit patience) error {
	err := l.settle(ctx, v, limit)
	if isSettled(err) || isNotGenuine(err) || errors.Is(err, fault.ErrNoPendingPin) || errors.Is(err, fault.ErrPinSuperseded) {
		return nil
	}
	return err
}

// finalPollInTurn seizes the PIN v that Start found, and polls it a last time.
func (l *logins) finalPollInTurn(ctx context.Context, seen *reading, v *profile.PendingPIN, forced bool) (*profile.PendingPIN, error) {
	seize := l.seize
	if l.attemptFor(v.ID) == nil { // after a restart
		seize = l.seizePending
	}
	_, release, err := seize(ctx)
	if err != nil {
		return nil, err
	}
	defer release(nil)
	return l.finalPoll(ctx, seen, v, forced)
}

// finalPoll polls a PIN that is about to be given up, so that an approval is not lost: if
// that would have retired a token that a profile lives on, or in any case if forced is set. It
// parks the token. It returns the PIN as it is then, nil if it is not pending any more. If
// plex.tv does not answer within four seconds, the PIN is given up all the same. It must be the
// caller's turn.
func (l *logins) finalPoll(ctx context.Context, seen *reading, v *profile.PendingPIN, forced bool) (*profile.PendingPIN, error) {
	b, err := l.reload(ctx, seen)
	if err != nil {
		return nil, err
	}
	now := b.Pending()
	switch {
	case now == nil || now.ID != v.ID: // settled while the turn was waited for
		return nil, nil
	case !now.Token.IsZero() || !forced && (now.Device != nil || !b.WouldRetire(now.ClientID)):
		return now, nil
	}
	now, _, err = l.fetchApproval(ctx, now)
	return now, err
}

// fetchApproval polls a PIN and parks the token of an approval that has not been seen
// yet. It returns the PIN as it is then, nil if another process has taken it, and in unseen
// why plex.tv could not be asked. A poll that fails is repeated while there is time. It
// must be the caller's turn.
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
	for openAt := l.client.Guard.OpenAt; ; openAt = l.client.Guard.RepeatAt {
		if pause := time.Until(openAt()); pause > wait {
			wait = pause
			unseen = public(plextv.HeldBack(plextv.OpCheckPIN, time.Until(l.client.Guard.OpenAt())))
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
			now, err = l.parkApproval(ctx, a, v, r.reply.Token)
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
		a.schedule.NotePoll()
	case r.answer() == plextv.AnswerExpired:
		_, _ = a.abandon(ctx, r.err)
	case r.answer() == plextv.AnswerApproved: // what it says of the expiry does not count
		a.recordPending(pollResult{sent: r.sent})
	case r.err == nil:
		a.recordPending(r)
		a.saveExpiry(ctx)
	default:
		a.recordFailure(r.err)
	}
}

// parkApproval parks a token beside its PIN v. It returns the PIN as it is then, nil if it is not
// pending any more. If no one has taken or refused the token, it is dropped then. a may be nil.
func (l *logins) parkApproval(ctx context.Context, a *attempt, v *profile.PendingPIN, t secret.Value) (now *profile.PendingPIN, err error) {
	late, cancel := gate.Outlive(ctx, saveGrace)
	defer cancel()
	known := false
	err = l.saveToken(ctx, a, t, func(b *profile.Profile) error {
		now, known = b.Park(v.ID, t), b.Refused(v.ID) || len(b.Holders(t)) > 0
		return nil
	})
	if err == nil && now == nil && !known && v.Device == nil {
		l.dropApproval(late, t, v.ClientID)
	}
	return now, err
}
