package crosswatch

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstLook  = time.Second // each later one comes after twice the time
	looks      = 6           // the last one 63 seconds after the change
	repeats    = 5           // of one change
	most       = 32          // old values and names that a change remembers, if it is made again and again
	closeLimit = 5 * time.Second
)

// watch looks after recent changes. One goroutine does it while there are any;
// it belongs to the Store.
type watch struct {
	store *Store
	ctx   context.Context
	stop  context.CancelFunc
	done  sync.WaitGroup
	turns atomic.Int64 // of Updates, in the order of their writes

	mu      sync.Mutex                // guards the rest, never held while waiting
	changes func() map[string]*change // hidden from dumps by reflection: nothing calls a function
	running bool
	closed  bool
}

// change is a member of a namespace or of a profile that an Update gave
// another value.
type change struct {
	namespace string
	path      []string          // ["account_token"], ["instances", "PLEX-P01", "account_token"]
	old       []json.RawMessage // what an old copy can bring back; nil: absent
	value     json.RawMessage   // what it shall be; nil: absent
	turn      int64             // of the Update that made it
	names     []string          // of that Update, and of those that found it or repeated it
	before    revision          // of what an old copy can be
	bare      []string          // origins that an old copy without a revision can have
	looks     int               // made so far
	repeated  int
	due       time.Time
}

// written is what an Update has found and left.
type written struct {
	namespace     string
	turn          int64           // by which it comes before or after others
	found, made   revision        // made is nil where nothing was changed
	plain         json.RawMessage // what stood there
	before, after json.RawMessage // and with what had to be repeated; then
	repeated      []change
	judged        int64 // the latest turn of the changes that were judged for that
}

func (w *watch) init(s *Store) {
	w.store = s
	w.ctx, w.stop = context.WithCancel(context.Background())
	changes := map[string]*change{}
	w.changes = func() map[string]*change { return changes }
}

// expect notes what an Update has changed and what it has repeated. A later one
// may have been noted before it.
func (w *watch) expect(u written) {
	old, now := units(u.before), units(u.after)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range u.repeated {
		if c := w.changes()[id(u.namespace, r.path)]; c != nil {
			c.repeated++
		}
	}
	for _, c := range w.changes() { // what was not to be repeated is in the document, too
		if c.namespace == u.namespace && c.turn <= u.judged && !u.found.shares(c.names) {
			c.names = latest(append(c.names, u.made[0]))
		}
	}
	if w.closed {
		return
	}
	for key, unit := range union(old, now) {
		from, to := old[key].value, now[key].value
		token := tokenUnder(unit.path)
		if equal(from, to) && (token == nil || equal(old[place(token)].value, now[place(token)].value)) {
			continue
		}
		c := w.changes()[id(u.namespace, unit.path)]
		if c == nil {
			c = &change{namespace: u.namespace, path: unit.path}
			w.changes()[id(u.namespace, unit.path)] = c
		}
		c.old = latest(append(c.old, from))
		for _, name := range slices.Backward(u.found) {
			if !slices.Contains(c.before, name) {
				c.before = latest(append(c.before, name))
			}
		}
		if origin := u.found.origin(u.plain); u.found.young() && !slices.Contains(c.bare, origin) {
			c.bare = latest(append(c.bare, origin))
		}
		if u.turn > c.turn {
			c.turn, c.value, c.names = u.turn, to, u.made[:1:1]
		}
		c.looks, c.repeated, c.due = 0, 0, time.Now().Add(firstLook)
	}
	if len(w.changes()) > 0 && !w.running {
		w.running = true
		w.done.Go(w.run)
	}
}

// tokenUnder is the path of the token that is made under the identifier at path, nil
// where that is something else. The two belong together: an Update that changes the
// token is one of the identifier, too, and where the token is repeated, both are.
func tokenUnder(path []string) []string {
	last := len(path) - 1
	if path[last] != "client_id" {
		return nil
	}
	return append(slices.Clone(path[:last]), "account_token")
}

func latest[T any](list []T) []T { return list[max(0, len(list)-most):] }

// forget drops what is known of a namespace that an Update has removed.
func (w *watch) forget(u written) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, c := range w.changes() {
		if c.namespace == u.namespace && c.turn < u.turn {
			delete(w.changes(), key)
		}
	}
}

func id(namespace string, path []string) string { return place(append([]string{namespace}, path...)) }

// run looks whenever a change is due, until none is left.
func (w *watch) run() {
	for {
		next, ok := w.next()
		if !ok {
			return
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-t.C:
			w.look(w.ctx, false)
		case <-w.ctx.Done():
			t.Stop()
			return
		}
	}
}

func (w *watch) next() (due time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.changes() {
		if due.IsZero() || c.due.Before(due) {
			due = c.due
		}
	}
	w.running = len(w.changes()) > 0
	return due, w.running
}

// look reads what is stored where a change is due, and repeats what an old copy
// has overwritten. all includes those that are not due.
func (w *watch) look(ctx context.Context, all bool) {
	now := time.Now()
	w.mu.Lock()
	due := map[string][]*change{}
	for _, c := range w.changes() {
		if all || !c.due.After(now) {
			due[c.namespace] = append(due[c.namespace], c)
		}
	}
	w.mu.Unlock()
	for namespace, list := range due {
		raw, found, err := w.store.load(ctx, namespace)
		var fallen []change
		if err == nil {
			fallen, _ = w.fallen(namespace, raw, found)
		}
		if len(fallen) > 0 {
			// An Update judges again under the lock, and repeats by itself.
			_ = w.store.Update(ctx, namespace, func(repaired json.RawMessage) (json.RawMessage, error) { return repaired, nil })
		}
		w.settle(list)
	}
}

// fallen are the changes that an older copy than theirs has overwritten. judged is
// the latest turn of all that were looked at for that.
func (w *watch) fallen(namespace string, raw json.RawMessage, found revision) (list []change, judged int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changes()) == 0 || raw == nil {
		return nil, 0
	}
	now, origin := units(raw), found.origin(raw)
	overwritten := func(c *change) bool {
		v := now[place(c.path)].value
		return c.unseen(found, origin) && c.repeated < repeats && !equal(v, c.value) &&
			slices.ContainsFunc(c.old, func(old json.RawMessage) bool { return equal(old, v) })
	}
	for _, c := range w.changes() {
		if c.namespace != namespace {
			continue
		}
		judged = max(judged, c.turn)
		token := w.changes()[id(namespace, tokenUnder(c.path))]
		with := token != nil && overwritten(token) && !equal(now[place(c.path)].value, c.value)
		if with || overwritten(c) {
			list = append(list, *c)
		}
	}
	slices.SortFunc(list, func(a, b change) int { return slices.Compare(a.path, b.path) })
	return list, judged
}

// unseen reports whether a document goes back to a copy from before the change.
// One that has lost its revision and its identifier was reset: that is a disconnect
// in CrossWatch. One that has been through very many Updates since may have seen it.
func (c *change) unseen(found revision, origin string) bool {
	if found.shares(c.names) {
		return false
	}
	return found.shares(c.before) || len(found) < longest && slices.Contains(c.bare, origin)
}

// settle decides when each change is looked at again, and drops what is done.
func (w *watch) settle(list []*change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range list {
		if c.looks++; c.looks >= looks || c.repeated >= repeats {
			if key := id(c.namespace, c.path); w.changes()[key] == c {
				delete(w.changes(), key)
			}
			continue
		}
		c.due = time.Now().Add(firstLook << c.looks)
	}
}

func (w *watch) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	w.look(ctx, true)
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.changes())
	return nil
}
