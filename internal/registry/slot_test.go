package registry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/registry"
)

type attempt struct{ pin int }

// begin makes an attempt for a PIN the current one.
func begin(s *registry.Slot[attempt], version, pin int) (a, replaced *attempt, ok bool) {
	a, ok = s.Begin(version, func(a *attempt) bool { return a.pin == pin }, func(present *attempt) *attempt {
		replaced = present
		return &attempt{pin}
	})
	return a, replaced, ok
}

func TestBegin(t *testing.T) {
	var s registry.Slot[attempt]
	version := s.Version()
	first, _, ok := begin(&s, version, 1)
	require.True(t, ok)
	assert.Same(t, first, s.Current())

	again, _, ok := begin(&s, version, 1)
	assert.True(t, ok, "the same PIN, whatever has begun since")
	assert.Same(t, first, again)

	_, _, ok = begin(&s, version, 2)
	assert.False(t, ok, "the reader's PIN may be outdated")
	assert.Same(t, first, s.Current())

	second, replaced, ok := begin(&s, s.Version(), 2)
	assert.True(t, ok)
	assert.Same(t, first, replaced)
	assert.Same(t, second, s.Current())
}

func TestInvalidateAReader(t *testing.T) {
	var s registry.Slot[attempt]
	version := s.Version()
	assert.Nil(t, s.CurrentOrInvalidate())
	_, _, ok := begin(&s, version, 1)
	assert.False(t, ok)
	a, _, _ := begin(&s, s.Version(), 1)
	assert.Same(t, a, s.CurrentOrInvalidate())
	assert.Same(t, a, s.Current())
}

func TestEnd(t *testing.T) {
	var s registry.Slot[attempt]
	first, _, _ := begin(&s, s.Version(), 1)
	second, _, _ := begin(&s, s.Version(), 2)
	ended := 0
	s.End(first, func() { ended++ })
	assert.Same(t, second, s.Current(), "another attempt has its place")
	s.End(second, func() { ended++ })
	assert.Nil(t, s.Current())
	assert.Equal(t, 2, ended)
}

func TestNextBegin(t *testing.T) {
	var s registry.Slot[attempt]
	begun := s.NextBegin()
	select {
	case <-begun:
		t.Fatal("nothing has begun")
	default:
	}
	a, _, _ := begin(&s, s.Version(), 1)
	<-begun
	begun = s.NextBegin()
	s.End(a, func() {})
	select {
	case <-begun:
		t.Fatal("an attempt has ended")
	default:
	}
}

func TestPaceStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 10 * time.Second
		var s registry.Slot[attempt]
		start := func(made bool) time.Duration {
			s.PaceStart(pause, func() bool {
				assert.Equal(t, pause, time.Until(s.NextStart()), "others wait during the request")
				time.Sleep(3 * time.Second)
				return made
			})
			return time.Until(s.NextStart())
		}
		assert.Less(t, start(false), time.Duration(0))
		assert.Equal(t, pause, start(true))
		assert.Equal(t, pause-3*time.Second, start(false), "the pause after the last PIN counts")
	})
}
