package crosswatch_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernet/fernet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
)

// The key is read as CrossWatch reads it: base64 for 32 bytes is the key itself, any other
// text is hashed.
func TestKeyNormalisation(t *testing.T) {
	a42 := strings.Repeat("A", 42)
	for text, effective := range map[string]string{
		phrase:                      "xLvLH77JnWW_WdhcjLYu4tuWPw_hBvSD2a-nO9Tjmoo=",
		"hunter2":                   "9S-9MrKzuG_4jvbEkGKChfSCrxXdyylUH5S89Saj9sc=",
		" " + k1 + "\n":             k1,
		strings.TrimSuffix(k1, "="): "6oZqdX5MOLq_qBJ8vppAnT4fk6AP8UiP9zX8-Rev_9A=",
		a42 + "/=":                  a42 + "_=",
		a42 + "_=":                  a42 + "_=",
		k1 + "!!":                   k1,
		k1 + "AAAA":                 k1,
		"ABCD EFGH IJKL MNOP QRST UVWX YZab cdef ghij klmn opq=": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq=",
		"é" + k1 + "é": k1,
		"ééé":          "NVtyJuIMtWR3TvmUQud6wAMQBiS0K1qSlE8NrXWxJrA=",
	} {
		key, err := fernet.DecodeKey(effective)
		require.NoError(t, err)
		token, err := fernet.EncryptAndSign([]byte("TEST_plain"), key)
		require.NoError(t, err)
		dir := directory(t, `{"plex":{"account_token":"enc:v1:`+string(token)+`"}}`, text)
		assert.Equal(t, `{"account_token":"TEST_plain"}`, load(t, open(t, dir)), "%q", text)
	}
	_, err := open(t, directory(t, `{"plex":{"account_token":"`+ourToken+`"}}`, " \n")).Load(t.Context(), "plex")
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "empty")
}

// G17: Check reports a key that cannot be used, even if nothing is encrypted yet.
func TestCheckKey(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":""}}`, " ")
	err := open(t, dir).Check(t.Context())
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, ".cw_master_key")
	require.NoError(t, os.Remove(filepath.Join(dir, ".cw_master_key")))
	require.NoError(t, open(t, dir).Check(t.Context()))
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".cw_master_key"), 0o700))
	assert.ErrorIs(t, open(t, dir).Check(t.Context()), plexauth.ErrStore)
}

