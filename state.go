package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/registry"
	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/watch"
)

// storeError is an error of a ConfigStore. Its text has no secret, even if the store has
// put one there.
type storeError struct {
	text string
	err  func() error // hidden
}

func (e *storeError) Error() string              { return e.text }
func (e *storeError) Is(target error) bool       { return target == ErrStore || errors.Is(e.err(), target) }
func (e *storeError) As(target any) bool         { return errors.As(e.err(), target) }
func (e *storeError) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.text) }

// newStoreError returns err without secrets and without the fields that hold one.
func newStoreError(err error, secrets ...string) error {
	text := profile.RedactQuoted(err.Error())
	return &storeError{"plexauth: config store: " + strings.TrimPrefix(plain.Long(secret.Without(plain.Line(text), secrets...)), ErrStore.Error()+": "), secret.Hide(err)}
}

// profileStore reads and edits one profile of a document in the store.
type profileStore struct {
	store     ConfigStore
	namespace string // of the document
	instance  string // the profile
	invalid   error  // what every call returns: a bad id given to Instance, or a bad name to Namespace
	inUse     *registry.Map[inUse]
	log       *slog.Logger
}

// inUse is what this process knows of a profile in use.
type inUse struct {
	starting   gate.Gate // lets one Start in at a time
	attempts   registry.Slot[attempt]
	renewals   renewbackoff.History
	credential credential.Cache
	watching   watch.Shared[Status]
}

// hold returns what this process knows of the profile. The caller must release it.
func (s *profileStore) hold() *registry.Entry[inUse] { return s.inUse.Hold(s.namespace, s.instance) }

// load reads the profile.
func (s *profileStore) load(ctx context.Context) (*profile.Profile, error) {
	r, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	return s.parse(r)
}

// reading is a document as the store returns it: as JSON, or parsed.
type reading struct {
	raw    json.RawMessage
	stored *profile.Stored // of a MemoryStore
}

// hash returns a number that differs between documents with different contents.
func (r reading) hash() uint64 {
	if r.stored != nil {
		return r.stored.Version()
	}
	return maphash.Bytes(profile.ProcessSeed, r.raw)
}

// parse finds the profile in a document.
func (s *profileStore) parse(r reading) (*profile.Profile, error) {
	if r.stored == nil {
		var err error
		if r.stored, err = profile.Parse(r.raw); err != nil {
			return nil, fmt.Errorf("%w: %w: %q: %w", ErrStore, ErrCorruptConfig, s.namespace, err)
		}
	}
	return r.stored.Document().Profile(s.instance), nil
}

func (s *profileStore) read(ctx context.Context) (reading, error) {
	return s.readWithin(ctx, storeLimit)
}

