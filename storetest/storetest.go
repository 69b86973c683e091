// Package storetest tests whether an implementation of [plexauth.ConfigStore] follows the
// rules of that interface.
//
// To test your own store, call [Run]:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
//			path := filepath.Join(t.TempDir(), "config.json")
//			return plexauth.NewFileStore(path), plexauth.NewFileStore(path)
//		})
//	}
//
// Run the tests with -race, because some rules are about memory that two goroutines share.
// [Check] runs the same tests without a *testing.T, for a program that tests a store before
// using it.
//
// The tests write to several namespaces, so open must return a new store each time. They
// write objects that look like a config, with recognizable texts instead of secrets.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/plexauth/plexauth"
)

// Run tests every rule in a subtest of its own, with a new store. open must return two handles
// on one new, empty store: two values, as two processes would have them, or the same value
// twice if there can be only one. It must close them in t.Cleanup. If open returns a nil
// store, Run fails and ends.
func Run(t *testing.T, open func(t *testing.T) (first, second plexauth.ConfigStore)) {
	for _, c := range cases {
		missing := false
		t.Run(c.name, func(t *testing.T) {
			first, second := open(t)
			if missing = first == nil || second == nil; missing {
				t.Fatal(errMissing)
			}
			if err := c.try(t.Context(), first, second); err != nil {
				t.Errorf("%s: %v", c.rule, err)
			}
		})
		if missing {
			return
		}
	}
}

// Check tests every rule without a *testing.T. It calls open once for each rule; open is as in
// [Run]. Check returns nil if the store follows every rule. Otherwise it joins an error for each
// broken rule: "storetest: name: rule: what went wrong". An error of open counts as a broken
// rule. If ctx ends or open returns a nil store, Check ends with an error that says so.
func Check(ctx context.Context, open func() (first, second plexauth.ConfigStore, err error)) error {
	var broken []error
	for _, c := range cases {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(broken, fmt.Errorf("storetest: canceled before the case %q: %w", c.name, err))...)
		}
		first, second, err := open()
		switch {
		case err != nil:
			err = fmt.Errorf("open: %w", err)
		case first == nil || second == nil:
			return errors.Join(append(broken, errMissing)...)
		default:
			err = c.try(ctx, first, second)
		}
		if err != nil {
			broken = append(broken, fmt.Errorf("storetest: %s: %s: %w", c.name, c.rule, err))
		}
	}
	return errors.Join(broken...)
}

// errMissing is reported once, because it is a mistake of the caller and not a broken rule.
var errMissing = errors.New("storetest: open returned a nil store: it must return two handles on one new, empty store, or the same handle twice")
