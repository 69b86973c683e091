package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	slowestPoll = 10 * time.Second       // in bad weather
	reuseFor    = time.Minute            // what must be left of a PIN that is shown again
	saveGrace   = 800 * time.Millisecond // for saving a token when its context has ended
	saveLimit   = 5 * time.Minute
	// fresh is how long a look answers for those who come after it.
	fresh = time.Second
	// rounding is what an expiresIn in whole seconds may be off.
	rounding = 2 * time.Second
)

// How a login can end without a token.
var (
	// ErrPinExpired: nobody approved the PIN in time. Start again.
	ErrPinExpired = errors.New("plexauth: the PIN expired before it was approved")
	// ErrPinSuperseded: another Start replaced the PIN.
	ErrPinSuperseded = errors.New("plexauth: another login has replaced this one")
	// ErrNoPendingPin: no login is pending, or it was cancelled.
	ErrNoPendingPin = errors.New("plexauth: no login is pending")
)

// logins are the logins that this process looks after, one a profile.
type logins struct {
	mu         sync.Mutex               // guards the maps, never held while waiting
	byInstance map[string]func() *login // hidden
	starting   turns                    // whose turn it is to Start
	webStarts  map[string]time.Time     // when the next one may be made from the web
}

func (l *logins) nextWebStart(instance string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.webStarts[instance]
}

func (l *logins) noteWebStart(instance string, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.webStarts[instance] = time.Now().Add(pause)
}

// login is what all who wait for one PIN in this process share: they look in
// turn, and one look answers for all.
type login struct {
	pin  *Pin
	turn chan struct{} // holds whoever looks, saves or cancels
	over chan struct{} // closed when the login has ended
	end  error         // how; read it once over is closed

	// Only whoever has the turn touches these.
	trouble      string // the kind of failure last logged
	storeTrouble bool   // the store could not be read
	missing      int    // looks that failed since the PIN is gone from the store
	unsure       bool   // the stored expiry is past, by a clock that may have been set

	mu       sync.Mutex         // guards the rest, never held while waiting; the deadline changes in one's turn only
	cancel   context.CancelFunc // ends what is in flight
	halted   int                // how many want the turn for something else than a look
	looked   time.Time          // when the last one left
	result   error              // what it found: nil is "not yet"
	next     time.Time          // no look before
	gap      time.Duration      // between looks
	interval time.Duration      // the least gap
	deadline time.Time          // of the PIN, by the wall clock
	latest   time.Time          // no answer moves the deadline beyond
	known    bool               // plex.tv said how long the PIN lives
	seen     uint64             // the hash of the namespace when it was last found to hold this PIN, waiting; 0: not yet
	before   Token              // that the profile had then
}

// of returns a profile's login, nil where there is none. The caller holds mu.
func (s *logins) of(instance string) *login {
	if l := s.byInstance[instance]; l != nil {
		return l()
	}
	return nil
}

// begin takes up a PIN: first look after one interval. It takes the place of
// another one only where that is known to be older.
func (s *shared) begin(instance string, pin *Pin, newest bool) (l *login, ok bool) {
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	if l := s.logins.of(instance); l != nil {
		if l.pin.ID == pin.ID {
			return l, true
		}
		if !newest {
			return nil, false
		}
		l.close(ErrPinSuperseded)
	}
	now := time.Now().Round(0)
	l = &login{
		pin: pin, turn: make(chan struct{}, 1), over: make(chan struct{}),
		interval: max(s.options.PollInterval, time.Second),
		deadline: pin.ExpiresAt.Round(0), known: pin.lifetimeKnown,
	}
	if most := now.Add(longestLifetime); l.deadline.After(most) { // a clock was set
		l.deadline = most
	}
	l.unsure = !l.deadline.After(now)
	l.latest = now.Add(longestLifetime)
	l.gap = l.interval
	l.next = now.Add(jitter(l.gap))
	s.logins.byInstance[instance] = hide(l)
	return l, true
}

func jitter(d time.Duration) time.Duration { return d + rand.N(d/20+1) }

// close ends the login for all who wait. The caller holds logins.mu or is
// the only one who can.
func (l *login) close(err error) {
	select {
	case <-l.over:
	default:
		l.end = err
		close(l.over)
	}
}

