package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

// The cases about how an Update goes.

func checkNoChange(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, ""); err != nil {
		return err
	}
	if err := wants(ctx, a, namespace, ""); err != nil {
		return fmt.Errorf("an edit that left nil as it was: %w", err)
	}
	if err := put(ctx, a, "storetest 2", ` { "n" : [ 1.0 ] } `); err != nil {
		return err
	}
	before, err := a.Load(ctx, "storetest 2")
	if err != nil {
		return err
	}
	for range 3 {
		err := a.Update(ctx, "storetest 2", func(current json.RawMessage) (json.RawMessage, error) { return current, nil })
		if err != nil {
			return err
		}
	}
	after, err := a.Load(ctx, "storetest 2")
	if err != nil {
		return err
	}
	if !bytes.Equal(before, after) {
		return fmt.Errorf("was %s, is %s", brief(before), brief(after))
	}
	return nil
}

// fill is put that leaves a namespace unwritten where value is "".
func fill(ctx context.Context, s plexauth.ConfigStore, namespace, value string) error {
	if value == "" {
		return nil
	}
	return put(ctx, s, namespace, value)
}

// editError can be found by errors.As.
type editError struct{ code int }

func (*editError) Error() string { return "storetest: an edit that fails" }

func checkEditError(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const value = `{"n":1}`
	mine := &editError{code: 7}
	for namespace, old := range map[string]string{"storetest 1": "", "storetest 2": value} {
		if err := fill(ctx, a, namespace, old); err != nil {
			return err
		}
		err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"n":2}`), fmt.Errorf("%w: %w", errStop, mine)
		})
		var found *editError
		if !errors.Is(err, errStop) || !errors.As(err, &found) || found != mine {
			return fmt.Errorf("the Update returned %v, which does not match", err)
		}
		if err := wants(ctx, a, namespace, old); err != nil {
			return err
		}
	}
	return nil
}

func checkNotObject(ctx context.Context, a, _ plexauth.ConfigStore) error {
	for namespace, old := range map[string]string{"storetest 1": "", "storetest 2": `{"n":1}`} {
		if err := fill(ctx, a, namespace, old); err != nil {
			return err
		}
		for _, bad := range []string{`[]`, `[{"n":1}]`, `null`, `"text"`, `7`, `true`, `{`, `{"n":`, `{"n":1}}`, `{"n":1}{"n":2}`, `{n:1}`, ` `} {
			err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(bad), nil })
			if !errors.Is(err, plexauth.ErrStore) {
				return fmt.Errorf("an edit that returns %q: Update returned %v", bad, err)
			}
			if err := wants(ctx, a, namespace, old); err != nil {
				return fmt.Errorf("an edit that returns %q: %w", bad, err)
			}
		}
		// Not nil, yet nothing: an easy thing to return by mistake.
		err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage{}, nil })
		if !errors.Is(err, plexauth.ErrStore) {
			return fmt.Errorf("an edit that returns no bytes but not nil: Update returned %v", err)
		}
		if err := wants(ctx, a, namespace, old); err != nil {
			return fmt.Errorf("an edit that returns no bytes but not nil: %w", err)
		}
	}
	return nil
}

func checkPanic(ctx context.Context, a, b plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	func() {
		defer func() { _ = recover() }()
		_ = a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { panic("storetest: an edit that panics") })
	}()
	ends, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return first(
		sees(ends, a, namespace, `{"n":1}`),
		will(ends, a, namespace, `{"n":2}`),
		will(ends, b, namespace, `{"n":3}`),
	)
}

// scribble writes over a value that is said to be one's own.
func scribble(v json.RawMessage) {
	for i := range v {
		v[i] = 'X'
	}
}

func checkCurrentAlias(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const value = `{"n":1}`
	if err := put(ctx, a, namespace, value); err != nil {
		return err
	}
	var kept json.RawMessage
	err := a.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		kept = current
		scribble(current)
		return nil, errStop
	})
	if !errors.Is(err, errStop) {
		return fmt.Errorf("the Update returned %v", err)
	}
	if err := wants(ctx, a, namespace, value); err != nil {
		return fmt.Errorf("edit wrote to current and gave up: %w", err)
	}
	err = a.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		kept = current
		i := bytes.IndexByte(current, '1')
		if i < 0 {
			return nil, fmt.Errorf("current is %s", brief(current))
		}
		current[i] = '2'
		return current, nil
	})
	if err != nil {
		return err
	}
	if err := wants(ctx, a, namespace, `{"n":2}`); err != nil {
		return fmt.Errorf("edit wrote to current and returned it: %w", err)
	}
	scribble(kept)
	return wants(ctx, a, namespace, `{"n":2}`)
}

func checkResultAlias(ctx context.Context, a, _ plexauth.ConfigStore) error {
	result := json.RawMessage(`{"n":1}`)
	if err := a.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return result, nil }); err != nil {
		return err
	}
	scribble(result)
	return wants(ctx, a, namespace, `{"n":1}`)
}

func checkLoadAlias(ctx context.Context, a, _ plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	loaded, err := a.Load(ctx, namespace)
	if err != nil {
		return err
	}
	scribble(loaded)
	return wants(ctx, a, namespace, `{"n":1}`)
}

func checkSecrets(ctx context.Context, a, _ plexauth.ConfigStore) error {
	const stored, edited = "TEST_STORED_SECRET", "TEST_EDITED_SECRET"
	if err := put(ctx, a, namespace, `{"account_token":"`+stored+`"}`); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	edits := map[string]func(json.RawMessage) (json.RawMessage, error){
		"an edit that fails": func(json.RawMessage) (json.RawMessage, error) { return nil, errStop },
	}
	for i, bad := range []string{`["` + edited + `"]`, `"` + edited + `"`, `{"account_token":"` + edited, `{"account_token":"` + edited + `"} ` + edited, `{` + edited + `:1}`} {
		edits[fmt.Sprintf("an edit that returns no object (%d)", i+1)] = func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(bad), nil }
	}
	for what, edit := range edits {
		for _, ctx := range []context.Context{ctx, ended} {
			err := a.Update(ctx, namespace, edit)
			text := fmt.Sprintf("%v %+v %#v", err, err, err)
			for e := err; e != nil; e = errors.Unwrap(e) {
				text += fmt.Sprintf(" %+v", e)
			}
			if strings.Contains(text, stored) || strings.Contains(text, edited) {
				return fmt.Errorf("%s: its error quotes the document", what)
			}
		}
	}
	return nil
}

