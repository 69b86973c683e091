package crosswatch

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstLook is the time from a change, or from its repair, to the next look at
	// it. Each later look comes after twice the time.
	firstLook = time.Second
	// looks is how often a change is looked at while no old copy overwrites it: the
	// last time 63 seconds after the change, or after its last repair.
	looks = 6
	// repairLimit bounds the repairs of one change. CrossWatch waits six minutes for
	// a PIN, writing old copies all the while, and two of its loops can hand one on
	// to each other.
	repairLimit = 15 * time.Minute
	// closeLimit bounds the last look, in Close.
	closeLimit = 5 * time.Second
)

// watch looks at recent changes again, and repairs those that an old copy has
// overwritten. One goroutine does it while there are any; it belongs to the Store.
type watch struct {
	store *Store
	ctx   context.Context
	stop  context.CancelFunc
	done  sync.WaitGroup
	wake  chan struct{} // a look has become due earlier
	turns atomic.Int64  // numbers Updates in the order of their writes

	mu      sync.Mutex                // guards the rest, never held while waiting
	changes func() map[string]*change // by id; a function, since no dump by reflection calls it
	made    []string                  // names of this Store's latest Updates
	running bool
	closed  bool
}

// written is what an Update has found and what it has left.
type written struct {
	namespace     string
	turn          int64
	found, made   revision        // made is nil where nothing was written
	plain         json.RawMessage // what was found
	before, after json.RawMessage // plain after repairs, and what edit made of that
	repaired      []change
	judged        int64 // the latest turn of the changes that were compared with plain
}

func (w *watch) init(s *Store) {
	w.store = s
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.wake = make(chan struct{}, 1)
	changes := map[string]*change{}
	w.changes = func() map[string]*change { return changes }
}

// of lists the changes in a namespace. w.mu must be held.
func (w *watch) of(namespace string) []*change {
	var list []*change
	for _, c := range w.changes() {
		if c.namespace == namespace {
			list = append(list, c)
		}
	}
	return list
}

// expect records what an Update has changed and what it has repaired. Updates may
// be recorded in another order than they were written in.
func (w *watch) expect(u written) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	known, all := u.found.knownTo(w.made)
	for _, name := range u.made {
		if !slices.Contains(u.found, name) {
			w.made = latest(append(w.made, name))
		}
	}
	w.recordRepairs(u, now)
	if w.closed {
		return
	}
	old, next := units(u.before), units(u.after)
	for key, unit := range union(old, next) {
		if !changed(unit.path, old, next) {
			continue
		}
		c := w.changes()[id(u.namespace, unit.path)]
		if c == nil {
			c = &change{namespace: u.namespace, path: unit.path}
			w.changes()[id(u.namespace, unit.path)] = c
		}
		c.follow(u, old[key].value, known, all)
		if u.turn > c.turn {
			c.turn, c.value, c.names = u.turn, next[key].value, u.made[:1:1]
			c.at, _ = nameOf(u.made[0])
		}
		c.since = now
		c.lookSoon(now)
	}
	if len(w.changes()) > 0 && !w.running {
		w.running = true
		w.done.Go(w.run)
	}
	w.wakeUp()
}

// recordRepairs records what an Update made of the changes from before it. w.mu must
// be held.
func (w *watch) recordRepairs(u written, now time.Time) {
	found := units(u.plain)
	for _, r := range u.repaired {
		if c := w.changes()[id(u.namespace, r.path)]; c != nil {
			c.addOld(found[place(r.path)].value)
		}
	}
	for _, c := range w.of(u.namespace) {
		if c.turn <= u.judged && !u.found.shares(c.names) { // repaired, or left on purpose: the document has seen it
			c.names = latest(append(c.names, u.made[0]))
		}
		if len(u.repaired) > 0 { // old copies are being written
			c.lookSoon(now)
		}
	}
}

// changed reports whether the member at path is another one now. An Update that
// changes a token is one of its client identifier, too: they belong together.
func changed(path []string, old, next map[string]unit) bool {
	differ := func(path []string) bool { return !equal(old[place(path)].value, next[place(path)].value) }
	return differ(path) || path[len(path)-1] == clientID && differ(tokenOf(path))
}

// wakeUp has run look when the next look is due now.
func (w *watch) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// forget drops what is known of a namespace that an Update has removed.
func (w *watch) forget(u written) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.changes(), func(_ string, c *change) bool { return c.namespace == u.namespace && c.turn < u.turn })
}

// run looks whenever a change is due, until no change is left.
func (w *watch) run() {
	for {
		due, ok := w.next()
		if !ok {
			return
		}
		t := time.NewTimer(time.Until(due))
		select {
		case <-t.C:
			w.look(w.ctx, false)
		case <-w.wake:
		case <-w.ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// next returns when the next look is due, false where there is no change left.
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

// look reads the namespaces in which a change is due, or all, and repairs what an
// old copy has overwritten.
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
		var overwritten []change
		if err == nil {
			overwritten, _ = w.overwritten(namespace, raw, found)
		}
		if len(overwritten) > 0 {
			// An Update compares again under the lock, and repairs by itself.
			_ = w.store.Update(ctx, namespace, func(repaired json.RawMessage) (json.RawMessage, error) { return repaired, nil })
		}
		w.looked(list, len(overwritten) > 0)
	}
}

// looked decides when each change is looked at again, and drops those that have
// been looked at often enough. After a repair the looks begin again.
func (w *watch) looked(list []*change, repaired bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range list {
		switch {
		case now.Sub(c.since) > repairLimit:
			c.looks = looks
		case repaired:
			c.lookSoon(now)
			continue
		default:
			c.looks++
		}
		if c.looks < looks {
			c.due = now.Add(firstLook << c.looks)
		} else if key := id(c.namespace, c.path); w.changes()[key] == c {
			delete(w.changes(), key)
		}
	}
}

// overwritten returns the changes that an old copy has overwritten in a document,
// which was found with this revision. judged is the latest turn of all changes that
// were compared. A change that has been replaced on purpose since is given up.
func (w *watch) overwritten(namespace string, raw json.RawMessage, found revision) (list []change, judged int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changes()) == 0 || raw == nil {
		return nil, 0
	}
	now := time.Now()
	d := document{units: units(raw), found: found, origin: found.origin(raw), at: now}
	changes := w.of(namespace)
	for _, c := range changes {
		judged = max(judged, c.turn)
		token := w.changes()[id(namespace, tokenOf(c.path))]
		if c.overwrittenIn(d) || token != nil && c.belongsTo(token, d) && token.overwrittenIn(d) {
			list = append(list, *c)
		}
	}
	for _, c := range changes {
		switch {
		case len(list) > 0: // wait until it is repaired
			c.due = earlier(c.due, now.Add(firstLook))
		case c.replacedIn(d):
			if !c.replace(d) {
				delete(w.changes(), id(namespace, c.path))
			}
		}
	}
	if len(list) > 0 {
		w.wakeUp()
	}
	slices.SortFunc(list, func(a, b change) int { return slices.Compare(a.path, b.path) })
	return list, judged
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
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
