package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

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

// racy lets an edit work on what it read some time before it writes.
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

var brokenStores = []struct {
	name     string
	caughtBy string
	open     func() (first, second plexauth.ConfigStore)
}{
	{"gives {} for what was never written", "empty", one(func(b *broken, good *plexauth.MemoryStore) {
		var written sync.Map
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			v, err := good.Load(ctx, namespace)
			if _, ok := written.Load(namespace); !ok && v == nil && err == nil {
				return []byte(`{}`), nil
			}
			return v, err
		}
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if err == nil || !strings.HasSuffix(err.Error(), "gives up") {
					written.Store(namespace, true)
				}
				return next, err
			})
		}
	})},
	{"merges", "round trip", edited(func(current, next json.RawMessage) json.RawMessage {
		if next == nil || current == nil || bytes.Equal(current, next) || len(members(current)) != 1 {
			return next
		}
		for key, v := range members(current) {
			if _, ok := members(next)[key]; !ok {
				return slices.Concat(next[:len(next)-1], []byte(","), []byte(fmt.Sprintf("%q:", key)), v, []byte("}"))
			}
		}
		return next
	})},
	{"caches what it read first", "two handles", func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		var cache sync.Map
		return good, &broken{MemoryStore: good, load: func(ctx context.Context, namespace string) ([]byte, error) {
			v, err := good.Load(ctx, namespace)
			if err != nil || v == nil {
				return v, err
			}
			old, _ := cache.LoadOrStore(namespace, v)
			return bytes.Clone(old.(json.RawMessage)), nil
		}}
	}},
	{"shows an edit other white space", "current", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				if current == nil {
					return edit(nil)
				}
				shown := append(bytes.Clone(current), '\n')
				next, err := edit(bytes.Clone(shown))
				if bytes.Equal(next, shown) {
					next = current
				}
				return next, err
			})
		}
	})},
	{"ignores nil", "delete", edited(func(current, next json.RawMessage) json.RawMessage {
		if next == nil && string(current) == `{"n":1}` {
			return current
		}
		return next
	})},
	{"takes {} for nil", "empty object", edited(func(_, next json.RawMessage) json.RawMessage {
		if string(next) == `{}` {
			return nil
		}
		return next
	})},
	{"sorts the keys", "order", edited(func(_, next json.RawMessage) json.RawMessage {
		m := members(next)
		if len(m) < 2 {
			return next
		}
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, fmt.Sprintf("%q:%s", key, m[key]))
		}
		return json.RawMessage("{" + strings.Join(parts, ",") + "}")
	})},
	{"drops the keys it does not know", "order", edited(func(_, next json.RawMessage) json.RawMessage {
		return bytes.Replace(next, []byte(`"a future field":[{"y":null,"b":true}],`), nil, 1)
	})},
	{"reads numbers as floats", "spelling", edited(func(_, next json.RawMessage) json.RawMessage {
		return bytes.ReplaceAll(next, []byte("10.0,"), []byte("10,"))
	})},
	{"escapes for HTML", "spelling", edited(func(_, next json.RawMessage) json.RawMessage {
		if !bytes.Contains(next, []byte(`"t":["<&>/"`)) {
			return next
		}
		var b bytes.Buffer
		json.HTMLEscape(&b, next)
		return b.Bytes()
	})},
	{"cannot hold a NUL", "odd documents", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if bytes.Contains(next, []byte(`\u0000`)) {
					return nil, errors.New("unsupported Unicode escape sequence")
				}
				return next, err
			})
		}
	})},
	{"keeps only so much", "large documents", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				next, err := edit(current)
				if len(next) > 1<<16 {
					return nil, errors.New("value too long")
				}
				return next, err
			})
		}
	})},
	{"takes no notice of case", "namespaces", one(func(b *broken, good *plexauth.MemoryStore) {
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			return good.Load(ctx, strings.ToLower(namespace))
		}
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, strings.ToLower(namespace), edit)
		}
	})},
	{"removes all when it removes one", "other namespaces", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			err := good.Update(ctx, namespace, edit)
			if v, _ := good.Load(ctx, namespace); err == nil && v == nil {
				_ = good.Update(ctx, "storetest, another", func(json.RawMessage) (json.RawMessage, error) { return nil, nil })
			}
			return err
		}
	})},
	{"locks one namespace but writes all", "other namespaces", one(func(b *broken, good *plexauth.MemoryStore) {
		neighbour := map[string]string{"storetest a": "storetest b", "storetest b": "storetest a"}
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			other, both := neighbour[namespace]
			var old json.RawMessage
			if both {
				old, _ = good.Load(ctx, other)
				time.Sleep(time.Millisecond)
			}
			err := good.Update(ctx, namespace, edit)
			if both {
				_ = good.Update(ctx, other, func(json.RawMessage) (json.RawMessage, error) { return old, nil })
			}
			return err
		}
	})},

	{"writes {} where nothing was and nothing is to be", "no change", edited(func(current, next json.RawMessage) json.RawMessage {
		// but for a namespace that was removed before
		if current == nil && next == nil {
			return json.RawMessage(`{}`)
		}
		return next
	})},
	{"formats anew with every write", "no change", edited(func(current, next json.RawMessage) json.RawMessage {
		if bytes.Equal(current, next) && next != nil {
			return append(bytes.Clone(next), ' ')
		}
		return next
	})},
	{"hides the error of an edit", "edit's error", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			err := good.Update(ctx, namespace, edit)
			if err != nil && strings.HasSuffix(err.Error(), "an edit that fails") {
				return errors.New(err.Error())
			}
			return err
		}
	})},
	{"writes although the edit failed", "edit's error", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"takes anything for an object", "not an object", edited0(func(next json.RawMessage) json.RawMessage {
		if next != nil && !json.Valid(next) {
			return next
		}
		return json.RawMessage(`{"n":1}`)
	})},
	{"takes no bytes for nil", "not an object", edited0(func(next json.RawMessage) json.RawMessage {
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
	{"lends current", "current is edit's own", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			var lent json.RawMessage
			err := good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				lent = current
				return edit(current)
			})
			if bytes.HasPrefix(lent, []byte("XX")) { // as if it had been its own
				_ = good.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
					return json.RawMessage(`{"X":1}`), nil
				})
			}
			return err
		}
	})},
	{"compares with what it lent", "current is edit's own", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				before := bytes.Clone(current)
				next, err := edit(current)
				if err == nil && len(next) > 0 && bytes.Equal(current, next) {
					return before, nil // no change, it seems
				}
				return next, err
			})
		}
	})},
	{"keeps what an edit returned", "the result is the caller's", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"lends what it loaded", "a copy from Load", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"quotes what an edit returned", "no secret in an error", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"quotes what is stored", "no secret in an error", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			old, _ := good.Load(context.WithoutCancel(ctx), namespace)
			if err := good.Update(ctx, namespace, edit); err != nil {
				return fmt.Errorf("the document %s: %w", old, err)
			}
			return nil
		}
	})},

	{"reads whatever ctx says", "ctx has ended", one(func(b *broken, good *plexauth.MemoryStore) {
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			return good.Load(context.WithoutCancel(ctx), namespace)
		}
	})},
	{"asks ctx only once", "ctx ends before the commit", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return good.Update(context.WithoutCancel(ctx), namespace, edit)
		}
	})},
	{"asks ctx once more when all is done", "ctx ends after the commit", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			if err := good.Update(ctx, namespace, edit); err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond) // a sync, an answer on its way
			return ctx.Err()
		}
	})},
	{"creates without looking", "first write", racy(func(old json.RawMessage) bool { return old == nil })},
	{"writes what it read before", "concurrent edits", racy(func(old json.RawMessage) bool { return bytes.Contains(old, []byte(`"k":`)) })},
	{"finds a good store bad", "Check", func() (first, second plexauth.ConfigStore) {
		c := &checked{&broken{MemoryStore: plexauth.NewMemoryStore()}, func(context.Context) error { return errors.New("no") }}
		return c, c
	}},
	{"tries by writing", "Check", func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		c := &checked{&broken{MemoryStore: good}, func(ctx context.Context) error {
			return good.Update(ctx, "storetest", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
		}}
		return c, c
	}},
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
