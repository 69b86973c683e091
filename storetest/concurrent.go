package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/plexauth/plexauth"
)

// These cases use both handles at the same time.

// adds returns an edit that adds a key.
func adds(key string) func(json.RawMessage) (json.RawMessage, error) {
	return func(current json.RawMessage) (json.RawMessage, error) {
		all := map[string]int{}
		if current != nil {
			if err := json.Unmarshal(current, &all); err != nil {
				return nil, fmt.Errorf("current is not the object that was written: %w", err)
			}
		}
		all[key]++
		return json.Marshal(all)
	}
}

// addTogether adds keys to the namespace with all stores at the same time, as many with each,
// and counts the keys in the end. There were have keys before.
func addTogether(ctx context.Context, stores []plexauth.ConfigStore, namespace string, each, have int) error {
	err := atOnce(len(stores), func(i int) error {
		for n := range each {
			add := adds(fmt.Sprintf("k%d-%d", i, n))
			err := stores[i].Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
				runtime.Gosched() // so that a race shows, even on one processor
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
		return fmt.Errorf("the object in the end: %w", err)
	}
	if want := have + len(stores)*each; len(all) != want {
		return fmt.Errorf("%d of %d Updates were lost", want-len(all), want)
	}
	return nil
}

func checkFirstWrite(ctx context.Context, a, b plexauth.ConfigStore) error {
	for n := range 10 {
		if err := addTogether(ctx, []plexauth.ConfigStore{a, b, a, b}, fmt.Sprintf("storetest %d", n), 1, 0); err != nil {
			return err
		}
	}
	return nil
}

func checkConcurrent(ctx context.Context, a, b plexauth.ConfigStore) error {
	if err := put(ctx, a, namespace, `{"k":1}`); err != nil {
		return err
	}
	return addTogether(ctx, []plexauth.ConfigStore{a, b, a, b, a, b, a, b}, namespace, 10, 1)
}

// checkWholeReads reads with one handle while the other one writes.
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
				return fmt.Errorf("during an Update: %w", err)
			}
			whole := string(v) == values[0] || string(v) == values[1] // faster than same
			if !whole && !same(v, raw(values[0])) && !same(v, raw(values[1])) {
				return fmt.Errorf("during an Update, Load returned %s", brief(v))
			}
		}
	})
}
