// Package registry holds what a process knows of each profile in use. What is idle is
// dropped.
package registry

import (
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
)

// Map has an entry with an E for each profile in use. The zero value is ready to use. A
// Map is safe for concurrent use.
type Map[E any] struct {
	mu        sync.Mutex // guards the rest; never held while waiting
	entries   table[key, *Entry[E]]
	documents table[string, *document] // of which a caller wants to know the writes
}

type key struct{ namespace, instance string }

// document counts the writes of a namespace.
type document struct {
	entries int // that belong to it
	writes  int
	written gate.Signal // sent by Wrote
}

// Entry is what is known of one profile. It stays in its Map while a caller holds it, and
// for as long as Keep has asked.
type Entry[E any] struct {
	Known E // the zero value at first; it synchronizes itself

	home      *Map[E]
	key       key
	document  *document // nil: no caller has wanted to know its writes
	holders   int
	keepUntil time.Time
	timer     *time.Timer // runs until keepUntil; nil: no one has asked
}

// Hold returns the entry of a profile, and makes it if there is none. The caller must call
// Release once.
func (m *Map[E]) Hold(namespace, instance string) *Entry[E] {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries.m[key{namespace, instance}]
	if e == nil {
		e = m.add(key{namespace, instance})
	}
	e.holders++
	return e
}

// add makes an entry. mu must be held.
func (m *Map[E]) add(k key) *Entry[E] {
	e := &Entry[E]{home: m, key: k}
	m.entries.put(k, e)
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
	e.home.entries.remove(e.key)
	if e.document == nil {
		return
	}
	if e.document.entries--; e.document.entries == 0 {
		e.home.documents.remove(e.key.namespace)
	}
}

// Wrote notes that a document was written: what is kept of it may be outdated.
func (m *Map[E]) Wrote(namespace string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.documents.m[namespace]
	if d == nil {
		return
	}
	d.writes++
	d.written.Send()
}

// itsDocument returns the document of e, and makes it if there is none. The Map's mu must be
// held, and the entry by a caller.
func (e *Entry[E]) itsDocument() *document {
	if e.document != nil {
		return e.document
	}
	documents := &e.home.documents
	e.document = documents.m[e.key.namespace]
	if e.document == nil {
		e.document = &document{}
		documents.put(e.key.namespace, e.document)
	}
	e.document.entries++
	return e.document
}

// Writes returns a number that grows with each Wrote of the entry's document. The caller must
// hold the entry.
func (e *Entry[E]) Writes() int {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	return e.itsDocument().writes
}

// Written returns a channel that is closed at the next Wrote of the entry's document. The
// caller must hold the entry.
func (e *Entry[E]) Written() <-chan struct{} {
	e.home.mu.Lock()
	defer e.home.mu.Unlock()
	return e.itsDocument().written.Next()
}

// Len returns the number of entries.
func (m *Map[E]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries.m)
}
