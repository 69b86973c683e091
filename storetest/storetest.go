// Package storetest checks that a [plexauth.ConfigStore] keeps every rule of
// that interface.
//
// In a test of one's own store, one line of [Run] is enough:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
//			path := filepath.Join(t.TempDir(), "config.json")
//			return plexauth.NewFileStore(path), plexauth.NewFileStore(path)
//		})
//	}
//
// Run it with -race: some rules are about memory that two goroutines share.
// [Check] does the same without a *testing.T, for a program that lets its
// operator try a store before it is trusted with a login.
//
// Everything is written to namespaces of the store that open returns, so that
// must be a new one each time. What is written looks like a config, with
// recognizable texts in the place of secrets.
package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/plexauth/plexauth"
)

// caseLimit bounds one case, so that a store that waits for ever is found.
const caseLimit = 2 * time.Minute

// A storeCase is one rule and how it is tried on two handles of an empty
// store.
type storeCase struct {
	name  string
	rule  string
	check func(ctx context.Context, a, b plexauth.ConfigStore) error
}

var cases = []storeCase{
	{"empty", "a namespace that was never written is nil, for Load and for an edit", checkEmpty},
	{"round trip", "what an edit returns becomes the object, all of it", checkRoundTrip},
	{"two handles", "what one handle wrote the other one sees, whatever that has read before", checkTwoHandles},
	{"current", "current is as from Load", checkCurrent},
	{"delete", "an edit that returns nil removes the namespace", checkDelete},
	{"empty object", "{} is kept, and differs from a namespace that is absent", checkEmptyObject},
	{"order", "the order of the keys stays, and that of unknown keys", checkOrder},
	{"spelling", "numbers and texts stay as they are spelled", checkSpelling},
	{"odd documents", "an object may hold whatever JSON can", checkOddDocuments},
	{"large documents", "an object of 128 KiB fits", checkLarge},
	{"namespaces", "the name of a namespace is a plain key, whatever is in it", checkNamespaces},
	{"other namespaces", "an Update leaves the other namespaces alone, also at the same time", checkOthers},

	{"no change", "bytes equal to current write nothing", checkNoChange},
	{"edit's error", "an error of edit changes nothing and is found by errors.Is and errors.As", checkEditError},
	{"not an object", "anything but an object is an error that matches ErrStore, and changes nothing", checkNotObject},
	{"panic", "a panic of edit changes nothing and leaves nothing locked", checkPanic},
	{"current is edit's own", "edit may write to current, now and later", checkCurrentAlias},
	{"the result is the caller's", "the caller may write to what edit returned, afterwards", checkResultAlias},
	{"a copy from Load", "the caller may write to what Load returned", checkLoadAlias},
	{"no secret in an error", "an error quotes nothing of what is stored or to be stored", checkSecrets},

	{"ctx has ended", "with a ctx that has ended Load and Update fail with its error and change nothing", checkCancelledBefore},
	{"ctx ends before the commit", "a ctx that ends in edit, or during the wait for another Update, is an error, and nothing changes", checkCancelledDuring},
	{"ctx ends after the commit", "a ctx that ends after the commit is no error", checkCancelledAfter},
	{"first write", "handles that write a new namespace at once lose nothing", checkFirstWrite},
	{"concurrent edits", "an Update is atomic against every other one, on this handle or another", checkConcurrent},
	{"whole reads", "a Load beside an Update sees the object before it or after it, never part of one and never none", checkWholeReads},
	{"Check", "Check, where there is one, finds a working store good, heeds ctx and changes nothing", checkCheck},
}

// Run checks the store that open returns, each rule in a subtest with a store
// of its own. open gives two handles on one new, empty store: two values, as
// two processes would have them, or the same value twice where a store has but
// one. What is to be closed goes into t.Cleanup. A nil store ends Run.
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

// Check is [Run] without a test: it returns all broken rules, joined, each as
// "storetest: case: rule: what was seen". nil means that the store keeps them
// all. open is called once for each rule. An error of open counts as one of
// the rule that it was called for. The end of ctx ends Check, and so does a nil
// store.
func Check(ctx context.Context, open func() (first, second plexauth.ConfigStore, err error)) error {
	var broken []error
	for _, c := range cases {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(broken, fmt.Errorf("storetest: ended before the case %q: %w", c.name, err))...)
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

// errMissing is one mistake of the caller's, not a broken rule in every case.
var errMissing = errors.New("storetest: open returned a nil store: let it return two handles on one new, empty store, the same one twice where there is but one, or say why it cannot")

// try runs the case; a panic and a wait without end are errors of it.
func (c storeCase) try(ctx context.Context, first, second plexauth.ConfigStore) error {
	ctx, cancel := context.WithTimeout(ctx, caseLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- guard(func() error { return c.check(ctx, first, second) })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // a store that heeds ctx is back soon
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return fmt.Errorf("does not return: %w", ctx.Err())
	}
}

// guard makes a panic an error. So it does with an access to memory that is gone or
// read-only, which would end the process.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err = fmt.Errorf("panic: %v", p)
		if _, ok := p.(interface{ Addr() uintptr }); ok {
			err = fmt.Errorf("%w: what Load returns and what edit gets must be copies, valid for good and writable; bytes of a database's own memory (bbolt, mmap) are valid in the transaction alone", err)
		}
	}()
	return f()
}

// atOnce runs f for 0 to n-1, all at the same time, and joins the errors.
func atOnce(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = guard(func() error { return f(i) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// namespace is where most cases write.
const namespace = "storetest"

// put makes value the object, whatever there was; "" removes it.
func put(ctx context.Context, s plexauth.ConfigStore, namespace, value string) error {
	err := s.Update(ctx, namespace, func(json.RawMessage) (json.RawMessage, error) {
		return raw(value), nil
	})
	if err != nil {
		return fmt.Errorf("the Update to %s: %w", brief(raw(value)), err)
	}
	return nil
}

// wants is an error unless Load gives value, white space aside; "" stands for
// nil.
func wants(ctx context.Context, s plexauth.ConfigStore, namespace, value string) error {
	have, err := s.Load(ctx, namespace)
	if err != nil {
		return fmt.Errorf("the Load: %w", err)
	}
	if !same(have, raw(value)) {
		return fmt.Errorf("the Load gave %s, want %s", brief(have), brief(raw(value)))
	}
	return nil
}

// raw is value as an edit returns it, "" as nil.
func raw(value string) json.RawMessage {
	if value == "" {
		return nil
	}
	return json.RawMessage(value)
}

// same reports whether two values are alike but for white space.
func same(a, b json.RawMessage) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	return a == nil || bytes.Equal(compact(a), compact(b))
}

func compact(v json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return append([]byte("no JSON: "), v...)
	}
	return b.Bytes()
}

// brief shows a value in an error.
func brief(v json.RawMessage) string {
	const most = 120
	switch {
	case v == nil:
		return "nil"
	case len(v) > most:
		return fmt.Sprintf("%q… (%d bytes)", v[:most], len(v))
	}
	return fmt.Sprintf("%q", v)
}

// first is the first of errs that is not nil.
func first(errs ...func() error) error {
	for _, f := range errs {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// will and sees are put and wants for [first].
func will(ctx context.Context, s plexauth.ConfigStore, namespace, value string) func() error {
	return func() error { return put(ctx, s, namespace, value) }
}

func sees(ctx context.Context, s plexauth.ConfigStore, namespace, value string) func() error {
	return func() error { return wants(ctx, s, namespace, value) }
}
