package crosswatch

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/fernet/fernet-go"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/ordered"
)

// encryptedPrefix is how every encrypted value begins.
const encryptedPrefix = "enc:v1:"

// SecretError reports a stored secret that cannot be decrypted, because the key is missing
// or is not the one that it was encrypted with. The secret may belong to another service
// than Plex: if the key decrypts no secret of config.json, it is not CrossWatch's. The error
// matches [plexauth.ErrStore] and [plexauth.ErrCorruptConfig]. It does not contain the
// secret.
type SecretError struct {
	Field string // "plex.account_token", "trakt.access_token"
	err   error
}

// Error names the field and says what to do.
func (e *SecretError) Error() string {
	return fmt.Sprintf("crosswatch: %s cannot be decrypted: %v; nothing is written until this program has CrossWatch's key: set CW_CONFIG_KEY to the same value as for CrossWatch, or put CrossWatch's %s beside config.json", e.Field, e.err, keyName)
}

// Unwrap returns [plexauth.ErrStore], [plexauth.ErrCorruptConfig] and the cause.
func (e *SecretError) Unwrap() []error {
	return []error{plexauth.ErrStore, plexauth.ErrCorruptConfig, e.err}
}

// vault decrypts and encrypts the namespace. Each Load and Update uses a new one.
type vault struct {
	dir      string
	revision revision          // of the document that was opened; nil if it has none
	key      *masterKey        // nil until it is needed
	opened   map[string]secret // the secrets that were decrypted, by pathKey
}

// secret is a secret as callers see it, and as config.json has it.
type secret struct{ plain, stored string }

// open returns raw with its secrets decrypted and without its revision. If raw is nil, so is
// the result. A key that does not fit the config is an error even if raw has no secrets.
func (v *vault) open(raw json.RawMessage) (json.RawMessage, error) {
	v.opened = map[string]secret{}
	var err error
	if raw != nil {
		raw, v.revision = takeRevision(raw)
		raw, err = v.walk(raw, v.openSecret)
	}
	if err == nil && len(v.opened) == 0 {
		err = v.checkKey()
	}
	if err != nil {
		return nil, err
	}
	return raw, nil
}

func (v *vault) openSecret(path []string, stored string) (string, error) {
	if !strings.HasPrefix(stored, encryptedPrefix) {
		return stored, nil // not encrypted, as older versions of CrossWatch wrote it
	}
	plain, err := v.decrypt(stored)
	switch {
	case errors.Is(err, plexauth.ErrStore): // the key cannot be used; the secret may be fine
		return "", err
	case err != nil:
		return "", &SecretError{strings.Join(path, "."), err}
	}
	v.opened[pathKey(path)] = secret{plain, stored}
	return plain, nil
}

// errFits ends the walk of checkKey.
var errFits = errors.New("the key fits")

// checkKey returns an error if the whole config has secrets and the key decrypts none of
// them, or if there is no key. A secret that is encrypted with such a key would stop
// CrossWatch whenever it loads the config.
func (v *vault) checkKey() error {
	data, err := os.ReadFile(filepath.Join(v.dir, configName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", plexauth.ErrStore, err)
	}
	var unread *SecretError // the first secret that the key does not decrypt
	_, err = walkTexts(data, nil, func(path []string, text string) (string, error) {
		if !strings.HasPrefix(text, encryptedPrefix) {
			return text, nil
		}
		_, err := v.decrypt(text)
		switch {
		case err == nil || errors.Is(err, errNotUTF8):
			return "", errFits
		case errors.Is(err, plexauth.ErrStore):
			return "", err
		}
		if unread == nil {
			unread = &SecretError{strings.Join(path, "."), err}
		}
		if errors.Is(err, errNoKey) {
			return "", unread
		}
		return text, nil
	})
	switch {
	case errors.Is(err, errFits):
		return nil
	case err == nil && unread != nil:
		return unread
	}
	return err
}

// seal returns plain with its secrets encrypted and with the revision r. Secrets that did not
// change since open keep their ciphertext.
func (v *vault) seal(plain json.RawMessage, r revision) (json.RawMessage, error) {
	if ordered.Check(plain) != nil {
		return plain, nil // the FileStore reports this error
	}
	sealed, err := v.walk(plain, func(path []string, value string) (string, error) {
		if old, ok := v.opened[pathKey(path)]; ok && old.plain == value {
			return old.stored, nil
		}
		if value == "" {
			return "", nil
		}
		if strings.HasPrefix(value, encryptedPrefix) { // CrossWatch would try to decrypt it, and fail
			return "", fmt.Errorf("%w: the new value of %s begins with %s, like an encrypted one; nothing was written", plexauth.ErrStore, strings.Join(path, "."), encryptedPrefix)
		}
		return v.encrypt(value)
	})
	if err != nil {
		return nil, err
	}
	return putRevision(sealed, r)
}

var (
	errNoKey    = errors.New("there is no key")
	errWrongKey = errors.New("it was not encrypted with the key")
	errNotUTF8  = errors.New("it is not UTF-8 text")
)

// decrypt returns the plain text of a stored value. Errors that concern the key, and not the
// value, match [plexauth.ErrStore].
func (v *vault) decrypt(stored string) (string, error) {
	if v.key == nil {
		key, err := findKey(v.dir)
		if err != nil {
			return "", err
		}
		if key == nil {
			return "", errNoKey
		}
		v.key = key
	}
	token := strings.TrimSpace(strings.TrimPrefix(stored, encryptedPrefix))
	const minTokenBytes = 1 + 8 + 16 + 16 + 32 // version, time, IV, one block, MAC
	if base64.URLEncoding.DecodedLen(len(token)) < minTokenBytes {
		return "", v.wrongKey() // fernet-go panics if such a token is signed
	}
	plain := fernet.VerifyAndDecrypt([]byte(token), 0, []*fernet.Key{v.key.key})
	switch {
	case plain == nil:
		return "", v.wrongKey()
	case !utf8.Valid(plain):
		return "", errNotUTF8
	}
	return string(plain), nil
}

// wrongKey returns errWrongKey with the place where the key was found.
func (v *vault) wrongKey() error {
	return fmt.Errorf("%w in %s, or is damaged", errWrongKey, v.key.source)
}

// encrypt returns the stored value of a plain text. It makes a key if there is none.
func (v *vault) encrypt(plain string) (string, error) {
	if v.key == nil {
		key, err := findOrMakeKey(v.dir)
		if err != nil {
			return "", err
		}
		v.key = key
	}
	if err := v.key.sync(); err != nil {
		return "", err
	}
	token, err := fernet.EncryptAndSign([]byte(plain), v.key.key)
	if err != nil {
		return "", fmt.Errorf("%w: cannot encrypt: %w", plexauth.ErrStore, err)
	}
	return encryptedPrefix + string(token), nil
}

// walk calls change with every string of the namespace that CrossWatch encrypts. It returns
// the document with the results. Everything else stays byte for byte.
func (v *vault) walk(raw json.RawMessage, change func(path []string, text string) (string, error)) (json.RawMessage, error) {
	return walkTexts(raw, []string{plexauth.Namespace}, func(path []string, text string) (string, error) {
		if !isSensitive(path) {
			return text, nil
		}
		return change(path, text)
	})
}
