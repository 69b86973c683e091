package plexauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// logins are the logins that this process looks after, one a profile. The zero
// value is ready.
type logins struct {
	mu         sync.Mutex // guards the places, never held while waiting
	byInstance map[string]*place
	starting   gate.Map // whose turn it is to Start
}

// reapAfter is how long after its PIN's end a login is kept for those who wait: longer
// than the last look and a save take.
const reapAfter = saveLimit + 2*time.Minute

// place is a profile's among the logins. It is there while something is.
type place struct {
	login    func() *login // hidden; nil: there is none
	readers  int           // how many read the store to take one up
	changes  int           // how often one has begun or ended meanwhile
	begun    chan struct{} // closed when the next one begins
	watchers int           // how many wait for that
	webStart time.Time     // when the next one may be made from the web
}

// login is what all who wait for one PIN in this process share: they look in
// turn, and one look answers for all.
type login struct {
	pin  *Pin
	turn chan struct{} // holds whoever looks, saves or cancels
	over chan struct{} // closed when the login has ended
	end  error         // how; read it once over is closed

	began  time.Time   // to be looked after here
	reaper *time.Timer // forgets it once no call can be waiting for it

	// Only whoever has the turn touches these.
	trouble      string        // the kind of failure last logged
	storeTrouble bool          // the store could not be read
	missing      int           // looks that failed since the PIN is gone from the store
	unsure       bool          // the stored expiry is past, by a clock that may have been set; until plex.tv has answered
	patience     time.Duration // how long one attempt at a look, or at reading whose the token is, may take

	mu       sync.Mutex         // guards the rest, never held while waiting; the deadline changes in one's turn only
	cancel   context.CancelFunc // ends what is in flight
	halted   int                // how many want the turn for something else than a look
	looked   time.Time          // when the last one left
	result   error              // what it found: nil is "not yet"
	next     time.Time          // no look before
	gap      time.Duration      // between looks
	interval time.Duration      // the least gap
	deadline elapsed.Instant    // of the PIN
	latest   elapsed.Instant    // that the deadline may be moved to
	date     time.Time          // of the deadline, as others are told
	undated  bool               // the store has another one
	known    bool               // plex.tv said how long the PIN lives
	seen     uint64             // the hash of the namespace when it was last found to hold this PIN, waiting; 0: not yet
	before   secret.Value       // that the profile had then
	saving   time.Time          // since when an approved token is being saved; zero: none is
}

// place returns a profile's. The caller holds mu.
func (s *logins) place(instance string) *place {
	v := s.byInstance[instance]
	if v == nil {
		if s.byInstance == nil {
			s.byInstance = map[string]*place{}
		}
		v = &place{}
		s.byInstance[instance] = v
	}
	return v
}

// leave removes a profile's place if there is nothing in it. The caller holds mu.
func (s *logins) leave(instance string) {
	if v := s.byInstance[instance]; v != nil && v.login == nil && v.readers == 0 && v.watchers == 0 && !time.Now().Before(v.webStart) {
		delete(s.byInstance, instance)
	}
}

// now returns the login that is there, nil where there is none. The caller holds
// logins.mu, as for put.
func (v *place) now() *login {
	if v == nil || v.login == nil {
		return nil
	}
	return v.login()
}

// put lets l be the login that is there, or none.
func (v *place) put(l *login) {
	v.changes++
	if v.login = nil; l == nil {
		return
	}
	v.login = secret.Hide(l)
	if v.begun != nil {
		close(v.begun)
		v.begun = nil
	}
}

// find returns a profile's login, nil where there is none.
func (s *logins) find(instance string) *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byInstance[instance].now()
}

func (s *logins) nextWebStart(instance string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byInstance[instance]; v != nil {
		return v.webStart
	}
	return time.Time{}
}

func (s *logins) noteWebStart(instance string, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place(instance).webStart = time.Now().Add(pause)
	time.AfterFunc(max(pause, 0), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leave(instance)
	})
}

// read is called before the store is read for a login to take up, and done after
// that. changes is for begin.
func (s *logins) read(instance string) (changes int, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.place(instance)
	v.readers++
	return v.changes, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		v.readers--
		s.leave(instance)
	}
}

// findOrChange is find for whoever ends a login: where none is found, one that is
// being taken up at this moment is not, without reading the store again.
func (s *logins) findOrChange(instance string) *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.byInstance[instance]
	l := v.now()
	if v != nil && l == nil {
		v.put(nil)
	}
	return l
}

// begin takes up a PIN that was found in the store, or put there, when so many
// logins had begun or ended here: first look after one interval. Another one's
// place it takes; but where there have been more since, it may be the PIN that is
// old, and ok is false.
func (p *PlexAuth) begin(pin *Pin, changes int) (l *login, ok bool) {
	p.logins.mu.Lock()
	defer p.logins.mu.Unlock()
	at := p.logins.place(p.instance)
	l = at.now()
	switch {
	case l != nil && l.pin.ID == pin.ID:
		return l, true
	case changes != at.changes:
		return nil, false
	case l != nil:
		l.close(fault.ErrPinSuperseded)
	}
	now := time.Now()
	l = &login{
		pin: pin, turn: make(chan struct{}, 1), over: make(chan struct{}), began: now, patience: plextv.AttemptLimit,
		interval: max(p.options.PollInterval, time.Second),
		deadline: pin.ends, latest: elapsed.Now().Add(plextv.LongestLifetime), date: pin.ExpiresAt, known: pin.lifetimeKnown,
	}
	l.deadline = min(l.deadline, l.latest)
	l.unsure = l.deadline.Left() <= 0
	l.gap = l.interval
	l.next = now.Add(jitter(l.gap))
	l.reaper = time.AfterFunc(max(l.deadline.Left(), 0)+reapAfter, func() { p.reap(l) })
	at.put(l)
	return l, true
}

