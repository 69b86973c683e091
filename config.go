package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/plexauth/plexauth/internal/ordered"
)

// Namespace is the one key of a config document that plexauth reads and
// writes.
const Namespace = "plex"

// ErrStore is matched by every error that comes from a [ConfigStore].
var ErrStore = errors.New("plexauth: config store")

// ErrCorruptConfig is matched when what is stored cannot be read: an empty or
// truncated file, a namespace that is not a JSON object. Nothing is written
// over it. It always comes with [ErrStore].
var ErrCorruptConfig = errors.New("plexauth: config is corrupt")

// A ConfigStore keeps one JSON object for each namespace. Implementations are
// safe for concurrent use. The package storetest checks every rule below.
//
// What a store holds is a credential, in clear: it belongs in no log and in
// no error.
//
// A store may also have a method Check(context.Context) error that answers
// "would an Update succeed now?"; [PlexAuth.Start] asks it before it makes a
// PIN, so that a person is not sent to plex.tv for a login that cannot be
// saved.
type ConfigStore interface {
	// Load returns a copy of the namespace's JSON object, or nil where it is
	// absent or null. A value that is not an object is [ErrCorruptConfig].
	Load(ctx context.Context, namespace string) (json.RawMessage, error)

	// Update replaces the object by what edit makes of it, atomically against
	// every other Update of that namespace, in this process or another.
	//
	// current is as from Load, and edit's own. What edit returns becomes the
	// object: nil removes the namespace, {} is kept, bytes equal to current
	// write nothing, and anything but an object is an error. edit may run
	// more than once; it must not block, keep current or call the store. An
	// error of edit changes nothing and is returned so that errors.Is finds
	// it. ctx counts until the commit, never after it.
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// MemoryStore is a [ConfigStore] that forgets with the process. It is safe
// for concurrent use.
type MemoryStore struct {
	turn chan struct{} // held during an Update; a channel, so that waiting ends with a context

	mu   sync.RWMutex // guards docs
	docs map[string]json.RawMessage
}

var _ ConfigStore = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{turn: make(chan struct{}, 1), docs: map[string]json.RawMessage{}}
}

// Load implements [ConfigStore].
func (s *MemoryStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return bytes.Clone(s.docs[namespace]), nil
}

// Update implements [ConfigStore].
func (s *MemoryStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	current, err := s.Load(ctx, namespace)
	if err != nil {
		return err
	}
	next, err := edit(bytes.Clone(current))
	if err != nil {
		return err
	}
	if err := checkEdited(next); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next == nil {
		delete(s.docs, namespace)
	} else {
		s.docs[namespace] = bytes.Clone(next)
	}
	return nil
}

// checkEdited refuses what an edit must not return.
func checkEdited(next json.RawMessage) error {
	if next == nil {
		return nil
	}
	if _, err := ordered.Parse(next); err != nil {
		return fmt.Errorf("%w: the edit returned no JSON object: %w", ErrStore, err)
	}
	return nil
}
