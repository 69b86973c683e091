// Package storecall calls the store that a program has handed in: within a limit of time,
// and with errors that match fault.ErrStore and quote no secret.
package storecall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/plexauth/plexauth/internal/memstore"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Limit bounds one call of a store, in time.
const Limit = 30 * time.Second

// Store is a plexauth.ConfigStore.
type Store interface {
	Load(ctx context.Context, namespace string) (json.RawMessage, error)
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// Caller calls one store. It is safe for concurrent use.
type Caller struct {
	Store  Store
	Parsed *memstore.Store // what the Store keeps its documents in; nil if it keeps JSON
	Direct Direct          // the same Store without copies; nil if it has no such methods
}

// Document is a document as a store returns it: as JSON, or parsed.
type Document struct {
	raw    json.RawMessage
	stored *profile.Stored
}

// JSON returns a document that a store has read. It keeps raw, which must not change.
func JSON(raw json.RawMessage) Document { return Document{raw: raw} }

// Parsed returns a document that a store has parsed.
func Parsed(s *profile.Stored) Document { return Document{stored: s} }

// Hash returns a number that differs between documents with different contents.
func (d Document) Hash() uint64 {
	if d.stored != nil {
		return d.stored.Version()
	}
	return maphash.Bytes(profile.ProcessSeed, d.raw)
}

// Is reports whether d and e are the same, so that what was parsed of one is true of the other.
func (d Document) Is(e Document) bool {
	return d.stored == e.stored && bytes.Equal(d.raw, e.raw) && (d.raw == nil) == (e.raw == nil)
}

// Parse parses the document. The error is one of [profile.Parse].
func (d Document) Parse() (*profile.Stored, error) {
	if d.stored != nil {
		return d.stored, nil
	}
	return profile.Parse(d.raw)
}

// Read reads a document, or returns an error after limit. A store that hangs must not keep
// a login waiting beyond its PIN.
func (c Caller) Read(ctx context.Context, namespace string, limit time.Duration) (d Document, err error) {
	if c.Parsed != nil { // it answers at once, and makes no copy
		if d.stored, err = c.Parsed.Load(ctx, namespace); err != nil {
			return d, errorOf(ctx, ctx, limit, err)
		}
		return d, nil
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if c.Direct != nil { // it makes no copy either
		d, err = c.Direct.Load(limited, namespace)
	} else {
		d.raw, err = c.Store.Load(limited, namespace)
	}
	if err != nil {
		return d, errorOf(ctx, limited, limit, err)
	}
	return d, nil
}

// Update replaces a document by the result of edit, if that has changed it. An error of edit
// is returned as it is, and nothing changes. secrets are what the store's own errors must
// not quote, besides those of the documents.
func (c Caller) Update(ctx context.Context, namespace string, edit Edit, secrets ...secret.Value) error {
	u := &update{edit: edit}
	if c.Parsed != nil { // it answers at once, and makes no copies
		return u.result(ctx, ctx, c.Parsed.Update(ctx, namespace, u.inMemory), secrets)
	}
	limited, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	if c.Direct != nil { // it makes no copies either
		return u.result(ctx, limited, c.Direct.Update(limited, namespace, u.direct), secrets)
	}
	return u.result(ctx, limited, c.Store.Update(limited, namespace, u.asJSON), secrets)
}

// Edit edits a document. It may run more than once.
type Edit func(Document) (next *profile.Stored, changed bool, err error)

// update is one Update.
type update struct {
	edit    Edit
	seen    Document // what an error may quote, together with written
	written *profile.Stored
	err     error // of edit
}

// run edits a document.
func (u *update) run(d Document) (changed bool, err error) {
	u.seen = d
	u.written, changed, u.err = u.edit(d)
	return changed, u.err
}

// inMemory edits a document that is kept parsed.
func (u *update) inMemory(current *profile.Stored) (*profile.Stored, error) {
	_, err := u.run(Document{stored: current})
	return u.written, err
}

// direct edits a document of a [Direct].
func (u *update) direct(current Document) (next *profile.Stored, changed bool, err error) {
	changed, err = u.run(current)
	return u.written, changed, err
}

// asJSON edits a document that is kept as JSON.
func (u *update) asJSON(current json.RawMessage) (json.RawMessage, error) {
	changed, err := u.run(Document{raw: bytes.Clone(current)}) // edit keeps it
	switch {
	case err != nil:
		return nil, err
	case !changed:
		return current, nil
	}
	return u.written.Bytes(), nil
}

// result returns the error of an Update to which the store has returned err.
func (u *update) result(ctx, limited context.Context, err error, secrets []secret.Value) error {
	switch {
	case u.err != nil:
		return u.err
	case err == nil:
		return nil
	}
	var texts []string
	for _, t := range secrets {
		texts = append(texts, t.Secret())
	}
	return errorOf(ctx, limited, Limit, err, append(texts, profile.SecretsIn(slices.Concat(u.seen.raw, u.seen.stored.Bytes(), u.written.Bytes()))...)...)
}

// Check asks the store whether an Update would succeed now, if the store can tell.
func (c Caller) Check(ctx context.Context) error {
	checker, ok := c.Store.(interface{ Check(context.Context) error })
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	if err := checker.Check(limited); err != nil {
		return errorOf(ctx, limited, Limit, err)
	}
	return nil
}

// errorOf returns the error of a call with the context limited, on behalf of a caller with
// ctx. It matches an error of a context only if ctx has ended, whatever the store says: a
// database whose own context has ended must not look like a caller that has gone.
func errorOf(ctx, limited context.Context, limit time.Duration, err error, secrets ...string) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %w", ctx.Err())
	case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
	case limited.Err() != nil:
		err = fmt.Errorf("no answer in %s: %v", limit, err)
	default:
		err = errors.New(err.Error())
	}
	return NewError(err, secrets...)
}
