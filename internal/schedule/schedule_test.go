package schedule_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/schedule"
)

// in runs f with the schedule of a PIN that lives that long.
func in(t *testing.T, life time.Duration, known bool, f func(t *testing.T, s *schedule.Schedule)) {
	synctest.Test(t, func(t *testing.T) {
		expires := elapsed.Now().Add(life)
		s := schedule.New(time.Second, expires, expires.Date(), known)
		f(t, &s)
	})
}

// pause returns how long it is until the next poll.
func pause(s *schedule.Schedule) time.Duration { return time.Until(s.Due(time.Time{})) }

// within asserts that a pause is that long, apart from the jitter of a twentieth.
func within(t *testing.T, want, got time.Duration) {
	t.Helper()
	assert.GreaterOrEqual(t, got, want)
	assert.LessOrEqual(t, got, want+want/20+time.Millisecond)
}

func TestIntervalAfterPolls(t *testing.T) {
	for name, c := range map[string]struct {
		polls func(s *schedule.Schedule)
		want  time.Duration
	}{
		"none":               {func(*schedule.Schedule) {}, time.Second},
		"pending":            {func(s *schedule.Schedule) { s.RecordPending(time.Now(), plextv.PINReply{}, false) }, time.Second},
		"one failure":        {func(s *schedule.Schedule) { s.RecordFailure() }, 2 * time.Second},
		"three failures":     {func(s *schedule.Schedule) { failures(s, 3) }, 8 * time.Second},
		"many failures":      {func(s *schedule.Schedule) { failures(s, 9) }, schedule.MaxInterval},
		"fewer":              {func(s *schedule.Schedule) { s.RecordRateLimit(0) }, time.Second + plextv.GuessedPause},
		"fewer, for long":    {func(s *schedule.Schedule) { s.RecordRateLimit(20 * time.Second) }, 20 * time.Second},
		"failure, recovered": {func(s *schedule.Schedule) { failures(s, 3); s.Recover(false); pending(s) }, time.Second},
		"fewer, recovered":   {func(s *schedule.Schedule) { s.RecordRateLimit(0); s.Recover(true); pending(s) }, time.Second + plextv.GuessedPause},
		"much fewer, recovered": {func(s *schedule.Schedule) {
			s.RecordRateLimit(20 * time.Second)
			s.Recover(true)
			pending(s)
		}, schedule.MaxInterval},
		"rest": {func(s *schedule.Schedule) { s.Rest(time.Minute) }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, 15*time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
				c.polls(s)
				within(t, c.want, pause(s))
			})
		})
	}
}

func failures(s *schedule.Schedule, n int) {
	for range n {
		s.RecordFailure()
	}
}

func pending(s *schedule.Schedule) { s.RecordPending(time.Now(), plextv.PINReply{}, false) }

// G12: what plex.tv tells other callers does not park a PIN for longer than half a minute.
func TestGuardIsBounded(t *testing.T) {
	in(t, 15*time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
		within(t, 30*time.Second, time.Until(s.Due(time.Now().Add(time.Hour))))
		assert.False(t, s.MayPoll(time.Now().Add(time.Hour)))
		time.Sleep(31 * time.Second)
		assert.True(t, s.MayPoll(time.Now().Add(time.Hour)))
		s.NotePoll()
		time.Sleep(29 * time.Second)
		assert.False(t, s.MayPoll(time.Now().Add(time.Hour)), "counted from the last poll")
	})
}

func TestPollAtTheDeadline(t *testing.T) {
	in(t, 3*time.Second, true, func(t *testing.T, s *schedule.Schedule) {
		s.RecordRateLimit(20 * time.Second)
		within(t, 3*time.Second, pause(s))
		time.Sleep(3 * time.Second)
		assert.True(t, s.MayPoll(time.Now().Add(time.Hour)), "the final poll is not put off")
	})
}

// A poll that is due less than a second before the deadline waits for it.
func TestPollBeforeTheDeadline(t *testing.T) {
	in(t, 20*time.Second, true, func(t *testing.T, s *schedule.Schedule) {
		for guard, want := range map[time.Duration]time.Duration{
			18 * time.Second: 18 * time.Second, 19 * time.Second: 19 * time.Second, 19*time.Second + 1: 20 * time.Second,
		} {
			assert.Equal(t, want, time.Until(s.Due(time.Now().Add(guard))))
		}
	})
}

func TestEachResultIsAPoll(t *testing.T) {
	for name, record := range map[string]func(*schedule.Schedule){
		"pending": pending,
		"failure": func(s *schedule.Schedule) { s.RecordFailure() },
		"fewer":   func(s *schedule.Schedule) { s.RecordRateLimit(0) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
				time.Sleep(5 * time.Second)
				record(s)
				assert.Equal(t, time.Now(), s.LastPoll())
			})
		})
	}
}

func TestExtend(t *testing.T) {
	in(t, time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
		s.Extend(time.Second)
		assert.Equal(t, 61*time.Second, s.Left())
	})
}

// The first answer that says how long the PIN lives counts, and what follows is believed then.
func TestLifetimeBecomesKnown(t *testing.T) {
	in(t, time.Hour, false, func(t *testing.T, s *schedule.Schedule) {
		s.RecordPending(time.Now(), plextv.PINReply{Expires: true, ExpiresIn: time.Minute}, false)
		assert.Equal(t, time.Minute, s.Left())
		s.RecordPending(time.Now(), plextv.PINReply{Expires: true}, false)
		assert.Equal(t, schedule.PollMaxAge, s.Left())
	})
}

