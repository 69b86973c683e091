package crosswatch

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	// firstCheck is the time from a change, or from its repair, to the next check. The
	// time to each later check is twice as long.
	firstCheck = time.Second
	// maxChecks is how often a change is checked while no old copy overwrites it. The
	// last check is 63 seconds after the change or its last repair.
	maxChecks = 6
	// repairLimit bounds the time in which a change is repaired. CrossWatch waits six
	// minutes for a PIN, and writes old copies all that time. Two of its loops can also
	// pass an old copy on to each other.
	repairLimit = 15 * time.Minute
	// closeLimit bounds the last check, in Close.
	closeLimit = 5 * time.Second
)

// watch checks recent changes of a Store, and repairs those that an old copy has
// overwritten. While there are changes to check, one goroutine runs, which Close ends.
type watch struct {
	store   *Store
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	done    sync.WaitGroup
	wake    chan struct{} // a check has become due earlier
	updates atomic.Int64  // the number of the latest Update

	mu      sync.Mutex                // guards the fields below; never held while waiting
	changes func() map[string]*change // by pathKey; a function, so that printing a Store shows no values
	made    []string                  // names of this Store's latest Updates
	running bool                      // the goroutine is running
	closed  bool
}

func (w *watch) init(s *Store) {
	w.store = s
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.wake = make(chan struct{}, 1)
	changes := map[string]*change{}
	w.changes = func() map[string]*change { return changes }
}

// record takes up the changes and repairs of an Update. Updates may be recorded in another
// order than they were written in.
func (w *watch) record(u update) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	known, all := u.foundRevision.knownTo(w.made)
	for _, name := range u.newRevision {
		if !slices.Contains(u.foundRevision, name) {
			w.made = latest(append(w.made, name))
		}
	}
	w.recordRepairs(u, now)
	if w.closed {
		return
	}
	before, after := membersOf(u.before), membersOf(u.after)
	for key, m := range union(before, after) {
		if !changed(m.path, before, after) {
			continue
		}
		c := w.changes()[pathKey(m.path)]
		if c == nil {
			c = &change{path: m.path}
			w.changes()[pathKey(m.path)] = c
		}
		c.learnOld(u, before[key].value, known, all)
		if u.number > c.number {
			c.number, c.value, c.names = u.number, after[key].value, u.newRevision[:1:1]
			c.at, _ = parseName(u.newRevision[0])
		}
		c.since = now
		c.checkSoon(now)
	}
	if len(w.changes()) > 0 && !w.running {
		w.running = true
		w.done.Go(w.run)
	}
	w.wakeUp()
}

// recordRepairs tells the changes from before an Update what it found and repaired. w.mu
// must be held.
func (w *watch) recordRepairs(u update, now time.Time) {
	found := membersOf(u.found)
	for _, r := range u.repaired {
		if c := w.changes()[pathKey(r.path)]; c != nil {
			c.addOld(found[pathKey(r.path)].value)
		}
	}
	for _, c := range w.changes() {
		// The document now has the change, or another value that was put there on purpose.
		if c.number <= u.comparedWith && !u.foundRevision.shares(c.names) {
			c.names = latest(append(c.names, u.newRevision[0]))
		}
		if len(u.repaired) > 0 { // CrossWatch is writing old copies
			c.checkSoon(now)
		}
	}
}

// changed reports whether the member at path differs in two documents. A client identifier
// also counts as changed if its profile's token has changed: they belong together.
func changed(path []string, before, after map[string]member) bool {
	differ := func(path []string) bool {
		return !equal(before[pathKey(path)].value, after[pathKey(path)].value)
	}
	return differ(path) || path[len(path)-1] == clientID && differ(tokenOf(path))
}

// wakeUp makes run compute again when the next check is due.
func (w *watch) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// forget drops the changes before an Update that has removed the namespace.
func (w *watch) forget(u update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.changes(), func(_ string, c *change) bool { return c.number < u.number })
}

// run checks each change when it is due, until there are no changes or Close is called.
func (w *watch) run() {
	for {
		due, ok := w.next()
		if !ok {
			return
		}
		t := time.NewTimer(time.Until(due))
		select {
		case <-t.C:
			w.check(w.ctx, false)
		case <-w.wake:
		case <-w.ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// next returns when the next check is due. It returns false if there are no changes; then
// run must end.
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

// check checks the changes that are due, or all changes, and repairs those that an old copy
// has overwritten.
func (w *watch) check(ctx context.Context, all bool) {
	now := time.Now()
	w.mu.Lock()
	var due []*change
	for _, c := range w.changes() {
		if all || !c.due.After(now) {
			due = append(due, c)
		}
	}
	w.mu.Unlock()
	if len(due) == 0 {
		return
	}
	raw, found, err := w.store.read(ctx)
	var overwritten []change
	if err == nil {
		overwritten, _ = w.findOverwritten(raw, found)
	}
	if len(overwritten) > 0 {
		// Every Update compares again under the lock, and repairs.
		_ = w.store.Update(ctx, plexauth.Namespace, func(repaired json.RawMessage) (json.RawMessage, error) { return repaired, nil })
	}
	w.reschedule(due, len(overwritten) > 0)
}

// reschedule sets when the changes in list, which were checked just now, are checked next.
// It drops those that were checked often enough.
func (w *watch) reschedule(list []*change, repaired bool) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range list {
		switch {
		case now.Sub(c.since) > repairLimit:
			c.checks = maxChecks
		case repaired:
			c.checkSoon(now)
			continue
		default:
			c.checks++
		}
		if c.checks < maxChecks {
			c.due = now.Add(firstCheck << c.checks)
		} else if key := pathKey(c.path); w.changes()[key] == c {
			delete(w.changes(), key)
		}
	}
}

// findOverwritten returns the changes that an old copy has overwritten in raw, a document with
// the revision found. comparedWith is the highest number of the changes that it compared. If
// nothing was overwritten, it drops the changes that were replaced on purpose.
func (w *watch) findOverwritten(raw json.RawMessage, found revision) (list []change, comparedWith int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.changes()) == 0 || raw == nil {
		return nil, 0
	}
	d := document{members: membersOf(raw), revision: found, origin: found.origin(raw), at: time.Now()}
	changes := slices.Collect(maps.Values(w.changes()))
	for _, c := range changes {
		comparedWith = max(comparedWith, c.number)
		token := w.changes()[pathKey(tokenOf(c.path))]
		if c.overwrittenIn(d) || token != nil && c.goesWith(token, d) && token.overwrittenIn(d) {
			list = append(list, *c)
		}
	}
	if len(list) == 0 {
		w.dropReplaced(changes, d)
		return nil, comparedWith
	}
	for _, c := range changes {
		if soon := d.at.Add(firstCheck); soon.Before(c.due) {
			c.due = soon
		}
	}
	w.wakeUp()
	slices.SortFunc(list, func(a, b change) int { return slices.Compare(a.path, b.path) })
	return list, comparedWith
}

// dropReplaced drops the changes that CrossWatch or a person has replaced in d. w.mu must
// be held.
func (w *watch) dropReplaced(changes []*change, d document) {
	for _, c := range changes {
		if c.replacedIn(d) && !c.adopt(d) {
			delete(w.changes(), pathKey(c.path))
		}
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
	w.check(ctx, true)
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.changes())
	return nil
}
