package crosswatch

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fernet/fernet-go"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/ordered"
)

// prefix marks a value as encrypted.
const prefix = "enc:v1:"

// SecretError is a stored secret that cannot be decrypted: the key is another
// one, or missing. It need not be a secret of Plex: a key that decrypts nothing
// of config.json is not CrossWatch's. It matches [plexauth.ErrStore] and
// [plexauth.ErrCorruptConfig]. It holds the secret's place, not the secret.
type SecretError struct {
	Field string // "plex.account_token", "trakt.access_token"
	err   error
}

// Error names the field and what to do.
func (e *SecretError) Error() string {
	return fmt.Sprintf("crosswatch: %s cannot be decrypted: %v; nothing is written until this program has CrossWatch's key: set CW_CONFIG_KEY to the same value as for CrossWatch, or put CrossWatch's %s beside config.json", e.Field, e.err, keyName)
}

// Unwrap returns the sentinels and the cause.
func (e *SecretError) Unwrap() []error {
	return []error{plexauth.ErrStore, plexauth.ErrCorruptConfig, e.err}
}

// vault opens and seals one namespace, once.
type vault struct {
	dir       string
	namespace string
	revision  revision          // of what was opened; nil where there is none
	key       *masterKey        // nil until it is needed
	sealed    map[string]secret // what was opened, by place
}

type secret struct{ plain, stored string }

// open decrypts the secrets in raw and takes the revision out. A raw of nil
// stays nil. A key that is not the one of the config is an error, whether raw
// has secrets or not.
func (v *vault) open(raw json.RawMessage) (json.RawMessage, error) {
	v.sealed = map[string]secret{}
	var err error
	if raw != nil {
		raw, v.revision = takeRevision(raw)
		raw, err = v.walk(raw, v.openSecret)
	}
	if err == nil && len(v.sealed) == 0 {
		err = v.checkRest()
	}
	if err != nil {
		return nil, err
	}
	return raw, nil
}

func (v *vault) openSecret(path []string, stored string) (string, error) {
	if !strings.HasPrefix(stored, prefix) {
		return stored, nil // in clear: as it was before CrossWatch encrypted
	}
	plain, err := v.decrypt(stored)
	switch {
	case errors.Is(err, plexauth.ErrStore): // of the key, which says nothing of the secret
		return "", err
	case err != nil:
		return "", &SecretError{strings.Join(path, "."), err}
	}
	v.sealed[place(path)] = secret{plain, stored}
	return plain, nil
}

// errFits ends checkRest's search.
var errFits = errors.New("the key fits")

