// Package gate lets callers pass one after the other, and bounds how long they wait.
package gate

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Map is a set of gates by name. Each lets one caller in at a time. Waiting costs no
// thread and ends with a context. A gate exists only while a caller is inside or waits.
// The zero Map is ready to use. A Map is safe for concurrent use.
type Map struct {
	mu     sync.Mutex // not held while waiting
	byName map[string]*gate
}

// gate is one gate of a Map.
type gate struct {
	inside chan struct{}
	users  int // callers that are inside or wait
}

// Enter waits until the gate of that name is free, and enters it. leave frees it and
// must be called once. The error is ctx's.
func (m *Map) Enter(ctx context.Context, name string) (leave func(), err error) {
	g := m.join(name)
	select {
	case g.inside <- struct{}{}:
		return func() { <-g.inside; m.part(name) }, nil
	case <-ctx.Done():
		m.part(name)
		return nil, ctx.Err()
	}
}

// TryEnter enters the gate of that name if it is free. leave frees it.
func (m *Map) TryEnter(name string) (leave func(), ok bool) {
	g := m.join(name)
	select {
	case g.inside <- struct{}{}:
		return func() { <-g.inside; m.part(name) }, true
	default:
		m.part(name)
		return nil, false
	}
}

// join returns the gate of that name, and counts the caller as one of its users.
func (m *Map) join(name string) *gate {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.byName[name]
	if g == nil {
		if m.byName == nil {
			m.byName = map[string]*gate{}
		}
		g = &gate{inside: make(chan struct{}, 1)}
		m.byName[name] = g
	}
	g.users++
	return g
}

// part ends a join. A gate without users is removed.
func (m *Map) part(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.byName[name]
	if g.users--; g.users > 0 {
		return
	}
	if delete(m.byName, name); len(m.byName) == 0 {
		m.byName = nil
	}
}

// Jitter lengthens a pause a little at random, so that programs that began together do not
// go on together.
func Jitter(d time.Duration) time.Duration { return d + rand.N(d/20+1) }
