package plexauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/registry"
	"github.com/plexauth/plexauth/internal/renewbackoff"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/storecall"
	"github.com/plexauth/plexauth/internal/watch"
)

// profileStore reads and edits one profile of a document in the store.
type profileStore struct {
	store     storecall.Caller
	namespace string // of the document
	instance  string // the profile
	invalid   error  // what every call returns: a bad id given to Instance, or a bad name to Namespace
	inUse     *registry.Map[inUse]
	log       *slog.Logger
}

// inUse is what this process knows of a profile in use.
type inUse struct {
	starting gate.Gate // lets one Start in at a time
	attempts registry.Slot[attempt]
	signedIn atomic.Pointer[tokenInUse] // nil: no call has used the token
}

// tokenInUse is what this process knows of a token in use.
type tokenInUse struct {
	renewals   renewbackoff.History
	credential credential.Cache
	watching   watch.Shared[Status]
}

// token returns what this process knows of the profile's token.
func (u *inUse) token() *tokenInUse {
	if t := u.signedIn.Load(); t != nil {
		return t
	}
	u.signedIn.CompareAndSwap(nil, &tokenInUse{})
	return u.signedIn.Load()
}

// hold returns what this process knows of the profile. The caller must release it.
func (s *profileStore) hold() *registry.Entry[inUse] { return s.inUse.Hold(s.namespace, s.instance) }

// callerOf returns what calls store.
func callerOf(store ConfigStore) storecall.Caller {
	c := storecall.Caller{Store: store, Direct: storecall.DirectOf(store)}
	if m, ok := store.(*MemoryStore); ok {
		c.Parsed = m.documents
	}
	return c
}

// load reads the profile.
func (s *profileStore) load(ctx context.Context) (*profile.Profile, error) {
	return s.reload(ctx, &reading{})
}

// reading is what a call knows of the profile from its last access to the store. As long as the
// document is the same, the call need not parse it again. The zero value is ready to use.
type reading struct {
	document storecall.Document
	profile  *profile.Profile // nil: nothing is known
}

// reload reads the profile. seen becomes what was read.
func (s *profileStore) reload(ctx context.Context, seen *reading) (*profile.Profile, error) {
	d, err := s.read(ctx, storecall.Limit)
	if err != nil {
		return nil, err
	}
	b, err := s.parseUnseen(d, *seen)
	if err != nil {
		return nil, err
	}
	*seen = reading{d, b}
	return b, nil
}

// read reads the document. Its errors are those of [storecall.Caller.Read].
func (s *profileStore) read(ctx context.Context, limit time.Duration) (storecall.Document, error) {
	if s.invalid != nil {
		return storecall.Document{}, s.invalid
	}
	return s.store.Read(ctx, s.namespace, limit)
}

// parse finds the profile in a document.
func (s *profileStore) parse(d storecall.Document) (*profile.Profile, error) {
	stored, err := d.Parse()
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %q: %w", ErrStore, ErrCorruptConfig, s.namespace, err)
	}
	return stored.Document().Profile(s.instance), nil
}

// parseUnseen does what parse does, unless the document was seen.
func (s *profileStore) parseUnseen(d storecall.Document, seen reading) (*profile.Profile, error) {
	if seen.profile != nil && seen.document.Is(d) {
		return seen.profile, nil
	}
	return s.parse(d)
}

// update edits the profile. edit may run more than once. An error of edit is returned
// as it is, and nothing changes. secrets are what the store's own errors must not quote.
func (s *profileStore) update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	return s.updateSeen(ctx, &reading{}, edit, secrets...)
}

// updateSeen does what update does. seen is what the caller has read, and becomes what is
// stored, or empty.
func (s *profileStore) updateSeen(ctx context.Context, seen *reading, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	if s.invalid != nil {
		return s.invalid
	}
	defer s.inUse.Wrote(s.namespace)
	return s.store.Update(ctx, s.namespace, func(d storecall.Document) (next *profile.Stored, changed bool, err error) {
		b, err := s.parseUnseen(d, *seen)
		*seen = reading{} // edit changes b, so it counts once
		if err != nil {
			return nil, false, err
		}
		if err := edit(b); err != nil {
			return nil, false, err
		}
		if next, changed = b.Stored(); !changed {
			*seen = reading{d, b}
		}
		return next, changed, nil
	}, secrets...)
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
	if err := s.store.Check(ctx); err != nil {
		return err
	}
	s.warnIfExposed()
	return nil
}

// warnIfExposed logs if the config cannot be kept from other users of this
// machine, because its file system gives every file the same mode.
func (s *profileStore) warnIfExposed() {
	if f, ok := s.store.Store.(*FileStore); ok {
		if why := f.file.Exposed(); why != "" {
			s.log.Warn("plexauth: other users of this machine can read the config", "reason", why)
		}
	}
}

const (
	saveGrace = 800 * time.Millisecond // for a necessary Update after its context has ended
	saveLimit = 5 * time.Minute        // for saving a token that exists nowhere else
)

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
			return storecall.NewError(fmt.Errorf("no answer in %s: %w", limit, err))
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