// ended ends a login and forgets it.
func (p *PlexAuth) ended(l *login, err error) (bool, error) {
	p.logins.mu.Lock()
	defer p.logins.mu.Unlock()
	l.close(err)
	if p.logins.of(p.instance) == l {
		delete(p.logins.byInstance, p.instance)
	}
	return true, l.end
}

// endedPIN is ended for a PIN that was settled by whoever came by, if anybody
// waits for it.
func (p *PlexAuth) endedPIN(id int64, err error) {
	p.logins.mu.Lock()
	l := p.logins.of(p.instance)
	p.logins.mu.Unlock()
	if l != nil && l.pin.ID == id {
		p.ended(l, err)
	}
}

// nextLook is when the next look is due: not before the others' pace allows,
// and at the deadline at the latest.
func (l *login) nextLook(guard time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.next
	if guard.After(t) {
		t = guard
	}
	if t.Add(fresh).After(l.deadline) { // rather at the deadline than just before it
		t = l.deadline
	}
	if least := l.looked.Add(fresh); t.Before(least) {
		t = least
	}
	return t
}

// Start begins a login: it makes sure that the store can take the result, asks
// plex.tv for a PIN and remembers it. It returns the PIN that is pending
// already if it was made with the same options and has a minute left; any
// other is superseded by the new one.
//
// Its errors match [ErrStore], or are an [*Error] ([ErrUnavailable],
// [ErrRateLimited]); nothing is pending then that was not before.
func (p *PlexAuth) Start(ctx context.Context, o PinOptions) (*Pin, error) {
	l, err := p.start(ctx, o)
	if err != nil {
		return nil, err
	}
	return l.pin, nil
}

