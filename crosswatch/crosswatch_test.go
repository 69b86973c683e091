package crosswatch_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernet/fernet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/plextest"
	"github.com/plexauth/plexauth/storetest"
)

const (
	k1       = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	ourToken = "enc:v1:gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD4v-3aEgiGWInutbcm2l6sOvrDKseGfzjE50t1wRB_cxTvKeiHIxC8lB1cyhZ1e1pg=="
	utfToken = "enc:v1:gAAAAABlU_EBEBESExQVFhcYGRobHB0eH3fuCgI1QLGlzTK0RXxDgs73e3ghlAun_0Ms4tpvAO7k_j1ECYhKUShXInhQ-Gv6ig=="
	phrase   = "correct horse battery staple"
	byPhrase = "enc:v1:gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD62bIFVey8bVQug8OOci24291pMaippygVV1lS-lmHA5GGBHYgPgBTrAF7Nd-vJqxg=="
)

// noKeys takes CrossWatch's keys out of the environment.
func noKeys(t *testing.T) {
	t.Helper()
	t.Setenv("CW_CONFIG_KEY", "")
	t.Setenv("CROSSWATCH_CONFIG_KEY", "")
}

// directory is a CrossWatch directory with this config, and key file unless "".
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

func TestConformance(t *testing.T) {
	noKeys(t)
	storetest.Run(t, func(t *testing.T) (first, second plexauth.ConfigStore) {
		dir := t.TempDir()
		return open(t, dir), open(t, dir)
	})
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
	assert.ErrorIs(t, err, os.ErrNotExist, "no key before something must be encrypted")
}

// The vectors of CrossWatch's own encryption, with each source of the key.
func TestVectors(t *testing.T) {
	for name, tc := range map[string]struct{ stored, plain, file, env1, env2 string }{
		"key file":             {ourToken, "plex-token-123", k1, "", ""},
		"key file with spaces": {ourToken, "plex-token-123", "  " + k1 + "\n", "", ""},
		"not ASCII":            {utfToken, "tökén", k1, "", ""},
		"variable":             {ourToken, "plex-token-123", "", k1, ""},
		"second variable":      {ourToken, "plex-token-123", "", "  ", k1},
		"variable first":       {ourToken, "plex-token-123", phrase, k1, phrase},
		"phrase":               {byPhrase, "plex-token-123", phrase, "", ""},
		"space after prefix":   {"enc:v1: \\n" + strings.TrimPrefix(ourToken, "enc:v1:"), "plex-token-123", k1, "", ""},
		"in clear":             {"plex-token-123", "plex-token-123", "", "", ""},
		"empty":                {"", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, `{"plex":{"account_token":"`+tc.stored+`","instances":{"PLEX-P01":{"home_pin":"`+tc.stored+`"}}}}`, tc.file)
			t.Setenv("CW_CONFIG_KEY", tc.env1)
			t.Setenv("CROSSWATCH_CONFIG_KEY", tc.env2)
			var m struct {
				AccountToken string `json:"account_token"`
				Instances    map[string]struct {
					HomePIN string `json:"home_pin"`
				}
			}
			require.NoError(t, json.Unmarshal([]byte(load(t, open(t, dir))), &m))
			assert.Equal(t, tc.plain, m.AccountToken)
			assert.Equal(t, tc.plain, m.Instances["PLEX-P01"].HomePIN)
		})
	}
}

// CrossWatch's reading of a key: what decodes to 32 bytes is a key, anything
// else is hashed.
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

// A change encrypts what CrossWatch encrypts, keeps the ciphertext of what did
// not change, and touches nothing else.
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

