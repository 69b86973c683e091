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
func begin(m *registry.Map[attempt], version, pin int) (a, replaced *attempt, ok bool) {
	a, ok = m.Begin("p", version, func(a *attempt) bool { return a.pin == pin }, func(present *attempt) *attempt {
		replaced = present
		return &attempt{pin}
	})
	return a, replaced, ok
}

func read(m *registry.Map[attempt]) (version int) {
	version, finished := m.Reading("p")
	finished()
	return version
}

func TestBegin(t *testing.T) {
	var m registry.Map[attempt]
	version, finished := m.Reading("p")
	defer finished()
	first, _, ok := begin(&m, version, 1)
	require.True(t, ok)
	assert.Same(t, first, m.Current("p"))

	again, _, ok := begin(&m, version, 1)
	assert.True(t, ok, "the same PIN, whatever has begun since")
	assert.Same(t, first, again)

	_, _, ok = begin(&m, version, 2)
	assert.False(t, ok, "the reader's PIN may be outdated")
	assert.Same(t, first, m.Current("p"))

	second, replaced, ok := begin(&m, read(&m), 2)
	assert.True(t, ok)
	assert.Same(t, first, replaced)
	assert.Same(t, second, m.Current("p"))
	assert.Nil(t, m.Current("other"))
}

func TestInvalidateAReader(t *testing.T) {
	var m registry.Map[attempt]
	assert.Nil(t, m.CurrentOrInvalidate("p"))
	version, finished := m.Reading("p")
	defer finished()
	assert.Nil(t, m.CurrentOrInvalidate("p"))
	_, _, ok := begin(&m, version, 1)
	assert.False(t, ok)
	a, _, _ := begin(&m, read(&m), 1)
	assert.Same(t, a, m.CurrentOrInvalidate("p"))
}

func TestEnd(t *testing.T) {
	var m registry.Map[attempt]
	version, finished := m.Reading("p")
	first, _, _ := begin(&m, version, 1)
	second, _, _ := begin(&m, read(&m), 2)
	ended := 0
	m.End("p", first, func() { ended++ })
	assert.Same(t, second, m.Current("p"), "another attempt has its place")
	m.End("p", second, func() { ended++ })
	assert.Nil(t, m.Current("p"))
	assert.Equal(t, 2, ended)
	assert.Equal(t, 1, m.Len(), "a reader keeps the entry")
	finished()
	assert.Zero(t, m.Len())
}

func TestNextBegin(t *testing.T) {
	var m registry.Map[attempt]
	begun, finished := m.NextBegin("p")
	select {
	case <-begun:
		t.Fatal("nothing has begun")
	default:
	}
	a, _, _ := begin(&m, read(&m), 1)
	<-begun
	m.End("p", a, func() {})
	assert.Equal(t, 1, m.Len(), "a caller waits for the next one")
	finished()
	assert.Zero(t, m.Len())
}

func TestWebStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m registry.Map[attempt]
		assert.True(t, m.NextWebStart("p").IsZero())
		m.NoteWebStart("p", 10*time.Second)
		assert.Equal(t, 10*time.Second, time.Until(m.NextWebStart("p")))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		assert.Zero(t, m.Len())
	})
}
