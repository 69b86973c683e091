package crosswatch_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/storetest"
)

const (
	k1       = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	ourToken = "enc:v1:gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD4v-3aEgiGWInutbcm2l6sOvrDKseGfzjE50t1wRB_cxTvKeiHIxC8lB1cyhZ1e1pg=="
	utfToken = "enc:v1:gAAAAABlU_EBEBESExQVFhcYGRobHB0eH3fuCgI1QLGlzTK0RXxDgs73e3ghlAun_0Ms4tpvAO7k_j1ECYhKUShXInhQ-Gv6ig=="
	phrase   = "correct horse battery staple"
	byPhrase = "enc:v1:gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD62bIFVey8bVQug8OOci24291pMaippygVV1lS-lmHA5GGBHYgPgBTrAF7Nd-vJqxg=="
)

// noKeys removes CrossWatch's keys from the environment.
func noKeys(t *testing.T) {
	t.Helper()
	t.Setenv("CW_CONFIG_KEY", "")
	t.Setenv("CROSSWATCH_CONFIG_KEY", "")
}

// directory returns a CrossWatch directory with this config and this key file. If either is
// "", that file does not exist.
func directory(t *testing.T, config, key string) string {
	t.Helper()
	noKeys(t)
	dir := t.TempDir()
	if config != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	}
	if key != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".cw_master_key"), []byte(key), 0o600))
	}
	return dir
}

func open(t *testing.T, dir string) *crosswatch.Store {
	t.Helper()
	s, err := crosswatch.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func load(t *testing.T, s plexauth.ConfigStore) string {
	t.Helper()
	raw, err := s.Load(t.Context(), "plex")
	require.NoError(t, err)
	return string(raw)
}

func replace(t *testing.T, s plexauth.ConfigStore, old, new string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), "plex", func(cur json.RawMessage) (json.RawMessage, error) {
		next := strings.Replace(string(cur), old, new, 1)
		if next == string(cur) {
			return nil, fmt.Errorf("nothing to replace in %s", cur)
		}
		return json.RawMessage(next), nil
	}))
}

func file(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	return string(b)
}

// directories is a store that has a CrossWatch directory for each namespace, and in each the
// namespace "plex". A Store has no other.
type directories struct {
	root   string
	mu     sync.Mutex
	stores map[string]*crosswatch.Store
}

func newDirectories(t *testing.T, root string) *directories {
	d := &directories{root: root, stores: map[string]*crosswatch.Store{}}
	t.Cleanup(func() {
		for _, s := range d.stores {
			assert.NoError(t, s.Close())
		}
	})
	return d
}

func (d *directories) of(namespace string) (*crosswatch.Store, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.stores[namespace]; s != nil {
		return s, nil
	}
	dir := filepath.Join(d.root, fmt.Sprintf("%x", sha256.Sum256([]byte(namespace))))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := crosswatch.Open(dir)
	if err == nil {
		d.stores[namespace] = s
	}
	return s, err
}

func (d *directories) Load(ctx context.Context, namespace string) (json.RawMessage, error) {
	s, err := d.of(namespace)
	if err != nil {
		return nil, err
	}
	return s.Load(ctx, "plex")
}

func (d *directories) Update(ctx context.Context, namespace string, edit func(json.RawMessage) (json.RawMessage, error)) error {
	s, err := d.of(namespace)
	if err != nil {
		return err
	}
	return s.Update(ctx, "plex", edit)
}

func (d *directories) Check(ctx context.Context) error {
	s, err := d.of("storetest")
	if err != nil {
		return err
	}
	return s.Check(ctx)
}

func TestConformance(t *testing.T) {
	noKeys(t)
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		root := t.TempDir()
		return newDirectories(t, root), newDirectories(t, root)
	})
}

// CrossWatch's settings for other services, and names that it does not know, are not documents
// of Plex.
func TestOtherNamespaces(t *testing.T) {
	const config = `{"plex":{"client_id":"c"},"trakt":{"access_token":"enc:v1:x"}}`
	dir := directory(t, config, "")
	s := open(t, dir)
	for _, namespace := range []string{"", "trakt", "Plex", "plex ", "plex/alice", "scheduling"} {
		_, loadErr := s.Load(t.Context(), namespace)
		updateErr := s.Update(t.Context(), namespace, func(json.RawMessage) (json.RawMessage, error) {
			t.Error("edit was called")
			return json.RawMessage(`{}`), nil
		})
		for _, err := range []error{loadErr, updateErr} {
			require.ErrorIs(t, err, plexauth.ErrStore, namespace)
			assert.NotErrorIs(t, err, plexauth.ErrCorruptConfig, namespace)
			assert.ErrorContains(t, err, fmt.Sprintf("%q", namespace))
			assert.ErrorContains(t, err, `in "plex" alone`)
		}
	}
	assert.Equal(t, config, file(t, dir))
}

