package plexauth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Disconnect forgets the profile's credentials and whose they were, and ends a
// pending login. It asks nobody and so works offline; the token stays valid at
// plex.tv (see [PlexAuth.SignOut]). An approval that nobody has looked at is lost,
// with the older tokens that it has ended: [PlexAuth.Cancel] looks first. The
// client identifier, the server choice and all that is not plexauth's stay. A
// profile that does not exist is not created. Its errors match [ErrStore].
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

// endWaiting ends the login that was pending, for all who wait.
func (p *PlexAuth) endWaiting(ctx context.Context) error {
	release, err := p.seize(ctx)
	if err == nil {
		release(fault.ErrNoPendingPin)
	}
	return err
}

// SignOut is Disconnect for every profile that lives on the same token, and
// then revokes the token at plex.tv. If plex.tv cannot be told, everything is
// forgotten here all the same and the error says so ([ErrUnavailable],
// [ErrRateLimited]); with one that matches [ErrStore] nothing is. A login that is
// pending may have been approved already: plex.tv is asked first, which takes four
// seconds at most, and where it does not answer the error says so, too. Where another
// profile has lost its token to that approval, it gets the approved one.
func (p *PlexAuth) SignOut(ctx context.Context) (Status, error) {
	var gone []revocation
	unseen := p.fetchApprovals(ctx)
	if errors.Is(unseen, ErrStore) { // with the pending login an approval might be lost
		return p.statusNow(ctx, unseen)
	}
	legacy := p.forSiblings(ctx)
	err := p.update(ctx, func(b *profile.Profile) error {
		gone = signOut(b, legacy)
		return nil
	})
	switch {
	case errors.Is(err, ErrStore) && p.forgotten(ctx, gone):
		p.warn(ctx, "the store forgot the login, and said that it had failed", err)
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

// fetchApprovals parks the tokens of approvals that have not been seen yet, for
// SignOut to find and end them. It returns why plex.tv could not be asked, or the
// store's error.
func (p *PlexAuth) fetchApprovals(ctx context.Context) (unseen error) {
	b, err := p.load(ctx)
	if err != nil {
		return err
	}
	for _, b := range append(b.SignedOutWith(), b) {
		v := b.Pending()
		if v == nil || !v.Token.IsZero() {
			continue
		}
		if err := p.Instance(b.Id).fetchInTurn(ctx, v); err != nil {
			unseen = err
		}
	}
	return unseen
}

// fetchInTurn takes the turn at the PIN that SignOut found, and then calls
// fetchApproval.
func (p *PlexAuth) fetchInTurn(ctx context.Context, v *profile.PendingPIN) (unseen error) {
	release, err := p.seizePending(ctx)
	if err != nil {
		return err
	}
	defer release(nil)
	_, unseen, err = p.fetchApproval(ctx, v)
	return errors.Join(unseen, err)
}

// forSiblings returns the profile's parked approval with its account, if another
// profile may have lost its own token to that. Its account is nil where there is no
// such approval, or plex.tv does not tell whose it is.
func (s *session) forSiblings(ctx context.Context) (a approval) {
	b, err := s.load(ctx)
	if err != nil {
		return a
	}
	v := b.Pending()
	if v == nil || v.Token.IsZero() || v.Device != nil || !slices.ContainsFunc(b.Others(), func(other *profile.Profile) bool {
		return !other.AccountToken().IsZero() && other.ClientID() == v.ClientID
	}) {
		return a
	}
	s.learnSiblings(ctx, v.ClientID)
	a = approval{pin: v, token: v.Token}
	if a.account, err = s.readAccount(ctx, v.Token, v.ClientID, true); err != nil {
		s.warn(ctx, "the owner of the approved token could not be found out", err)
	}
	return a
}

// revocation is a token that is to be ended at plex.tv, and what it was made
// under.
type revocation struct {
	token    secret.Value
	clientID string
	device   *devicekey.Key // nil: it is a long-lived one
}

// signOut forgets the credentials of the profile, and of every other one that
// lives on the same token. It returns what there is to revoke. The token of legacy is
// not revoked where other profiles, which are not signed out, get it instead of their
// own.
func signOut(b *profile.Profile, legacy approval) (gone []revocation) {
	parked := func(b *profile.Profile) {
		if v := b.Pending(); v != nil && !v.Token.IsZero() {
			gone = append(gone, revocation{v.Token, v.ClientID, v.Device})
		}
	}
	v := b.Pending()
	isLegacy := v != nil && legacy.account != nil && legacy.token.Equal(v.Token) && !b.SameCredential(legacy.account.ID, v.ClientID)
	if !isLegacy || !legacy.bequeath(b) {
		parked(b)
	}
	if t := b.AccountToken(); !t.IsZero() && !b.Rejected() {
		gone = append(gone, revocation{t, b.ClientID(), b.Life().Device})
	}
	for _, other := range b.SignedOutWith() {
		parked(other)
		other.Disconnect()
	}
	b.Disconnect()
	return gone
}

// forgotten reports whether the profile has no login any more, and no other one
// lives on what is gone: then a failed Update was carried out all the same, and
// nobody but the caller can revoke the tokens.
func (s *session) forgotten(ctx context.Context, gone []revocation) bool {
	b, err := s.load(ctx)
	if err != nil || len(gone) == 0 || !b.AccountToken().IsZero() || b.Pending() != nil {
		return false
	}
	for _, other := range b.Others() {
		v := other.Pending()
		for _, r := range gone {
			if other.AccountToken().Equal(r.token) || v != nil && v.Token.Equal(r.token) {
				return false
			}
		}
	}
	return true
}

// revoke carries a revocation out.
func (s *session) revoke(ctx context.Context, r revocation) error {
	err := public(s.client.Revoke(ctx, r.token, r.clientID))
	if r.device == nil || !errors.Is(err, fault.ErrTokenExpired) {
		return err
	}
	t, err := s.exchange(ctx, r.device, nil, nil) // it takes a good one to end them all
	if err == nil {
		err = public(s.client.Revoke(ctx, t, r.clientID))
	}
	if errors.Is(err, fault.ErrTokenRejected) {
		return nil
	}
	return err
}
