package plexauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// reuseFor is what must be left of a PIN that is shown again.
const reuseFor = time.Minute

// Start begins a login: it makes sure that the store can take the result, asks
// plex.tv for a PIN and remembers it. It returns the PIN that is pending
// already if it was made with the same options and has a minute left; any
// other is superseded by the new one.
//
// Its errors say what is wrong with o, match [ErrStore], or are an [*Error]
// ([ErrUnavailable], [ErrRateLimited]); nothing is pending then that was not
// before.
func (p *PlexAuth) Start(ctx context.Context, o PinOptions) (*Pin, error) {
	l, err := p.start(ctx, o)
	if err != nil {
		return nil, err
	}
	return l.shown(), nil
}

func (p *PlexAuth) start(ctx context.Context, o PinOptions) (*login, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	leave, err := p.logins.starting.Enter(ctx, p.instance)
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	if err := p.checkStore(ctx); err != nil {
		return nil, err
	}
	changes, done := p.logins.read(p.instance)
	defer done()
	at, err := p.prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	found := at.pending
	if found != nil && !at.answers {
		if found, err = p.lastLookInTurn(ctx, found); err != nil {
			return nil, err
		}
	}
	if found != nil && !found.Token.IsZero() { // approved: it must not be lost to the new one
		if err := p.makeWay(ctx, found, wanted); err != nil {
			return nil, err
		}
	} else if at.answers {
		return p.takeOver(ctx, p.newPin(*found), changes, at.token)
	}
	p.learn(ctx, at.unknown)
	p.info(ctx, "request PIN")
	pin, err := p.requestPIN(ctx, at, o)
	if err != nil {
		return nil, err
	}
	changes, done = p.logins.read(p.instance)
	defer done()
	pin, before, err := p.rememberFresh(ctx, pin, found)
	if err != nil {
		return nil, err
	}
	return p.takeOver(ctx, pin, changes, before)
}

// rememberFresh is remember, but asks for another PIN where the key or the identifier
// of pin has become another login's in the meantime.
func (p *PlexAuth) rememberFresh(ctx context.Context, pin *Pin, found *profile.PendingPIN) (kept *Pin, before secret.Value, err error) {
	kept, before, err = p.remember(ctx, pin, found)
	switch {
	case errors.Is(err, profile.ErrKeyShared):
		pin, err = p.createDevicePIN(ctx, profile.NewClientID(), pin.options)
	case errors.Is(err, profile.ErrMovedOver):
		var at outset
		if at, err = p.prepare(ctx, pin.options); err == nil {
			pin, err = p.requestPIN(ctx, at, pin.options)
		}
	default:
		return kept, before, err
	}
	if err != nil {
		return nil, secret.Value{}, err
	}
	return p.remember(ctx, pin, found)
}

// requestPIN asks plex.tv for a PIN. A key that another device has, as when a store
// was copied, is replaced once.
func (p *PlexAuth) requestPIN(ctx context.Context, at outset, o PinOptions) (*Pin, error) {
	pin, err := p.createPIN(ctx, at.clientID, at.key, o)
	if at.key == nil || !isTaken(err) {
		return pin, err
	}
	pin, err = p.createDevicePIN(ctx, at.clientID, o)
	if isTaken(err) {
		err = errors.Join(err, p.update(ctx, func(b *profile.Profile) error {
			b.DropDevice(at.clientID)
			return nil
		}))
	}
	return pin, err
}

// createDevicePIN asks plex.tv for a PIN with a new key.
func (p *PlexAuth) createDevicePIN(ctx context.Context, clientID string, o PinOptions) (*Pin, error) {
	key, err := devicekey.New(clientID)
	if err != nil {
		return nil, err
	}
	return p.createPIN(ctx, clientID, key, o)
}

// takeOver takes up the PIN that Start has put into the store or found there. Where
// somebody has ended that login in the same moment, it is what is there now, or one
// that is over: with success where the profile has another token than when the PIN
// was put or found.
func (p *PlexAuth) takeOver(ctx context.Context, pin *Pin, changes int, before secret.Value) (*login, error) {
	l, ok := p.begin(pin, changes)
	if ok {
		return l, nil
	}
	l, err := p.resume(ctx)
	switch {
	case errors.Is(err, fault.ErrNoPendingPin):
		b, err := p.load(ctx)
		if err != nil {
			return nil, err
		}
		l = &login{pin: pin, turn: make(chan struct{}, 1), over: make(chan struct{}), end: fault.ErrNoPendingPin}
		if t := b.AccountToken(); !t.IsZero() && !t.Equal(before) && b.MayComeFrom(pin.device) {
			l.end = nil
		}
		close(l.over)
		return l, nil
	case errors.Is(err, ErrStore): // the PIN is there all the same
		for !ok {
			if now := p.logins.find(p.instance); now != nil && now.pin.ID != pin.ID { // another one has its place since
				return nil, err
			}
			now, done := p.logins.read(p.instance)
			l, ok = p.begin(pin, now)
			done()
		}
		return l, nil
	}
	return l, err
}