// CrossWatch's list of sensitive places.
func TestSensitivePlaces(t *testing.T) {
	dir := directory(t, "{}", k1)
	s := open(t, dir)
	require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"account_token":"S","pms_token":"S","home_pin":"S","webhook_secret":"S","token":"S","password":"S","some_token":"S"," ACCOUNT_Token ":"S",
			"pms":{"x_plex_token":"S","url":"P"},"list":["P",{"secret":"S"}],"_pending_pin":{"account_token":"S","code":"P"},"_device":{"secret":"S"},
			"pms_token_server":"P","client_id":"P","machine_id":"P","username":"P","label":"P","token_url":"P","empty_token":"","api_key":7}`), nil
	}))
	var doc struct {
		Plex json.RawMessage `json:"plex"`
	}
	require.NoError(t, json.Unmarshal([]byte(file(t, dir)), &doc))
	assert.NotContains(t, string(doc.Plex), `"S"`)
	assert.Equal(t, 9, strings.Count(string(doc.Plex), `"P"`))
	assert.Equal(t, 12, strings.Count(string(doc.Plex), "enc:v1:"))
	assert.Contains(t, string(doc.Plex), `"empty_token": ""`)
}

// In other namespaces CrossWatch has a few more, which are left as they are.
func TestOtherNamespaces(t *testing.T) {
	for namespace, doc := range map[string]string{
		"security":   `{"webhook_ids":{"plex":"S","list":["S"]},"webhooks":"P"}`,
		"scheduling": `{"webhooks":{"url":"S","start_url":"S","name":"P","more":{"failure_url":"S"}},"url":"P"}`,
	} {
		dir := directory(t, "{}", k1)
		s := open(t, dir)
		require.NoError(t, s.Update(t.Context(), namespace, func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(doc), nil }))
		got := file(t, dir)
		assert.NotContains(t, got, `"S"`, namespace)
		assert.Equal(t, strings.Count(doc, `"S"`), strings.Count(got, "enc:v1:"), namespace)
		assert.Equal(t, strings.Count(doc, `"P"`), strings.Count(got, `"P"`), namespace)
	}
}

// A secret in clear that looks encrypted would stop CrossWatch.
func TestLooksEncrypted(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":""}}`, k1)
	s := open(t, dir)
	err := s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(`{"account_token":"enc:v1:TEST_not-encrypted"}`), nil
	})
	require.ErrorIs(t, err, plexauth.ErrStore)
	assert.ErrorContains(t, err, "plex.account_token")
	assert.NotContains(t, err.Error(), "TEST_")
	assert.Equal(t, `{"plex":{"account_token":""}}`, file(t, dir))
}

// What is no object is the edit's fault and not the config's, and is no reason
// to make a key.
func TestEditedNoObject(t *testing.T) {
	const config = `{"plex":{"a":1}}`
	dir := directory(t, config, "")
	s := open(t, dir)
	for _, bad := range []string{`{"account_token":"TEST_a"}}`, `{"account_token":"TEST_a"`, `["TEST_a"]`, "null", ""} {
		err := s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(bad), nil })
		require.ErrorIs(t, err, plexauth.ErrStore, bad)
		assert.NotErrorIs(t, err, plexauth.ErrCorruptConfig, bad)
		assert.ErrorContains(t, err, "the edit returned no JSON object", bad)
	}
	assert.Equal(t, config, file(t, dir))
	assert.NoFileExists(t, filepath.Join(dir, ".cw_master_key"))
}

// G17: a key that cannot be used is found before a PIN is made, also while
// nothing is encrypted yet.
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

// A token without a message, signed with the right key.
func TestSignedNothing(t *testing.T) {
	key, err := fernet.DecodeKey(k1)
	require.NoError(t, err)
	for _, n := range []int{9, 25, 26, 40} {
		token := append([]byte{0x80}, make([]byte, n-1)...)
		mac := hmac.New(sha256.New, key[:16])
		mac.Write(token)
		dir := directory(t, `{"plex":{"account_token":"enc:v1:`+base64.URLEncoding.EncodeToString(mac.Sum(token))+`"}}`, k1)
		_, err := open(t, dir).Load(t.Context(), "plex")
		require.ErrorIs(t, err, plexauth.ErrCorruptConfig)
	}
}

