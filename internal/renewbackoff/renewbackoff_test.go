package renewbackoff_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/secret"
)

var (
	errDown    = errors.New("down")
	expired    = secret.New("expired")
	next       = secret.New("next")
	noAnswer   = renewbackoff.Failure{Err: errDown}
	serverDown = renewbackoff.Failure{Err: errDown, Answered: true}
)

// restOf returns how long the profile may not renew, in whole seconds.
func restOf(h *renewbackoff.History, u renewbackoff.Urgency) (rest time.Duration) {
	for h.Paused(expired, u) != nil {
		time.Sleep(time.Second)
		rest += time.Second
	}
	return rest
}

// G24: a renewal that failed is tried again later and later, but a caller without a
// good token has one soon after the network is back.
func TestPauses(t *testing.T) {
	slowDown := func(d time.Duration) renewbackoff.Failure {
		return renewbackoff.Failure{Err: errDown, Answered: true, RetryAfter: d}
	}
	for name, c := range map[string]struct {
		failure              renewbackoff.Failure
		times                int
		background, required time.Duration
	}{
		"no answer":                   {noAnswer, 1, 2 * time.Second, 2 * time.Second},
		"no answer, four times":       {noAnswer, 4, 16 * time.Second, 15 * time.Second},
		"no answer, for hours":        {noAnswer, 50, 15 * time.Minute, 15 * time.Second},
		"refused":                     {serverDown, 1, time.Minute, time.Minute},
		"refused, three times":        {serverDown, 3, 4 * time.Minute, 4 * time.Minute},
		"refused, for hours":          {serverDown, 50, 15 * time.Minute, 15 * time.Minute},
		"Retry-After of 20 seconds":   {slowDown(20 * time.Second), 1, time.Minute, 20 * time.Second},
		"Retry-After of five minutes": {slowDown(5 * time.Minute), 1, 5 * time.Minute, 30 * time.Second},
		"Retry-After of a year":       {slowDown(365 * 24 * time.Hour), 9, 15 * time.Minute, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for u, want := range map[renewbackoff.Urgency]time.Duration{renewbackoff.Background: c.background, renewbackoff.Required: c.required, renewbackoff.Forced: 0} {
				synctest.Test(t, func(t *testing.T) {
					var h renewbackoff.History
					for i := range c.times {
						assert.Equal(t, i == 0, h.Failed(expired, c.failure), "first")
					}
					assert.NoError(t, h.Paused(next, u), "another token")
					assert.InDelta(t, want.Seconds(), restOf(&h, u).Seconds(), want.Seconds()/20+1)
				})
			}
		})
	}
}

// A failure of the other kind begins with a short pause again.
func TestPauseAfterAnotherKindOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h renewbackoff.History
		for range 20 {
			h.Failed(expired, noAnswer)
		}
		h.Failed(expired, serverDown)
		assert.InDelta(t, 60, restOf(&h, renewbackoff.Required).Seconds(), 4)
	})
}

// G9: if a renewal ends with its caller's context, the next in line renews. Only a
// second one in a row makes callers without a good token wait.
func TestCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h renewbackoff.History
		assert.False(t, h.CutShort(expired, renewbackoff.Required, errDown))
		assert.NoError(t, h.Paused(expired, renewbackoff.Required))
		assert.True(t, h.CutShort(expired, renewbackoff.Required, errDown))
		assert.ErrorIs(t, h.Paused(expired, renewbackoff.Required), errDown)

		var other renewbackoff.History
		assert.True(t, other.CutShort(expired, renewbackoff.Background, errDown))
		assert.ErrorIs(t, other.Paused(expired, renewbackoff.Background), errDown)
		assert.False(t, other.CutShort(expired, renewbackoff.Background, errDown), "not the first failure")
		other.Failed(expired, serverDown)
		restOf(&other, renewbackoff.Required)
		assert.False(t, other.CutShort(expired, renewbackoff.Required, errDown), "not the second one in a row")
		assert.NoError(t, other.Paused(expired, renewbackoff.Required))
	})
}

// G24: one exchange answers all who waited for it, and a new token also those who
// come just afterwards.
func TestResultFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h renewbackoff.History
		arrived := h.Count()
		h.Failed(expired, noAnswer)
		ok, err := h.ResultFor(expired, arrived)
		assert.True(t, ok)
		assert.ErrorIs(t, err, errDown)
		ok, _ = h.ResultFor(expired, h.Count())
		assert.False(t, ok, "a failure does not answer later callers")
		ok, _ = h.ResultFor(next, arrived)
		assert.False(t, ok, "another token")

		h.Succeeded(expired, next)
		for _, token := range []secret.Value{expired, next} {
			ok, err = h.ResultFor(token, h.Count())
			assert.True(t, ok)
			assert.NoError(t, err)
		}
		assert.NoError(t, h.Paused(expired, renewbackoff.Background))
		time.Sleep(time.Second)
		ok, _ = h.ResultFor(next, h.Count())
		assert.False(t, ok, "a second later")
	})
}

// G12: after a renewal that did not help, a refusal causes none for a minute.
func TestFutile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h renewbackoff.History
		assert.False(t, h.IsFutile())
		h.Futile()
		time.Sleep(time.Minute - time.Second)
		assert.True(t, h.IsFutile())
		time.Sleep(time.Second)
		assert.False(t, h.IsFutile())
	})
}

// A failure matters until its longest pause is long over, anything else for a minute.
func TestMatters(t *testing.T) {
	var h renewbackoff.History
	h.Failed(expired, serverDown)
	assert.Equal(t, 30*time.Minute, h.Matters())
	h.Succeeded(expired, next)
	assert.Equal(t, time.Minute, h.Matters())
}