// checkStore asks the store whether it could take the result, if it can tell.
func (p *PlexAuth) checkStore(ctx context.Context) error {
	s, ok := p.store.(interface{ Check(context.Context) error })
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err := s.Check(limited)
	switch {
	case err == nil:
		p.warnIfExposed()
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return newStoreError(hung(limited, storeLimit, err))
}

// warnIfExposed logs if the config cannot be kept from other users of this
// machine, because its file system gives every file the same mode.
func (p *PlexAuth) warnIfExposed() {
	if s, ok := p.store.(*FileStore); ok {
		if why := s.file.Exposed(); why != "" {
			p.log.Warn("plexauth: other users of this machine can read the config", "reason", why)
		}
	}
}

// outset is what a Start begins with.
type outset struct {
	pending  *profile.PendingPIN
	answers  bool         // pending is as good as the next PIN
	token    secret.Value // that the profile has
	clientID string       // of the next PIN, and with Options.DeviceKey its key
	key      *devicekey.Key
	unknown  []profile.UnknownLogin // that it may end
}

// prepare finds that, and saves identifier and key before the first request.
func (p *PlexAuth) prepare(ctx context.Context, o PinOptions) (at outset, err error) {
	err = p.update(ctx, func(b *profile.Profile) (err error) {
		at = outset{pending: b.Pending(), token: b.AccountToken()}
		if !p.options.DeviceKey {
			at.clientID = b.EnsureClientID(p.options.ClientID)
		}
		at.answers = p.answers(at.pending, at.clientID, p.options.DeviceKey, o)
		if p.options.DeviceKey && at.answers {
			at.clientID = at.pending.ClientID
		} else if p.options.DeviceKey {
			if at.key, err = b.EnsureDevice(); err != nil {
				return err
			}
			at.clientID = at.key.ClientID
		}
		at.unknown = b.UnknownLogins(at.clientID)
		return err
	})
	return at, err
}

// makeWay settles an approved PIN, so that it is not lost to a new one. Somebody
// else may do so at the same time.
func (p *PlexAuth) makeWay(ctx context.Context, v *profile.PendingPIN, h haste) error {
	err := p.settleParked(ctx, v, h)
	if decides(err) || isNotGenuine(err) || errors.Is(err, fault.ErrNoPendingPin) || errors.Is(err, fault.ErrPinSuperseded) {
		return nil
	}
	return err
}

// remember makes a new PIN the one that is pending, in the place of found, and
// returns it; or another replica's that was faster, so that there is one PIN for
// both. before is the token that the profile had then.
func (p *PlexAuth) remember(ctx context.Context, pin *Pin, found *profile.PendingPIN) (kept *Pin, before secret.Value, err error) {
	for {
		var parked *profile.PendingPIN
		err := p.update(ctx, func(b *profile.Profile) error {
			parked, kept, before = nil, pin, b.AccountToken()
			switch v := b.Pending(); {
			case v != nil && !v.Token.IsZero(): // approved just now
				parked = v
				return nil
			case p.answers(v, pin.clientID, pin.device != nil, pin.options) && (found == nil || v.Id != found.Id):
				kept = p.newPin(*v)
				return nil
			}
			if err := b.IsTakenFrom(pin.clientID, pin.device); err != nil {
				return err
			}
			b.Create()
			b.SetPending(&profile.PendingPIN{
				Id: pin.ID, Code: pin.Code, Created: pin.CreatedAt, Expires: pin.ExpiresAt, LifetimeKnown: pin.lifetimeKnown,
				ClientID: pin.clientID, Device: pin.device, Options: profile.PinOptions(pin.options),
			})
			return nil
		})
		switch {
		case err != nil:
			return nil, secret.Value{}, err
		case parked != nil:
			if err := p.makeWay(ctx, parked, hurried); err != nil {
				return nil, secret.Value{}, err
			}
			continue
		case kept == pin:
			p.logf(ctx, LevelSuccess, "PIN issued")
		}
		return kept, before, nil
	}
}

// answers reports whether a pending PIN is as good as a new one. One that asks
// for a JWT has a key and an identifier of its own.
func (p *PlexAuth) answers(v *profile.PendingPIN, clientID string, byKey bool, o PinOptions) bool {
	return v != nil && v.Token.IsZero() && (v.Device != nil) == byKey && v.Code != "" && !v.Created.IsZero() && (byKey || v.ClientID == clientID) && v.Options == profile.PinOptions(o) && p.left(v) >= reuseFor
}

// Finish looks once whether the pending PIN has been approved, and saves the
// token if so. Connected speaks of this login: it is false while the PIN is
// pending, even if an older token works. Where none is pending, Finish is
// [PlexAuth.Status]. A call within a second of another look answers from that.
//
// It returns [ErrPinExpired], [ErrPinSuperseded], [ErrNoPendingPin],
// [ErrAccountMismatch] and [ErrTokenRejected] when the login has ended so, an
// [*Error] that matches [ErrUnavailable], [ErrRateLimited] or [ErrTokenExpired]
// when plex.tv could not be asked, in which case the login goes on, any other
// [*Error] when plex.tv refuses for good, and errors that match [ErrStore].
func (p *PlexAuth) Finish(ctx context.Context) (Status, error) {
	l, err := p.resume(ctx)
	if errors.Is(err, fault.ErrNoPendingPin) {
		return p.Status(ctx)
	}
	if err != nil {
		return p.blank(), err
	}
	over, err := p.step(ctx, l)
	s, err := p.statusNow(ctx, err)
	if !over || err != nil {
		s.Connected = false
	}
	return s, err
}

// Wait looks at the pending PIN, at a second's pace, until it is approved and
// the token is saved, or the login has ended otherwise: [ErrPinExpired],
// [ErrPinSuperseded], [ErrNoPendingPin] where there is none or it was
// cancelled, [ErrAccountMismatch], [ErrTokenRejected] where the token was dead
// at once, an [*Error] where plex.tv refuses for good, [ErrStore] where the store
// cannot be read to begin with or the token not be saved for five minutes, or
// ctx's error. After the last two the login can be taken up again. A network that
// is down does not end it; where the PIN is approved and only the account cannot
// be read, [ErrUnavailable] at the PIN's end leaves that to a later Verify. It
// need not be the process that called Start.
func (p *PlexAuth) Wait(ctx context.Context) (Status, error) {
	l, err := p.resume(ctx)
	if err == nil {
		err = p.await(ctx, l)
	}
	return p.statusNow(ctx, err)
}

// await looks until the login has ended, and returns how. Many goroutines may
// be parked here at once, so it keeps little on the stack.
func (p *PlexAuth) await(ctx context.Context, l *login) error {
	for {
		if err := l.sleep(ctx, l.nextLook(p.client.Guard.Clear())); err != nil {
			return fmt.Errorf("plexauth: waiting for the approval: %w", err)
		}
		if over, err := p.step(ctx, l); over {
			return err
		}
	}
}

// sleep waits until t, for the login's end, or for that of ctx, whose error it
// returns.
func (l *login) sleep(ctx context.Context, t time.Time) error {
	pause := time.NewTimer(time.Until(t))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-l.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Login makes sure that the profile is signed in. Where it is connected and needs no
// login, Login returns its Status at once, without a request, unless SwitchAccount is
// set: a program can begin with Login and asks a person once, not at each start.
// Otherwise Login begins a login, shows it and waits for its end: [PlexAuth.Start],
// show, [PlexAuth.Wait], and their errors. An error of show cancels the login and is
// returned. [PlexAuth.Start] begins a login in any case.
func (p *PlexAuth) Login(ctx context.Context, o PinOptions, show func(*Pin) error) (Status, error) {
	if show == nil {
		return p.statusNow(ctx, errors.New("plexauth: Login needs a function that shows the PIN"))
	}
	if err := o.check(); err != nil {
		return p.statusNow(ctx, err)
	}
	if !o.SwitchAccount {
		if s, err := p.Status(ctx); err != nil || s.Connected && !s.NeedsLogin {
			return s, err
		}
	}
	l, err := p.start(ctx, o)
	if err != nil {
		return p.statusNow(ctx, err)
	}
	if err := show(l.shown()); err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
		defer cancel()
		if cancelErr := p.Cancel(late); cancelErr != nil {
			p.warn(ctx, "login not cancelled", cancelErr)
		}
		return p.statusNow(ctx, err)
	}
	return p.statusNow(ctx, p.await(ctx, l))
}

// Cancel ends the pending login, if there is one: when it returns, no request
// about its PIN is made any more, and everyone who waits for it gets
// [ErrNoPendingPin]. A login that has been approved already is finished
// instead; where its approval would have ended the token of an older one, plex.tv
// is asked once more, which takes four seconds at most. Its errors match
// [ErrStore], or are an [*Error] ([ErrUnavailable], [ErrRateLimited]) where an
// approved login cannot be finished now.
func (p *PlexAuth) Cancel(ctx context.Context) error {
	done, err := p.takeTurn(ctx)
	if err != nil {
		return err
	}
	var how error
	defer func() { done(how) }()
	b, err := p.load(ctx)
	if err != nil {
		return err
	}
	v := b.Pending()
	if v == nil {
		how = fault.ErrNoPendingPin
		return nil
	}
	if v, err = p.lastLook(ctx, v); err != nil {
		return err
	}
	if v == nil {
		how = fault.ErrNoPendingPin
		return nil
	}
	if !v.Token.IsZero() {
		err := p.settleParked(ctx, v, hurried)
		if decides(err) || errors.Is(err, fault.ErrNoPendingPin) { // the latter where another process has just dropped it
			return nil
		}
		if !isNotGenuine(err) {
			return err
		}
	}
	if err := p.dropPending(ctx, v.Id); err != nil {
		return err
	}
	how = fault.ErrNoPendingPin
	p.info(ctx, "login cancelled")
	return nil
}