// readWithin reads the document, or returns a store error after limit: a store that
// hangs must not keep a login waiting beyond its PIN.
func (s *profileStore) readWithin(ctx context.Context, limit time.Duration) (r reading, err error) {
	if s.invalid != nil {
		return r, s.invalid
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if m, ok := s.store.(*MemoryStore); ok { // no copy
		r.stored, err = m.documents.Load(limited, s.namespace)
	} else {
		r.raw, err = s.store.Load(limited, s.namespace)
	}
	if err == nil {
		return r, nil
	}
	if ctx.Err() != nil {
		return r, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return r, newStoreError(notInTime(limited, limit, err))
}

// update edits the profile. edit may run more than once. An error of edit is returned
// as it is, and nothing changes. secrets are what the store's own errors must not quote.
func (s *profileStore) update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	if s.invalid != nil {
		return s.invalid
	}
	var editErr error
	var seen reading // what an error of the store may quote, together with written
	var written *profile.Stored
	apply := func(r reading) (next *profile.Stored, changed bool, err error) {
		seen = r
		var b *profile.Profile
		if b, editErr = s.parse(r); editErr == nil {
			editErr = edit(b)
		}
		if editErr != nil {
			return nil, false, editErr
		}
		written, changed = b.Stored()
		return written, changed, nil
	}
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err := s.updateStored(limited, apply)
	s.inUse.Wrote(s.namespace)
	switch {
	case editErr != nil:
		return editErr
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %w", ctx.Err())
	}
	var texts []string
	for _, t := range secrets {
		texts = append(texts, t.Secret())
	}
	return newStoreError(notInTime(limited, storeLimit, err), append(texts, profile.SecretsIn(slices.Concat(seen.raw, written.Bytes()))...)...)
}

// updateStored replaces the document by the result of edit, if it has changed.
func (s *profileStore) updateStored(ctx context.Context, edit func(reading) (next *profile.Stored, changed bool, err error)) error {
	if m, ok := s.store.(*MemoryStore); ok { // no copies
		return m.documents.Update(ctx, s.namespace, func(current *profile.Stored) (*profile.Stored, error) {
			next, _, err := edit(reading{stored: current})
			return next, err
		})
	}
	return s.store.Update(ctx, s.namespace, func(current json.RawMessage) (json.RawMessage, error) {
		next, changed, err := edit(reading{raw: bytes.Clone(current)}) // edit keeps it
		switch {
		case err != nil:
			return nil, err
		case !changed:
			return current, nil
		}
		return next.Bytes(), nil
	})
}

// updateIfNeeded calls update only if edit would change something: the store may be
// read-only, and another program may hold its lock.
func (s *profileStore) updateIfNeeded(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	b, err := s.load(ctx)
	if err != nil {
		return err
	}
	if err := edit(b); err != nil || !b.Changed() {
		return err
	}
	return s.update(ctx, edit, secrets...)
}

// check asks the store whether an Update would succeed now, if the store can tell.
func (s *profileStore) check(ctx context.Context) error {
	checker, ok := s.store.(interface{ Check(context.Context) error })
	if !ok {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err := checker.Check(limited)
	switch {
	case err == nil:
		s.warnIfExposed()
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return newStoreError(notInTime(limited, storeLimit, err))
}

// warnIfExposed logs if the config cannot be kept from other users of this
// machine, because its file system gives every file the same mode.
func (s *profileStore) warnIfExposed() {
	if f, ok := s.store.(*FileStore); ok {
		if why := f.file.Exposed(); why != "" {
			s.log.Warn("plexauth: other users of this machine can read the config", "reason", why)
		}
	}
}

const (
	saveGrace  = 800 * time.Millisecond // for a necessary Update after its context has ended
	saveLimit  = 5 * time.Minute        // for saving a token that exists nowhere else
	storeLimit = 30 * time.Second       // for one call of the store
)

// notInTime returns err, or an error that says that the store has not answered within
// limit. It matches no error of a context, because the caller's has not ended.
func notInTime(limited context.Context, limit time.Duration, err error) error {
	if limited.Err() == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("no answer in %s: %v", limit, err)
}

// save carries out an update that must not be lost. It continues for saveGrace after
// ctx has ended, and tries again while the store fails, until limit.
func (s *profileStore) save(ctx context.Context, limit time.Duration, t secret.Value, edit func(*profile.Profile) error) error {
	outlived, end := gate.Outlive(ctx, saveGrace)
	defer end()
	late, cancel := context.WithTimeout(outlived, limit)
	defer cancel()
	warned := false
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := s.update(late, edit, t)
		if late.Err() != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return newStoreError(fmt.Errorf("no answer in %s: %w", limit, err))
		}
		if err != nil && late.Err() != nil && ctx.Err() != nil {
			return fmt.Errorf("plexauth: saving the token: %w", ctx.Err())
		}
		if !errors.Is(err, ErrStore) {
			return err
		}
		if !warned {
			warned = true
			s.warn(ctx, "the token could not be saved, trying again", err)
		}
		if gate.Sleep(late, pause) != nil {
			return err
		}
	}
}
