package profile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/profile"
)

// device returns the stored form of a key and, if token is not "", of its token.
func device(t *testing.T, k *devicekey.Key, token string) string {
	t.Helper()
	doc := `"_device":{"client_id":"` + k.ClientID + `","kid":"` + k.Kid + `","secret":"` + k.Secret.Secret() + `"`
	if token != "" {
		return `"account_token":"` + token + `",` + doc + `,"bound_to":"{fp:` + token + `}"}`
	}
	return doc + "}"
}

// A token goes with the identifier that it was made under.
func TestClientID(t *testing.T) {
	key, err := devicekey.New("dev")
	require.NoError(t, err)
	for name, c := range map[string]struct{ doc, want string }{
		"none":                           {`{}`, ""},
		"the profile's own":              {`{"client_id":"base","instances":{"P":{"client_id":"app"}}}`, "app"},
		"the default profile's":          {`{"client_id":"base","instances":{"P":{"account_token":"TEST_a"}}}`, "base"},
		"its own does not fit":           {`{"client_id":"base","instances":{"P":{"client_id":"a\nb"}}}`, "base"},
		"its own is not text":            {`{"client_id":"base","instances":{"P":{"client_id":{}}}}`, "base"},
		"its device's":                   {`{"client_id":"base","instances":{"P":{` + device(t, key, "TEST_a") + `}}}`, "dev"},
		"another token than the key's":   {`{"client_id":"base","instances":{"P":{"account_token":"TEST_b","_device":{"client_id":"dev","bound_to":"{fp:TEST_a}"}}}}`, "base"},
		"the profile does not exist":     {`{"client_id":"base"}`, "base"},
		"a number, as another program's": {`{"client_id":12345}`, "12345"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, parse(t, c.doc).Profile("P").ClientID())
		})
	}
}

// The next PIN's identifier is the program's own, else the stored one, else a new one. An
// identifier that a device key of another profile has taken over is not used again.
func TestEnsureClientID(t *testing.T) {
	key, err := devicekey.New("moved")
	require.NoError(t, err)
	moved := device(t, key, "TEST_m")
	for name, c := range map[string]struct{ doc, id, wanted, want, stored string }{
		"the program's, stored":          {`{}`, "default", "mine", "mine", `{"client_id":"mine"}`},
		"the program's beside another":   {`{"client_id":"app"}`, "default", "mine", "mine", `{"client_id":"app"}`},
		"the stored one":                 {`{"client_id":"app"}`, "default", "", "app", `{"client_id":"app"}`},
		"the profile's":                  {`{"instances":{"P":{"client_id":"app"}}}`, "P", "", "app", `{"instances":{"P":{"client_id":"app"}},"client_id":"app"}`},
		"the one that was kept":          {`{"_next_client_id":"kept"}`, "default", "", "kept", `{"client_id":"kept"}`},
		"the program's, taken over":      {`{"client_id":"app","instances":{"P":{` + moved + `}}}`, "default", "moved", "app", `{"client_id":"app","instances":{"P":{` + moved + `}}}`},
		"taken over, the token lives on": {`{"client_id":"moved","account_token":"TEST_a","_next_client_id":"kept","instances":{"P":{` + moved + `}}}`, "default", "", "kept", `{"client_id":"moved","account_token":"TEST_a","_next_client_id":"kept","instances":{"P":{` + moved + `}}}`},
		"taken over, others get a copy":  {`{"client_id":"moved","_next_client_id":"kept","instances":{"P":{` + moved + `},"Q":{"account_token":"TEST_q"}}}`, "default", "", "kept", `{"client_id":"kept","instances":{"P":{` + moved + `,"client_id":"moved"},"Q":{"account_token":"TEST_q","client_id":"moved"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, c.doc, c.id, func(p *profile.Profile) { assert.Equal(t, c.want, p.EnsureClientID(c.wanted)) })
			assert.Equal(t, withFingerprints(c.stored), got)
		})
	}
	var made string
	doc := edited(t, `{"x":1}`, "P", func(p *profile.Profile) { made = p.EnsureClientID("") })
	assert.Regexp(t, `^[0-9a-f]{24}$`, made)
	assert.Equal(t, `{"x":1,"client_id":"`+made+`"}`, doc)
}

// A device key serves one PIN. One with a token that works is left alone.
func TestEnsureDevice(t *testing.T) {
	key, err := devicekey.New("dev")
	require.NoError(t, err)
	shared, err := devicekey.New("app")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		doc             string
		reused, changed bool
		clientID        string // "": a new one
	}{
		"none":                          {`{"client_id":"app"}`, false, true, ""},
		"none, the identifier was kept": {`{"client_id":"app","device_client_id":"dev"}`, false, true, "dev"},
		"unused":                        {`{"client_id":"app",` + device(t, key, "") + `}`, true, false, "dev"},
		"of a rejected login":           {`{"client_id":"app","_rejected":"{fp:TEST_a}",` + device(t, key, "TEST_a") + `}`, true, false, "dev"},
		"of a login that works":         {`{"client_id":"app",` + device(t, key, "TEST_a") + `}`, false, false, ""},
		"being registered":              {`{"client_id":"app","account_token":"TEST_a",` + device(t, shared, "") + `}`, false, true, ""},
		"a PIN was made with it":        {`{"client_id":"app","_pending_pin":{"id":7,"client_id":"dev","kid":"` + key.Kid + `","secret":"` + key.Secret.Secret() + `"},` + device(t, key, "") + `}`, false, true, ""},
		"cannot be read":                {`{"_device":{"client_id":"dev","kid":"k","secret":"half"}}`, false, false, "dev"},
		"another thing stands there":    {`{"_device":null}`, false, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, c.doc)
			got, err := d.Profile("default").EnsureDevice()
			require.NoError(t, err)
			assert.Equal(t, c.reused, got.Kid == key.Kid, "the stored key")
			assert.Equal(t, c.changed, d.Changed(), "Changed")
			if c.clientID != "" {
				assert.Equal(t, c.clientID, got.ClientID)
				return
			}
			assert.Regexp(t, `^[0-9a-f]{24}$`, got.ClientID)
		})
	}
}
