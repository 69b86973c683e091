package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/plexauth/plexauth"
)

// A brokenStore breaks exactly one rule.
type brokenStore struct {
	name     string
	caughtBy string // name of the case that fails
	open     func() (first, second plexauth.ConfigStore)
}

var brokenStores = slices.Concat(brokenValues, brokenUpdates)

type editFunc = func(json.RawMessage) (json.RawMessage, error)

// broken is a MemoryStore with another Load or Update.
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

// checked is a store with a method Check.
type checked struct {
	*broken
	check func(context.Context) error
}

func (c *checked) Check(ctx context.Context) error { return c.check(ctx) }

// one returns an open function that returns one broken store as both handles.
func one(breakIt func(b *broken, good *plexauth.MemoryStore)) func() (first, second plexauth.ConfigStore) {
	return func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		b := &broken{MemoryStore: good}
		breakIt(b, good)
		return b, b
	}
}

// edited returns a store that passes the result of an edit to change if it is an object or
// nil.
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

// editedInvalid returns a store that passes the result of an edit to change if it is neither
// an object nor nil.
func editedInvalid(change func(next json.RawMessage) json.RawMessage) func() (first, second plexauth.ConfigStore) {
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
