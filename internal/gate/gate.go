// Package gate has what callers wait with: a Gate lets one in after the other, and Turns let
// them work in turn until the work has ended. A Waiter and Aside keep the stack of a waiting
// goroutine small. Sleep and Outlive tie a wait to a context, and Jitter spreads pauses.
package gate

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Gate lets one caller in at a time, in the order in which they came. Waiting costs no
// thread and ends with a context. A Gate takes memory only while a caller is inside. The
// zero Gate is free. A Gate is safe for concurrent use.
type Gate struct {
	mu     sync.Mutex    // not held while waiting
	inside chan struct{} // full while a caller is inside; nil without users
	users  int           // callers that are inside or wait
}

// join counts the caller as a user, who must part.
func (g *Gate) join() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside == nil {
		g.inside = make(chan struct{}, 1)
	}
	g.users++
	return g.inside
}

func (g *Gate) part() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users--; g.users == 0 {
		g.inside = nil
	}
}

// Enter waits until the gate is free, and enters it. leave frees it and must be called
// once. The error is ctx's.
func (g *Gate) Enter(ctx context.Context) (leave func(), err error) {
	inside := g.join()
	select {
	case inside <- struct{}{}:
		return func() { <-inside; g.part() }, nil
	case <-ctx.Done():
		g.part()
		return nil, ctx.Err()
	}
}

// TryEnter enters the gate if it is free. leave frees it.
func (g *Gate) TryEnter() (leave func(), ok bool) {
	inside := g.join()
	select {
	case inside <- struct{}{}:
		return func() { <-inside; g.part() }, true
	default:
		g.part()
		return nil, false
	}
}

// Map is a set of gates by name. A gate exists only while a caller is inside or waits. The
// zero Map is ready to use. A Map is safe for concurrent use.
type Map struct {
	mu     sync.Mutex // not held while waiting
	byName map[string]*namedGate
}

// namedGate is one gate of a Map.
type namedGate struct {
	Gate
	users int // callers that are inside or wait
}

// Enter waits until the gate of that name is free, and enters it. leave frees it and
// must be called once. The error is ctx's.
func (m *Map) Enter(ctx context.Context, name string) (leave func(), err error) {
	free, err := m.join(name).Enter(ctx)
	if err != nil {
		m.part(name)
		return nil, err
	}
	return func() { free(); m.part(name) }, nil
}

// join returns the gate of that name, and counts the caller as one of its users.
func (m *Map) join(name string) *namedGate {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.byName[name]
	if g == nil {
		if m.byName == nil {
			m.byName = map[string]*namedGate{}
		}
		g = &namedGate{}
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
