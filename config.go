package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Namespace is the only key of a config document that plexauth reads and writes.
const Namespace = "plex"

// A ConfigStore keeps one JSON object for each namespace. Implementations must be safe
// for concurrent use. The package storetest checks the rules below with two handles on
// one store. Objects that other programs may have written need tests of your own.
//
// A store holds credentials in clear text. They must not appear in a log or an error.
//
// The context of each call ends after half a minute at the latest.
//
// A store may also have a method Check(context.Context) error, which reports whether an
// Update would succeed now. [PlexAuth.Start] calls it before it makes a PIN, so that a
// person is not sent to plex.tv for a login that cannot be saved.
type ConfigStore interface {
	// Load returns a copy of the namespace's JSON object, or nil if it is absent or
	// null. A value that is not an object is an error that matches [ErrCorruptConfig].
	Load(ctx context.Context, namespace string) (json.RawMessage, error)

	// Update replaces the object by the result of edit. No other Update of the
	// namespace, in this process or another, comes in between.
	//
	// current is what Load returns, and edit may change it. The result of edit becomes
	// the object: nil removes the namespace, {} is kept, bytes equal to current write
	// nothing, and anything but an object is an error. edit may run more than once. It
	// must not block, keep current or call the store. An error of edit changes nothing,
	// and is returned so that errors.Is finds it. The end of ctx stops Update before the
	// commit, also while it waits for another Update, but never after it. A store must
	// take an object of 128 KiB.
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// checkEdited returns an error if the result of an edit is not a JSON object.
func checkEdited(next json.RawMessage) error {
	if next == nil {
		return nil
	}
	if err := ordered.Check(next); err != nil {
		return fmt.Errorf("%w: the edit returned no JSON object: %w", ErrStore, err)
	}
	return nil
}

// Settings is what the store holds about one profile. Its JSON has no token in it.
type Settings struct {
	ClientID       string `json:"client_id"`        // X-Plex-Client-Identifier of the profile's credentials
	ServerURL      string `json:"server_url"`       // the media server's address
	MachineID      string `json:"machine_id"`       // the media server's machineIdentifier
	Username       string `json:"username"`         // display name of the user that the program works for: the account, or a member of its Plex Home
	CloudAccountID string `json:"cloud_account_id"` // plex.tv's number of the account; it identifies a person
	AccountID      string `json:"account_id"`       // the media server's own number of that user
	VerifySSL      bool   `json:"verify_ssl"`       // whether the certificate at ServerURL is checked. It is false only where a person typed that address and stored verify_ssl as false
	AccountToken   Token  `json:"-"`                // for plex.tv
	ServerToken    Token  `json:"-"`                // only for the media server at ServerURL
}

// settingsOf returns the settings in b.
func settingsOf(b *profile.Profile) Settings {
	s := Settings{ClientID: b.ClientID(), VerifySSL: true}
	if b.Absent() {
		return s
	}
	server := b.Server()
	s.ServerURL, s.MachineID, s.VerifySSL, s.ServerToken = server.Url, server.MachineID, server.Verify, Token{server.Token}
	if !b.Disowned() {
		s.Username, s.AccountID = b.Username(), b.Numbered()
	}
	if id := b.ClaimedID(); id != 0 {
		s.CloudAccountID = strconv.FormatInt(id, 10)
	}
	s.AccountToken = Token{b.AccountToken()}
	return s
}

// MemoryStore is a [ConfigStore] in memory. It is lost when the process ends. It is safe
// for concurrent use. Its errors match [ErrStore], except those of an edit.
type MemoryStore struct {
	turn chan struct{} // holds a value during an Update; waiting for it ends with a context

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

// ended returns a store's error for a ctx that has ended.
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
