package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Disconnect forgets the profile's credentials and whose they were, and ends a
// pending login. It asks nobody and so works offline; the token stays valid at
// plex.tv (see [PlexAuth.SignOut]). An approval that nobody has looked at is lost,
// with the older tokens that it has ended: [PlexAuth.Cancel] looks first. The
// client identifier, the server choice and all that is not plexauth's stay. A
// profile that does not exist is not created. Its errors match [ErrStore].
func (p *PlexAuth) Disconnect(ctx context.Context) (Status, error) {
	err := p.update(ctx, func(b *profile) error {
		b.disconnect()
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
	done, err := p.stopLooking(ctx)
	if err == nil {
		done(ErrNoPendingPin)
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
	err := p.update(ctx, func(b *profile) error {
		gone = b.signOut(legacy)
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
		err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the login that was pending may have been approved, and its token live on at plex.tv: %w", inner{unseen}))
	}
	for _, r := range gone {
		if revokeErr := p.revoke(ctx, r); revokeErr != nil {
			err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the token may live on at plex.tv: %w", inner{revokeErr}))
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
	for _, b := range append(b.signedOutWith(), b) {
		v := b.pending()
		if v == nil || !v.token.IsZero() {
			continue
		}
		if err := p.Instance(b.id).fetchInTurn(ctx, v); err != nil {
			unseen = err
		}
	}
	return unseen
}

// fetchInTurn takes the turn at the PIN that SignOut found, and then calls
// fetchApproval.
func (p *PlexAuth) fetchInTurn(ctx context.Context, v *pendingPIN) (unseen error) {
	done, err := p.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer done(nil)
	_, unseen, err = p.fetchApproval(ctx, v)
	return errors.Join(unseen, err)
}

// forSiblings returns the profile's parked approval with its account, if another
// profile may have lost its own token to that. Its account is nil where there is no
// such approval, or plex.tv does not tell whose it is.
func (p *PlexAuth) forSiblings(ctx context.Context) (a approval) {
	b, err := p.load(ctx)
	if err != nil {
		return a
	}
	v := b.pending()
	if v == nil || v.token.IsZero() || v.device != nil || !slices.ContainsFunc(b.others(), func(other *profile) bool {
		return !other.accountToken().IsZero() && other.clientID() == v.clientID
	}) {
		return a
	}
	p.learnSiblings(ctx, v.clientID)
	a = approval{pin: v, token: v.token}
	if a.account, err = p.readAccount(ctx, v.token, v.clientID, true); err != nil {
		p.warn(ctx, "the owner of the approved token could not be found out", err)
	}
	return a
}

// signedOutWith are the other profiles that live on the same token.
func (b *profile) signedOutWith() (others []*profile) {
	for _, other := range b.others() {
		if other.sameCredential(b.cloudID(), b.clientID()) || other.accountToken().Equal(b.accountToken()) {
			others = append(others, other)
		}
	}
	return others
}

// revocation is a token that is to be ended at plex.tv, and what it was made
// under.
type revocation struct {
	token    secretValue
	clientID string
	device   *device // nil: it is a long-lived one
}

// signOut forgets the credentials of the profile, and of every other one that
// lives on the same token. It returns what there is to revoke. The token of legacy is
// not revoked where other profiles, which are not signed out, get it instead of their
// own.
func (b *profile) signOut(legacy approval) (gone []revocation) {
	parked := func(b *profile) {
		if v := b.pending(); v != nil && !v.token.IsZero() {
			gone = append(gone, revocation{v.token, v.clientID, v.device})
		}
	}
	v := b.pending()
	isLegacy := v != nil && legacy.account != nil && legacy.token.Equal(v.token) && !b.sameCredential(legacy.account.ID, v.clientID)
	if !isLegacy || !legacy.bequeath(b) {
		parked(b)
	}
	if t := b.accountToken(); !t.IsZero() && !b.rejected() {
		gone = append(gone, revocation{t, b.clientID(), b.life().device})
	}
	for _, other := range b.signedOutWith() {
		parked(other)
		other.disconnect()
	}
	b.disconnect()
	return gone
}

// forgotten reports whether the profile has no login any more, and no other one
// lives on what is gone: then a failed Update was carried out all the same, and
// nobody but the caller can revoke the tokens.
func (p *PlexAuth) forgotten(ctx context.Context, gone []revocation) bool {
	b, err := p.load(ctx)
	if err != nil || len(gone) == 0 || !b.accountToken().IsZero() || b.pending() != nil {
		return false
	}
	for _, other := range b.others() {
		v := other.pending()
		for _, r := range gone {
			if other.accountToken().Equal(r.token) || v != nil && v.token.Equal(r.token) {
				return false
			}
		}
	}
	return true
}

// revoke carries a revocation out.
func (p *PlexAuth) revoke(ctx context.Context, r revocation) error {
	err := public(p.client.revoke(ctx, r.token, r.clientID))
	if r.device == nil || !errors.Is(err, ErrTokenExpired) {
		return err
	}
	t, err := p.exchange(ctx, r.device, nil, nil) // it takes a good one to end them all
	if err == nil {
		err = public(p.client.revoke(ctx, t, r.clientID))
	}
	if errors.Is(err, ErrTokenRejected) {
		return nil
	}
	return err
}

// revoke ends a token at plex.tv. One that is dead already is no error.
func (c *client) revoke(ctx context.Context, t secretValue, clientID string) error {
	err := c.do(ctx, &call{
		op: "sign out", method: http.MethodDelete, url: c.plexTV + "/api/v2/users/signout", clientID: clientID, token: t, account: true,
		decode: confirmed,
	})
	if errors.Is(err, ErrTokenRejected) {
		return nil
	}
	return err
}

// confirmed is for an answer of which nothing is needed: it may be empty, but
// not a portal's page or an error, after which nothing has happened.
func confirmed(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if _, failed := parseEnvelope(body); failed || !json.Valid(body) {
		return errors.New("no confirmation")
	}
	return nil
}
