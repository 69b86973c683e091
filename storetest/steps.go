package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/plexauth/plexauth"
)

// atOnce calls f with 0 to n-1, all at the same time, and joins the errors.
func atOnce(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = guard(func() error { return f(i) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// namespace is the one that most cases use.
const namespace = "storetest"

// put makes value the object of the namespace. If value is "", it removes the namespace.
func put(ctx context.Context, s plexauth.ConfigStore, namespace, value string) error {
	err := s.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
		return raw(value), nil
	})
	if err != nil {
		return fmt.Errorf("the Update to %s: %w", brief(raw(value)), err)
	}
	return nil
}

// expect returns an error unless Load returns value. It ignores white space; "" means nil.
func expect(ctx context.Context, s plexauth.ConfigStore, namespace, value string) error {
	have, err := s.Load(ctx, namespace)
	if err != nil {
		return fmt.Errorf("the Load: %w", err)
	}
	if !same(have, raw(value)) {
		return fmt.Errorf("the Load returned %s, want %s", brief(have), brief(raw(value)))
	}
	return nil
}

// raw returns value as an edit returns it: nil if value is "".
func raw(value string) json.RawMessage {
	if value == "" {
		return nil
	}
	return json.RawMessage(value)
}

// same reports whether a and b differ in white space only.
func same(a, b json.RawMessage) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	return a == nil || bytes.Equal(compact(a), compact(b))
}

func compact(v json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return append([]byte("not JSON: "), v...)
	}
	return b.Bytes()
}

// brief returns a value for the text of an error, shortened if it is long.
func brief(v json.RawMessage) string {
	const maxBytes = 120
	switch {
	case v == nil:
		return "nil"
	case len(v) > maxBytes:
		return fmt.Sprintf("%q… (%d bytes)", v[:maxBytes], len(v))
	}
	return fmt.Sprintf("%q", v)
}

// inOrder calls steps one after the other and returns the first error.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// puts returns a step for inOrder that calls put.
func puts(ctx context.Context, s plexauth.ConfigStore, namespace, value string) func() error {
	return func() error { return put(ctx, s, namespace, value) }
}

// expects returns a step for inOrder that calls expect.
func expects(ctx context.Context, s plexauth.ConfigStore, namespace, value string) func() error {
	return func() error { return expect(ctx, s, namespace, value) }
}
