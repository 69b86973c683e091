package plexauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// AdoptOptions says what is known of the token that [PlexAuth.Adopt] takes over.
type AdoptOptions struct {
	// ClientID is the X-Plex-Client-Identifier that the token was made under. Set it
	// where it is known: plex.tv keeps one token for each account and identifier, and the
	// token is then used with its own. If it is empty, a JWT names its own, and any other
	// token is used with the document's. Plex does not document whether plex.tv accepts a
	// token under another identifier; public clients have done so for years.
	ClientID string
	// SwitchAccount accepts another account than the linked one, as in [PinOptions].
	SwitchAccount bool
	over          *Token // which alone may be replaced; nil: any
}

// check returns what is wrong with the options, or with a token that no request can carry.
func (o AdoptOptions) check(t secret.Value) error {
	switch {
	case t.IsZero():
		return errors.New("plexauth: Adopt: the token is empty")
	case !secret.UsableToken(t.Secret()):
		return errors.New("plexauth: Adopt: no request can carry the token: it must be at most 4096 bytes of ASCII without spaces and line breaks, also at its ends")
	case o.ClientID != "" && !plain.IsHeaderValue(o.ClientID):
		return errors.New("plexauth: Adopt: ClientID must be at most 255 bytes of text without control characters or space around it")
	}
	return nil
}

// Adopt takes over a login that another program made: a token from an environment
// variable, from a form or from an older config. It asks plex.tv whose token it is. Then it
// saves token, account and client identifier in one Update, as if the login had been
// approved here. It makes one request, and none if the profile has this token already,
// so a program may call it at each start.
//
// The token stays the other program's as well: Adopt revokes nothing, also not the token
// that is replaced, and [PlexAuth.SignOut] ends it for both. A pending login of the profile
// is superseded, and those who wait for it get [ErrPinSuperseded]. If it was approved
// already, and that may have ended an older token, it is finished first. With a ClientID,
// profiles of the document whose own token it has retired get the token, too.
//
// A JWT is adopted without the device key that renews it, which stays with the other
// program. [Status].ExpiresAt says when it ends, and NeedsLogin that it has. The JWT of the
// profile's own device key changes nothing.
//
// The error matches [ErrTokenRejected] if plex.tv does not accept the token,
// [ErrTokenExpired] if it is a JWT that has expired, and [ErrAccountMismatch] if it is
// another account's than the linked one, unless o.SwitchAccount is set. [ErrUnavailable]
// and [ErrRateLimited] say that plex.tv could not be asked, and [ErrStore] that the store
// could not be read, or not be written for five minutes. After an error the login is as it
// was, and the token was not saved; only the document's client identifier may be new. A
// token that no request can carry, and a bad ClientID, are errors before any request. Once
// plex.tv has answered, saving continues for 800 ms after ctx has ended. Adopt is safe for
// concurrent use.
func (p *PlexAuth) Adopt(ctx context.Context, token Token, o AdoptOptions) (Status, error) {
	if err := o.check(token.v); err != nil {
		return p.statusNow(ctx, err)
	}
	s, err := p.adopt(ctx, token.v, o)
	if err != nil {
		return p.statusNow(ctx, err)
	}
	return s, nil
}

