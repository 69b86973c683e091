package plexauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/ordered"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Namespace is the one key of a config document that plexauth reads and
// writes.
const Namespace = "plex"

// A ConfigStore keeps one JSON object for each namespace. Implementations are
// safe for concurrent use. The package storetest checks every rule below that
// shows between two handles; what other programs may have left there is its own
// test's.
//
// What a store holds is a credential, in clear: it belongs in no log and in
// no error.
//
// A call that takes longer than half a minute is given up: its context ends.
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
	// it. ctx counts until the commit, never after it, also while Update waits
	// for another one. An object of 128 KiB fits.
	Update(ctx context.Context, namespace string, edit func(current json.RawMessage) (json.RawMessage, error)) error
}

// checkEdited refuses what an edit must not return.
func checkEdited(next json.RawMessage) error {
	if next == nil {
		return nil
	}
	if err := ordered.Check(next); err != nil {
		return fmt.Errorf("%w: the edit returned no JSON object: %w", ErrStore, err)
	}
	return nil
}

// Settings is what the namespace says about one profile. Its JSON has no
// token in it.
type Settings struct {
	ClientID       string `json:"client_id"`        // X-Plex-Client-Identifier of the profile's credentials
	ServerURL      string `json:"server_url"`       // the media server's address
	MachineID      string `json:"machine_id"`       // the media server's machineIdentifier
	Username       string `json:"username"`         // whom the program works for, for display: the account, or a member of its Plex Home
	CloudAccountID string `json:"cloud_account_id"` // plex.tv's number of the account: what identifies a person
	AccountID      string `json:"account_id"`       // the media server's own number of that user
	VerifySSL      bool   `json:"verify_ssl"`       // whether the certificate at ServerURL is checked. It is false only where a person typed that address and stored verify_ssl as false
	AccountToken   Token  `json:"-"`                // for plex.tv
	ServerToken    Token  `json:"-"`                // for the media server at ServerURL, and no other
}

// settingsOf returns what b says, as callers see it.
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

// load reads this profile.
func (p *PlexAuth) load(ctx context.Context) (*profile.Profile, error) {
	raw, err := p.loadRaw(ctx)
	if err != nil {
		return nil, err
	}
	return p.parse(raw)
}

// parse reads this profile out of the namespace.
func (p *PlexAuth) parse(raw json.RawMessage) (*profile.Profile, error) {
	d, err := profile.ParseDocument(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %q: %w", ErrStore, ErrCorruptConfig, Namespace, err)
	}
	return d.Profile(p.instance), nil
}

func (p *PlexAuth) loadRaw(ctx context.Context) (json.RawMessage, error) {
	return p.loadWithin(ctx, storeLimit)
}

// loadWithin reads the namespace, or returns a store error once limit is over: a
// store that hangs must not keep a login beyond its PIN.
func (p *PlexAuth) loadWithin(ctx context.Context, limit time.Duration) (json.RawMessage, error) {
	if p.invalid != nil {
		return nil, p.invalid
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	raw, err := p.store.Load(limited, Namespace)
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
func (p *PlexAuth) update(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	if p.invalid != nil {
		return p.invalid
	}
	var editErr error
	var quotable []byte
	limited, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	err := p.store.Update(limited, Namespace, func(current json.RawMessage) (json.RawMessage, error) {
		editErr, quotable = nil, bytes.Clone(current)
		b, err := p.parse(current)
		if err == nil {
			err = edit(b)
		}
		if err != nil {
			editErr = err
			return nil, err
		}
		if !b.Changed {
			return current, nil
		}
		next := b.Bytes()
		quotable = append(quotable, next...)
		return next, nil
	})
	p.sources.forget()
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
func (p *PlexAuth) updateIfNeeded(ctx context.Context, edit func(*profile.Profile) error, secrets ...secret.Value) error {
	b, err := p.load(ctx)
	if err != nil {
		return err
	}
	if err := edit(b); err != nil || !b.Changed {
		return err
	}
	return p.update(ctx, edit, secrets...)
}

// secretFields finds what an error must not quote of a document, quotedFields
// what it quotes all the same, be it as a Go string.
var (
	secretFields = regexp.MustCompile(`"(?:account_token|pms_token|home_pin|secret|id|code)"\s*:\s*"?((?:[^"\\,}\s]|\\.){4,})`)
	quotedFields = regexp.MustCompile(`(\\*"(?:account_token|pms_token|home_pin|secret|id|code)\\*"\s*:\s*\\*"?)[^"\\,}\s]+`)
)
