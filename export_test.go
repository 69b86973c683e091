package plexauth

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plexauth/plexauth/internal/elapsed"
)

// Looker takes up the pending login as Wait does, and returns what makes one
// look after the other, without the pauses between them.
func Looker(ctx context.Context, p *PlexAuth) (look func() error, err error) {
	a, err := p.resume(ctx)
	if err != nil {
		return nil, err
	}
	return func() error {
		if _, err := a.turns.Enter(ctx, func() bool { return true }); err != nil {
			return err
		}
		defer a.turns.Leave()
		_, err := a.poll(ctx)
		return err
	}, nil
}

// wallOffset and sleepOffset are what the tests have set.
var wallOffset, sleepOffset atomic.Int64

func init() {
	elapsed.Wall = func() time.Time { return time.Now().Round(0).Add(time.Duration(wallOffset.Load())) }
	real := elapsed.Asleep
	elapsed.Asleep = func(now time.Time) time.Duration { return real(now) + time.Duration(sleepOffset.Load()) }
}

// SetClock sets the wall clock of the process by d, until the test ends.
func SetClock(t testing.TB, d time.Duration) {
	wallOffset.Add(int64(d))
	t.Cleanup(func() { wallOffset.Add(int64(-d)) })
}

// Suspend lets the machine sleep for d: the wall clock goes on, Go's does not.
func Suspend(t testing.TB, d time.Duration) {
	sleepOffset.Add(int64(d))
	SetClock(t, d)
}

// MoveDeadline makes the process believe that the pending PIN lives for d longer.
func MoveDeadline(p *PlexAuth, d time.Duration) {
	e := p.hold()
	defer e.Release()
	a := e.Known.attempts.Current()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.schedule.Extend(d)
}

// ProfilesInUse is of how many profiles the process knows anything.
func ProfilesInUse(p *PlexAuth) int { return p.inUse.Len() }