// G11, G17, G18: a key file that cannot be read is an error of the store, not a damaged
// secret. No other key is made.
func TestUnreadableKey(t *testing.T) {
	for name, row := range map[string]struct {
		make func(path string) error
		says string
	}{
		"empty":     {func(path string) error { return os.WriteFile(path, []byte("\n"), 0o600) }, "the key is empty"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"dead link": {func(path string) error { return os.Symlink("not there", path) }, "symbolic link to not there"},
		"link loop": {func(path string) error { return os.Symlink(path, path) }, "symbolic link to"},
	} {
		for _, token := range []string{"", ourToken} {
			dir := directory(t, `{"plex":{"account_token":"`+token+`"}}`, "")
			require.NoError(t, row.make(filepath.Join(dir, ".cw_master_key")), name)
			s := open(t, dir)
			update := func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"account_token":"TEST_a"}`), nil
			}
			for what, err := range map[string]error{"Check": s.Check(t.Context()), "Update": s.Update(t.Context(), "plex", update)} {
				require.ErrorIs(t, err, plexauth.ErrStore, "%s, %s", name, what)
				assert.NotErrorIs(t, err, plexauth.ErrCorruptConfig, "%s, %s", name, what)
				assert.ErrorContains(t, err, ".cw_master_key", "%s, %s", name, what)
				assert.ErrorContains(t, err, row.says, "%s, %s", name, what)
			}
			assert.NotContains(t, file(t, dir), "TEST_")
		}
	}
}

// If many Stores need a key at the same time, it is made only once.
func TestKeyIsMadeOnce(t *testing.T) {
	dir := directory(t, "{}", "")
	var wg sync.WaitGroup
	for i := range 8 {
		s := open(t, dir)
		wg.Go(func() {
			assert.NoError(t, s.Update(t.Context(), "plex", func(cur json.RawMessage) (json.RawMessage, error) {
				m := map[string]any{}
				if cur != nil {
					if err := json.Unmarshal(cur, &m); err != nil {
						return nil, err
					}
				}
				m[fmt.Sprintf("t%d_token", i)] = "TEST_secret"
				return json.Marshal(m)
			}))
		})
	}
	wg.Wait()
	key, err := os.ReadFile(filepath.Join(dir, ".cw_master_key"))
	require.NoError(t, err)
	assert.Len(t, key, 44)
	info, err := os.Stat(filepath.Join(dir, ".cw_master_key"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	assert.Equal(t, 8, strings.Count(load(t, open(t, dir)), "TEST_secret"))
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	assert.Len(t, names, 3, "config.json, its lock and the key, but no temporary file")
}

// G16: a key that CrossWatch makes at the same time is not overwritten. Otherwise everything
// that CrossWatch encrypts with it would be lost.
func TestKeyOfAnotherIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte("CrossWatch's"), 0o600))
	require.ErrorIs(t, crosswatch.CreateFile(path, []byte("ours")), fs.ErrExist)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "CrossWatch's", string(b))
}

// G16: it is not overwritten on a file system without hard links either.
func TestKeyOfAnotherIsKeptWithoutLinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, crosswatch.CreateEmpty(path, []byte("first")))
	require.ErrorIs(t, crosswatch.CreateEmpty(path, []byte("second")), fs.ErrExist)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "first", string(b))
	info, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, os.FileMode(0o600), info.Mode())
	}
}

// G15: an empty key file that a killed process has left is replaced. A file that may still be
// written to, and a file behind a link, are not.
func TestEmptyKeyIsReplaced(t *testing.T) {
	for _, content := range []string{"", "\n"} {
		dir := directory(t, `{"plex":{"account_token":""}}`, "")
		path := filepath.Join(dir, ".cw_master_key")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		s := open(t, dir)
		require.ErrorContains(t, s.Check(t.Context()), "may be writing it right now")
		require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(-time.Minute)))
		require.NoError(t, s.Check(t.Context()))
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(b), "Check changes nothing")
		set(t, s, `{"account_token":"TEST_a"}`)
		b, err = os.ReadFile(path)
		require.NoError(t, err)
		assert.Len(t, b, 44)
		assert.Contains(t, load(t, open(t, dir)), "TEST_a")
	}
	dir := directory(t, "{}", "")
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	require.NoError(t, os.Chtimes(other, time.Now(), time.Now().Add(-time.Minute)))
	require.NoError(t, os.Symlink(other, filepath.Join(dir, ".cw_master_key")))
	assert.ErrorContains(t, open(t, dir).Check(t.Context()), "the key is empty")
}

// Like CrossWatch, a Store restores mode 0600 when it reads the key file. A file behind a link
// keeps its mode, and its key is used.
func TestKeyIsProtected(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes on Windows")
	}
	const config = `{"plex":{"account_token":"` + ourToken + `"}}`
	mode := func(path string) os.FileMode {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Mode()
	}
	for _, old := range []os.FileMode{0o644, 0o660, 0o400, 0o600} {
		dir := directory(t, config, k1)
		key := filepath.Join(dir, ".cw_master_key")
		require.NoError(t, os.Chmod(key, old))
		assert.Contains(t, load(t, open(t, dir)), "plex-token-123")
		assert.Equal(t, os.FileMode(0o600), mode(key), "was %v", old)
	}
	for name, link := range map[string]func(from, to string) error{"symbolic": os.Symlink, "hard": os.Link} {
		dir := directory(t, config, "")
		other := filepath.Join(t.TempDir(), "other")
		require.NoError(t, os.WriteFile(other, []byte(k1), 0o600))
		require.NoError(t, os.Chmod(other, 0o644))
		require.NoError(t, link(other, filepath.Join(dir, ".cw_master_key")))
		assert.Contains(t, load(t, open(t, dir)), "plex-token-123", name)
		assert.Equal(t, os.FileMode(0o644), mode(other), name)
	}
}