// reap forgets a login that is long over and that no call has looked at since. Its
// PIN may be in the store: another call takes it up again.
func (p *PlexAuth) reap(l *login) {
	p.logins.mu.Lock()
	left := l.left() + reapAfter
	if len(l.turn) > 0 || time.Since(l.began) < reapAfter { // it is being dealt with
		left = reapAfter
	}
	if left > 0 {
		l.reaper.Reset(left)
	}
	p.logins.mu.Unlock()
	if left <= 0 {
		p.ended(l, fault.ErrPinExpired)
	}
}

// nextBegin returns what is closed when the profile's next login begins. done must be
// called when that is not waited for any more.
func (s *logins) nextBegin(instance string) (begun <-chan struct{}, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.place(instance)
	if v.begun == nil {
		v.begun = make(chan struct{})
	}
	v.watchers++
	return v.begun, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		v.watchers--
		s.leave(instance)
	}
}

// resume returns the login that is pending in the store.
func (p *PlexAuth) resume(ctx context.Context) (*login, error) {
	for {
		l, err := p.takeUp(ctx)
		if l != nil || err != nil {
			return l, err
		}
	}
}

// takeUp is resume, once. It returns nothing where a login has begun or ended since
// it came.
func (p *PlexAuth) takeUp(ctx context.Context) (*login, error) {
	changes, done := p.logins.read(p.instance)
	defer done()
	raw, err := p.loadRaw(ctx)
	if err != nil {
		return nil, err
	}
	b, err := p.parse(raw)
	if err != nil {
		return nil, err
	}
	v := b.Pending()
	if v == nil {
		return nil, fault.ErrNoPendingPin
	}
	l, ok := p.begin(p.newPin(*v), changes)
	if ok && v.Token.IsZero() {
		l.saw(raw, b)
	}
	return l, nil
}

// saw remembers a namespace that holds the PIN, waiting, so that looks at the
// same one need not read it again. It is hashed: a store can be large.
func (l *login) saw(raw json.RawMessage, b *profile.Profile) {
	hash, token := maphash.Bytes(profile.ProcessSeed, raw), b.AccountToken()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.before = hash, token
}

func (l *login) hasSeen(raw json.RawMessage) bool {
	hash := maphash.Bytes(profile.ProcessSeed, raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen == hash
}

// close ends the login for all who wait. The caller holds logins.mu.
func (l *login) close(err error) {
	select {
	case <-l.over:
	default:
		l.end = err
		close(l.over)
		l.reaper.Stop()
	}
}

// ended ends a login and forgets it. It returns how the login has ended, as step
// does.
func (p *PlexAuth) ended(l *login, err error) (bool, error) {
	p.logins.mu.Lock()
	defer p.logins.mu.Unlock()
	l.close(err)
	if v := p.logins.byInstance[p.instance]; v.now() == l {
		v.put(nil)
		p.logins.leave(p.instance)
	}
	return true, l.end
}

// endedPIN is ended for a PIN that was settled by whoever came by, if anybody
// waits for it.
func (p *PlexAuth) endedPIN(id int64, err error) {
	if l := p.loginOf(id); l != nil {
		p.ended(l, err)
	}
}

// loginOf returns the login of a PIN, nil where nobody here waits for it.
func (p *PlexAuth) loginOf(id int64) *login {
	if l := p.logins.find(p.instance); l != nil && l.pin.ID == id {
		return l
	}
	return nil
}

// saves notes whether an approved token is being saved. l may be nil.
func (l *login) saves(on bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !on:
		l.saving = time.Time{}
	case l.saving.IsZero():
		l.saving = time.Now()
	}
}

// takeTurn resumes the login that is pending in the store, if there is one, and then
// calls stopLooking. After a restart all callers have one turn to wait for that way
// (G6).
func (p *PlexAuth) takeTurn(ctx context.Context) (done func(error), err error) {
	if _, err := p.resume(ctx); err != nil && !errors.Is(err, fault.ErrNoPendingPin) {
		return nil, err
	}
	return p.stopLooking(ctx)
}

// stopLooking ends the look in flight, takes the turn, and returns how to give
// it back: with the error that the login has ended with, or nil where it goes
// on.
func (p *PlexAuth) stopLooking(ctx context.Context) (done func(error), err error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	l := p.logins.findOrChange(p.instance)
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

// halt(1) ends what is in flight, and keeps looks from being made until
// halt(-1).
func (l *login) halt(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halted += n
	if l.halted > 0 && l.cancel != nil {
		l.cancel()
	}
}

// setCancel says how to end what is in flight, and whether it may begin.
func (l *login) setCancel(cancel context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel = cancel
	return l.halted == 0
}

// abortable is ctx for what whoever wants the turn may end.
func (l *login) abortable(ctx context.Context) (abortable context.Context, done func()) {
	abortable, cancel := context.WithCancel(ctx)
	if !l.setCancel(cancel) {
		cancel()
	}
	return abortable, func() { l.setCancel(nil); cancel() }
}
