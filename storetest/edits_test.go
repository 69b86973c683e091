package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

// brokenUpdates break a rule about how an Update works.
var brokenUpdates = []brokenStore{
	{"writes {} for an edit that returns nil for nil", "no change", edited(func(current, next json.RawMessage) json.RawMessage {
		if current == nil && next == nil {
			return json.RawMessage(`{}`)
		}
		return next
	})},
	{"formats with every write", "no change", edited(func(current, next json.RawMessage) json.RawMessage {
		if bytes.Equal(current, next) && next != nil {
			return append(bytes.Clone(next), ' ')
		}
		return next
	})},
	{"hides the error of an edit", "error of edit", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			err := good.Update(ctx, namespace, edit)
			if err != nil && strings.HasSuffix(err.Error(), "an edit that fails") {
				return errors.New(err.Error())
			}
			return err
		}
	})},
	{"writes although the edit failed", "error of edit", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			var failed error
			err := good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if err != nil && next != nil {
					failed, err = err, nil
				}
				return next, err
			})
			return errors.Join(err, failed)
		}
	})},
	{"accepts anything as an object", "not an object", editedInvalid(func(next json.RawMessage) json.RawMessage {
		if next != nil && !json.Valid(next) {
			return next
		}
		return json.RawMessage(`{"n":1}`)
	})},
	{"treats an empty slice as nil", "not an object", editedInvalid(func(next json.RawMessage) json.RawMessage {
		if len(next) == 0 {
			return nil
		}
		return next
	})},
	{"stays locked after a panic", "panic", one(func(b *broken, good *plexauth.MemoryStore) {
		turn := make(chan struct{}, 1)
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			select {
			case turn <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			err := good.Update(ctx, namespace, edit)
			<-turn // not deferred
			return err
		}
	})},
	{"writes in two steps", "whole reads", one(inTwoSteps(json.RawMessage(`{"v":""}`)))},
	{"removes before it writes", "whole reads", one(inTwoSteps(nil))},
	{"gives edit its own memory", "edit gets a copy", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			var lent json.RawMessage
			err := good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				lent = current
				return edit(current)
			})
			if bytes.HasPrefix(lent, []byte("XX")) { // as if it were the stored object
				_ = good.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
					return json.RawMessage(`{"X":1}`), nil
				})
			}
			return err
		}
	})},
	{"compares the result with current after edit", "edit gets a copy", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				before := bytes.Clone(current)
				next, err := edit(current)
				if err == nil && len(next) > 0 && bytes.Equal(current, next) {
					return before, nil // it looks as if nothing changed
				}
				return next, err
			})
		}
	})},
	{"stores the bytes that edit returned", "Update copies the result", one(func(b *broken, good *plexauth.MemoryStore) {
		results := map[string]json.RawMessage{}
		var mu sync.Mutex
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if err == nil && len(current) == 0 {
					mu.Lock()
					defer mu.Unlock()
					results[namespace] = next
				}
				return next, err
			})
		}
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if v := results[namespace]; bytes.HasPrefix(v, []byte("XX")) {
				return bytes.Clone(v), nil
			}
			return good.Load(ctx, namespace)
		}
	})},
	{"returns its own memory from Load", "Load returns a copy", one(func(b *broken, good *plexauth.MemoryStore) {
		lent := map[string]json.RawMessage{}
		var mu sync.Mutex
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if v := lent[namespace]; bytes.HasPrefix(v, []byte("XX")) {
				return v, nil
			}
			v, err := good.Load(ctx, namespace)
			lent[namespace] = v
			return v, err
		}
	})},
	{"quotes the new object", "no secret in an error", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			var next json.RawMessage
			err := good.Update(ctx, namespace, func(current json.RawMessage) (v json.RawMessage, err error) {
				next, err = edit(current)
				return next, err
			})
			if err != nil {
				return fmt.Errorf("writing %s: %w", next, err)
			}
			return nil
		}
	})},
	{"quotes the stored object", "no secret in an error", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			old, _ := good.Load(context.WithoutCancel(ctx), namespace)
			if err := good.Update(ctx, namespace, edit); err != nil {
				return fmt.Errorf("the document %s: %w", old, err)
			}
			return nil
		}
	})},

	{"ignores ctx in Load", "ctx has ended", one(func(b *broken, good *plexauth.MemoryStore) {
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			return good.Load(context.WithoutCancel(ctx), namespace)
		}
	})},
	{"checks ctx only at the beginning", "ctx ends before the commit", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return good.Update(context.WithoutCancel(ctx), namespace, edit)
		}
	})},
	{"checks ctx after the commit", "ctx ends after the commit", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			if err := good.Update(ctx, namespace, edit); err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond) // like a sync, or a response over a network
			return ctx.Err()
		}
	})},
	{"ignores ctx while it waits for its lock", "ctx ends before the commit", one(func(b *broken, good *plexauth.MemoryStore) {
		lock := make(chan struct{}, 1) // a mutex would stop the clock of synctest
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			lock <- struct{}{}
			defer func() { <-lock }()
			return good.Update(ctx, namespace, edit)
		}
	})},
	{"ignores ctx while Load waits for the lock", "ctx ends before the commit", one(func(b *broken, good *plexauth.MemoryStore) {
		lock := make(chan struct{}, 1)
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			select {
			case lock <- struct{}{}:
				defer func() { <-lock }()
			case <-ctx.Done():
				return ctx.Err()
			}
			return good.Update(ctx, namespace, edit)
		}
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			lock <- struct{}{}
			defer func() { <-lock }()
			return good.Load(ctx, namespace)
		}
	})},
	{"does not notice another first write", "first write", racy(func(old json.RawMessage) bool { return old == nil })},
	{"edits an object that it read without a lock", "concurrent edits", racy(func(old json.RawMessage) bool { return bytes.Contains(old, []byte(`"k":`)) })},
	{"Check fails for a working store", "Check", func() (first, second plexauth.ConfigStore) {
		c := &checked{&broken{MemoryStore: plexauth.NewMemoryStore()}, func(context.Context) error { return errors.New("no") }}
		return c, c
	}},
	{"Check waits deaf to ctx", "Check", func() (first, second plexauth.ConfigStore) {
		good, turn := plexauth.NewMemoryStore(), make(chan struct{}, 1)
		b := &broken{MemoryStore: good, update: func(ctx context.Context, namespace string, edit editFunc) error {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return ctx.Err()
			}
			return good.Update(ctx, namespace, edit)
		}}
		c := &checked{b, func(ctx context.Context) error {
			turn <- struct{}{}
			defer func() { <-turn }()
			return ctx.Err()
		}}
		return c, c
	}},
	{"Check writes", "Check", func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		c := &checked{&broken{MemoryStore: good}, func(ctx context.Context) error {
			return good.Update(ctx, "storetest", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
		}}
		return c, c
	}},
}

// racy returns a store whose Update reads some time before it writes, without a lock.
func racy(when func(current json.RawMessage) bool) func() (first, second plexauth.ConfigStore) {
	return one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			old, err := good.Load(ctx, namespace)
			if err != nil || !when(old) {
				return good.Update(ctx, namespace, edit)
			}
			next, err := edit(bytes.Clone(old))
			if err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
			return good.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return next, nil })
		}
	})
}

// inTwoSteps makes a store write first for a moment before the real object. It does so only
// for large objects, because other cases would fail too.
func inTwoSteps(first json.RawMessage) func(b *broken, good *plexauth.MemoryStore) {
	return func(b *broken, good *plexauth.MemoryStore) {
		turn := make(chan struct{}, 1)
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return ctx.Err()
			}
			var whole json.RawMessage
			err := good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if whole = bytes.Clone(next); err != nil || len(next) < 10_000 || bytes.Equal(current, next) {
					whole = nil
					return next, err
				}
				return bytes.Clone(first), nil
			})
			if err != nil || whole == nil {
				return err
			}
			time.Sleep(time.Millisecond)
			return good.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) { return whole, nil })
		}
	}
}
