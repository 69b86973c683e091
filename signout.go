package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Disconnect forgets the profile's credentials and whose they were, and ends a
// pending login. It asks nobody and so works offline; the token stays valid at
// plex.tv (see [PlexAuth.SignOut]). The client identifier, the server choice
// and all that is not plexauth's stay. A profile that does not exist is not
// created.
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
// [ErrRateLimited]).
func (p *PlexAuth) SignOut(ctx context.Context) (Status, error) {
	type credential struct {
		token    Token
		clientID string
		device   *device
	}
	var revoke []credential
	err := p.update(ctx, func(b *profile) error {
		revoke = nil
		t, clientID, account := b.token("account_token"), b.clientID(), b.cloudID()
		parked := func(b *profile) {
			if v := b.pending(); v != nil && !v.token.IsZero() {
				revoke = append(revoke, credential{v.token, v.clientID, v.device})
			}
		}
		parked(b)
		if !t.IsZero() && !b.rejected() {
			revoke = append(revoke, credential{t, clientID, b.life().device})
		}
		for _, other := range b.others() {
			if other.sameCredential(account, clientID) || other.token("account_token").Equal(t) {
				parked(other)
				other.disconnect()
			}
		}
		b.disconnect()
		return nil
	})
	if err != nil {
		return p.statusNow(ctx, err)
	}
	p.info(ctx, "signed out")
	err = p.endWaiting(ctx)
	for _, c := range revoke {
		revokeErr := p.client.revoke(ctx, c.token, c.clientID)
		if errors.Is(revokeErr, ErrTokenExpired) && c.device != nil { // it takes a good one to end them all
			if c.token, revokeErr = p.exchange(ctx, c.device, nil); revokeErr == nil {
				revokeErr = p.client.revoke(ctx, c.token, c.clientID)
			}
			if errors.Is(revokeErr, ErrTokenRejected) {
				revokeErr = nil
			}
		}
		if revokeErr != nil {
			err = errors.Join(err, fmt.Errorf("plexauth: signed out here, but the token may live on at plex.tv: %w", revokeErr))
		}
	}
	return p.statusNow(ctx, err)
}

// revoke ends a token at plex.tv. One that is dead already is no error.
func (c *client) revoke(ctx context.Context, t Token, clientID string) error {
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