// checkRest refuses a key that decrypts nothing of the whole config, and a missing
// one, where anything in it is encrypted. What was then written with the key would
// stop CrossWatch at every load.
func (v *vault) checkRest() error {
	data, err := os.ReadFile(filepath.Join(v.dir, configName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", plexauth.ErrStore, err)
	}
	var unread *SecretError // the first
	_, err = walkTexts(data, nil, func(path []string, text string) (string, error) {
		if !strings.HasPrefix(text, prefix) {
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

// seal encrypts the secrets in plain, with the ciphertext of before for those
// that have not changed, and puts a revision in.
func (v *vault) seal(plain json.RawMessage, r revision) (json.RawMessage, error) {
	if ordered.Check(plain) != nil {
		return plain, nil // which the store beneath refuses by name
	}
	sealed, err := v.walk(plain, func(path []string, value string) (string, error) {
		if old, ok := v.sealed[place(path)]; ok && old.plain == value {
			return old.stored, nil
		}
		if value == "" {
			return "", nil
		}
		if strings.HasPrefix(value, prefix) { // CrossWatch would take it for ciphertext, and fail
			return "", fmt.Errorf("%w: the new value of %s begins with %s, as only encrypted ones do; nothing was written", plexauth.ErrStore, strings.Join(path, "."), prefix)
		}
		return v.encrypt(value)
	})
	if err != nil {
		return nil, err
	}
	return putRevision(sealed, r)
}

func place(path []string) string { return strings.Join(path, "\x00") }

var (
	errNoKey   = errors.New("there is no key")
	errWrong   = errors.New("it was not encrypted with the key")
	errNotUTF8 = errors.New("it is not text")
)

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
	token := strings.TrimSpace(strings.TrimPrefix(stored, prefix))
	const shortest = 1 + 8 + 16 + 16 + 32 // version, time, IV, one block, MAC
	if base64.URLEncoding.DecodedLen(len(token)) < shortest {
		return "", v.wrong() // a signed one makes fernet-go panic
	}
	plain := fernet.VerifyAndDecrypt([]byte(token), 0, []*fernet.Key{v.key.key})
	switch {
	case plain == nil:
		return "", v.wrong()
	case !utf8.Valid(plain):
		return "", errNotUTF8
	}
	return string(plain), nil
}

// wrong is errWrong with where the key came from.
func (v *vault) wrong() error { return fmt.Errorf("%w in %s, or is damaged", errWrong, v.key.source) }

func (v *vault) encrypt(plain string) (string, error) {
	if v.key == nil {
		key, err := findOrMakeKey(v.dir)
		if err != nil {
			return "", err
		}
		v.key = key
	}
	if err := v.key.putOnDisk(); err != nil {
		return "", err
	}
	token, err := fernet.EncryptAndSign([]byte(plain), v.key.key)
	if err != nil {
		return "", fmt.Errorf("%w: cannot encrypt: %w", plexauth.ErrStore, err)
	}
	return prefix + string(token), nil
}

// walk calls change with every text at a sensitive place below the namespace,
// and returns the document with what change made of it. Everything else stays
// byte for byte.
func (v *vault) walk(raw json.RawMessage, change func(path []string, text string) (string, error)) (json.RawMessage, error) {
	return walkTexts(raw, []string{v.namespace}, func(path []string, text string) (string, error) {
		if !sensitive(path) {
			return text, nil
		}
		return change(path, text)
	})
}

// walkTexts calls change with every text below the place root, names of members
// aside, and returns the document with what change made of it.
func walkTexts(raw json.RawMessage, root []string, change func(path []string, text string) (string, error)) (json.RawMessage, error) {
	var out []byte
	copied := 0
	at := position{path: slices.Clone(root)}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	for {
		before := int(dec.InputOffset())
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w: %s: not valid JSON", plexauth.ErrStore, plexauth.ErrCorruptConfig, strings.Join(root, "."))
		}
		if at.enter(token) {
			continue
		}
		text := token.(string)
		value, err := change(at.path, text)
		if err != nil {
			return nil, err
		}
		if value != text {
			start := before + bytes.IndexByte(raw[before:], '"')
			out = append(append(out, raw[copied:start]...), ordered.String(value)...)
			copied = int(dec.InputOffset())
		}
		at.leave()
	}
	if copied == 0 {
		return raw, nil
	}
	return append(out, raw[copied:]...), nil
}

// position is where a decoder is in a document.
type position struct {
	path   []string // of the value
	levels []level
}

// level is an object or a list that is open.
type level struct {
	list  bool
	index int  // of the element to come
	key   bool // a key comes next
}

// enter goes on by a token. It reports true but for a text, whose end is leave.
func (p *position) enter(token json.Token) bool {
	d, delim := token.(json.Delim)
	if delim && (d == '}' || d == ']') {
		p.levels = p.levels[:len(p.levels)-1]
		p.leave()
		return true
	}
	if n := len(p.levels); n > 0 {
		switch l := &p.levels[n-1]; {
		case l.key:
			p.path = append(p.path, token.(string))
			l.key = false
			return true
		case l.list:
			p.path = append(p.path, strconv.Itoa(l.index))
		}
	}
	if delim {
		p.levels = append(p.levels, level{list: d == '[', key: d == '{'})
		return true
	}
	if _, text := token.(string); !text {
		p.leave()
		return true
	}
	return false
}

// leave ends a value.
func (p *position) leave() {
	if len(p.levels) == 0 {
		return
	}
	p.path = p.path[:len(p.path)-1]
	l := &p.levels[len(p.levels)-1]
	l.index++
	l.key = !l.list
}

// sensitiveNames are the leaves that CrossWatch encrypts wherever they stand.
var sensitiveNames = map[string]bool{
	"api_key": true, "apikey": true, "access_token": true, "refresh_token": true, "client_secret": true,
	"account_token": true, "pms_token": true, "home_pin": true, "session_id": true, "token_hash": true,
	"token_digest": true, "salt": true, "hash": true, "device_code": true, "pending_secret": true,
	"_pending_request_token": true, "_pending_tv_login": true, "_pending_tv_caller": true, "request_token": true,
	"token": true, "auth_key": true, "authkey": true, "password": true, "secret": true, "webhook_secret": true,
	"webhook_url": true,
}

// webhookURLs are encrypted in scheduling.webhooks alone.
var webhookURLs = map[string]bool{
	"url": true, "default_url": true, "base_url": true, "healthchecks_base_url": true,
	"start_url": true, "success_url": true, "failure_url": true,
}

// sensitive reports whether CrossWatch encrypts a text at this place.
func sensitive(path []string) bool {
	var p []string
	for _, e := range path {
		if e = strings.ToLower(strings.TrimSpace(e)); e != "" {
			p = append(p, e)
		}
	}
	if len(p) == 0 {
		return false
	}
	leaf := p[len(p)-1]
	if len(p) >= 2 && p[0] == "security" && p[1] == "webhook_ids" {
		return true
	}
	if len(p) >= 3 && p[0] == "scheduling" && p[1] == "webhooks" && webhookURLs[leaf] {
		return true
	}
	return sensitiveNames[leaf] || strings.HasSuffix(leaf, "_token")
}