func TestOpen(t *testing.T) {
	_, err := crosswatch.Open(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "does not exist")
	dir := directory(t, "{}", "")
	_, err = crosswatch.Open(filepath.Join(dir, "config.json"))
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "not a directory")
	require.NoError(t, open(t, dir).Check(t.Context()))
	_, err = os.Stat(filepath.Join(dir, ".cw_master_key"))
	assert.ErrorIs(t, err, os.ErrNotExist, "no key is made before one is needed")
}

// An Update encrypts what CrossWatch encrypts, keeps the ciphertext of secrets that did not
// change, and changes nothing else.
func TestUpdate(t *testing.T) {
	const config = "{\n  \"version\": \"0.11.3\",\n  \"app_auth\": {\"salt\": \"enc:v1:of-another\"},\n  \"plex\": {\n    \"account_token\": \"" + ourToken + "\",\n" +
		"    \"timeout\": 10.0,\n    \"client_id\": \"c\",\n    \"instances\": {\n      \"PLEX-P01\": {\n        \"account_token\": \"\",\n        \"pms_token\": \"TEST_in-clear\"\n      }\n    }\n  },\n" +
		"  \"trakt\": {\"access_token\": \"enc:v1:not ours\", \"note\": \"<&>é\"}\n}\n"
	dir := directory(t, config, k1)
	s := open(t, dir)
	require.NoError(t, s.Update(t.Context(), "plex", func(cur json.RawMessage) (json.RawMessage, error) { return cur, nil }))
	assert.Equal(t, config, file(t, dir), "no write without a change, not even to encrypt")

	replace(t, s, `"account_token": "",`, `"account_token": "TEST_new",`)
	got := file(t, dir)
	assert.NotContains(t, got, "TEST_", "secrets in clear are encrypted with the next change")
	assert.Contains(t, got, `"account_token": "`+ourToken+`"`, "what did not change keeps its ciphertext")
	assert.Contains(t, got, `"timeout": 10.0`)
	assert.Contains(t, got, "  \"trakt\": {\"access_token\": \"enc:v1:not ours\", \"note\": \"<&>é\"}\n}\n", "other namespaces stay byte for byte")
	assert.Contains(t, got, "\"app_auth\": {\"salt\": \"enc:v1:of-another\"}")
	assert.Contains(t, load(t, s), "TEST_new")
	assert.Contains(t, load(t, s), "TEST_in-clear")

	before := file(t, dir)
	replace(t, s, `"client_id":"c"`, `"client_id":"d"`)
	before = strings.Replace(before, `"client_id": "c"`, `"client_id": "d"`, 1)
	revision := regexp.MustCompile(`"_plexauth_revision": "[0-9a-f -]+"`)
	assert.Equal(t, revision.ReplaceAllString(before, ""), revision.ReplaceAllString(file(t, dir), ""), "ciphertext that did not change stays the same")
}

// If an edit returns no object, the error does not call the config damaged, and no key is
// made.
func TestEditedNoObject(t *testing.T) {
	const config = `{"plex":{"a":1}}`
	dir := directory(t, config, "")
	s := open(t, dir)
	for _, bad := range []string{`{"account_token":"TEST_a"}}`, `{"account_token":"TEST_a"`, `["TEST_a"]`, "null", "", "{\"account_token\":\"TEST_\xff\"}"} {
		err := s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(bad), nil })
		require.ErrorIs(t, err, plexauth.ErrStore, bad)
		assert.NotErrorIs(t, err, plexauth.ErrCorruptConfig, bad)
		assert.ErrorContains(t, err, "the edit returned no JSON object", bad)
	}
	assert.Equal(t, config, file(t, dir))
	assert.NoFileExists(t, filepath.Join(dir, ".cw_master_key"))
}

// G9: an Update whose context has ended returns the error of the context.
func TestContext(t *testing.T) {
	s := open(t, directory(t, "{}", ""))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
	require.ErrorIs(t, err, context.Canceled)
}
