package watch_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/watch"
)

const day = 24 * time.Hour

// A check is due at the profile's time of day, soon after a start that comes too late for
// it, and within a day if it is not known when the last one was.
func TestNextCheck(t *testing.T) {
	midnight := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	at := func(hours float64) time.Time { return midnight.Add(time.Duration(hours * float64(time.Hour))) }
	for name, c := range map[string]struct {
		hour    float64 // of the day at which the profile is checked
		checked time.Time
		since   float64 // when the process first saw the token
		draw    float64
		now     float64
		want    float64
	}{
		"checked on time":             {6, at(6), 0, 0.5, 7, 30},
		"checked a little late":       {6, at(6.1), 0, 0.5, 7, 30},
		"checked at another hour":     {6, at(2), 0, 0.5, 3, 6},
		"checked just before":         {6, at(5.99), 0, 0.5, 6, 6},
		"in another zone":             {6, at(6).In(time.FixedZone("", 5*3600)), 0, 0.5, 7, 30},
		"due while it was off":        {6, at(-18), 8, 0, 8, 8},
		"due while it was off, later": {6, at(-18), 8, 1, 8, 8.5},
		"off for a week":              {6, at(-7 * 24), 0, 0.5, 8, 0.25},
		"off for a year":              {6, at(-8760), 8, 0.5, 9, 20},
		"due while it was asleep":     {6, at(-18), 5, 0.5, 20, 6},
		"restarted before it is due":  {6, at(-18), 5, 0.5, 5, 6},
		"never, its hour comes first": {6, time.Time{}, 4, 0.5, 4, 6},
		"never, the draw comes first": {6, time.Time{}, 7, 0.25, 7, 13},
		"never, and its hour is over": {6, time.Time{}, 6, 1, 7, 30},
		"a date that is to come":      {6, at(1000), 4, 0.5, 4, 6},
		"at midnight":                 {0, at(0), 0, 0.5, 1, 24},
	} {
		t.Run(name, func(t *testing.T) {
			got := watch.NextCheck(c.hour/24, watch.Token{Checked: c.checked, Since: at(c.since), Draw: c.draw}, at(c.now))
			assert.WithinDuration(t, at(c.want), got, time.Second)
		})
	}
}

// A token that was due before the program began is renewed within half an hour, and while
// it works.
func TestNextRenewal(t *testing.T) {
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		due, unusable time.Duration // from now
		draw          float64
		want          time.Duration
	}{
		"later":             {time.Hour, 2 * day, 0.5, time.Hour},
		"now":               {0, 2 * day, 0.5, 0},
		"before":            {-day, day, 0.5, 15 * time.Minute},
		"it ends soon":      {-day, time.Minute, 0.5, time.Minute},
		"it has ended":      {-3 * day, -day, 0.5, -day},
		"it does not say":   {-day, 0, 0.5, 15 * time.Minute},
		"the last to begin": {-day, day, 1, 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			var unusable time.Time
			if c.unusable != 0 {
				unusable = now.Add(c.unusable)
			}
			got := watch.NextRenewal(now.Add(c.due), unusable, watch.Token{Since: now, Draw: c.draw})
			assert.Equal(t, c.want, got.Sub(now))
		})
	}
}

// Whatever is known, a check is due within a day.
func TestNextCheckWithinADay(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 34, 56, 0, time.UTC)
	for range 10_000 {
		r := func() time.Duration { return time.Duration(rand.Int64N(int64(3 * day))) }
		token := watch.Token{Since: now.Add(-r()), Draw: rand.Float64()}
		if rand.N(2) == 0 {
			token.Checked = now.Add(-r())
		}
		assert.LessOrEqual(t, watch.NextCheck(rand.Float64(), token, now).Sub(now), day, "%+v", token)
	}
}

// The profiles of many documents are spread evenly over the day, and keep their place.
func TestShare(t *testing.T) {
	var hours [24]int
	for i := range 10_000 {
		name := fmt.Sprint("plex/", i)
		share := watch.Share(name, "default")
		assert.Equal(t, share, watch.Share(name, "default"))
		assert.NotEqual(t, share, watch.Share(name, "PLEX-P01"))
		hours[int(share*24)]++
	}
	for _, n := range hours {
		assert.InDelta(t, 10_000/24, n, 100)
	}
	assert.NotEqual(t, watch.Share("ab", "c"), watch.Share("a", "bc"))
	assert.InDelta(t, 0.2604, watch.Share("plex", "default"), 0.0001, "the same in the next version")
}

// A check that failed is tried again soon, then less and less often, but every hour.
func TestPlanBacksOff(t *testing.T) {
	for name, c := range map[string]struct {
		failures   int
		retryAfter time.Duration
		want       time.Duration
	}{
		"once":                         {1, 0, time.Minute},
		"four times":                   {4, 0, 8 * time.Minute},
		"for days":                     {90, 0, time.Hour},
		"plex.tv asks for ten minutes": {1, 10 * time.Minute, 10 * time.Minute},
		"it asks for a second":         {4, time.Second, 8 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var plan watch.Plan
				plan.CheckIn(0, "a", time.Time{}, time.Now())
				time.Sleep(day)
				assert.LessOrEqual(t, plan.CheckIn(0, "a", time.Time{}, time.Now()), time.Duration(0))
				for range c.failures {
					plan.Failed("a", c.retryAfter, time.Now())
				}
				due := plan.CheckIn(0, "a", time.Time{}, time.Now())
				assert.GreaterOrEqual(t, due, c.want)
				assert.LessOrEqual(t, due, c.want+c.want/20+1)

				plan.Succeeded("a", time.Now())
				assert.Greater(t, plan.CheckIn(0.5, "a", time.Time{}, time.Now()), 2*time.Hour)
				plan.Failed("a", 0, time.Now())
				time.Sleep(day)
				assert.LessOrEqual(t, plan.CheckIn(0, "a", time.Time{}, time.Now()), time.Duration(0), "a success ends the pauses")
			})
		})
	}
}

// The first thing that a plan hears of a token counts, but a date that cannot be right does not.
func TestPlanOfANewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight
		now := time.Now()
		var accepted watch.Plan
		accepted.Succeeded("a", now)
		assert.Equal(t, day, accepted.CheckIn(0, "a", time.Time{}, now))
		assert.Equal(t, day, accepted.CheckIn(0, "a", now.Add(-day), now), "it was checked since")
		assert.Equal(t, day, accepted.CheckIn(0, "a", now.Add(1000*time.Hour), now), "that is to come")

		var failed watch.Plan
		failed.Failed("a", 0, now)
		const soon = 1.0 / (24 * 60 * 2) // in half a minute
		assert.GreaterOrEqual(t, failed.CheckIn(soon, "a", now, now), time.Minute)

		var overdue watch.Plan
		assert.GreaterOrEqual(t, overdue.RenewIn("a", now.Add(-time.Hour), time.Time{}, now), time.Duration(0))
	})
}

// What is known of a token is not believed of the next one.
func TestPlanOfAnotherToken(t *testing.T) {
	var plan watch.Plan
	now := time.Now()
	plan.SetRejected("a", now)
	assert.True(t, plan.Rejected("a"))
	assert.False(t, plan.Rejected("b"))
	plan.CheckIn(0, "b", time.Time{}, now)
	plan.CheckIn(0, "a", time.Time{}, now)
	assert.False(t, plan.Rejected("a"))
}