// adopt does the work of Adopt.
func (l *logins) adopt(ctx context.Context, t secret.Value, o AdoptOptions) (Status, error) {
	e := l.hold()
	defer e.Release()
	leave, err := e.Known.starting.Enter(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	for { // another login may retire the token while its account is read
		again, s, err := l.adoptOnce(ctx, t, o)
		if err != nil || !again {
			return s, err
		}
		if err := gate.Sleep(ctx, outdatedPause); err != nil {
			return Status{}, fmt.Errorf("plexauth: %w", err)
		}
	}
}

// adoptOnce makes one attempt to adopt t. again reports that nothing was decided, because
// the tokens that the decision goes by have changed.
func (l *logins) adoptOnce(ctx context.Context, t secret.Value, o AdoptOptions) (again bool, s Status, err error) {
	b, err := l.load(ctx)
	if err != nil {
		return false, s, err
	}
	switch s = l.status(b); {
	case b.AccountToken().Equal(t) && b.TokenIsDead(): // plex.tv is not asked again
		return false, s, b.CheckToken()
	case b.HasLogin(t, o.ClientID) && !s.NeedsLogin:
		return false, s, nil
	case o.over != nil && secret.Fingerprint(b.AccountToken()) != secret.Fingerprint(o.over.v):
		return false, s, fault.ErrPinSuperseded
	}
	if err := l.check(ctx); err != nil {
		return false, s, err
	}
	a, err := l.identifyAdopted(ctx, b, t, o)
	switch {
	case err != nil:
		return false, s, err
	case b.AccountToken().Equal(t): // a pending login goes on
		return l.saveAdopted(ctx, a)
	}
	return l.adoptOver(ctx, a)
}

// identifyAdopted asks plex.tv whose t is, and, where that is not known, whose login it
// would replace in b. The document's identifier is saved before the first request (G1).
func (l *logins) identifyAdopted(ctx context.Context, b *profile.Profile, t secret.Value, o AdoptOptions) (a profile.Adoption, err error) {
	a = profile.Adoption{SwitchAccount: o.SwitchAccount}
	a.Token, a.Previous, a.OthersHash = t, b.AccountToken(), b.OthersHash()
	identify := func(b *profile.Profile) error {
		a.ClientID, a.Foreign = b.AdoptedID(t, o.ClientID, l.fixedClientID())
		return nil
	}
	if err := l.updateIfNeeded(ctx, identify, t); err != nil {
		return a, err
	}
	u, err := l.readAccount(ctx, t, a.ClientID, false)
	if err != nil {
		return a, err
	}
	a.Account = ownerOf(u)
	if !o.SwitchAccount && b.Linked() && b.AccountID() == 0 && !b.AccountToken().Equal(t) {
		a.PreviousOwner, err = l.identifyCurrent(ctx, b, false)
		if err != nil && a.PreviousOwner != profile.OwnerRefused {
			return a, err
		}
	}
	return a, nil
}

// adoptOver ends the pending login, finishes it if it was approved, and otherwise saves a.
// again is as in adoptOnce.
func (l *logins) adoptOver(ctx context.Context, a profile.Adoption) (again bool, s Status, err error) {
	_, release, err := l.seizePending(ctx)
	if err != nil {
		return false, s, err
	}
	var outcome error
	defer func() { release(outcome) }() // also if the store panics
	b, err := l.load(ctx)
	if err != nil {
		return false, s, err
	}
	if a.IsRefused(b) {
		return false, s, mismatchError(a.Approval)
	}
	if a.PIN = b.Pending(); a.PIN != nil {
		if a.PIN, err = l.finalPoll(ctx, &reading{}, a.PIN, false); err != nil {
			return false, s, err
		}
	}
	if a.PIN != nil && !a.PIN.Token.IsZero() {
		return true, s, l.settleReplaced(ctx, a.PIN, whenReplaced)
	}
	again, s, err = l.saveAdopted(ctx, a)
	if err == nil && !again && s.Pending == nil {
		outcome = fault.ErrPinSuperseded
	}
	return again, s, err
}

// saveAdopted saves a, and returns the status after it. again is as in adoptOnce.
func (l *logins) saveAdopted(ctx context.Context, a profile.Adoption) (again bool, s Status, err error) {
	var d profile.Decision
	err = l.save(ctx, saveLimit, a.Token, func(b *profile.Profile) error {
		d = a.Apply(b)
		s = l.status(b)
		return nil
	})
	switch {
	case err != nil || d == profile.Outdated:
		return err == nil, s, err
	case d == profile.Mismatch:
		return false, s, mismatchError(a.Approval)
	}
	l.logf(ctx, LevelSuccess, "login of another program taken over")
	return false, s, nil
}
