package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/plexauth/plexauth/internal/secret"
)

// MemoryStore is a [ConfigStore] that forgets with the process. It is safe
// for concurrent use. Its errors match [ErrStore], but those of an edit.
type MemoryStore struct {
	turn chan struct{} // held during an Update; a channel, so that waiting ends with a context

	mu   sync.RWMutex             // guards docs
	docs map[string]func() []byte // hidden
}

var _ ConfigStore = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{turn: make(chan struct{}, 1), docs: map[string]func() []byte{}}
}

// Load implements [ConfigStore].
func (s *MemoryStore) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if doc := s.docs[namespace]; doc != nil {
		return bytes.Clone(doc()), nil
	}
	return nil, nil
}

// ended is a store's error for a ctx that has ended.
func ended(ctx context.Context) error { return fmt.Errorf("%w: %w", ErrStore, ctx.Err()) }

// Update implements [ConfigStore].
func (s *MemoryStore) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ended(ctx)
	}
	current, err := s.Load(ctx, namespace)
	if err != nil {
		return err
	}
	next, err := edit(current)
	if err != nil {
		return err
	}
	if err := checkEdited(next); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ended(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next == nil {
		delete(s.docs, namespace)
	} else {
		s.docs[namespace] = secret.Hide(bytes.Clone(next))
	}
	return nil
}
