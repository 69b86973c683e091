package plexauth

import (
	"context"
	"sync"
)

// turns lets one after the other, by name. Whoever waits is a channel's, not a
// mutex's: waiting is cheap and ends with a context. A name is kept only while
// somebody has or wants its turn. The zero value is ready.
type turns struct {
	mu     sync.Mutex // never held while waiting
	byName map[string]*turn
}

type turn struct {
	held  chan struct{}
	users int
}

// take waits for the turn of name. leave passes it on.
func (t *turns) take(ctx context.Context, name string) (leave func(), err error) {
	v := t.join(name)
	select {
	case v.held <- struct{}{}:
		return func() { <-v.held; t.part(name) }, nil
	case <-ctx.Done():
		t.part(name)
		return nil, ctx.Err()
	}
}

func (t *turns) join(name string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.byName[name]
	if v == nil {
		if t.byName == nil {
			t.byName = map[string]*turn{}
		}
		v = &turn{held: make(chan struct{}, 1)}
		t.byName[name] = v
	}
	v.users++
	return v
}

func (t *turns) part(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.byName[name]
	if v.users--; v.users > 0 {
		return
	}
	if delete(t.byName, name); len(t.byName) == 0 {
		t.byName = nil
	}
}
