package plexauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
)

// Disconnect removes the profile's credentials and the account's data from the store,
// and ends a pending login. It makes no request, so it works offline; the token stays
// valid at plex.tv (see [PlexAuth.SignOut]). If the pending login was approved without
// a call noticing, that approval is lost, and with it the older tokens that it has
// retired. [PlexAuth.Cancel] asks plex.tv first. The client identifier, the choice of
// a server and the members of other programs stay. Disconnect does not create a
// profile. Its errors match [ErrStore].
func (p *PlexAuth) Disconnect(ctx context.Context) (Status, error) {
	err := p.update(ctx, func(b *profile.Profile) error {
		b.Disconnect()
		return nil
	})
	if err != nil {
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "disconnected")
	return p.statusNow(ctx, p.endWaiting(ctx))
}

// endWaiting ends the pending login for all callers that wait for it.
func (l *logins) endWaiting(ctx context.Context) error {
	release, err := l.seize(ctx)
	if err == nil {
		release(fault.ErrNoPendingPin)
	}
	return err
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
	if errors.Is(unseen, ErrStore) { // an approval of the pending login might be lost
		return p.statusNow(ctx, unseen)
	}
	approved := p.approvedForOthers(ctx)
	err := p.update(ctx, func(b *profile.Profile) error {
		gone = b.SignOut(approved)
		return nil
	})
	switch {
	case errors.Is(err, ErrStore) && p.forgotten(ctx, gone):
		p.warn(ctx, "the store has removed the login, although it reported an error", err)
	case err != nil:
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "signed out")
	err = p.endWaiting(ctx)
	if unseen != nil {
		err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the login that was pending may have been approved, and its token live on at plex.tv: %w", fault.Inside(unseen)))
	}
	for _, r := range gone {
		if revokeErr := p.revoke(ctx, r); revokeErr != nil {
			err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the token may live on at plex.tv: %w", fault.Inside(revokeErr)))
		}
	}
	return p.statusNow(ctx, err)
}

// fetchApprovals asks plex.tv for approvals that no call has noticed, and saves their
// tokens so that SignOut revokes them. It returns why it could not ask, or the store's
// error.
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

// fetchInTurn calls fetchApproval for v while no other call uses the PIN.
func (l *logins) fetchInTurn(ctx context.Context, v *profile.PendingPIN) (unseen error) {
	release, err := l.seizePending(ctx)
	if err != nil {
		return err
	}
	defer release(nil)
	_, unseen, err = l.fetchApproval(ctx, v)
	return errors.Join(unseen, err)
}

// approvedForOthers returns the profile's approved token with its account, if another profile
// may have lost its own token to that approval. It is zero if there is no such
// approval, or if plex.tv does not name its account.
func (s *session) approvedForOthers(ctx context.Context) (a profile.Approval) {
	b, err := s.load(ctx)
	if err != nil {
		return a
	}
	v := b.Pending()
	if !b.MayHaveRetired(v) {
		return a
	}
	s.learn(ctx, b.UnidentifiedOthers(v.ClientID))
	u, err := s.readAccount(ctx, v.Token, v.ClientID, true)
	if err != nil {
		s.warn(ctx, "could not find out which account the approved token belongs to", err)
		return a
	}
	return profile.Approval{PIN: v, Token: v.Token, Account: ownerOf(u)}
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
