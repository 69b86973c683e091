package storetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth"
)

// brokenValues break a rule about what is stored.
var brokenValues = []brokenStore{
	{"returns {} for a namespace that was never written", "empty", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"caches its first read for ever", "two handles", func() (first, second plexauth.ConfigStore) {
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
	{"caches a read until its own next write", "two handles", func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		return readCache(good), readCache(good)
	}},
	{"caches that a namespace is absent", "two handles", func() (first, second plexauth.ConfigStore) {
		good := plexauth.NewMemoryStore()
		var absent sync.Map
		return good, &broken{
			MemoryStore: good,
			load: func(ctx context.Context, namespace string) ([]byte, error) {
				if _, ok := absent.Load(namespace); ok {
					return nil, ctx.Err()
				}
				v, err := good.Load(ctx, namespace)
				if v == nil && err == nil {
					absent.Store(namespace, true)
				}
				return v, err
			},
			update: func(ctx context.Context, namespace string, edit editFunc) error {
				absent.Delete(namespace)
				return good.Update(ctx, namespace, edit)
			},
		}
	}},
	{"gives edit other white space than Load returns", "current", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"treats {} as nil", "empty object", edited(func(_, next json.RawMessage) json.RawMessage {
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
	{"drops unknown keys", "order", edited(func(_, next json.RawMessage) json.RawMessage {
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
	{"cannot store a NUL", "odd documents", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"has a low limit", "large documents", one(func(b *broken, good *plexauth.MemoryStore) {
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
	{"cuts a name", "namespaces", renames(func(name string) string { return name[:min(len(name), 191)] })},
	{"ignores case", "namespaces", renames(strings.ToLower)},
	{"cleans a name like a path", "namespaces", renames(path.Clean)},
	{"ignores white space around a name", "namespaces", renames(strings.TrimSpace)},
	{"decodes a name", "namespaces", renames(func(name string) string {
		if text, err := strconv.Unquote(`"` + name + `"`); err == nil {
			return text
		}
		return name
	})},
	{"cannot store a letter beyond U+FFFF in a name", "namespaces", renames(func(name string) string {
		return strings.Map(func(r rune) rune { return min(r, '\ufffd') }, name)
	})},
	{"removes another namespace too", "other namespaces", one(func(b *broken, good *plexauth.MemoryStore) {
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			err := good.Update(ctx, namespace, edit)
			if v, _ := good.Load(ctx, namespace); err == nil && v == nil {
				_ = good.Update(ctx, "storetest, another", func(json.RawMessage) (json.RawMessage, error) { return nil, nil })
			}
			return err
		}
	})},
	{"locks one namespace but writes two", "other namespaces", one(func(b *broken, good *plexauth.MemoryStore) {
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
}

// renames returns a store that uses the namespace change(name) for name.
func renames(change func(string) string) func() (first, second plexauth.ConfigStore) {
	return one(func(b *broken, good *plexauth.MemoryStore) {
		b.load = func(ctx context.Context, namespace string) ([]byte, error) {
			return good.Load(ctx, change(namespace))
		}
		b.update = func(ctx context.Context, namespace string, edit editFunc) error {
			return good.Update(ctx, change(namespace), edit)
		}
	})
}

// readCache returns a store that caches what it has read until its own next Update. It caches
// only one namespace with small objects, because other cases would fail too.
func readCache(good *plexauth.MemoryStore) *broken {
	var cache sync.Map
	return &broken{
		MemoryStore: good,
		load: func(ctx context.Context, namespace string) ([]byte, error) {
			if v, ok := cache.Load(namespace); ok && ctx.Err() == nil {
				return bytes.Clone(v.([]byte)), nil
			}
			v, err := good.Load(ctx, namespace)
			if err == nil && bytes.HasPrefix(v, []byte(`{"n":`)) && namespace == "storetest" {
				cache.Store(namespace, bytes.Clone(v))
			}
			return v, err
		},
		update: func(ctx context.Context, namespace string, edit editFunc) error {
			cache.Delete(namespace)
			defer cache.Delete(namespace)
			return good.Update(ctx, namespace, edit)
		},
	}
}