func (p *PlexAuth) start(ctx context.Context, o PinOptions) (*login, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	leave, err := p.logins.starting.take(ctx, p.instance)
	if err != nil {
		return nil, fmt.Errorf("plexauth: %w", err)
	}
	defer leave()
	if s, ok := p.store.(interface{ Check(context.Context) error }); ok {
		if err := s.Check(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("plexauth: %w", ctx.Err())
			}
			return nil, newStoreError(err)
		}
	}
	var clientID string
	var key *device
	var found *pendingPIN
	err = p.update(ctx, func(b *profile) (err error) {
		found = b.pending()
		if !p.options.DeviceKey {
			clientID = b.ensureClientID(p.options.ClientID)
			return nil
		}
		if key, err = b.ensureDevice(); err == nil {
			clientID = key.clientID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if found != nil && !found.token.IsZero() { // approved: it must not be lost to the new one
		if err := p.settleParked(ctx, found, false); err != nil && !errors.Is(err, ErrAccountMismatch) && !errors.Is(err, ErrTokenRejected) && !isNotGenuine(err) {
			return nil, err
		}
	} else if found.answers(clientID, o) && (found.device != nil) == p.options.DeviceKey {
		l, _ := p.begin(p.instance, p.newPin(*found), true)
		return l, nil
	}
	p.info(ctx, "request PIN")
	pin, err := p.createPIN(ctx, clientID, key, o)
	if key != nil && isTaken(err) { // by another device, as when a store was copied: one new key
		if key, err = newDevice(clientID); err == nil {
			pin, err = p.createPIN(ctx, clientID, key, o)
		}
	}
	if err != nil {
		return nil, err
	}
	pin, err = p.remember(ctx, pin, found)
	if err != nil {
		return nil, err
	}
	l, _ := p.begin(p.instance, pin, true)
	return l, nil
}

// remember makes a new PIN the one that is pending, in the place of found, and
// returns it; or another replica's that was faster, so that there is one PIN for
// both.
func (p *PlexAuth) remember(ctx context.Context, pin *Pin, found *pendingPIN) (*Pin, error) {
	for {
		var parked *pendingPIN
		kept := pin
		err := p.update(ctx, func(b *profile) error {
			parked, kept = nil, pin
			switch v := b.pending(); {
			case v != nil && !v.token.IsZero(): // approved just now: not to be lost to the new one
				parked = v
				return nil
			case v.answers(pin.clientID, pin.options) && (v.device != nil) == (pin.device != nil) && (found == nil || v.id != found.id):
				kept = p.newPin(*v)
				return nil
			}
			b.create()
			b.setPending(&pendingPIN{
				id: pin.ID, code: pin.Code, created: pin.CreatedAt, expires: pin.ExpiresAt, lifetimeKnown: pin.lifetimeKnown,
				clientID: pin.clientID, device: pin.device, options: pin.options,
			})
			return nil
		})
		if err == nil && parked != nil {
			if err = p.settleParked(ctx, parked, true); err == nil || errors.Is(err, ErrAccountMismatch) || errors.Is(err, ErrTokenRejected) || isNotGenuine(err) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if kept == pin {
			p.logf(ctx, LevelSuccess, "PIN issued")
		}
		return kept, nil
	}
}

// answers reports whether a pending PIN is as good as a new one.
func (v *pendingPIN) answers(clientID string, o PinOptions) bool {
	return v != nil && v.token.IsZero() && v.code != "" && !v.created.IsZero() && v.clientID == clientID && v.options == o && time.Until(v.expires) >= reuseFor
}

// resume returns the login that is pending in the store.
func (p *PlexAuth) resume(ctx context.Context) (*login, error) {
	for again := false; ; again = true {
		raw, err := p.loadRaw(ctx)
		if err != nil {
			return nil, err
		}
		d, err := parseDocument(raw)
		if err != nil {
			return nil, err
		}
		b := d.profile(p.instance)
		v := b.pending()
		if v == nil {
			return nil, ErrNoPendingPin
		}
		l, ok := p.begin(p.instance, p.newPin(*v), again)
		if !ok { // begun here while the store was being read, or by another replica: the store tells
			continue
		}
		if v.token.IsZero() {
			l.saw(raw, b)
		}
		return l, nil
	}
}

// saw remembers a namespace that holds the PIN, waiting, so that looks at the
// same one need not read it again. It is hashed: a store can be large.
func (l *login) saw(raw json.RawMessage, b *profile) {
	hash, token := maphash.Bytes(processSeed, raw), b.token("account_token")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.before = hash, token
}

func (l *login) hasSeen(raw json.RawMessage) bool {
	hash := maphash.Bytes(processSeed, raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen == hash
}

// Finish looks once whether the pending PIN has been approved, and saves the
// token if so. Connected speaks of this login: it is false while the PIN is
// pending, even if an older token works. Where none is pending, Finish is
// [PlexAuth.Status]. A call within a second of another look answers from that.
//
// It returns [ErrPinExpired], [ErrPinSuperseded], [ErrNoPendingPin],
// [ErrAccountMismatch] and [ErrTokenRejected] when the login has ended so, an
// [*Error] that matches [ErrUnavailable] or [ErrRateLimited] when plex.tv could
// not be asked, in which case the login goes on, any other [*Error] when plex.tv
// refuses for good, and errors of the store.
func (p *PlexAuth) Finish(ctx context.Context) (Status, error) {
	l, err := p.resume(ctx)
	if errors.Is(err, ErrNoPendingPin) {
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
// at once, an [*Error] where plex.tv refuses for good, [ErrStore] where the token
// could not be saved for five minutes, or ctx's error. After the last two the
// login can be taken up again. A network that is down does not end it; where the
// PIN is approved and only the account cannot be read, [ErrUnavailable] at the
// PIN's end leaves that to a later Verify. It need not be the process that called
// Start.
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
		if err := l.sleep(ctx, l.nextLook(p.client.guard.clear())); err != nil {
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

// Login begins a login, shows it and waits for its end: [PlexAuth.Start],
// show, [PlexAuth.Wait], and their errors. An error of show cancels the login
// and is returned.
func (p *PlexAuth) Login(ctx context.Context, o PinOptions, show func(*Pin) error) (Status, error) {
	if show == nil {
		return p.statusNow(ctx, errors.New("plexauth: Login needs a function that shows the PIN"))
	}
	l, err := p.start(ctx, o)
	if err != nil {
		return p.statusNow(ctx, err)
	}
	if err := show(l.pin); err != nil {
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
// instead. Its errors are those of the store, and [ErrUnavailable] where an
// approved login cannot be finished now.
func (p *PlexAuth) Cancel(ctx context.Context) error {
	done, err := p.stopLooking(ctx)
	if err != nil {
		return err
	}
	how := error(nil)
	defer func() { done(how) }()
	b, err := p.load(ctx)
	if err != nil {
		return err
	}
	v := b.pending()
	if v == nil {
		how = ErrNoPendingPin
		return nil
	}
	if !v.token.IsZero() {
		err := p.settleParked(ctx, v, true)
		if errors.Is(err, ErrAccountMismatch) || errors.Is(err, ErrTokenRejected) {
			return nil
		}
		return err
	}
	if err := p.dropPending(ctx, v.id); err != nil {
		return err
	}
	how = ErrNoPendingPin
	p.info(ctx, "login cancelled")
	return nil
}

// stopLooking ends the look in flight, takes the turn, and returns how to give
// it back: with the error that the login has ended with, or nil where it goes
// on.
func (p *PlexAuth) stopLooking(ctx context.Context) (done func(error), err error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	p.logins.mu.Lock()
	l := p.logins.of(p.instance)
	p.logins.mu.Unlock()
	if l == nil {
		return func(error) {}, nil
	}
	l.halt(1)
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		l.halt(-1)
		return nil, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return func(how error) {
		if how != nil {
			p.ended(l, how)
		}
		l.halt(-1)
		<-l.turn
	}, nil
}

// halt keeps looks from being made while n is more than its counterparts.
func (l *login) halt(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halted += n
	if l.halted > 0 && l.cancel != nil {
		l.cancel()
	}
}

// step takes its turn at the PIN: it looks, or takes the result of the look
// that was just made. over tells that the login has ended, with err.
func (p *PlexAuth) step(ctx context.Context, l *login) (over bool, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-l.over:
		return true, l.end
	case <-ctx.Done():
		return false, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	select {
	case <-l.over:
		return true, l.end
	default:
	}
	if err, ok := l.recent(p.client.guard.clear()); ok {
		return false, err
	}
	return p.look(ctx, l)
}

// recent is the result of the last look, if it is fresh or no other may be
// made now: somebody wants the turn for something else, or plex.tv has asked to
// slow down.
func (l *login) recent(guard time.Time) (error, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case l.halted > 0, !l.looked.IsZero() && now.Sub(l.looked) < fresh:
		return l.result, true
	case !now.Before(l.deadline):
		return nil, false
	}
	return l.result, now.Before(guard)
}

// look makes one look and does what the answer asks for. The caller has the
// turn.
func (p *PlexAuth) look(ctx context.Context, l *login) (over bool, err error) {
	gone := false
	raw, err := p.loadRaw(ctx)
	if err == nil && !l.hasSeen(raw) {
		d, parseErr := parseDocument(raw)
		if err = parseErr; err == nil {
			b := d.profile(p.instance)
			switch v := b.pending(); {
			case v == nil:
				gone = true // cancelled, or finished by another process: the answer tells
			case v.id != l.pin.ID:
				return p.ended(l, ErrPinSuperseded)
			case !v.token.IsZero():
				return p.lookParked(ctx, l, v)
			default:
				l.saw(raw, b)
			}
		}
	}
	if ctx.Err() != nil {
		return false, err
	}
	if err != nil && !l.storeTrouble {
		p.warn(ctx, "cannot read the store, the login goes on", err)
	}
	l.storeTrouble = err != nil

	final := !time.Now().Before(l.deadline)
	limit := time.Duration(0)
	if !final {
		limit = time.Until(l.deadline)
	}
	attempt, cancel := context.WithTimeout(ctx, p.client.attemptLimit(limit))
	defer cancel()
	if !l.setCancel(cancel) {
		return false, nil
	}
	reply, sent, err := p.checkPIN(ctx, attempt, l.pin)
	stopped := ctx.Err() != nil || errors.Is(attempt.Err(), context.Canceled)
	l.setCancel(nil)
	if stopped && (err != nil || reply.token.IsZero()) { // by ctx or by Cancel
		l.mu.Lock()
		l.looked = sent
		l.mu.Unlock()
		if ctx.Err() == nil {
			err = nil
		}
		return false, err
	}
	return p.judgeLook(ctx, l, reply, sent, err, final, gone)
}

// judgeLook does what the answer to a look asks for. final tells that it was the
// last one, gone that the PIN is in the store no more.
func (p *PlexAuth) judgeLook(ctx context.Context, l *login, reply pinReply, sent time.Time, err error, final, gone bool) (bool, error) {
	var e *Error
	switch {
	case err == nil && !reply.token.IsZero():
		return p.approved(ctx, l, reply.token)
	case gone && (err == nil || errors.Is(err, ErrPinExpired)):
		return p.endedElsewhere(ctx, l)
	case err == nil:
		p.settled(ctx, l)
		moved, expired := l.pending(reply, sent, final)
		if expired {
			return p.expired(ctx, l, ErrPinExpired)
		}
		if moved {
			p.noteExpiry(ctx, l)
		}
		return false, nil
	case errors.Is(err, ErrPinExpired):
		return p.expired(ctx, l, err)
	case errors.As(err, &e) && !e.transient && e.is != ErrRateLimited:
		return p.expired(ctx, l, err) // refused for good
	}
	p.disturbed(ctx, l, e, err)
	l.postpone(sent, e, err)
	switch {
	case gone:
		if l.missing++; l.missing > 2 || final {
			return p.endedElsewhere(ctx, l)
		}
	case final && l.unsure:
		l.unsure = false
		l.mu.Lock()
		l.deadline = sent.Round(0).Add(slowestPoll)
		l.mu.Unlock()
	case final:
		return p.expired(ctx, l, fmt.Errorf("%w; the last look failed: %w", ErrPinExpired, err))
	}
	return false, err
}

// endedElsewhere ends a login whose PIN another process has taken out of the
// store: with success if another token is there since.
func (p *PlexAuth) endedElsewhere(ctx context.Context, l *login) (bool, error) {
	b, err := p.load(ctx)
	if err != nil {
		return p.ended(l, ErrNoPendingPin)
	}
	l.mu.Lock()
	known, before := l.seen != 0, l.before
	l.mu.Unlock()
	if t := b.token("account_token"); known && !t.IsZero() && !t.Equal(before) {
		return p.ended(l, nil)
	}
	return p.ended(l, ErrNoPendingPin)
}

// setCancel says how to end what is in flight, and whether it may begin.
func (l *login) setCancel(cancel context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel = cancel
	return l.halted == 0
}

// pending takes in the answer "not yet": when the PIN really expires, and when
// to look again.
func (l *login) pending(r pinReply, sent time.Time, final bool) (moved, expired bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked, l.result = sent, nil
	l.next = time.Now().Add(jitter(l.gap)) // from the answer on: so no two arrive within a second, however slow the way
	switch {
	case r.expires && r.expiresIn < 0 && l.known:
		return false, true // past its life, and plex.tv still answers
	case r.expires && (r.expiresIn > 0 || l.known):
		l.known = true
		r.expiresIn = max(r.expiresIn, fresh) // 0 is less than a second
		at := sent.Round(0).Add(r.expiresIn)
		if at.After(l.latest) {
			at = l.latest
		}
		if off := at.Sub(l.deadline); off > rounding || off < -rounding {
			l.deadline, moved = at, true
		}
	}
	return moved, final && !time.Now().Before(l.deadline)
}

// postpone takes in that a look failed.
func (l *login) postpone(sent time.Time, e *Error, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked, l.result = sent, err
	if e != nil && e.is == ErrRateLimited {
		l.gap = max(l.gap+defaultSlow, e.RetryAfter)
	} else {
		l.gap = max(l.gap, min(2*l.gap, slowestPoll))
	}
	l.next = time.Now().Add(jitter(l.gap))
}

// disturbed logs trouble once, until its kind changes.
func (p *PlexAuth) disturbed(ctx context.Context, l *login, e *Error, err error) {
	kind := "other"
	if e != nil {
		kind = e.kind()
	}
	if l.trouble != kind {
		l.trouble = kind
		p.warn(ctx, "no look at the PIN possible, the login goes on", err)
	}
}

// settled logs that the trouble is over. After a 429 the pace stays wide.
func (p *PlexAuth) settled(ctx context.Context, l *login) {
	if l.trouble == "" {
		return
	}
	l.mu.Lock()
	if l.trouble == "rate_limited" {
		l.gap = min(l.gap, max(slowestPoll, l.interval))
	} else {
		l.gap = l.interval
	}
	l.mu.Unlock()
	l.trouble = ""
	p.info(ctx, "plex.tv answers again")
}

// noteExpiry writes down a corrected expiry, for the countdowns of others.
func (p *PlexAuth) noteExpiry(ctx context.Context, l *login) {
	l.mu.Lock()
	at := l.deadline
	l.mu.Unlock()
	err := p.update(ctx, func(b *profile) error {
		if v := b.pending(); v != nil && v.id == l.pin.ID {
			b.setPendingExpiry(at)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		p.warn(ctx, "the PIN's expiry was not saved", err)
	}
}

// expired ends a login that cannot succeed any more.
func (p *PlexAuth) expired(ctx context.Context, l *login, err error) (bool, error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace)
	defer cancel()
	if dropErr := p.dropPending(late, l.pin.ID); dropErr != nil {
		p.warn(ctx, "the dead PIN was not removed", dropErr)
	}
	p.info(ctx, "login ended: "+reason(err))
	return p.ended(l, err)
}

func reason(err error) string {
	if errors.Is(err, ErrPinExpired) {
		return "the PIN expired"
	}
	return "plex.tv refused"
}

// dropPending removes the PIN from the store, if it is still the one.
func (p *PlexAuth) dropPending(ctx context.Context, id int64) error {
	return p.update(ctx, func(b *profile) error {
		if v := b.pending(); v != nil && v.id == id {
			b.remove("_pending_pin")
		}
		return nil
	})
}

// approved saves a token in hand. plex.tv has retired the older one already,
// so this must not be lost.
func (p *PlexAuth) approved(ctx context.Context, l *login, t Token) (bool, error) {
	var parked *pendingPIN
	var already, known bool
	err := p.save(ctx, saveLimit, t, func(b *profile) error {
		parked, already = nil, false
		v := b.pending()
		switch {
		case v == nil || v.id != l.pin.ID:
			already = b.holds(t, l.pin.device, l.pin.CreatedAt)
			switch {
			case already: // by another process, or by an Update that said otherwise
				known = b.cloudID() != 0
				return nil
			case v == nil:
				return ErrNoPendingPin
			}
			return ErrPinSuperseded
		case b.cloudID() != 0 && !v.options.SwitchAccount, v.device != nil:
			b.park(t) // until it is known whose it is, or that it is genuine
			v.token = t
			parked = v
			return nil
		}
		b.doubt() // whose token this is, the account will tell
		b.signIn(t, l.pin.clientID)
		return nil
	})
	switch {
	case errors.Is(err, ErrNoPendingPin), errors.Is(err, ErrPinSuperseded), err == nil && already && known:
		return p.ended(l, err)
	case err != nil:
		return true, err // given up, but the PIN is still pending and another look finds the token again
	case parked != nil:
		return p.lookParked(ctx, l, parked)
	}
	p.logf(ctx, LevelSuccess, "token stored")
	reading, done := l.abortable(ctx)
	defer done()
	a, err := p.client.readAccount(reading, t, l.pin.clientID, false)
	if err == nil {
		err = p.adopt(ctx, t, a)
	}
	switch {
	case errors.Is(err, ErrTokenRejected): // signed out again already
		return p.ended(l, errors.Join(err, p.reject(ctx, t)))
	case err != nil:
		p.warn(ctx, "signed in, but the account could not be read yet", err)
	}
	return p.ended(l, nil)
}

// abortable is ctx for what whoever wants the turn may end.
func (l *login) abortable(ctx context.Context) (abortable context.Context, done func()) {
	abortable, cancel := context.WithCancel(ctx)
	if !l.setCancel(cancel) {
		cancel()
	}
	return abortable, func() { l.setCancel(nil); cancel() }
}

// adopt notes whose token t is, if it is still the one.
func (p *PlexAuth) adopt(ctx context.Context, t Token, a *Account) error {
	return p.update(ctx, func(b *profile) error {
		if b.token("account_token").Equal(t) {
			b.adopt(a)
		}
		return nil
	}, t)
}

// reject keeps plex.tv's verdict on t, if it is still the one.
func (p *PlexAuth) reject(ctx context.Context, t Token) error {
	return p.update(ctx, func(b *profile) error {
		if b.token("account_token").Equal(t) {
			b.setRejected()
		}
		return nil
	}, t)
}

// save carries out an update that must not be lost: also past the end of ctx,
// for a second, and again while the store fails, until limit.
func (p *PlexAuth) save(ctx context.Context, limit time.Duration, t Token, edit func(*profile) error) error {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if sleep(late, saveGrace) == nil {
			cancel()
		}
	})
	defer stop()
	warned := false
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := p.update(late, edit, t)
		if late.Err() != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return newStoreError(fmt.Errorf("no answer in %s: %w", limit, err))
		}
		if !errors.Is(err, ErrStore) {
			return err
		}
		if !warned {
			warned = true
			p.warn(ctx, "the token could not be saved, trying again", err)
		}
		if sleep(late, pause) != nil {
			return err
		}
	}
}

// lookParked decides on an approved token that waits for its account to be
// known.
func (p *PlexAuth) lookParked(ctx context.Context, l *login, v *pendingPIN) (bool, error) {
	sent := time.Now()
	settling, done := l.abortable(ctx)
	defer done()
	err := p.settleParked(settling, v, false)
	if settling.Err() != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil // somebody wants the turn
	}
	var e *Error
	if errors.As(err, &e) && e.is != ErrTokenRejected && time.Now().Before(l.deadline) {
		p.disturbed(ctx, l, e, err)
		l.postpone(sent, e, err)
		return false, err
	}
	if ctx.Err() != nil && err != nil {
		return false, err
	}
	return p.ended(l, err)
}

// settleParked reads the account of a parked token and promotes the token, or
// drops it with [ErrAccountMismatch] or [ErrTokenRejected], which ends the login
// for all who wait. Any other error leaves it parked. once: one attempt will do.
func (p *PlexAuth) settleParked(ctx context.Context, v *pendingPIN, once bool) (err error) {
	defer func() {
		if err == nil || errors.Is(err, ErrAccountMismatch) || errors.Is(err, ErrTokenRejected) {
			p.endedPIN(v.id, err)
		}
	}()
	var a *Account
	t, told, err := p.prove(ctx, v)
	if err == nil {
		a, err = p.client.readAccount(ctx, t, v.clientID, once)
	}
	if errors.Is(err, ErrTokenRejected) { // revoked before it was ever used
		return errors.Join(err, p.dropPending(ctx, v.id))
	}
	if err != nil && told != nil && told.ID > 0 {
		p.warn(ctx, "the account could not be read, only what the token says", err)
		a, err = told, nil
	}
	if err != nil {
		return err
	}
	mismatch, inherited := false, false
	err = p.save(ctx, saveLimit, v.token, func(b *profile) error {
		mismatch, inherited = false, false
		now := b.pending()
		if now == nil || now.id != v.id {
			switch {
			case b.holds(t, v.device, v.created):
				return nil
			case now == nil:
				return ErrNoPendingPin
			}
			return ErrPinSuperseded
		}
		if linked := b.cloudID(); linked != 0 && linked != a.ID && !now.options.SwitchAccount {
			mismatch = true
			b.remove("_pending_pin")
			for _, other := range b.others() { // whose token this approval has retired
				if v.device == nil && other.sameCredential(a.ID, v.clientID) {
					other.succeed(t)
					inherited = true
				}
			}
			return nil
		}
		if v.device != nil {
			b.signInDevice(t, v.device, p.options.Scopes, p.client.clock.skew())
		} else {
			if b.cloudID() == a.ID {
				b.succeed(t)
			}
			b.signIn(t, v.clientID)
		}
		b.adopt(a)
		return nil
	})
	if err != nil {
		return err
	}
	if mismatch {
		if inherited {
			p.info(ctx, "the token went to the profile of that account")
		} else if err := p.client.revoke(ctx, t, v.clientID); err != nil {
			p.warn(ctx, "the other account's token was dropped, but not revoked", err)
		}
		p.info(ctx, "login refused: another account than the one linked")
		return fmt.Errorf("%w: %s; use SwitchAccount to accept it", ErrAccountMismatch, oneLine(a.name()))
	}
	p.logf(ctx, LevelSuccess, "token stored")
	return nil
}

func (p *PlexAuth) warn(ctx context.Context, what string, err error) {
	p.logf(ctx, slog.LevelWarn, what, slog.String("error", err.Error()))
}