// A secret that cannot be decrypted is named, and nothing is written.
func TestUndecryptable(t *testing.T) {
	for name, tc := range map[string]struct{ stored, key string }{
		"no key": {ourToken, ""}, "another key": {ourToken, phrase}, "cut": {ourToken[:60], k1}, "nothing": {"enc:v1:", k1}, "garbage": {"enc:v1:%%%", k1},
		"a bit off": {strings.Replace(ourToken, "aEgi", "aEgj", 1), k1},
	} {
		t.Run(name, func(t *testing.T) {
			config := `{"plex":{"instances":{"P":{"account_token":"` + tc.stored + `"}}}}`
			dir := directory(t, config, tc.key)
			s := open(t, dir)
			_, err := s.Load(t.Context(), "plex")
			var secret *crosswatch.SecretError
			require.ErrorAs(t, err, &secret)
			assert.Equal(t, "plex.instances.P.account_token", secret.Field)
			assert.ErrorIs(t, err, plexauth.ErrCorruptConfig)
			assert.ErrorIs(t, err, plexauth.ErrStore)
			if len(tc.stored) > 20 {
				assert.NotContains(t, err.Error(), tc.stored[8:20])
			}
			err = s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{"a":1}`), nil })
			require.ErrorAs(t, err, &secret)
			require.ErrorAs(t, s.Check(t.Context()), &secret)
			assert.Equal(t, config, file(t, dir))
		})
	}
}

// The key is made once, under the lock, by however many start together.
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
	assert.Len(t, names, 3, "config.json, its lock and the key: no litter")
}

// As in CrossWatch, reading the key gives its file back mode 0600. What only
// looks like it by a link is left alone, and read all the same.
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

// running is a CrossWatch as it is: it reads the whole file, takes its time,
// and writes all of it back.
type running struct {
	dir string
	mu  sync.Mutex
}

func (c *running) read(t *testing.T) map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := os.ReadFile(filepath.Join(c.dir, "config.json"))
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	m := map[string]any{}
	require.NoError(t, dec.Decode(&m))
	return m
}

func (c *running) write(t *testing.T, m map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.MarshalIndent(m, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "config.tmp"), b, 0o600))
	require.NoError(t, os.Rename(filepath.Join(c.dir, "config.tmp"), filepath.Join(c.dir, "config.json")))
}

// G16: CrossWatch writes an old copy of everything over a login, again and
// again; the login stays, and so does what CrossWatch changed.
func TestRunningCrossWatch(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":"","client_id":"","instances":{}},"scheduling":{"n":0}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		plex := plextest.NewServer()
		defer plex.Close()
		alice := plex.AddUser(plextest.User{Username: "alice"})
		auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client(), Instance: "PLEX-P01"})
		require.NoError(t, err)

		theirs := &running{dir: dir}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // as its PIN waiter: every second a copy of 400 ms ago
			for i := range 30 {
				old := theirs.read(t)
				time.Sleep(400 * time.Millisecond)
				old["scheduling"] = map[string]any{"n": i + 1}
				theirs.write(t, old)
				select {
				case <-time.After(time.Second):
				case <-stop:
					return
				}
			}
		})
		slow := theirs.read(t) // and one that takes long, as an inspection does
		wg.Go(func() {
			time.Sleep(20 * time.Second)
			theirs.write(t, slow)
		})

		_, err = auth.Login(t.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error {
			time.AfterFunc(3500*time.Millisecond, func() {
				assert.NoError(t, plex.Approve(pin.Code, alice))
			})
			return nil
		})
		if errors.Is(err, plexauth.ErrNoPendingPin) || errors.Is(err, plexauth.ErrPinSuperseded) {
			t.Fatal("the pending login was lost: ", err)
		}
		require.NoError(t, err)
		time.Sleep(70 * time.Second)
		close(stop)
		wg.Wait()
		st, err := auth.Status(t.Context())
		require.NoError(t, err)
		assert.True(t, st.Connected)
		v, err := auth.Settings(t.Context())
		require.NoError(t, err)
		assert.Equal(t, plex.Token(alice, v.ClientID), v.AccountToken.Secret())
		assert.Nil(t, st.Pending, "what was removed stays removed")
		assert.NotContains(t, file(t, dir), "FAKE_")
	})
}

// G16: somebody saves the settings in a browser that has read them before: what
// is not secret comes back as it was, what he changed stays, the secrets are
// CrossWatch's own business.
func TestSettingsSavedInBrowser(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":"","username":"","label":"old","_plexauth_revision":"386d0000-a1b2"}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		theirs := &running{dir: dir}
		form := theirs.read(t)["plex"].(map[string]any)
		require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`{"account_token":"TEST_a","username":"alice","label":"old","_cloud":{"account_id":7}}`), nil
		}))
		time.Sleep(1500 * time.Millisecond) // past the first look
		form["label"] = "new"
		delete(form, "account_token") // masked: "keep what is there"
		present := theirs.read(t)
		for key, value := range form {
			present["plex"].(map[string]any)[key] = value
		}
		theirs.write(t, present)
		want := `{"account_token":"TEST_a","username":"alice","label":"new","_cloud":{"account_id":7}}`
		assert.JSONEq(t, want, load(t, s), "at once")
		time.Sleep(2 * time.Minute)
		assert.JSONEq(t, want, load(t, s))
		plain, err := crosswatch.Open(dir)
		require.NoError(t, err)
		assert.JSONEq(t, want, load(t, plain), "and in the file")
	})
}

// What somebody changes in the present file is not fought, whatever it is:
// only an old copy gives itself away.
func TestDeliberateChange(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":"","client_id":"c","instances":{"P":{"account_token":""}},"_plexauth_revision":"386d0000-a1b2"}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		assert.NotContains(t, load(t, s), "revision", "callers do not see it")
		theirs := &running{dir: dir}
		for name, take := range map[string]func(plex map[string]any){
			"a disconnected profile": func(plex map[string]any) {
				plex["instances"].(map[string]any)["P"] = map[string]any{"account_token": ""}
			},
			"a reset": func(plex map[string]any) {
				clear(plex)
				plex["account_token"] = ""
				plex["instances"] = map[string]any{"P": map[string]any{"account_token": ""}}
			},
			"a third value": func(plex map[string]any) {
				plex["instances"].(map[string]any)["P"] = map[string]any{"account_token": "TEST_third"}
			},
		} {
			require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"account_token":"","client_id":"c","instances":{"P":{"account_token":"TEST_a"}}}`), nil
			}))
			m := theirs.read(t)
			take(m["plex"].(map[string]any))
			theirs.write(t, m)
			assert.NotContains(t, load(t, s), "TEST_a", name)
			time.Sleep(2 * time.Minute)
			assert.NotContains(t, load(t, s), "TEST_a", name)
		}
	})
}

