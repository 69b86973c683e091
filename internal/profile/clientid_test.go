package profile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
		"its device's does not fit":      {`{"client_id":"base","instances":{"P":{"account_token":"TEST_a","_device":{"client_id":"a\nb","bound_to":"{fp:TEST_a}"}}}}`, "base"},
		"an adopted JWT's":               {`{"client_id":"base","instances":{"P":{"account_token":"` + jwtFor("other") + `","_foreign":"{fp:` + jwtFor("other") + `}"}}}`, "other"},
		"an adopted JWT's does not fit":  {`{"client_id":"base","instances":{"P":{"account_token":"` + jwtFor("a\\nb") + `","_foreign":"{fp:` + jwtFor("a\\nb") + `}"}}}`, "base"},
		"a JWT's, as another program's":  {`{"client_id":"base","instances":{"P":{"account_token":"` + jwtFor("other") + `"}}}`, "base"},
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
	own, lives := newKey(t, "own"), jwt(1, time.Now())
	for name, c := range map[string]struct{ doc, id, wanted, want, stored string }{
		"the program's, stored":          {`{}`, "default", "mine", "mine", `{"client_id":"mine"}`},
		"the program's beside another":   {`{"client_id":"app"}`, "default", "mine", "mine", `{"client_id":"app"}`},
		"the stored one":                 {`{"client_id":"app"}`, "default", "", "app", `{"client_id":"app"}`},
		"the profile's":                  {`{"instances":{"P":{"client_id":"app"}}}`, "P", "", "app", `{"instances":{"P":{"client_id":"app"}},"client_id":"app"}`},
		"the one that was kept":          {`{"_next_client_id":"kept"}`, "default", "", "kept", `{"client_id":"kept"}`},
		"the program's, taken over":      {`{"client_id":"app","instances":{"P":{` + moved + `}}}`, "default", "moved", "app", `{"client_id":"app","instances":{"P":{` + moved + `}}}`},
		"taken over, the token lives on": {`{"client_id":"moved","account_token":"TEST_a","_next_client_id":"kept","instances":{"P":{` + moved + `}}}`, "default", "", "kept", `{"client_id":"moved","account_token":"TEST_a","_next_client_id":"kept","instances":{"P":{` + moved + `}}}`},
		"taken over, for the profile's":  {`{"client_id":"moved","account_token":"TEST_a","instances":{"P":{` + moved + `},"Q":{"client_id":"q"}}}`, "Q", "", "q", `{"client_id":"moved","account_token":"TEST_a","instances":{"P":{` + moved + `},"Q":{"client_id":"q"}},"_next_client_id":"q"}`},
		"taken over, its JWT needs none": {`{"client_id":"moved","_next_client_id":"kept",` + device(t, own, lives) + `,"instances":{"P":{` + moved + `,"client_id":"p"}}}`, "default", "", "kept", `{"client_id":"kept",` + device(t, own, lives) + `,"instances":{"P":{` + moved + `,"client_id":"p"}}}`},
		"taken over, its token is bound": {`{"client_id":"moved","_next_client_id":"kept",` + device(t, own, "TEST_a") + `,"instances":{"P":{` + moved + `}}}`, "default", "", "kept", `{"client_id":"moved","_next_client_id":"kept",` + device(t, own, "TEST_a") + `,"instances":{"P":{` + moved + `}}}`},
		"taken over, a JWT has no key":   {`{"client_id":"moved","_next_client_id":"kept","account_token":"` + lives + `","instances":{"P":{` + moved + `}}}`, "default", "", "kept", `{"client_id":"moved","_next_client_id":"kept","account_token":"` + lives + `","instances":{"P":{` + moved + `}}}`},
		"the stored one does not fit":    {`{"client_id":"a\nb","account_token":"TEST_a"}`, "default", "mine", "mine", `{"client_id":"mine","account_token":"TEST_a"}`},
		"taken over, others get a copy":  {`{"client_id":"moved","_next_client_id":"kept","instances":{"P":{` + moved + `},"Q":{"account_token":"TEST_q"}}}`, "default", "", "kept", `{"client_id":"kept","instances":{"P":{` + moved + `,"client_id":"moved"},"Q":{"account_token":"TEST_q","client_id":"moved"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, c.doc, c.id, func(p *profile.Profile) { assert.Equal(t, c.want, p.EnsureClientID(c.wanted)) })
			assert.Equal(t, withFingerprints(c.stored), got)
		})
	}
	assert.NotEqual(t, profile.NewClientID(), profile.NewClientID())
	unfit := edited(t, `{}`, "default", func(p *profile.Profile) { p.EnsureClientID("a\nb") })
	assert.Regexp(t, `^[0-9a-f]{24}$`, parse(t, unfit).Profile("default").State.ClientID, "what does not fit is not stored")
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
	other := newKey(t, "other")
	byKey := func(k *devicekey.Key) string {
		return `"_pending_pin":{"id":7,"client_id":"` + k.ClientID + `","kid":"` + k.Kid + `","secret":"` + k.Secret.Secret() + `"}`
	}
	for name, c := range map[string]struct {
		doc             string
		reused, changed bool
		clientID        string // "": a new one
	}{
		"the identifier is taken":       {`{"client_id":"app","device_client_id":"app"}`, false, true, ""},
		"asked for a PIN before":        {`{"client_id":"app",` + strings.Replace(device(t, key, ""), `"}`, `","asked":true}`, 1) + `}`, false, true, ""},
		"another key's PIN is pending":  {`{"client_id":"app",` + byKey(other) + `,` + device(t, key, "") + `}`, true, false, "dev"},
		"a short PIN is pending":        {`{"client_id":"app","_pending_pin":{"id":7,"client_id":"dev"},` + device(t, key, "") + `}`, true, false, "dev"},
		"rejected, and used for a PIN":  {`{"_rejected":"{fp:TEST_a}",` + byKey(key) + `,` + device(t, key, "TEST_a") + `}`, false, false, ""},
		"of a rejected one, moved over": {`{"client_id":"dev","_rejected":"{fp:TEST_a}",` + device(t, key, "TEST_a") + `}`, true, false, "dev"},
		"cannot be read, but a PIN's":   {`{` + byKey(key) + `,"_device":{"client_id":"dev","kid":"k","secret":"half"}}`, false, false, ""},
		"used, another id was kept":     {`{"client_id":"app","device_client_id":"kept",` + byKey(key) + `,` + device(t, key, "") + `}`, false, true, ""},
		"nor can its identifier":        {`{"_device":{"client_id":"a\nb","kid":"k","secret":"half"}}`, false, false, ""},
		"none":                          {`{"client_id":"app"}`, false, true, ""},
		"none, the identifier was kept": {`{"client_id":"app","device_client_id":"dev"}`, false, true, "dev"},
		"unused":                        {`{"client_id":"app",` + device(t, key, "") + `}`, true, false, "dev"},
		"of a rejected login":           {`{"client_id":"app","_rejected":"{fp:TEST_a}",` + device(t, key, "TEST_a") + `}`, true, false, "dev"},
		"of a login that works":         {`{"client_id":"app",` + device(t, key, "TEST_a") + `}`, false, false, ""},
		"being registered":              {`{"client_id":"app","account_token":"TEST_a",` + device(t, shared, "") + `}`, false, true, ""},
		"a PIN was made with it":        {`{"client_id":"app",` + byKey(key) + `,` + device(t, key, "") + `}`, false, true, ""},
		"cannot be read":                {`{"_device":{"client_id":"dev","kid":"k","secret":"half"}}`, false, false, "dev"},
		"another thing stands there":    {`{"_device":null}`, false, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := parse(t, c.doc)
			got, err := d.Profile("default").EnsureDevice()
			require.NoError(t, err)
			assert.Equal(t, strings.Contains(c.doc, "device_client_id") && !c.changed, strings.Contains(encoded(d), "device_client_id"))
			assert.Equal(t, c.reused, got.Kid == key.Kid, "the stored key")
			assert.Equal(t, c.changed, d.Changed(), "Changed")
			if c.clientID != "" {
				assert.Equal(t, c.clientID, got.ClientID)
				return
			}
			assert.Regexp(t, `^[0-9a-f]{24}$`, got.ClientID)
		})
	}
	made := edited(t, `{}`, "P", func(p *profile.Profile) {
		_, err := p.EnsureDevice()
		require.NoError(t, err)
	})
	assert.Contains(t, made, `"_device"`, "in a profile that did not exist")
}

// When a profile's identifier changes, others that live under the default one's get a copy.
func TestIdentifierOfOthers(t *testing.T) {
	const doc = `{"client_id":%q,"account_token":"TEST_a","instances":{"P":{"client_id":"p","account_token":"TEST_p"},"Q":{"account_token":"TEST_q"},"R":{"x":1}},"_next_client_id":"next"}`
	signedIn := func(clientID, id, next string) map[string]string {
		d := parse(t, edited(t, fmt.Sprintf(doc, clientID), id, func(p *profile.Profile) {
			p.Document.Profile("R")
			p.SignIn(credential("TEST_b", next))
		}))
		stored := map[string]string{"next": d.Profile("default").NextClientID}
		for _, id := range d.IDs() {
			stored[id] = d.Profile(id).State.ClientID
		}
		return stored
	}
	assert.Equal(t, map[string]string{"default": "new", "P": "p", "Q": "app", "R": "", "next": ""}, signedIn("app", "default", "new"))
	assert.Equal(t, map[string]string{"default": "app", "P": "p", "Q": "", "R": "", "next": ""}, signedIn("app", "default", "app"))
	assert.Equal(t, map[string]string{"default": "new", "P": "p", "Q": "", "R": "", "next": ""}, signedIn("a\nb", "default", "new"))
	assert.Equal(t, map[string]string{"default": "app", "P": "new", "Q": "", "R": "", "next": "next"}, signedIn("app", "P", "new"))
}

// A device that plex.tv has refused is dropped, unless it has a token by now.
func TestDropDevice(t *testing.T) {
	unbound, bound := `{`+device(t, newKey(t, "dev"), "")+`}`, `{`+device(t, newKey(t, "dev"), "TEST_a")+`}`
	for name, c := range map[string]struct {
		doc, id string
		left    bool
	}{
		"refused":                 {unbound, "dev", false},
		"another one":             {unbound, "other", true},
		"it has a token":          {bound, "dev", true},
		"no device":               {`{}`, "dev", false},
		"something else is there": {`{"_device":7}`, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got := edited(t, c.doc, "default", func(p *profile.Profile) { p.DropDevice(c.id) })
			assert.Equal(t, c.left, parse(t, got).Profile("default").Device != nil)
		})
	}
}
