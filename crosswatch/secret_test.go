package crosswatch_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernet/fernet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/crosswatch"
	"github.com/plexauth/plexauth/internal/corpus"
	"github.com/plexauth/plexauth/plextest"
)

// Values that CrossWatch has encrypted can be read with each source of the key.
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

// Exactly the fields that CrossWatch encrypts are encrypted.
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

// A plain secret that looks encrypted is refused, because it would stop CrossWatch.
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

// A Fernet token without a message, signed with the right key, is an error and no panic.
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

// The error names a secret that cannot be decrypted, and nothing is written.
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

// encrypted returns plain as CrossWatch stores it, encrypted with key.
func encrypted(t *testing.T, key, plain string) string {
	t.Helper()
	k, err := fernet.DecodeKey(key)
	require.NoError(t, err)
	token, err := fernet.EncryptAndSign([]byte(plain), k)
	require.NoError(t, err)
	return "enc:v1:" + string(token)
}

// G17, G18: if the key decrypts no secret of the whole file, or if there is no key,
// CrossWatch could not read what this program encrypts. The error comes before a PIN is
// made, and nothing is written.
func TestKeyOfAnotherConfig(t *testing.T) {
	const k2 = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	secret := encrypted(t, k1, "TEST_theirs")
	for place, config := range map[string]string{
		"trakt.access_token":             `{"plex":{"client_id":""},"trakt":{"access_token":"SECRET"}}`,
		"app_auth.users.7.totp.secret":   `{"app_auth":{"users":{"7":{"totp":{"secret":"SECRET"}}}}}`,
		"webhooks.1":                     `{"webhooks":["", "SECRET", "SECRET"],"plex":null}`,
		"plex.note":                      `{"plex":{"note":"SECRET","client_id":"c"}}`,
		"plex.instances.P.label":         `{"plex":{"instances":{"P":{"label":"SECRET"}}}}`,
		"a.b":                            `{"a":{"b":"\u0065nc:v1:` + secret[7:] + `"},"plex":{}}`,
		"jellyfin.garbage":               `{"plex":{"account_token":""},"jellyfin":{"garbage":"enc:v1:not a token"}}`,
		"plex.instances.P.account_token": `{"plex":{"instances":{"P":{"account_token":"SECRET"}}}}`,
	} {
		config = strings.ReplaceAll(config, "SECRET", secret)
		for name, key := range map[string]struct{ variable, second, file, says string }{
			"no key":            {says: "there is no key"},
			"mistyped":          {variable: "k" + k1, says: "the key in CW_CONFIG_KEY"},
			"second variable":   {second: k2, says: "the key in CROSSWATCH_CONFIG_KEY"},
			"another key":       {file: k2, says: ".cw_master_key"},
			"cut":               {file: k1[:20], says: ".cw_master_key"},
			"empty":             {file: "\n", says: "the key is empty"},
			"not text":          {file: "\xff" + k1, says: "not UTF-8 text"},
			"UTF-16":            {file: "\xff\xfe" + strings.Join(strings.Split(k1, ""), "\x00") + "\x00\r\x00\n\x00", says: "save it as UTF-8"},
			"UTF-16, backwards": {file: "\xfe\xff\x00" + strings.Join(strings.Split(k1, ""), "\x00"), says: "save it as UTF-8"},
			"variable not text": {variable: "\xff" + k1, says: "CW_CONFIG_KEY: the key is not UTF-8 text"},
			"before the file":   {variable: k2, file: k1, says: "the key in CW_CONFIG_KEY"},
		} {
			t.Run(place+", "+name, func(t *testing.T) {
				dir := directory(t, config, key.file)
				t.Setenv("CW_CONFIG_KEY", key.variable)
				t.Setenv("CROSSWATCH_CONFIG_KEY", key.second)
				path := filepath.Join(dir, ".cw_master_key")
				if key.file != "" { // CrossWatch is not writing it right now
					require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour)))
				}
				s := open(t, dir)
				plex := plextest.NewServer()
				defer plex.Close()
				auth, err := plexauth.New(plexauth.Options{Product: "My App", Store: s, HTTPClient: plex.Client()})
				require.NoError(t, err)
				_, startErr := auth.Start(t.Context(), plexauth.PinOptions{})
				_, loadErr := s.Load(t.Context(), "plex")
				for what, err := range map[string]error{
					"Start": startErr,
					"Load":  loadErr,
					"Check": s.Check(t.Context()),
					"Update": s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) {
						return json.RawMessage(`{"account_token":"TEST_a"}`), nil
					}),
					"remove": s.Update(t.Context(), "plex", func(json.RawMessage) (json.RawMessage, error) { return nil, nil }),
				} {
					require.ErrorIs(t, err, plexauth.ErrStore, what)
					assert.ErrorContains(t, err, key.says, what)
					var secret *crosswatch.SecretError
					if errors.As(err, &secret) {
						assert.Equal(t, place, secret.Field, what)
						assert.ErrorContains(t, err, "CW_CONFIG_KEY", what)
					}
				}
				assert.Empty(t, plex.Requests(), "no PIN was made")
				assert.Equal(t, config, file(t, dir))
				now, err := os.ReadFile(path)
				if key.file == "" {
					assert.ErrorIs(t, err, os.ErrNotExist)
				} else {
					assert.Equal(t, key.file, string(now))
				}

				if place == "jellyfin.garbage" {
					return // no key decrypts it
				}
				t.Setenv("CW_CONFIG_KEY", k1)
				set(t, s, `{"account_token":"TEST_a"}`)
				require.NoError(t, s.Check(t.Context()))
			})
		}
	}
}

// If the key decrypts at least one secret of the file, it is the right key.
func TestKeyOfPartOfTheConfig(t *testing.T) {
	dir := directory(t, `{"a":{"b":"enc:v1:damaged"},"c":["`+byPhrase+`",{"d":"`+ourToken+`"}],"plex":{}}`, k1)
	s := open(t, dir)
	require.NoError(t, s.Check(t.Context()))
	set(t, s, `{"account_token":"TEST_a"}`)
	assert.Contains(t, load(t, s), "TEST_a")
}

// A Store uses a key file that is made after Open.
func TestKeyAppearsLater(t *testing.T) {
	dir := directory(t, `{"plex":{"client_id":"c"}}`, "")
	s := open(t, dir)
	require.NoError(t, s.Check(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".cw_master_key"), []byte(k1), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"plex":{"client_id":"c"},"trakt":{"access_token":"`+ourToken+`"}}`), 0o600))
	set(t, s, `{"account_token":"TEST_a"}`)
	key, err := os.ReadFile(filepath.Join(dir, ".cw_master_key"))
	require.NoError(t, err)
	assert.Equal(t, k1, string(key))
	assert.Contains(t, load(t, s), "TEST_a")
	require.NoError(t, os.Remove(filepath.Join(dir, ".cw_master_key")))
	var secret *crosswatch.SecretError
	require.ErrorAs(t, s.Check(t.Context()), &secret)
}

// No stored value and no key cause a panic or an error that does not match ErrStore.
func FuzzSecret(f *testing.F) {
	corpus.Require(f)
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