// Only the last poll ends a PIN that has not moved.
func TestPendingAfterTheDeadline(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 2 * time.Second} {
		for _, final := range []bool{false, true} {
			in(t, time.Second, true, func(t *testing.T, s *schedule.Schedule) {
				time.Sleep(after)
				assert.Equal(t, final, s.RecordPending(time.Now(), plextv.PINReply{}, final))
			})
		}
	}
}

// G6: two polls are a second apart, however late the last one came.
func TestPollsAreApart(t *testing.T) {
	in(t, time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
		time.Sleep(5 * time.Second)
		s.NotePoll()
		assert.Equal(t, schedule.PollMaxAge, pause(s))
	})
}

// Two seconds are within the precision of whole seconds.
func TestSmallDifferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := elapsed.Now().Add(time.Minute)
		told := expires.Date().Add(2 * time.Second)
		s := schedule.New(time.Second, expires, told, true)
		s.RecordPending(time.Now(), plextv.PINReply{Expires: true, ExpiresIn: 58 * time.Second}, false)
		at, date := s.Expiry()
		assert.Equal(t, expires, at)
		assert.Equal(t, told, date)
	})
}

func TestResultCountsForASecond(t *testing.T) {
	in(t, time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
		assert.True(t, s.MayPoll(time.Time{}))
		s.NotePoll()
		assert.False(t, s.MayPoll(time.Time{}))
		time.Sleep(schedule.PollMaxAge)
		assert.True(t, s.MayPoll(time.Time{}))
	})
}

func TestExpiryByAnswers(t *testing.T) {
	reply := func(in time.Duration) plextv.PINReply { return plextv.PINReply{Expires: true, ExpiresIn: in} }
	for name, c := range map[string]struct {
		known   bool // before the answer
		reply   plextv.PINReply
		final   bool
		left    time.Duration
		expired bool
		moved   bool
	}{
		"says nothing":                 {true, plextv.PINReply{}, false, time.Minute, false, false},
		"the same":                     {true, reply(59 * time.Second), false, time.Minute, false, false},
		"earlier":                      {true, reply(20 * time.Second), false, 20 * time.Second, false, true},
		"later":                        {true, reply(5 * time.Minute), false, 5 * time.Minute, false, true},
		"much later":                   {true, reply(48 * time.Hour), false, time.Hour, false, true},
		"0, where it was known":        {true, reply(0), false, time.Second, false, true},
		"0, where it was not":          {false, reply(0), false, time.Minute, false, false},
		"negative, where it was known": {true, reply(-time.Second), false, time.Minute, true, false},
		"negative, where it was not":   {false, reply(-time.Second), false, time.Minute, false, false},
		"a final poll that moves it":   {true, reply(20 * time.Second), true, 20 * time.Second, false, true},
		"a final poll that does not":   {true, plextv.PINReply{}, true, time.Minute, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, time.Minute, c.known, func(t *testing.T, s *schedule.Schedule) {
				assert.Equal(t, c.expired, s.RecordPending(time.Now(), c.reply, c.final))
				assert.InDelta(t, c.left, s.Left(), float64(10*time.Millisecond))
				_, moved := s.TakeUnsaved()
				assert.Equal(t, c.moved, moved)
				_, again := s.TakeUnsaved()
				assert.False(t, again)
			})
		})
	}
}

// A plex.tv whose expiresIn does not count down moves the date at each poll. The store is told
// at once, and then every fifteen seconds.
func TestDateThatMovesAtEachPoll(t *testing.T) {
	in(t, time.Minute, true, func(t *testing.T, s *schedule.Schedule) {
		var told []time.Duration
		for second := range 60 {
			s.RecordPending(time.Now(), plextv.PINReply{Expires: true, ExpiresIn: 10 * time.Minute}, false)
			if date, ok := s.TakeUnsaved(); ok {
				told = append(told, time.Duration(second)*time.Second)
				assert.WithinDuration(t, time.Now().Add(10*time.Minute), date, 2*time.Second)
			}
			time.Sleep(time.Second)
		}
		assert.Equal(t, []time.Duration{0, 15 * time.Second, 30 * time.Second, 45 * time.Second}, told)
	})
}

// A PIN whose stored date is past may live: a clock may have been set.
func TestPostpone(t *testing.T) {
	in(t, -time.Hour, true, func(t *testing.T, s *schedule.Schedule) {
		assert.True(t, s.Postpone())
		assert.InDelta(t, schedule.MaxInterval, s.Left(), float64(10*time.Millisecond))
		time.Sleep(15 * time.Minute)
		assert.False(t, s.Postpone(), "no longer than a PIN lives")
	})
	in(t, 0, true, func(t *testing.T, s *schedule.Schedule) { assert.True(t, s.Postpone()) })
	in(t, time.Hour, true, func(t *testing.T, s *schedule.Schedule) { assert.False(t, s.Postpone()) })
	in(t, -time.Hour, true, func(t *testing.T, s *schedule.Schedule) {
		pending(s)
		assert.False(t, s.Postpone(), "plex.tv has answered")
	})
}

func TestRequestLimit(t *testing.T) {
	in(t, time.Hour, true, func(t *testing.T, s *schedule.Schedule) {
		for _, want := range []time.Duration{10, 20, 30, 30} {
			assert.Equal(t, want*time.Second, s.RequestLimit())
			s.AllowLonger()
		}
	})
}
