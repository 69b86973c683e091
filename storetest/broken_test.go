package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/plexauth/plexauth"
)

// A brokenStore keeps every rule but one.
type brokenStore struct {
	name     string
	caughtBy string // a case
	open     func() (first, second plexauth.ConfigStore)
}

var brokenStores = slices.Concat(brokenValues, brokenUpdates)

type editFunc = func(json.RawMessage) (json.RawMessage, error)

// broken is a MemoryStore but for the one thing that a field breaks.
type broken struct {
	*plexauth.MemoryStore
	load   func(ctx context.Context, namespace string) ([]byte, error)
	update func(ctx context.Context, namespace string, edit editFunc) error
}

func (b *broken) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if b.load != nil {
		return b.load(ctx, namespace)
	}
	return b.MemoryStore.Load(ctx, namespace)
}

func (b *broken) Update(ctx context.Context, namespace string, edit editFunc) error {
	if b.update != nil {
		return b.update(ctx, namespace, edit)
	}
	return b.MemoryStore.Update(ctx, namespace, edit)
}

// checked is a broken store with a Check.
type checked struct {
	*broken
	check func(context.Context) error
}

func (c *checked) Check(ctx context.Context) error { return c.check(ctx) }

// one is a store given as both handles.
func one(breakIt func(b *broken, good *plexauth.MemoryStore)) func() (first, second plexauth.ConfigStore) {
	return func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		b := &broken{MemoryStore: good}
		breakIt(b, good)
		return b, b
	}
}

// edited is a store that does something to what an edit returns, where that is
// an object.
func edited(change func(current, next json.RawMessage) json.RawMessage) func() (first, second plexauth.ConfigStore) {
	return one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				before := bytes.Clone(current)
				next, err := edit(current)
				if err != nil || (next != nil && !isObject(next)) {
					return next, err
				}
				return change(before, next), nil
			})
		}
	})
}

func isObject(v json.RawMessage) bool {
	return json.Valid(v) && bytes.HasPrefix(bytes.TrimSpace(v), []byte("{"))
}

func members(v json.RawMessage) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	_ = json.Unmarshal(v, &m)
	return m
}

// edited0 does something to what an edit returns, object or not.
func edited0(change func(next json.RawMessage) json.RawMessage) func() (first, second plexauth.ConfigStore) {
	return one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if err != nil || next == nil || isObject(next) {
					return next, err
				}
				return change(next), nil
			})
		}
	})
}
