package interleave_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/interleave"
)

// counter is a number that two actors increase, one after reading it in a step of its own.
type counter struct{ value int }

func (c *counter) increase(ctx context.Context) {
	if interleave.Step(ctx, "read") != nil {
		return
	}
	read := c.value
	interleave.Saw(ctx, fmt.Sprint(read))
	if interleave.Step(ctx, "write") != nil {
		return
	}
	c.value = read + 1
}

// count runs a schedule of two actors, and returns what they have counted to.
func count(t *testing.T, s *interleave.Schedule, recognize bool, events ...interleave.Event) (result int, err error) {
	synctest.Test(t, func(t *testing.T) {
		var c counter
		if recognize {
			s.State = func() string { return fmt.Sprint(c.value) }
		}
		actors := []interleave.Actor{{Name: "a", Process: 0, Run: c.increase}, {Name: "b", Process: 1, Run: c.increase}}
		var pruned bool
		if pruned, err = s.Run(t.Context(), actors, events); pruned {
			result = -1
		} else {
			result = c.value
		}
	})
	return result, err
}

var errLost = errors.New("an update is lost")

// An exploration finds the order in which an update is lost, and the name of that schedule
// repeats it.
func TestFindsALostUpdate(t *testing.T) {
	run := func(s *interleave.Schedule) error {
		n, err := count(t, s, true)
		if err == nil && n == 1 {
			err = errLost
		}
		return err
	}
	_, failure := interleave.Explore(interleave.Bounds{Preemptions: 0}, run)
	assert.Nil(t, failure, "one after the other")
	_, failure = interleave.Explore(interleave.Bounds{Preemptions: 1}, run)
	require.NotNil(t, failure)
	assert.ErrorIs(t, failure.Err, errLost)
	assert.Equal(t, []string{"a: begins", "a: read", "b: begins", "b: read", "b: write", "a: write"}, failure.Steps)
	again := interleave.Repeat(failure.Schedule, run)
	assert.ErrorIs(t, again.Err, errLost)
	assert.Equal(t, failure.Steps, again.Steps)
}

// All orders are explored: three steps of each of two actors have twenty. With states that
// are recognized fewer schedules are run, with the same results.
func TestExploresAllOrders(t *testing.T) {
	results := func(recognize bool) (all []int, r interleave.Result) {
		r, failure := interleave.Explore(interleave.Bounds{Preemptions: -1}, func(s *interleave.Schedule) error {
			n, err := count(t, s, recognize)
			if n >= 0 && !slices.Contains(all, n) {
				all = append(all, n)
			}
			return err
		})
		require.Nil(t, failure)
		slices.Sort(all)
		return all, r
	}
	all, r := results(false)
	assert.Equal(t, []int{1, 2}, all)
	assert.Equal(t, 20, r.Schedules)
	some, fewer := results(true)
	assert.Equal(t, all, some)
	assert.Positive(t, fewer.Pruned)
	assert.Less(t, fewer.Schedules, r.Schedules)
}

// A process can die before each step of its own and after the last one, and makes no step
// then.
func TestDeath(t *testing.T) {
	seen := map[string]bool{}
	_, failure := interleave.Explore(interleave.Bounds{Preemptions: -1}, func(s *interleave.Schedule) error {
		died := false
		n, err := count(t, s, false, interleave.Event{
			Name: "death", Possible: func() bool { return s.Lives(0) }, Do: func() { died = true; s.Kill(0) },
		})
		assert.Equal(t, died, s.Died(0))
		seen[fmt.Sprint(died, n)] = true
		return err
	})
	require.Nil(t, failure)
	assert.Equal(t, map[string]bool{"true 1": true, "false 1": true, "false 2": true}, seen)
}

// A caller that waits for ever is a failure.
func TestEndlessWait(t *testing.T) {
	_, failure := interleave.Explore(interleave.Bounds{}, func(s *interleave.Schedule) (err error) {
		synctest.Test(t, func(t *testing.T) {
			_, err = s.Run(t.Context(), []interleave.Actor{{Name: "a", Run: func(ctx context.Context) { <-ctx.Done() }}}, nil)
		})
		return err
	})
	require.NotNil(t, failure)
	assert.ErrorContains(t, failure.Err, "a")
}

// Time passes while a step is held: timers of others fire.
func TestTimePasses(t *testing.T) {
	orders := map[string]bool{}
	_, failure := interleave.Explore(interleave.Bounds{Preemptions: 1}, func(s *interleave.Schedule) (err error) {
		synctest.Test(t, func(t *testing.T) {
			order := ""
			note := func(name string, pause time.Duration) func(context.Context) {
				return func(ctx context.Context) {
					time.Sleep(pause)
					if interleave.Step(ctx, name) == nil {
						order += name
					}
				}
			}
			_, err = s.Run(t.Context(), []interleave.Actor{{Name: "slow", Process: 0, Run: note("s", time.Second)}, {Name: "fast", Process: 1, Run: note("f", 0)}}, nil)
			orders[order] = true
		})
		return err
	})
	require.Nil(t, failure)
	assert.Equal(t, map[string]bool{"fs": true, "sf": true}, orders)
}

// A name that is not one of a schedule, and a schedule with a choice that is not there, are
// failures.
func TestBadNames(t *testing.T) {
	run := func(s *interleave.Schedule) error { _, err := count(t, s, false); return err }
	assert.Error(t, interleave.Repeat("first", run).Err)
	assert.Error(t, interleave.Repeat("0.-1", run).Err)
	assert.Error(t, interleave.Repeat("0.7", run).Err)
	assert.NoError(t, interleave.Repeat("0.1", run).Err)
}

// lossyStore lets another Update come in between the two halves of an Update.
type lossyStore struct{ plexauth.ConfigStore }

func (s lossyStore) Update(ctx context.Context, ns string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	old, err := s.Load(ctx, ns)
	if err != nil {
		return err
	}
	next, err := edit(old)
	if err != nil {
		return err
	}
	if err := interleave.Step(ctx, "store: write"); err != nil {
		return err
	}
	return s.ConfigStore.Update(ctx, ns, becomes(next))
}

// A store that loses updates is found by the invariants, and the schedule repeats that.
func TestFindsALossyStore(t *testing.T) {
	for _, name := range []string{"pending/apart/Finish+Member", "relinking/apart/Finish+SignOut"} {
		t.Run(name, func(t *testing.T) {
			c := sceneOf(t, name)
			run := func(s *interleave.Schedule) error { return c.run(t, s) }
			_, failure := interleave.Explore(interleave.Bounds{Preemptions: 1}, run)
			require.Nil(t, failure, "with a store that loses nothing")
			run = func(s *interleave.Schedule) error {
				c.store = lossyStore{plexauth.NewMemoryStore()}
				return c.run(t, s)
			}
			_, failure = interleave.Explore(interleave.Bounds{Preemptions: 1}, run)
			require.NotNil(t, failure)
			require.Error(t, failure.Err)
			again := interleave.Repeat(failure.Schedule, run)
			require.Error(t, again.Err)
			assert.Equal(t, failure.Err.Error(), again.Err.Error())
		})
	}
}

// sceneOf returns the scene of that name.
func sceneOf(t *testing.T, name string) scene {
	t.Helper()
	for _, c := range scenes() {
		if c.name() == name {
			return c
		}
	}
	require.Fail(t, "no such scene", name)
	return scene{}
}
