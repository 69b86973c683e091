package registry_test

import (
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/internal/registry"
)

func TestHold(t *testing.T) {
	var m registry.Map[int]
	a := m.Hold("plex", "a")
	a.Known = 1
	again := m.Hold("plex", "a")
	assert.Same(t, a, again)
	assert.Zero(t, m.Hold("plex", "b").Known, "another profile")
	assert.Zero(t, m.Hold("other", "a").Known, "another document")
	assert.Equal(t, 3, m.Len())
	a.Release()
	assert.Equal(t, 1, m.Hold("plex", "a").Known, "held still")
	again.Release()
	again.Release()
	assert.Equal(t, 2, m.Len())
	assert.Zero(t, m.Hold("plex", "a").Known, "dropped")
}

func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m registry.Map[int]
		e := m.Hold("plex", "a")
		e.Keep(time.Second)
		e.Keep(time.Minute)
		e.Keep(2 * time.Second)
		e.Release()
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		assert.Equal(t, 1, m.Len(), "the longest time counts")
		held := m.Hold("plex", "a")
		assert.Same(t, e, held)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, 1, m.Len(), "held")
		held.Release()
		assert.Zero(t, m.Len())

		e = m.Hold("plex", "a")
		e.Keep(time.Second)
		e.Release()
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Zero(t, m.Len(), "no one holds it when the time is over")

		e = m.Hold("plex", "a")
		e.Keep(0)
		e.Release()
		assert.Zero(t, m.Len(), "no time")
	})
}

// G9: entries that were dropped leave nothing, even if others are in use all the time.
func TestDroppedEntriesLeaveNothing(t *testing.T) {
	const many = 10_000
	var m registry.Map[int]
	stays := m.Hold("plex", "stays")
	stays.Writes()
	held := make([]*registry.Entry[int], many)
	before := measure.Memory().HeapAlloc
	for i := range held {
		held[i] = m.Hold("plex/"+strconv.Itoa(i), "default")
		held[i].Writes()
	}
	for _, e := range held {
		e.Release()
	}
	clear(held)
	assert.Less(t, float64(measure.Memory().HeapAlloc), float64(before)+10*many, "bytes in use; a map of so many takes five times that")
	assert.Same(t, stays, m.Hold("plex", "stays"))
	assert.Equal(t, 1, m.Len())
	runtime.KeepAlive(held)
}

func TestWrites(t *testing.T) {
	var m registry.Map[int]
	m.Wrote("plex") // no profile of it is in use
	a, b, other := m.Hold("plex", "a"), m.Hold("plex", "b"), m.Hold("other", "a")
	before, elsewhere := a.Writes(), other.Writes()
	m.Wrote("plex")
	assert.Greater(t, a.Writes(), before)
	assert.Equal(t, a.Writes(), b.Writes(), "one document")
	assert.Equal(t, elsewhere, other.Writes())

	before = b.Writes()
	a.Release()
	m.Wrote("plex")
	assert.Greater(t, b.Writes(), before, "the document is still in use")
	b.Release()
	other.Release()
	assert.Equal(t, &registry.Map[int]{}, &m, "nothing is in use")
}

func TestWritten(t *testing.T) {
	var m registry.Map[int]
	a, b, other := m.Hold("plex", "a"), m.Hold("plex", "b"), m.Hold("other", "a")
	first, same, elsewhere := a.Written(), b.Written(), other.Written()
	m.Wrote("plex")
	assert.True(t, isClosed(first))
	assert.True(t, isClosed(same), "one document")
	assert.False(t, isClosed(elsewhere))
	second := a.Written()
	assert.False(t, isClosed(second), "the next Wrote")
	m.Wrote("plex")
	assert.True(t, isClosed(second))
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
