package storetest

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/plexauth/plexauth"
)

// caseLimit bounds a case, so that a store that waits for ever fails.
const caseLimit = 2 * time.Minute

// A storeCase is a rule, and the check of it with two handles on one empty store.
type storeCase struct {
	name  string
	rule  string
	check func(ctx context.Context, a, b plexauth.ConfigStore) error
}

var cases = []storeCase{
	{"empty", "for a namespace that was never written, Load returns nil and edit gets nil", checkEmpty},
	{"round trip", "the result of edit replaces the whole object", checkRoundTrip},
	{"two handles", "a handle sees what the other one wrote, even if it has read the namespace before", checkTwoHandles},
	{"current", "edit gets what Load returns", checkCurrent},
	{"delete", "an edit that returns nil removes the namespace", checkDelete},
	{"empty object", "{} is stored, and is not the same as an absent namespace", checkEmptyObject},
	{"order", "the order of all keys is kept", checkOrder},
	{"spelling", "numbers and strings are kept as they are written", checkSpelling},
	{"odd documents", "an object may contain any valid JSON", checkOddDocuments},
	{"large documents", "an object of 128 KiB can be stored", checkLarge},
	{"namespaces", "a namespace may have any name of up to 200 bytes without control characters, and no character of it is special", checkNamespaces},
	{"other namespaces", "an Update does not change other namespaces, even if they are updated at the same time", checkOthers},

	{"no change", "if edit returns the same bytes that it got, nothing is written", checkNoChange},
	{"error of edit", "if edit fails, nothing changes, and errors.Is and errors.As find its error", checkEditError},
	{"not an object", "if edit returns anything but an object, the error matches ErrStore and nothing changes", checkNotObject},
	{"panic", "if edit panics, nothing changes and nothing stays locked", checkPanic},
	{"edit gets a copy", "edit may write to current, and so may the caller later", checkCurrentAlias},
	{"Update copies the result", "after Update the caller may write to the bytes that edit returned", checkResultAlias},
	{"Load returns a copy", "the caller may write to the bytes that Load returned", checkLoadAlias},
	{"no secret in an error", "an error does not quote the old or the new object", checkSecrets},

	{"ctx has ended", "if ctx has ended, Load and Update return its error and change nothing", checkCanceledBefore},
	{"ctx ends before the commit", "if ctx ends during edit or while Update waits for another one, Update returns an error and changes nothing", checkCanceledDuring},
	{"ctx ends after the commit", "if ctx ends after the commit, Update returns no error", checkCanceledAfter},
	{"first write", "if several handles write a new namespace at the same time, no write is lost", checkFirstWrite},
	{"concurrent edits", "an Update is atomic, even if the same handle or another one updates the namespace at the same time", checkConcurrent},
	{"whole reads", "during an Update, Load returns the object before it or after it, never a part and never nil", checkWholeReads},
	{"Check", "if the store has a method Check, Check returns nil for a working store, returns the error of a ctx that has ended, and changes nothing", checkCheck},
}

// try runs the case. If the store panics or does not return, try returns an error.
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
	select { // a store that watches ctx returns soon
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return fmt.Errorf("does not return: %w", ctx.Err())
	}
}

// guard calls f and returns a panic as an error. It also does so for an access to memory that
// is read-only or unmapped, which would otherwise end the process.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err = fmt.Errorf("panic: %v", p)
		if _, ok := p.(interface{ Addr() uintptr }); ok {
			err = fmt.Errorf("%w: what Load returns and what edit gets must be copies that stay valid and can be written to; memory of a database (bbolt, mmap) is valid only during the transaction", err)
		}
	}()
	return f()
}
