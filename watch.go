package plexauth

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/registry"
	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/storecall"
	"github.com/plexauth/plexauth/internal/watch"
)

// Watch keeps the profile's login alive until ctx ends, and returns ctx's error. It is for
// a program that runs for long and makes few requests of its own. changed may be nil.
//
// It calls changed with the present Status as soon as the store can be read, and again
// whenever Connected, NeedsLogin, User, Pending (another PIN, or none) or
// [Settings].CloudAccountID has changed: at once if this PlexAuth, or one made from it,
// has changed it, and within 15 seconds if another process has. Calls of changed follow
// one another, in the goroutine of Watch, which does nothing else in the meantime. What
// has changed while changed runs is told afterwards; only states in between are lost.
// changed may call any method.
//
// Watch renews a JWT that is due, see [PlexAuth.Transport]. Once a day it asks plex.tv
// whether the token is still valid, as [PlexAuth.Verify] does, at a time of day that
// differs between profiles; the store keeps when that was. A token that has died at plex.tv
// thus sets NeedsLogin within a day. Trouble with the network, plex.tv or the store ends
// nothing and changes no status: it is logged once until it changes, and what could not be
// done is tried again. Watch reports a pending login and does not finish it; that is the
// task of [PlexAuth.Wait] and [PlexAuth.Finish].
//
// Any number of Watches may run, in any number of processes. They share reads of the
// store in one process, and renewals and checks over one store. An id that
// [PlexAuth.Instance] does not accept is an error at once.
func (p *PlexAuth) Watch(ctx context.Context, changed func(Status)) error {
	if p.invalid != nil {
		return p.invalid
	}
	e := p.hold()
	defer e.Release()
	w := watch.Watcher[Status]{Login: watchedLogin{e, &p.logins}, Client: p.client, Shared: &e.Known.token().watching, Share: watch.Share(p.namespace, p.instance)}
	w.Changed = func(s Status, rejected bool) {
		if rejected {
			s.Connected, s.NeedsLogin = false, true
		}
		if changed != nil {
			changed(s)
		}
	}
	w.Run(ctx)
	return fmt.Errorf("plexauth: watching the login: %w", ctx.Err())
}

// watchedLogin is the login of a profile as its Watches see it. It implements
// [watch.Login].
type watchedLogin struct {
	*registry.Entry[inUse]
	l *logins
}

// Read reads what is stored.
func (w watchedLogin) Read(ctx context.Context, last *watch.State[Status]) (*watch.State[Status], error) {
	r, err := w.l.read(ctx, storecall.Limit)
	if err != nil {
		return nil, err
	}
	hash := r.Hash()
	if last != nil && last.Hash == hash && !last.Passing {
		return last, nil
	}
	b, err := w.l.parse(r)
	if err != nil {
		return nil, err
	}
	s, life := w.l.status(b), w.l.lifeOf(b)
	state := &watch.State[Status]{
		Status: s, View: watch.View{Connected: s.Connected, NeedsLogin: s.NeedsLogin, User: s.User, Account: b.ClaimedAccountID()},
		Passing: s.Pending != nil || !life.Renewable() && !life.Expires.IsZero(),
		Token:   life.Token, RenewAt: life.RenewAt(), UnusableAt: life.UnusableAt(), Checked: b.Checked, Hash: hash,
	}
	if s.Pending != nil {
		state.View.PIN = s.Pending.ID
	}
	return state, nil
}

// Update edits the stored profile.
func (w watchedLogin) Update(ctx context.Context, edit func(*profile.Profile) error) error {
	return w.l.update(ctx, edit)
}

// Ask asks plex.tv about the token, and saves its answer.
func (w watchedLogin) Ask(ctx context.Context) error {
	_, err := w.l.askAccount(ctx)
	return err
}

// Reject saves that plex.tv has rejected t.
func (w watchedLogin) Reject(ctx context.Context, t secret.Value) error {
	_, err := w.l.reject(ctx, t)
	return err
}

// MayRenew reports whether no renewal of t has just failed.
func (w watchedLogin) MayRenew(t secret.Value) bool {
	return w.Known.token().renewals.Paused(t, renewbackoff.Background) == nil
}

// Renew renews a token that still works, in turn with all other callers.
func (w watchedLogin) Renew(ctx context.Context, t secret.Value) error {
	return w.l.renew(ctx, t, renewbackoff.Background)
}

// Log logs what has happened.
func (w watchedLogin) Log(ctx context.Context, level slog.Level, what string, attrs ...slog.Attr) {
	w.l.logf(ctx, level, what, attrs...)
}
