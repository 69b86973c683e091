package gate_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/plexauth/plexauth/internal/gate"
)

func TestSleep(t *testing.T) {
	for name, c := range map[string]struct {
		pause, life time.Duration // life of the context; 0: it has ended
		err         error
		took        time.Duration
	}{
		"the whole pause":        {time.Second, time.Minute, nil, time.Second},
		"until the context ends": {time.Minute, time.Second, context.DeadlineExceeded, time.Second},
		"no pause":               {0, time.Second, nil, 0},
		"a negative pause":       {-time.Second, time.Second, nil, 0},
		"after the context":      {time.Second, 0, context.DeadlineExceeded, 0},
		"no pause after it":      {0, 0, context.DeadlineExceeded, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.life)
				defer cancel()
				began := time.Now()
				assert.Equal(t, c.err, gate.Sleep(ctx, c.pause))
				assert.Equal(t, c.took, time.Since(began))
				if c.took == 0 {
					for range 20 { // the same each time, although there are two reasons to return
						assert.Equal(t, c.err, gate.Sleep(ctx, c.pause))
					}
				}
			})
		})
	}
}

type ctxKey struct{}

// ended returns how long ctx lasts from now.
func ended(ctx context.Context) time.Duration {
	began := time.Now()
	<-ctx.Done()
	return time.Since(began)
}

// G9: work that must be finished outlives its context for a grace period and no longer.
func TestOutlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancelCtx := context.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "kept"), time.Minute)
		defer cancelCtx()
		late, cancel := gate.Outlive(ctx, time.Second)
		defer cancel()
		assert.Equal(t, "kept", late.Value(ctxKey{}))
		assert.Equal(t, 61*time.Second, ended(late))
		assert.ErrorIs(t, late.Err(), context.Canceled)
	})
}

// cancel ends the late context at once, before and within the grace period.
func TestOutliveIsCancelled(t *testing.T) {
	for name, life := range map[string]time.Duration{"before": time.Hour, "within": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancelCtx := context.WithTimeout(t.Context(), life)
				defer cancelCtx()
				late, cancel := gate.Outlive(ctx, time.Minute)
				time.AfterFunc(time.Second, cancel)
				assert.Equal(t, time.Second, ended(late))
			})
		})
	}
}

// observed is a context that counts the functions that wait for its end.
type observed struct {
	context.Context
	waiting int
}

// Value hides the context below, whose own AfterFunc would be used.
func (o *observed) Value(any) any { return nil }

func (o *observed) AfterFunc(f func()) func() bool {
	o.waiting++
	stop := context.AfterFunc(o.Context, f)
	return func() bool {
		o.waiting--
		return stop()
	}
}

// G9: cancel leaves nothing with a context that goes on.
func TestCancelledOutliveLeavesNothing(t *testing.T) {
	ctx := &observed{Context: t.Context()}
	_, cancel := gate.Outlive(ctx, time.Minute)
	assert.Equal(t, 1, ctx.waiting)
	cancel()
	assert.Zero(t, ctx.waiting)
}
