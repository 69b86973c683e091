// Package crosswatch opens the config directory of a CrossWatch, running or
// not, as a [plexauth.ConfigStore]: one can sign in from Go, and both programs
// go on.
//
//	store, err := crosswatch.Open("/config")
//	...
//	defer store.Close()
//	auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: store})
//
// # What it does as CrossWatch does
//
// It takes CrossWatch's lock, keeps its style, and encrypts what CrossWatch
// encrypts: secrets are stored as "enc:v1:" and a Fernet token. The key is the one
// in the environment variable CW_CONFIG_KEY or CROSSWATCH_CONFIG_KEY, else in the
// file .cw_master_key, which is given back mode 0600 and its owner when it is read.
// Where there is no key and something must be encrypted for the first time, that
// file is made; an empty one, which a killed process has left, is replaced.
//
// Secrets in clear are read, and encrypted with the next change. Only the
// namespace that is asked for is read or written: the other settings, and
// their ciphertext, stay byte for byte.
//
// A secret of the namespace that cannot be decrypted is a [*SecretError] that names
// it, and nothing is written. So is the first secret of the whole file where the key
// decrypts none of them, or there is none: this program runs without CrossWatch's
// key, and CrossWatch could not read what it encrypts.
//
// # What a running CrossWatch does
//
// CrossWatch rewrites the whole file from a copy that can be many seconds old, and
// so undoes what others have written since. To recognize such an old copy, the
// namespace names its latest Updates, in _plexauth_revision: an old copy lacks the
// newest names.
//
// A [Store] looks at each change again one second later, then at growing intervals
// up to 63 seconds after it, and writes back what an old copy has overwritten. After
// such a repair the looks begin again, so it goes on for as long as old copies come,
// for a quarter of an hour at most. Of the logins of several Stores the latest
// stays. [Store.Close] takes a last look.
//
// A change that a person or CrossWatch makes in the present file stays, and so does a
// new value in an old copy. Two cases look alike. Where there was no client
// identifier before the first Update of all, a reset of the default profile in the
// next three minutes is taken for an old copy. A copy from before there was one is
// taken for a reset.
//
// The layout is the one of CrossWatch 0.11.
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

// Store is a [plexauth.ConfigStore] over a CrossWatch directory. It is safe
// for concurrent use, with other Stores on the directory and with CrossWatch
// itself. Errors of its methods, but those of an edit, match
// [plexauth.ErrStore]; for a secret that cannot be decrypted it is a
// [*SecretError].
type Store struct {
	dir   string
	file  *plexauth.FileStore
	watch watch
}

var _ plexauth.ConfigStore = (*Store)(nil)

// Open returns the store in dir, the directory that holds CrossWatch's
// config.json. The directory must exist; a missing config.json is a CrossWatch
// that has not run yet, and is made with the first Update. Open reads no
// secret and writes nothing. Its errors match [plexauth.ErrStore].
func Open(dir string) (*Store, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s does not exist: give the directory that holds CrossWatch's config.json", plexauth.ErrStore, dir)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", plexauth.ErrStore, err)
	case !info.IsDir():
		return nil, fmt.Errorf("%w: %s is not a directory: give the one that holds CrossWatch's config.json", plexauth.ErrStore, dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("%w: %w", plexauth.ErrStore, err)
	}
	s := &Store{dir: dir, file: plexauth.NewFileStore(filepath.Join(dir, configName))}
	s.watch.init(s)
	return s, nil
}

// Load implements [plexauth.ConfigStore]: secrets come in clear. A recent
// change that an old copy has overwritten counts as if it were repaired already.
func (s *Store) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	raw, found, err := s.load(ctx, namespace)
	if err != nil {
		return nil, err
	}
	overwritten, _ := s.watch.overwritten(namespace, raw, found)
	return apply(raw, overwritten)
}

// load reads what is there.
func (s *Store) load(ctx context.Context, namespace string) (raw json.RawMessage, found revision, err error) {
	raw, err = s.file.Load(ctx, namespace)
	if err != nil {
		return nil, nil, err
	}
	v := &vault{dir: s.dir, namespace: namespace}
	raw, err = v.open(raw)
	return raw, v.revision, err
}

// Update implements [plexauth.ConfigStore]: edit sees and returns secrets in
// clear. A secret that did not change keeps its ciphertext. The change is
// looked at again later, as the package comment says; Update does not wait for it.
func (s *Store) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	var u written
	err := s.file.Update(ctx, namespace, func(current json.RawMessage) (json.RawMessage, error) {
		u = written{namespace: namespace, turn: s.watch.turns.Add(1), after: current}
		v := &vault{dir: s.dir, namespace: namespace}
		plain, err := v.open(current)
		if err != nil {
			return nil, err
		}
		u.found, u.plain = v.revision, plain
		u.repaired, u.judged = s.watch.overwritten(namespace, plain, u.found)
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
		u.made = u.next()
		return v.seal(next, u.made)
	})
	switch {
	case err != nil:
	case u.made != nil:
		s.watch.expect(u)
	case u.after == nil:
		s.watch.forget(u)
	}
	return err
}

// Check answers "would an Update succeed now?": [plexauth.FileStore.Check],
// whether the secrets of Plex can be decrypted, and whether the key is the one
// that the rest of the config is encrypted with.
func (s *Store) Check(ctx context.Context) error {
	if err := s.file.Check(ctx); err != nil {
		return err
	}
	if _, err := s.Load(ctx, plexauth.Namespace); err != nil {
		return err
	}
	_, err := findKey(s.dir)
	if errors.Is(err, errEmptyKey) && abandoned(filepath.Join(s.dir, keyName)) {
		return nil // the next Update makes a key in its place
	}
	return err
}

// Close looks at recent changes one last time and repairs those that were
// overwritten. It waits for that, a few seconds at most where others hold the
// lock. The Store can be used further, but its changes are not looked at any more.
func (s *Store) Close() error { return s.watch.close() }
