// Package crosswatch is a [plexauth.ConfigStore] in the config directory of
// CrossWatch. A Go program can sign in to Plex there while CrossWatch is running or
// stopped, and both programs use the login.
//
//	store, err := crosswatch.Open("/config")
//	...
//	defer store.Close()
//	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store})
//
// The store holds only the namespace "plex", where CrossWatch keeps its login to Plex. Other
// namespaces are CrossWatch's settings for other services. The profiles of Plex are in the
// same namespace: use [plexauth.PlexAuth.Instance] for them.
//
// # Lock, format and encryption
//
// The store takes CrossWatch's lock, keeps CrossWatch's formatting, and encrypts the
// same fields. An encrypted field is "enc:v1:" and a Fernet token. The key is that of
// the environment variable CW_CONFIG_KEY or CROSSWATCH_CONFIG_KEY, otherwise that of the
// file .cw_master_key. Reading this file also restores its mode 0600 and its owner. If
// there is no key and a field must be encrypted for the first time, the store creates the
// file. It replaces an empty key file that a killed process has left.
//
// A secret that is not encrypted is read as it is, and encrypted with the next change. An
// Update writes only its own namespace; all other settings, encrypted or not, stay byte
// for byte.
//
// If a secret of the namespace cannot be decrypted, the error is a [*SecretError] that
// names it, and nothing is written. The same happens if the file has secrets and
// there is no key, or the key decrypts none of them. Then this program does not have
// CrossWatch's key, and CrossWatch could not read what it encrypts.
//
// # While CrossWatch is running
//
// CrossWatch rewrites the whole file from a copy that can be many seconds old, and so
// undoes what other programs have written since. To recognize such an old copy, the store
// lists its latest Updates in the member _plexauth_revision of the namespace. An old copy
// lacks the newest of them.
//
// After each change, a [Store] checks the file one second later, and then at growing
// intervals up to 63 seconds after the change. If an old copy has overwritten the change,
// the Store repairs it and begins again with short intervals. It repairs a change for at
// most a quarter of an hour. If several Stores have saved a login, the latest login stays.
// [Store.Close] checks a last time. A process that is killed repairs nothing.
//
// A change that a person or CrossWatch makes to the current file stays, and so does a new
// value in an old copy. The Store cannot tell a reset of the default profile from an old
// copy without a client identifier. If the first Update ever found no identifier, the Store
// treats either as an old copy for three minutes, and then as a reset. If that Update found
// one, the Store always treats either as a reset.
//
// The format is that of CrossWatch 0.11.
package crosswatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/plexauth/plexauth"
)

const (
	configName = "config.json"
	keyName    = ".cw_master_key"
)

// Store is a [plexauth.ConfigStore] in a CrossWatch directory. It is safe for concurrent
// use, also together with other Stores of the directory and with CrossWatch itself. The
// errors of its methods match [plexauth.ErrStore], except those that an edit returns. If
// a secret cannot be decrypted, the error is a [*SecretError].
type Store struct {
	dir   string
	file  *plexauth.FileStore
	watch watch
}

var _ plexauth.ConfigStore = (*Store)(nil)

// Open returns the store in dir, the directory that holds CrossWatch's config.json. The
// directory must exist. The file need not exist if CrossWatch has not run yet; the first
// Update makes it. Open reads no secret and writes nothing. Its errors match
// [plexauth.ErrStore].
func Open(dir string) (*Store, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s does not exist: give the directory that holds CrossWatch's config.json", plexauth.ErrStore, dir)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", plexauth.ErrStore, err)
	case !info.IsDir():
		return nil, fmt.Errorf("%w: %s is not a directory: give the directory that holds CrossWatch's config.json", plexauth.ErrStore, dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("%w: %w", plexauth.ErrStore, err)
	}
	s := &Store{dir: dir, file: plexauth.NewFileStore(filepath.Join(dir, configName))}
	s.watch.init(s)
	return s, nil
}

// checkNamespace returns an error for all namespaces but CrossWatch's for Plex.
func checkNamespace(namespace string) error {
	if namespace == plexauth.Namespace {
		return nil
	}
	return fmt.Errorf("%w: crosswatch: the namespace is %q, but CrossWatch's config has the login to Plex in %q alone: use another store, or one CrossWatch directory for each login", plexauth.ErrStore, namespace, plexauth.Namespace)
}

// Load implements [plexauth.ConfigStore]. It returns secrets decrypted. If an old copy has
// overwritten a recent change, Load returns the document as it will be after the repair. A
// namespace other than [plexauth.Namespace] is an error.
func (s *Store) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	if err := checkNamespace(namespace); err != nil {
		return nil, err
	}
	raw, found, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	overwritten, _ := s.watch.findOverwritten(raw, found)
	return apply(raw, overwritten)
}

// read returns the namespace as it is in the file, decrypted, and its revision.
func (s *Store) read(ctx context.Context) (raw json.RawMessage, found revision, err error) {
	raw, err = s.file.Load(ctx, plexauth.Namespace)
	if err != nil {
		return nil, nil, err
	}
	v := &vault{dir: s.dir}
	raw, err = v.open(raw)
	return raw, v.revision, err
}

// Update implements [plexauth.ConfigStore]. edit gets and returns secrets decrypted. A
// secret that did not change keeps its ciphertext. The Store checks later that the
// change is still there, as the package comment says; Update does not wait for that. A
// namespace other than [plexauth.Namespace] is an error, and edit is not called.
func (s *Store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	if err := checkNamespace(namespace); err != nil {
		return err
	}
	var u update
	err := s.file.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		u = update{number: s.watch.updates.Add(1), after: current}
		v := &vault{dir: s.dir}
		plain, err := v.open(current)
		if err != nil {
			return nil, err
		}
		u.foundRevision, u.found = v.revision, plain
		u.repaired, u.comparedWith = s.watch.findOverwritten(plain, u.foundRevision)
		if u.before, err = apply(plain, u.repaired); err != nil {
			return nil, err
		}
		next, err := edit(bytes.Clone(u.before))
		switch {
		case err != nil:
			return nil, err
		case next == nil:
			u.after = nil
			return nil, nil
		case len(next) > 0 && bytes.Equal(next, plain):
			return current, nil
		}
		u.after = bytes.Clone(next)
		u.newRevision = u.nextRevision()
		return v.seal(next, u.newRevision)
	})
	switch {
	case err != nil:
	case u.newRevision != nil:
		s.watch.record(u)
	case u.after == nil:
		s.watch.forget(u)
	}
	return err
}

// Check reports whether an Update would succeed now. It does what
// [plexauth.FileStore.Check] does, and tries to decrypt the secrets of Plex. If there are
// none, it verifies that the key decrypts another secret of the config.
func (s *Store) Check(ctx context.Context) error {
	if err := s.file.Check(ctx); err != nil {
		return err
	}
	if _, err := s.Load(ctx, plexauth.Namespace); err != nil {
		return err
	}
	_, err := findKey(s.dir)
	if errors.Is(err, errEmptyKey) && isAbandoned(filepath.Join(s.dir, keyName)) {
		return nil // the next Update replaces the file
	}
	return err
}

// Close checks recent changes a last time and repairs those that were overwritten. It may
// wait a few seconds for the lock. The Store can still be used afterwards, but its changes
// are no longer checked. Close always returns nil.
func (s *Store) Close() error { return s.watch.close() }
