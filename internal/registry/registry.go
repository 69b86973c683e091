// Package registry holds what a process knows of each profile in use. What is idle is
// dropped.
package registry

import (
	"sync"
	"time"
)

// Map has an entry with an E for each profile in use. The zero value is ready to use. A
// Map is safe for concurrent use.
type Map[E any] struct {
	mu        sync.Mutex // guards the rest; never held while waiting
	entries   map[key]*Entry[E]
	documents map[string]*document // with profiles in use
}

type key struct{ namespace, instance string }

// document is a namespace with profiles in use.
type document struct {
	profiles, writes int
	written          chan struct{} // closed by the next Wrote; nil: no one waits for it
}

// Entry is what is known of one profile. It stays in its Map while a caller holds it, and
// for as long as Keep has asked.
type Entry[E any] struct {
	Known E // the zero value at first; it synchronizes itself

	home      *Map[E]
	key       key
	document  *document
	holders   int
	keepUntil time.Time
	timer     *time.Timer // runs until keepUntil; nil: no one has asked
}

// Hold returns the entry of a profile, and makes it if there is none. The caller must call
// Release once.
func (m *Map[E]) Hold(namespace, instance string) *Entry[E] {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key{namespace, instance}]
	if e == nil {
		e = m.add(key{namespace, instance})
	}
	e.holders++
	return e
}

// add makes an entry. mu must be held.
func (m *Map[E]) add(k key) *Entry[E] {
	if m.entries == nil {
		m.entries, m.documents = map[key]*Entry[E]{}, map[string]*document{}
	}
	d := m.documents[k.namespace]
	if d == nil {
		d = &document{}
		m.documents[k.namespace] = d
	}
	d.profiles++
	e := &Entry[E]{home: m, key: k, document: d}
	m.entries[k] = e
	return e
}

// Release ends a Hold.
func (e *Entry[E]) Release() {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	e.holders--
	e.dropIfIdle()
}

// Keep keeps the entry for d at least, although no one holds it.
func (e *Entry[E]) Keep(d time.Duration) {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	if until := time.Now().Add(d); until.After(e.keepUntil) {
		e.keepUntil = until
	}
	if e.timer == nil && d > 0 {
		e.timer = time.AfterFunc(d, e.timerFired)
	}
}

func (e *Entry[E]) timerFired() {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	if left := time.Until(e.keepUntil); left > 0 {
		e.timer.Reset(left)
		return
	}
	e.timer = nil
	e.dropIfIdle()
}

// dropIfIdle removes the entry if nothing needs it. The Map's mu must be held.
func (e *Entry[E]) dropIfIdle() {
	if e.holders > 0 || e.timer != nil {
		return
	}
	m := e.home
	delete(m.entries, e.key)
	if e.document.profiles--; e.document.profiles == 0 {
		delete(m.documents, e.key.namespace)
	}
	if len(m.entries) == 0 {
		m.entries, m.documents = nil, nil // a map never shrinks
	}
}

// Wrote notes that a document was written: what is kept of it may be outdated.
func (m *Map[E]) Wrote(namespace string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.documents[namespace]
	if d == nil {
		return
	}
	d.writes++
	if d.written != nil {
		close(d.written)
		d.written = nil
	}
}

// Writes returns a number that grows with each Wrote of the entry's document.
func (e *Entry[E]) Writes() int {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	return e.document.writes
}

// Written returns a channel that is closed at the next Wrote of the entry's document. The
// caller must hold the entry.
func (e *Entry[E]) Written() <-chan struct{} {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	if e.document.written == nil {
		e.document.written = make(chan struct{})
	}
	return e.document.written
}

// Len returns the number of entries.
func (m *Map[E]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}
