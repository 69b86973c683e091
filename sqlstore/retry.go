package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	// patience bounds how long an operation waits for a database that does not answer, for
	// faster writers and for locks. The file store waits just as long for its lock.
	patience = 30 * time.Second
	// maxFailures is how often an operation is tried while the database fails. The first
	// retry is immediate, because perhaps only a connection has ended. The pauses before
	// the others are up to 0.1, 0.2, 0.4 and 0.8 s, for a quick restart.
	maxFailures = 6
	// lastReadLimit bounds finding out whether a write happened after its context ended.
	lastReadLimit = time.Second / 2
)

// errConflict means that another writer replaced the row first.
var errConflict = errors.New("another writer was faster")

// retry calls f until it succeeds, or fails with an error that will not change. It gives up
// after maxFailures errors of the database, and at the deadline, which also ends the context
// that f gets.
func (s *Store) retry(ctx context.Context, deadline time.Time, f func(context.Context) error) error {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	last := noAnswer(nil) // what to return at the deadline
	for conflicts, failures := 0, 0; ; {
		if ctx.Err() != nil {
			return contextError(ctx)
		}
		if limited.Err() != nil {
			return last
		}
		err := f(limited)
		if err == nil {
			return nil
		}
		if f, ok := err.(*final); ok {
			return f.error
		}
		var pause time.Duration
		switch kind := classify(err); {
		case kind != busy && limited.Err() != nil:
			last = noAnswer(err)
			continue
		case kind == permanent:
			return err
		case kind == busy:
			last = fmt.Errorf("%w: sqlstore: gave up after %v: %w", plexauth.ErrStore, patience, err)
			pause = min(5*time.Millisecond<<min(conflicts, 10), 250*time.Millisecond)
			conflicts++
		default: // broken
			last = err
			if failures++; failures == maxFailures {
				return err
			}
			if failures == 1 {
				continue
			}
			pause = 50 * time.Millisecond << (failures - 1)
		}
		sleep(limited, pause/2+rand.N(pause/2))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// class says how retry handles an error.
type class int

const (
	broken    class = iota // the database or the network failed: try a few more times
	busy                   // another writer was faster or holds a lock: try until the deadline
	permanent              // another attempt would fail too
)

// classify returns the class of an error of f in retry.
func classify(err error) class {
	if err == errConflict {
		return busy
	}
	var f *failure
	if !errors.As(err, &f) {
		return permanent
	}
	if state := sqlState(f.cause()); state != "" {
		switch state {
		case "40001", "40P01", "55P03", // serialization failure, deadlock, lock not available
			"23505", "42P07": // two replicas created the table at the same time
			return busy
		case "57014", "57P01", "57P02", "57P03", // canceled, shutting down, starting up
			"57P05", "25P03", "25P04": // connection closed after an idle or transaction timeout
			return broken
		}
		switch state[:2] {
		case "08", "53", "58": // connection, resources, system
			return broken
		}
		return permanent
	}
	if code, ok := sqliteCode(f.cause()); ok {
		switch code {
		case 5, 6: // busy, locked
			return busy
		case 9, 10, 15: // interrupted, I/O error, locking protocol
			return broken
		}
		return permanent
	}
	// Other SQLite drivers also say which schema is locked.
	if strings.Contains(f.cause().Error(), "is locked") {
		return busy
	}
	return broken
}
