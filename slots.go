package plexauth

import (
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/secret"
)

// slots holds what this process knows of the logins of each profile. The zero value is
// ready to use.
type slots struct {
	mu         sync.Mutex // guards the slots; never held while waiting
	byInstance map[string]*slot
	starting   gate.Map // lets one Start of a profile in at a time
}

// slot holds what this process knows of one profile's login. Empty slots are removed.
type slot struct {
	attempt  func() *attempt // hidden from dumps; nil: none
	version  int             // grows whenever an attempt begins or ends
	readers  int             // callers that read the store to resume an attempt
	begun    chan struct{}   // closed when the next attempt begins; nil: no one waits for it
	watchers int             // callers that wait for begun
	webStart time.Time       // when the panel may ask for the next PIN
}

// slot returns the slot of a profile and makes it if there is none. mu must be held.
func (s *slots) slot(instance string) *slot {
	v := s.byInstance[instance]
	if v == nil {
		if s.byInstance == nil {
			s.byInstance = map[string]*slot{}
		}
		v = &slot{}
		s.byInstance[instance] = v
	}
	return v
}

// removeIfEmpty removes the slot of a profile if nothing is in it. mu must be held.
func (s *slots) removeIfEmpty(instance string) {
	if v := s.byInstance[instance]; v != nil && v.attempt == nil && v.readers == 0 && v.watchers == 0 && !time.Now().Before(v.webStart) {
		delete(s.byInstance, instance)
	}
}

// current returns the attempt in v, nil if there is none. slots.mu must be held.
func (v *slot) current() *attempt {
	if v == nil || v.attempt == nil {
		return nil
	}
	return v.attempt()
}

// put replaces the attempt in v; nil empties it. slots.mu must be held.
func (v *slot) put(a *attempt) {
	v.version++
	if v.attempt = nil; a == nil {
		return
	}
	v.attempt = secret.Hide(a)
	if v.begun != nil {
		close(v.begun)
		v.begun = nil
	}
}

// current returns the attempt of a profile, nil if there is none.
func (s *slots) current(instance string) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byInstance[instance].current()
}

// currentOrInvalidate returns the current attempt. If there is none, it bumps the
// version, so that a concurrent resume rereads the store.
func (s *slots) currentOrInvalidate(instance string) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.byInstance[instance]
	a := v.current()
	if v != nil && a == nil {
		v.put(nil)
	}
	return a
}

// nextWebStart returns when the panel of a profile may ask for the next PIN.
func (s *slots) nextWebStart(instance string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byInstance[instance]; v != nil {
		return v.webStart
	}
	return time.Time{}
}

// noteWebStart keeps the panel of a profile from asking for a PIN for a while.
func (s *slots) noteWebStart(instance string, pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slot(instance).webStart = time.Now().Add(pause)
	time.AfterFunc(max(pause, 0), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removeIfEmpty(instance)
	})
}

// reading announces that the caller reads the store to start or resume an attempt, until
// it calls finished. startAttempt takes the version.
func (s *slots) reading(instance string) (version int, finished func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.slot(instance)
	v.readers++
	return v.version, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		v.readers--
		s.removeIfEmpty(instance)
	}
}

// nextBegin returns a channel that is closed when the next attempt of a profile begins.
// The caller must call finished when it does not wait for that any more.
func (s *slots) nextBegin(instance string) (begun <-chan struct{}, finished func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.slot(instance)
	if v.begun == nil {
		v.begun = make(chan struct{})
	}
	v.watchers++
	return v.begun, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		v.watchers--
		s.removeIfEmpty(instance)
	}
}
