package gate_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/gate"
)

// enter is the Enter of a gate.
type enter func(context.Context) (leave func(), err error)

// gates returns each kind of gate, free and ready to use.
func gates() map[string]enter {
	var m gate.Map
	return map[string]enter{
		"Gate": new(gate.Gate).Enter,
		"Map":  func(ctx context.Context) (func(), error) { return m.Enter(ctx, "a") },
	}
}

// G9: callers are inside one after the other, and each that waits gets its turn.
func TestOneAtATime(t *testing.T) {
	for kind, enter := range gates() {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, inside, passed := time.Now(), 0, 0
				for range 5 {
					go func() {
						leave, err := enter(t.Context())
						if !assert.NoError(t, err) {
							return
						}
						defer leave()
						inside++
						assert.Equal(t, 1, inside)
						time.Sleep(time.Second)
						inside--
						passed++
					}()
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				assert.Equal(t, 5, passed)
				assert.Equal(t, 5*time.Second, time.Since(began), "no pause between two callers")
			})
		})
	}
}

// G9: the end of a context ends the wait at once, and the gate is free for others.
func TestWaitEndsWithItsContext(t *testing.T) {
	for kind, enter := range gates() {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leave, err := enter(t.Context())
				require.NoError(t, err)
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err = enter(ctx)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, time.Second, time.Since(began))
				leave()
				leave, err = enter(t.Context())
				require.NoError(t, err)
				leave()
			})
		})
	}
}

func TestTryEnter(t *testing.T) {
	var g gate.Gate
	leave, ok := g.TryEnter()
	require.True(t, ok)
	_, again := g.TryEnter()
	assert.False(t, again)
	leave()
	leave, ok = g.TryEnter()
	require.True(t, ok)
	leave()
}

// Who tries the gate, or gives up, does not disturb those who wait.
func TestWaitingBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate.Gate
		leave, ok := g.TryEnter()
		require.True(t, ok)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := g.Enter(ended)
		require.Error(t, err)
		_, ok = g.TryEnter()
		require.False(t, ok)

		entered := false
		go func() {
			leave, err := g.Enter(t.Context())
			if assert.NoError(t, err) {
				entered = true
				leave()
			}
		}()
		synctest.Wait()
		assert.False(t, entered)
		leave()
		synctest.Wait()
		assert.True(t, entered)
	})
}

// G9: a Gate keeps nothing once no caller uses it.
func TestFreeGateIsEmpty(t *testing.T) {
	var g gate.Gate
	leave, err := g.Enter(t.Context())
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = g.Enter(ended)
	require.Error(t, err)
	_, ok := g.TryEnter()
	require.False(t, ok)
	assert.NotEqual(t, &gate.Gate{}, &g, "a caller is inside")
	leave()
	assert.Equal(t, &gate.Gate{}, &g)

	leave, ok = g.TryEnter()
	require.True(t, ok)
	leave()
	assert.Equal(t, &gate.Gate{}, &g)
}

// A caller of one name does not wait for one of another name.
func TestNamesAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m gate.Map
		leaveA, err := m.Enter(t.Context(), "a")
		require.NoError(t, err)
		defer leaveA()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		leaveB, err := m.Enter(ctx, "b")
		require.NoError(t, err)
		leaveB()
		_, err = m.Enter(ctx, "a")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// G9: a Map keeps nothing of names that no caller uses, whether they were entered or the
// wait was given up.
func TestUnusedNamesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m gate.Map
		leaveA, err := m.Enter(t.Context(), "a")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = m.Enter(ctx, "a")
		require.Error(t, err)
		leaveB, err := m.Enter(t.Context(), "b")
		require.NoError(t, err)
		leaveB()
		assert.NotEqual(t, &gate.Map{}, &m, "a caller is inside")
		leaveA()
		assert.Equal(t, &gate.Map{}, &m)
	})
}

// A pause is at most a twentieth longer, and not always the same.
func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		d := gate.Jitter(time.Minute)
		assert.GreaterOrEqual(t, d, time.Minute)
		assert.LessOrEqual(t, d, time.Minute+3*time.Second)
		seen[d] = true
	}
	assert.Greater(t, len(seen), 1)
	assert.Zero(t, gate.Jitter(0))
}