// Two processes of ours: what the other one takes back stays taken back.
func TestOtherStore(t *testing.T) {
	dir := directory(t, `{"plex":{"account_token":""}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		var stores [2]*crosswatch.Store
		for i := range stores {
			s, err := crosswatch.Open(dir)
			require.NoError(t, err)
			defer s.Close()
			stores[i] = s
		}
		for i, value := range []string{"TEST_a", ""} {
			require.NoError(t, stores[i].Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"account_token":"` + value + `"}`), nil
			}))
		}
		assert.Equal(t, `{"account_token":""}`, load(t, stores[0]))
		time.Sleep(2 * time.Minute)
		assert.Equal(t, `{"account_token":""}`, load(t, stores[0]))
		assert.Equal(t, `{"account_token":""}`, load(t, stores[1]))
	})
}

// G16: what CrossWatch has overwritten is repeated also where another process of
// ours has written upon that old copy.
func TestOtherStoreOnOldCopy(t *testing.T) {
	for name, config := range map[string]string{
		"first":       `{"plex":{"account_token":"","username":""}}`,
		"not first":   `{"plex":{"account_token":"","username":"","_plexauth_revision":"386d0000-a1b2"}}`,
		"no revision": `{"plex":{"account_token":"","username":"","_plexauth_revision":7}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t, config, k1)
			synctest.Test(t, func(t *testing.T) {
				theirs := &running{dir: dir}
				old := theirs.read(t)
				time.Sleep(time.Second)
				for i, edit := range [][2]string{{`"account_token":""`, `"account_token":"TEST_a"`}, {`"username":""`, `"username":"alice"`}} {
					s, err := crosswatch.Open(dir)
					require.NoError(t, err)
					defer s.Close()
					compact := func(cur json.RawMessage) (json.RawMessage, error) {
						var b bytes.Buffer
						err := json.Compact(&b, cur)
						return json.RawMessage(strings.Replace(b.String(), edit[0], edit[1], 1)), err
					}
					require.NoError(t, s.Update(t.Context(), "plex", compact))
					if i == 0 {
						theirs.write(t, old)
					}
				}
				time.Sleep(2 * time.Minute)
				s, err := crosswatch.Open(dir)
				require.NoError(t, err)
				assert.JSONEq(t, `{"account_token":"TEST_a","username":"alice"}`, load(t, s))
			})
		})
	}
}

// The names of many Updates do not pile up, and an Update that is no longer
// among them is not repeated.
func TestManyUpdates(t *testing.T) {
	dir := directory(t, `{"plex":{"n":"0"}}`, k1)
	synctest.Test(t, func(t *testing.T) {
		mine, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer mine.Close()
		other, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer other.Close()
		set := func(s *crosswatch.Store, n string) {
			require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"n":"` + n + `"}`), nil
			}))
		}
		set(mine, "mine")
		for i := range 100 {
			set(other, fmt.Sprint(i))
		}
		set(other, "0")
		assert.Less(t, len(file(t, dir)), 350)
		time.Sleep(2 * time.Minute)
		assert.JSONEq(t, `{"n":"0"}`, load(t, mine))
	})
}

