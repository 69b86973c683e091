// Package registry holds what a process knows of each profile in use. What is idle is
// dropped.
package registry

import (
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/secret"
)

// Map has one entry for each profile in use, with its current login attempt, an A. The zero
// value is ready to use. A Map is safe for concurrent use.
type Map[A any] struct {
	Starting gate.Map // lets one Start of a profile in at a time

	mu     sync.Mutex // guards the entries; never held while waiting
	byName map[string]*entry[A]
}

// entry holds what is known of one profile.
type entry[A any] struct {
	attempt  func() *A     // hidden from dumps; nil: none
	version  int           // grows whenever an attempt begins or ends, or CurrentOrInvalidate finds none
	readers  int           // callers that read the store to resume an attempt
	begun    chan struct{} // closed when the next attempt begins; nil: no one waits for it
	watchers int           // callers that wait for begun
	webStart time.Time     // when the panel may ask for the next PIN
}

// entry returns the entry of a profile and makes it if there is none. mu must be held.
func (m *Map[A]) entry(name string) *entry[A] {
	e := m.byName[name]
	if e == nil {
		if m.byName == nil {
			m.byName = map[string]*entry[A]{}
		}
		e = &entry[A]{}
		m.byName[name] = e
	}
	return e
}

// drop removes the entry of a profile if it is idle. mu must be held.
func (m *Map[A]) drop(name string) {
	if e := m.byName[name]; e != nil && e.attempt == nil && e.readers == 0 && e.watchers == 0 && !time.Now().Before(e.webStart) {
		delete(m.byName, name)
	}
}

// current returns the attempt in e, nil if there is none. Map.mu must be held.
func (e *entry[A]) current() *A {
	if e == nil || e.attempt == nil {
		return nil
	}
	return e.attempt()
}

// put replaces the attempt in e; nil empties it. Map.mu must be held.
func (e *entry[A]) put(a *A) {
	e.version++
	if e.attempt = nil; a == nil {
		return
	}
	e.attempt = secret.Hide(a)
	if e.begun != nil {
		close(e.begun)
		e.begun = nil
	}
}

// Len returns the number of entries.
func (m *Map[A]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.byName)
}

// Current returns the attempt of a profile, nil if there is none.
func (m *Map[A]) Current(name string) *A {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byName[name].current()
}

// CurrentOrInvalidate returns the current attempt. If there is none, it bumps the version,
// so that a concurrent resume reads the store again.
func (m *Map[A]) CurrentOrInvalidate(name string) *A {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byName[name]
	a := e.current()
	if e != nil && a == nil {
		e.put(nil)
	}
	return a
}

// Begin makes the attempt that begin returns the current one. begin is called with the
// present one, nil if there is none. version is that of
// Reading: if an attempt has begun or ended since, and same does not accept the present one,
// ok is false and begin is not called. Neither function may call m.
func (m *Map[A]) Begin(name string, version int, same func(*A) bool, begin func(present *A) *A) (a *A, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(name)
	a = e.current()
	if a != nil && same(a) {
		return a, true
	}
	if version != e.version {
		return nil, false
	}
	a = begin(a)
	e.put(a)
	return a, true
}

// End calls end, and removes a if it is the current attempt. end may not call m.
func (m *Map[A]) End(name string, a *A, end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end()
	if e := m.byName[name]; e.current() == a {
		e.put(nil)
		m.drop(name)
	}
}

// Reading announces that the caller reads the store to begin or resume an attempt, until it
// calls finished. Begin takes the version.
func (m *Map[A]) Reading(name string) (version int, finished func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(name)
	e.readers++
	return e.version, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		e.readers--
		m.drop(name)
	}
}

// NextBegin returns a channel that is closed when the next attempt of a profile begins.
// The caller must call finished when it does not wait for that any more.
func (m *Map[A]) NextBegin(name string) (begun <-chan struct{}, finished func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(name)
	if e.begun == nil {
		e.begun = make(chan struct{})
	}
	e.watchers++
	return e.begun, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		e.watchers--
		m.drop(name)
	}
}

// NextWebStart returns when the panel of a profile may ask for the next PIN.
func (m *Map[A]) NextWebStart(name string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byName[name]; e != nil {
		return e.webStart
	}
	return time.Time{}
}

// NoteWebStart keeps the panel of a profile from asking for a PIN for a while.
func (m *Map[A]) NoteWebStart(name string, pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entry(name).webStart = time.Now().Add(pause)
	time.AfterFunc(max(pause, 0), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.drop(name)
	})
}