func checkCancelledBefore(ctx context.Context, a, _ plexauth.ConfigStore) error {
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
	return wants(ctx, a, namespace, `{"n":1}`)
}

func checkCancelledDuring(ctx context.Context, a, b plexauth.ConfigStore) error {
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
	if err := wants(ctx, a, namespace, `{"n":1}`); err != nil {
		return err
	}
	return checkCancelledWaiting(ctx, a, b)
}

// checkCancelledAfter ends ctx as soon as the other handle sees what is being
// written: from then on it is committed, whether Update is back or not.
func checkCancelledAfter(ctx context.Context, a, b plexauth.ConfigStore) error {
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
			return fmt.Errorf("the other handle sees it, yet %w", err)
		}
		if err != nil {
			return err
		}
		if err := wants(ctx, a, namespace, value); err != nil {
			return err
		}
	}
	return nil
}

// soon is how long after the end of its ctx a call may take to return.
const soon = 3 * time.Second

// checkCancelledWaiting keeps an edit from returning, so that other calls wait if the
// store has a lock. A store without one may let them through.
func checkCancelledWaiting(ctx context.Context, a, b plexauth.ConfigStore) error {
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
	calls := map[string]func(context.Context) error{
		"an Update by the other handle": func(ctx context.Context) error { return put(ctx, b, namespace, `{"n":3}`) },
		"an Update by the same handle":  func(ctx context.Context) error { return put(ctx, a, namespace, `{"n":4}`) },
		"a Load by the other handle":    func(ctx context.Context) error { _, err := b.Load(ctx, namespace); return err },
		"a Load by the same handle":     func(ctx context.Context) error { _, err := a.Load(ctx, namespace); return err },
	}
	var waiting sync.WaitGroup
	var deaf, wrong error
	for name, call := range calls {
		ends, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		back := make(chan error, 1)
		waiting.Go(func() { back <- guard(func() error { return call(ends) }) })
		select {
		case err := <-back:
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				wrong = fmt.Errorf("%s while another Update is under way returned %w", name, err)
			}
		case <-time.After(100*time.Millisecond + soon):
			deaf = fmt.Errorf("%s that waits for another one's end still waits %v after its ctx ended: wait for a lock with a channel or TryLock, not with sync.Mutex", name, soon)
		}
		cancel()
		if deaf != nil {
			break
		}
	}
	close(release)
	waiting.Wait()
	return errors.Join(deaf, wrong, <-held)
}

