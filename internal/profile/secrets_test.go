package profile_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// G13: every secret that a document can hold is found in it, and in a text that quotes it.
func TestSecretsOfADocument(t *testing.T) {
	key := newKey(t, "dev")
	token := jwt(1, time.Now())
	doc := edited(t, `{"client_id":"app","username":"al","home_pin":"9753","account_token":"TEST_old","pms_token":"TEST_server","instances":{"P":{"account_token":"TEST_other"}}}`, "default", func(p *profile.Profile) {
		p.SignIn(profile.Credential{Token: secret.New(token), Device: key})
		p.SetPending(&profile.PendingPIN{ID: 71717171, Code: "WXYZ", Created: time.Now(), ClientID: "pin", Device: newKey(t, "pin")})
		p.Park(71717171, secret.New("TEST_parked"))
	})
	require.Contains(t, doc, `"_was"`, "the owner before is unknown")
	secrets := []string{token, "TEST_server", "TEST_other", "TEST_parked", "9753", "71717171", "WXYZ", key.Secret.Secret()}
	found := profile.SecretsIn([]byte(doc))
	for _, s := range secrets {
		require.Contains(t, doc, s)
		assert.Contains(t, found, s)
	}
	for _, kept := range []string{"al", "app", "dev", key.Kid} {
		assert.NotContains(t, found, kept)
	}

	for name, quoted := range map[string]string{
		"as it is":              doc,
		"as a Go string":        strconv.Quote(doc),
		"as one in another":     strconv.Quote("store: " + strconv.Quote(doc)),
		"spaced":                strings.ReplaceAll(doc, `":`, `" : `),
		"a part, cut in a word": doc[:strings.Index(doc, token)+10],
	} {
		t.Run(name, func(t *testing.T) {
			got := profile.RedactQuoted("invalid character in " + quoted)
			for _, s := range secrets {
				assert.NotContains(t, got, s)
			}
			assert.NotContains(t, got, token[:10])
			assert.Contains(t, got, "invalid character in ")
			assert.Contains(t, got, "client_id", "what is not secret helps to find the mistake")
		})
	}
}

// G13: a secret is hidden whole, even if it has characters that end other values.
func TestSecretWithDelimiters(t *testing.T) {
	const doc = `{"account_token":"TEST,1} two","id":71717171}`
	for _, quoted := range []string{doc, strconv.Quote(doc), doc[:len(`{"account_token":"TEST,1`)]} {
		got := profile.RedactQuoted(quoted)
		assert.NotContains(t, got, ",1", quoted)
		assert.NotContains(t, got, "7171", quoted)
	}
}

// Secrets are found in a document that no parser accepts, or that a person has edited.
func TestSecretsOfADamagedDocument(t *testing.T) {
	for doc, want := range map[string][]string{
		`{"account_token":"TEST_a`:                 {"TEST_a"},
		`{"account_token": TEST_a }`:               {"TEST_a"},
		"{\"account_token\"\n:\t\"TEST_a\"":        {"TEST_a"},
		`{"account_token":"TEST\"a"}`:              {`TEST\"a`},
		`{"account_token":"a, b} c","code":1234}`:  {"a, b} c", "1234"},
		`{"code":"WXYZ}`:                           {"WXYZ}", "WXYZ"},
		`{"home_pin":"123}`:                        {"123}"},
		`{"account_token":"TEST_a}`:                {"TEST_a}", "TEST_a"},
		"{\"account_token\":\"TEST_a,\n \"x\":1}":  {"TEST_a,\n ", "TEST_a"},
		`{"account_token":"abc","home_pin":"12"}`:  nil,
		`{"my_account_token":"x","account":"abcd"`: nil,
		``: nil,
	} {
		assert.Equal(t, want, profile.SecretsIn([]byte(doc)), doc)
	}
}
