package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

// These cases are about contexts that end.

func checkCanceledBefore(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := a.Load(ended, namespace); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the Load returned %v", err)
	}
	if err := put(ended, a, namespace, `{"n":2}`); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the Update returned %v", err)
	}
	return expect(ctx, a, namespace, `{"n":1}`)
}

func checkCanceledDuring(ctx context.Context, a, b plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	ends, cancel := context.WithCancel(ctx)
	defer cancel()
	err := a.Update(ends, namespace, func(json.RawMessage) (json.RawMessage, error) {
		cancel()
		return json.RawMessage(`{"n":2}`), nil
	})
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the Update returned %v", err)
	}
	if err := expect(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	return checkCanceledWaiting(ctx, a, b)
}

// checkCanceledAfter ends ctx as soon as the other handle sees the new object. From then on
// the Update is committed, even if it has not returned yet.
func checkCanceledAfter(ctx context.Context, a, b plexauth.ConfigStore) error {
	for n := range 10 {
		value := fmt.Sprintf(`{"n":%d}`, n)
		ends, cancel := context.WithCancel(ctx)
		back := make(chan struct{})
		var seen bool
		err := atOnce(2, func(i int) error {
			if i == 0 {
				defer close(back)
				return put(ends, a, namespace, value)
			}
			defer cancel()
			for {
				select {
				case <-back:
					return nil
				case <-time.After(100 * time.Microsecond):
				}
				if v, err := b.Load(ctx, namespace); err == nil && same(v, raw(value)) {
					seen = true
					return nil
				}
			}
		})
		if err != nil && seen {
			return fmt.Errorf("the other handle sees the new object, but Update failed: %w", err)
		}
		if err != nil {
			return err
		}
		if err := expect(ctx, a, namespace, value); err != nil {
			return err
		}
	}
	return nil
}

// maxReturnTime bounds how long a call may take to return after its ctx has ended.
const maxReturnTime = 3 * time.Second

// checkCanceledWaiting ends the ctx of calls that may wait for another Update.
func checkCanceledWaiting(ctx context.Context, a, b plexauth.ConfigStore) error {
	return checkWaiting(ctx, a, map[string]func(context.Context) error{
		"an Update by the other handle": func(ctx context.Context) error { return put(ctx, b, namespace, `{"n":3}`) },
		"an Update by the same handle":  func(ctx context.Context) error { return put(ctx, a, namespace, `{"n":4}`) },
		"a Load by the other handle":    func(ctx context.Context) error { _, err := b.Load(ctx, namespace); return err },
		"a Load by the same handle":     func(ctx context.Context) error { _, err := a.Load(ctx, namespace); return err },
	})
}

// checkWaiting blocks an edit and ends the ctx of calls during that time. If the store has a
// lock, they wait for it. If it has none, they may succeed.
func checkWaiting(ctx context.Context, a plexauth.ConfigStore, calls map[string]func(context.Context) error) error {
	release, editing, held := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		held <- guard(func() error {
			return a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
				once.Do(func() { close(editing) })
				select {
				case <-release:
				case <-ctx.Done():
				}
				return json.RawMessage(`{"n":2}`), nil
			})
		})
	}()
	select {
	case <-editing:
	case err := <-held:
		return fmt.Errorf("the Update did not call edit: %v", err)
	}
	var waiting sync.WaitGroup
	var tooLate, wrong error
	for name, call := range calls {
		ends, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		back := make(chan error, 1)
		waiting.Go(func() { back <- guard(func() error { return call(ends) }) })
		select {
		case err := <-back:
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				wrong = fmt.Errorf("%s during another Update: %w", name, err)
			}
		case <-time.After(100*time.Millisecond + maxReturnTime):
			tooLate = fmt.Errorf("%s that waits for another Update had not returned %v after its ctx ended: wait for a lock with a channel or TryLock, not with sync.Mutex", name, maxReturnTime)
		}
		cancel()
		if tooLate != nil {
			break
		}
	}
	close(release)
	waiting.Wait()
	return errors.Join(tooLate, wrong, <-held)
}
