package registry

import (
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/secret"
)

// Slot has a profile's current login attempt, an A, or none. The zero value has none. A
// Slot is safe for concurrent use.
type Slot[A any] struct {
	mu        sync.Mutex  // never held while waiting
	attempt   func() *A   // hidden from dumps; nil: none
	version   int         // grows whenever an attempt begins or ends, or CurrentOrInvalidate finds none
	begun     gate.Signal // sent when the next attempt begins
	nextStart time.Time   // when the panel may ask for the next PIN
}

// current returns the attempt, nil if there is none. mu must be held.
func (s *Slot[A]) current() *A {
	if s.attempt == nil {
		return nil
	}
	return s.attempt()
}

// put replaces the attempt; nil empties the slot. mu must be held.
func (s *Slot[A]) put(a *A) {
	s.version++
	if s.attempt = nil; a == nil {
		return
	}
	s.attempt = secret.Hide(a)
	s.begun.Send()
}

// Version returns a number for Begin. A caller asks for it before it reads the store.
func (s *Slot[A]) Version() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Current returns the attempt, nil if there is none.
func (s *Slot[A]) Current() *A {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current()
}

// CurrentOrInvalidate returns the current attempt. If there is none, it makes the Version
// of a concurrent reader outdated, so that it reads the store again.
func (s *Slot[A]) CurrentOrInvalidate() *A {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.current()
	if a == nil {
		s.put(nil)
	}
	return a
}

// Begin makes the attempt that begin returns the current one. begin is called with the
// present one, nil if there is none. An attempt that same accepts stays instead. If another
// attempt has begun or ended since version, ok is false and nothing happens. Neither
// function may call s.
func (s *Slot[A]) Begin(version int, same func(*A) bool, begin func(present *A) *A) (a *A, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a = s.current()
	if a != nil && same(a) {
		return a, true
	}
	if version != s.version {
		return nil, false
	}
	a = begin(a)
	s.put(a)
	return a, true
}

// End calls end, and empties the slot if a is the current attempt. end may not call s.
func (s *Slot[A]) End(a *A, end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end()
	if s.current() == a {
		s.put(nil)
	}
}

// NextBegin returns a channel that is closed when the next attempt begins.
func (s *Slot[A]) NextBegin() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun.Next()
}

// NextStart returns when the panel may ask for the next PIN.
func (s *Slot[A]) NextStart() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextStart
}

// PaceStart calls start, which asks for a PIN, and moves NextStart to a pause later. The
// pause begins before the call, because plex.tv may have made a PIN even if its answer is
// lost. It begins again after the call if a PIN was made, or may have been. If none was,
// the NextStart from before counts again.
func (s *Slot[A]) PaceStart(pause time.Duration, start func() (made bool)) {
	before := s.NextStart()
	s.setNextStart(time.Now().Add(pause))
	if start() {
		s.setNextStart(time.Now().Add(pause))
	} else {
		s.setNextStart(before)
	}
}

func (s *Slot[A]) setNextStart(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextStart = at
}