// adds is an edit that adds a key.
func adds(key string) func(json.RawMessage) (json.RawMessage, error) {
	return func(current json.RawMessage) (json.RawMessage, error) {
		all := map[string]int{}
		if current != nil {
			if err := json.Unmarshal(current, &all); err != nil {
				return nil, fmt.Errorf("current is no object of numbers: %w", err)
			}
		}
		all[key]++
		return json.Marshal(all)
	}
}

// together has each of the stores add keys to the namespace, several at a
// time, and counts what is there in the end.
func together(ctx context.Context, stores []plexauth.ConfigStore, namespace string, each, have int) error {
	err := atOnce(len(stores), func(i int) error {
		for n := range each {
			add := adds(fmt.Sprintf("k%d-%d", i, n))
			err := stores[i].Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				runtime.Gosched() // so that a store that reads too early meets the others, on one processor too
				return add(current)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	v, err := stores[0].Load(ctx, namespace)
	if err != nil {
		return err
	}
	var all map[string]int
	if err := json.Unmarshal(v, &all); err != nil {
		return fmt.Errorf("what is stored in the end: %w", err)
	}
	if want := have + len(stores)*each; len(all) != want {
		return fmt.Errorf("of %d updates %d are there", want, len(all))
	}
	return nil
}

func checkFirstWrite(ctx context.Context, a, b plexauth.ConfigStore) error {
	for n := range 10 {
		if err := together(ctx, []plexauth.ConfigStore{a, b, a, b}, fmt.Sprintf("storetest %d", n), 1, 0); err != nil {
			return err
		}
	}
	return nil
}

func checkConcurrent(ctx context.Context, a, b plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"k":1}`); err != nil {
		return err
	}
	return together(ctx, []plexauth.ConfigStore{a, b, a, b, a, b, a, b}, namespace, 10, 1)
}

// checkWholeReads reads with one handle while the other writes.
func checkWholeReads(ctx context.Context, a, b plexauth.ConfigStore) error {
	const rounds, size = 100, 50_000
	values := [2]string{`{"v":"` + strings.Repeat("a", size) + `"}`, `{"v":"` + strings.Repeat("b", size/2) + `"}`}
	if err := put(ctx, a, namespace, values[0]); err != nil {
		return err
	}
	written := make(chan struct{})
	return atOnce(2, func(i int) error {
		if i == 0 {
			defer close(written)
			for n := range rounds {
				if err := put(ctx, a, namespace, values[n%2]); err != nil {
					return err
				}
			}
			return nil
		}
		for {
			select {
			case <-written:
				return nil
			case <-time.After(100 * time.Microsecond):
			}
			v, err := b.Load(ctx, namespace)
			if err != nil {
				return fmt.Errorf("beside an Update: %w", err)
			}
			whole := string(v) == values[0] || string(v) == values[1] // mostly, and then it is not decoded
			if !whole && !same(v, raw(values[0])) && !same(v, raw(values[1])) {
				return fmt.Errorf("beside an Update there is %s", brief(v))
			}
		}
	})
}

func checkCheck(ctx context.Context, a, b plexauth.ConfigStore) error {
	type checker interface {
		Check(context.Context) error
	}
	for _, s := range []plexauth.ConfigStore{a, b} {
		c, ok := s.(checker)
		if !ok {
			continue
		}
		if err := c.Check(ctx); err != nil {
			return fmt.Errorf("of an empty store: %w", err)
		}
		if err := wants(ctx, s, namespace, ""); err != nil {
			return err
		}
		if err := put(ctx, s, namespace, `{"n":1}`); err != nil {
			return err
		}
		before, err := s.Load(ctx, namespace)
		if err != nil {
			return err
		}
		if err := c.Check(ctx); err != nil {
			return err
		}
		after, err := s.Load(ctx, namespace)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, after) {
			return fmt.Errorf("was %s, is %s", brief(before), brief(after))
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := c.Check(ended); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("with a ctx that has ended it returned %v", err)
		}
		if err := put(ctx, s, namespace, ""); err != nil {
			return err
		}
	}
	return nil
}
