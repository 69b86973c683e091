// Package memstore keeps documents in memory.
package memstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Store keeps a document for each namespace, parsed. Its errors match fault.ErrStore, except
// those of an edit. It is safe for concurrent use.
type Store struct {
	turn chan struct{} // holds a value during an Update; waiting for it ends with a context

	mu        sync.RWMutex                      // guards documents
	documents map[string]func() *profile.Stored // hidden
}

// New returns an empty store.
func New() *Store {
	return &Store{turn: make(chan struct{}, 1), documents: map[string]func() *profile.Stored{}}
}

// Load returns the document of a namespace, nil if it is absent.
func (s *Store) Load(ctx context.Context, namespace string) (*profile.Stored, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if document := s.documents[namespace]; document != nil {
		return document(), nil
	}
	return nil, nil
}

// ended returns the error for a ctx that has ended.
func ended(ctx context.Context) error { return fmt.Errorf("%w: %w", fault.ErrStore, ctx.Err()) }

// Update replaces the document of a namespace by the result of edit, and removes it if that is
// nil. Only one Update runs at a time.
func (s *Store) Update(ctx context.Context, namespace string, edit func(*profile.Stored) (*profile.Stored, error)) error {
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
	if ctx.Err() != nil {
		return ended(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next == nil {
		delete(s.documents, namespace)
	} else {
		s.documents[namespace] = secret.Hide(next)
	}
	return nil
}

// LoadJSON returns a copy of the document of a namespace, nil if it is absent.
func (s *Store) LoadJSON(ctx context.Context, namespace string) (json.RawMessage, error) {
	document, err := s.Load(ctx, namespace)
	return document.Bytes(), err
}

// UpdateJSON does what Update does, with copies of the documents as JSON. A result of edit
// that is no JSON object changes nothing and is an error.
func (s *Store) UpdateJSON(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	return s.Update(ctx, namespace, func(current *profile.Stored) (*profile.Stored, error) {
		next, err := edit(current.Bytes())
		if err != nil {
			return nil, err
		}
		document, err := profile.Parse(bytes.Clone(next))
		if err != nil {
			return nil, fmt.Errorf("%w: the edit returned no JSON object: %w", fault.ErrStore, err)
		}
		return document, nil
	})
}
