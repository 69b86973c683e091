package gate

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx ends, whose error it returns then.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Outlive returns a context that ends a grace period after ctx has. cancel ends it at
// once, and must be called.
func Outlive(ctx context.Context, grace time.Duration) (late context.Context, cancel context.CancelFunc) {
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		Sleep(late, grace) // an error says that late has ended
		end()
	})
	return late, func() {
		stop()
		end()
	}
}
