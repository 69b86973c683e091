package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// storeError is an error of a ConfigStore, its text free of the secrets that
// a careless store might have put there.
type storeError struct {
	text string
	err  func() error // as in cause
}

func (e *storeError) Error() string              { return e.text }
func (e *storeError) Is(target error) bool       { return target == ErrStore || errors.Is(e.err(), target) }
func (e *storeError) As(target any) bool         { return errors.As(e.err(), target) }
func (e *storeError) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.text) }

func newStoreError(err error, s ...string) error {
	text := quotedFields.ReplaceAllString(err.Error(), "${1}"+secret.Redacted)
	return &storeError{"plexauth: config store: " + strings.TrimPrefix(plain.Long(secret.Without(plain.Line(text), s...)), ErrStore.Error()+": "), secret.Hide(err)}
}

// profileStore reads and edits one profile of the store.
type profileStore struct {
	store    ConfigStore
	instance string
	invalid  error            // what every call returns: a bad id given to Instance
	cache    *credentialCache // dropped at each update
	log      *slog.Logger
}

// load reads this profile.
func (s *profileStore) load(ctx context.Context) (*profile.Profile, error) {
	raw, err := s.loadRaw(ctx)
	if err != nil {
		return nil, err
	}
	return s.parse(raw)
}

// parse reads this profile out of the namespace.
func (s *profileStore) parse(raw json.RawMessage) (*profile.Profile, error) {
	d, err := profile.ParseDocument(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %q: %w", ErrStore, ErrCorruptConfig, Namespace, err)
	}
	return d.Profile(s.instance), nil
}

func (s *profileStore) loadRaw(ctx context.Context) (json.RawMessage, error) {
	return s.loadWithin(ctx, storeLimit)
}

// loadWithin reads the namespace, or returns a store error once limit is over: a
// store that hangs must not keep a login beyond its PIN.
func (s *profileStore) loadWithin(ctx context.Context, limit time.Duration) (json.RawMessage, error) {
	if s.invalid != nil {
		return nil, s.invalid
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	raw, err := s.store.Load(limited, Namespace)
	if err == nil {
		return raw, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("plexauth: %w", ctx.Err())
	}
	return nil, newStoreError(hung(limited, limit, err))
}

// update edits this profile. edit may run more than once; its error is
// returned as it is and changes nothing. secrets are what the store's own
// errors must not quote.
func (s *profileStore) update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	if s.invalid != nil {
		return s.invalid
	}
	var editErr error
	var quotable []byte
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err := s.store.Update(limited, Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		editErr, quotable = nil, bytes.Clone(current)
		b, err := s.parse(current)
		if err == nil {
			err = edit(b)
		}
		if err != nil {
			editErr = err
			return nil, err
		}
		if !b.Changed() {
			return current, nil
		}
		next := b.Bytes()
		quotable = append(quotable, next...)
		return next, nil
	})
	s.cache.drop()
	switch {
	case editErr != nil:
		return editErr
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("plexauth: %w", ctx.Err())
	}
	var quoted []string
	for _, t := range secrets {
		quoted = append(quoted, t.Secret())
	}
	for _, m := range secretFields.FindAllSubmatch(quotable, -1) {
		quoted = append(quoted, string(m[1]))
	}
	return newStoreError(hung(limited, storeLimit, err), quoted...)
}

// updateIfNeeded is update that leaves the store alone where edit would change
// nothing: it may be read-only, and another program may hold its lock.
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

// secretFields finds what an error must not quote of a document, quotedFields
// what it quotes all the same, be it as a Go string.
var (
	secretFields = regexp.MustCompile(`"(?:account_token|pms_token|home_pin|secret|id|code)"\s*:\s*"?((?:[^"\\,}\s]|\\.){4,})`)
	quotedFields = regexp.MustCompile(`(\\*"(?:account_token|pms_token|home_pin|secret|id|code)\\*"\s*:\s*\\*"?)[^"\\,}\s]+`)
)

const (
	saveGrace = 800 * time.Millisecond // for writing what must be written when its context has ended
	saveLimit = 5 * time.Minute        // for a token that exists nowhere else

	storeLimit = 30 * time.Second // for one call of the store
)

// hung returns err, or what it means where the store has not answered within limit.
// No context of the caller's has ended then, so the error matches none.
func hung(limited context.Context, limit time.Duration, err error) error {
	if limited.Err() == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("no answer in %s: %v", limit, err)
}

// save carries out an update that must not be lost: also past the end of ctx,
// for saveGrace, and again while the store fails, until limit.
func (s *profileStore) save(ctx context.Context, limit time.Duration, t secret.Value, edit func(*profile.Profile) error) error {
	lasts, end := gate.Outlive(ctx, saveGrace)
	defer end()
	late, cancel := context.WithTimeout(lasts, limit)
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