// The fight is bounded, and Close ends it after a last look.
func TestBounded(t *testing.T) {
	const config = `{"plex":{"account_token":""}}`
	dir := directory(t, config, k1)
	synctest.Test(t, func(t *testing.T) {
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		theirs := &running{dir: dir}
		old := theirs.read(t)
		set := func() {
			require.NoError(t, s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
				return json.RawMessage(`{"account_token":"TEST_a"}`), nil
			}))
		}
		set()
		repeated := 0
		for range 1000 {
			theirs.write(t, old)
			time.Sleep(100 * time.Millisecond)
			if strings.Contains(file(t, dir), "enc:v1:") {
				repeated++
			}
		}
		assert.LessOrEqual(t, repeated, 5)
		assert.Positive(t, repeated)

		set()
		theirs.write(t, old)
		require.NoError(t, s.Close())
		assert.Contains(t, load(t, s), "TEST_a", "a last look")
		theirs.write(t, old)
		time.Sleep(5 * time.Minute)
		assert.NotContains(t, file(t, dir), "enc:v1:", "and none after")
	})
}

// G9: a cancelled context stops an Update that waits for the lock.
func TestContext(t *testing.T) {
	s := open(t, directory(t, "{}", ""))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, "plex", func(json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
	require.ErrorIs(t, err, context.Canceled)
}

// No text makes a panic, or anything but a typed error.
func FuzzSecret(f *testing.F) {
	for _, v := range []string{ourToken, utfToken, byPhrase, "enc:v1:", "enc:v1:gAAAAA==", "plain", ""} {
		f.Add(v, k1)
		f.Add(v, phrase)
	}
	f.Fuzz(func(t *testing.T, stored, key string) {
		text, err := json.Marshal(stored)
		require.NoError(t, err)
		dir := directory(t, `{"plex":{"account_token":`+string(text)+`}}`, key)
		s, err := crosswatch.Open(dir)
		require.NoError(t, err)
		defer s.Close()
		raw, err := s.Load(t.Context(), "plex")
		if err != nil {
			require.ErrorIs(t, err, plexauth.ErrStore)
			return
		}
		require.True(t, json.Valid(raw))
	})
}
