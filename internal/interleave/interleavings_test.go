package interleave_test

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/interleave"
)

var (
	schedule = flag.String("schedule", "", "repeat the schedule of that name, in the test that -run selects")
	long     = flag.Bool("long", false, "explore all scenes, and more schedules of each")
)

// G1, G8, G9, G10, G23: no order of the steps of two operations on one profile loses an approval,
// mixes accounts, leaves a token behind or lets a caller wait for ever. With -long, all
// scenes are explored, and more orders.
func TestInterleavings(t *testing.T) {
	var total, pruned atomic.Int64
	t.Cleanup(func() { t.Logf("%d schedules, of which %d were left early", total.Load(), pruned.Load()) })
	for _, c := range scenes() {
		if !*long && *schedule == "" && !c.inCI() {
			continue
		}
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			run := func(s *interleave.Schedule) error { return c.run(t, s) }
			if *schedule != "" {
				report(t, c, interleave.Repeat(*schedule, run))
				return
			}
			r, failure := interleave.Explore(c.bounds(), run)
			total.Add(int64(r.Schedules))
			pruned.Add(int64(r.Pruned))
			if failure != nil {
				report(t, c, failure)
			}
			assert.True(t, c.together || r.Missed == 0, "of processes that share nothing but the store, each schedule can be repeated")
			t.Logf("%+v", r)
		})
	}
}

// bounds returns how many orders of a scene are explored: with -long, all orders of most pairs
// that share nothing but the store.
func (c scene) bounds() interleave.Bounds {
	switch {
	case !*long || len(c.operations) > 2:
		return interleave.Bounds{Preemptions: 1}
	case c.together || c.device || c.two || c.hasOperation("LoginBob"):
		return interleave.Bounds{Preemptions: 2}
	}
	return interleave.Bounds{Preemptions: -1}
}

// report logs a schedule, and fails if it has failed.
func report(t *testing.T, c scene, f *interleave.Failure) {
	t.Helper()
	t.Log(strings.Join(f.Steps, "\n"))
	if f.Err != nil {
		t.Errorf("%v\nrepeat: %s", f.Err, repeat(c, f.Schedule))
	}
}

// repeat returns the command that repeats a schedule.
func repeat(c scene, schedule string) string {
	name := strings.ReplaceAll(strings.ReplaceAll(c.name(), "+", `\+`), "/", "$/^")
	return fmt.Sprintf("go test -run '^TestInterleavings$/^%s$' -schedule %s ./internal/interleave", name, schedule)
}
