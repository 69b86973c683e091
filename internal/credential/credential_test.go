package credential_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/credential"
	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

var program = plextv.Identity{}.Under("program")

// of returns what the default profile of doc has for requests.
func of(t *testing.T, doc string) *credential.Credential {
	t.Helper()
	stored, err := profile.Parse([]byte(doc))
	require.NoError(t, err)
	return credential.New(stored.Document().Profile("default"), program, time.Time{})
}

// jwt makes a Plex JWT with a signature that is not genuine. It lives for a week.
func jwt(issued time.Time) string {
	e := base64.RawURLEncoding.EncodeToString
	payload := fmt.Sprintf(`{"iat":%d,"exp":%d,"user":{"id":1}}`, issued.Unix(), issued.Add(7*24*time.Hour).Unix())
	return e([]byte(`{"alg":"EdDSA"}`)) + "." + e([]byte(payload)) + ".c2ln"
}

// G14: a token goes to the origin that it was made for, and to no other.
func TestFor(t *testing.T) {
	const box = "http://box:32400"
	own := jwt(time.Now())
	server := func(token, at string) string {
		return `{"account_token":"TEST_a","server_url":"` + box + `","machine_id":"m1","pms_token":"` + token + `","pms_token_server":"` + at + `"}`
	}
	takesJWT := func(account, at string) string {
		return `{"account_token":"` + account + `","server_url":"` + box + `","machine_id":"m1","_jwt_server":"m1 ` + at + `"}`
	}
	for name, c := range map[string]struct {
		doc       string
		toPlexTV  bool
		origin    string
		want      string
		isAccount bool
		err       error
		says      string
	}{
		"plex.tv":                        {doc: server("TEST_s", box), toPlexTV: true, origin: "https://plex.tv", want: "TEST_a", isAccount: true},
		"plex.tv at the server's origin": {doc: server("TEST_s", box), toPlexTV: true, origin: box, want: "TEST_a", isAccount: true},
		"plex.tv, no login":              {doc: `{}`, toPlexTV: true, origin: "https://plex.tv", isAccount: true, err: fault.ErrNotConnected},
		"plex.tv, rejected": {
			doc:      `{"account_token":"TEST_a","_rejected":"` + secret.Fingerprint(secret.New("TEST_a")) + `"}`,
			toPlexTV: true, origin: "https://plex.tv", isAccount: true, err: fault.ErrTokenRejected,
		},
		"plex.tv, damaged": {doc: `{"account_token":"TEST a"}`, toPlexTV: true, origin: "https://plex.tv", isAccount: true, err: fault.ErrNotConnected, says: "damaged"},

		"the server":                               {doc: server("TEST_s", box), origin: box, want: "TEST_s"},
		"the server, no login":                     {doc: strings.Replace(server("TEST_s", box), "TEST_a", "", 1), origin: box, want: "TEST_s"},
		"its address with a path":                  {doc: strings.ReplaceAll(server("TEST_s", box), box, "http://BOX:32400/web/"), origin: box, want: "TEST_s"},
		"its host over https":                      {doc: server("TEST_s", box), origin: "https://box:32400"},
		"its host at another port":                 {doc: server("TEST_s", box), origin: "http://box:32401"},
		"another host":                             {doc: server("TEST_s", box), origin: "https://example.org"},
		"another server's token":                   {doc: server("TEST_s", "http://old:32400"), origin: box},
		"a token for an unknown server":            {doc: server("TEST_s", ""), origin: box},
		"no server token":                          {doc: server("", ""), origin: box},
		"no server":                                {doc: `{"account_token":"TEST_a","pms_token":"TEST_s"}`, origin: "://"},
		"an address that is damaged":               {doc: strings.ReplaceAll(server("TEST_s", box), box, "http://[box"), origin: "http://[box"},
		"a damaged server token":                   {doc: server("TEST s", box), origin: box, err: fault.ErrServerToken, says: "damaged"},
		"it is damaged, another host":              {doc: server("TEST s", box), origin: "https://example.org"},
		"a JWT that was mistaken for the server's": {doc: server(own, box), origin: box, err: fault.ErrServerToken, says: "JWT"},

		"a server that takes the account's JWT": {doc: takesJWT(own, box), origin: box, want: own, isAccount: true},
		"another server takes it":               {doc: takesJWT(own, "http://old:32400"), origin: box},
		"the account has no JWT any more":       {doc: takesJWT("TEST_a", box), origin: box},
	} {
		t.Run(name, func(t *testing.T) {
			token := of(t, c.doc).For(c.toPlexTV, c.origin)
			assert.Equal(t, c.want, strings.Join(token.Header, ", "))
			assert.Equal(t, c.isAccount, token.IsAccount)
			require.ErrorIs(t, token.Err, c.err)
			if c.err != nil {
				assert.ErrorContains(t, token.Err, c.says)
				assert.NotContains(t, token.Err.Error(), "TEST")
				assert.Nil(t, token.Header)
			}
		})
	}
}

// The origin is known also if the token cannot be sent: a request there fails and says why.
func TestServerOrigin(t *testing.T) {
	for doc, want := range map[string]string{
		`{"server_url":"HTTPS://Box:443/web","pms_token":"TEST_s","pms_token_server":"https://box/web"}`: "https://box",
		`{"server_url":"http://box:32400","pms_token":"TEST s"}`:                                         "http://box:32400",
		`{"server_url":"http://box:32400"}`:                                                              "",
		`{"server_url":"box","pms_token":"TEST s"}`:                                                      "",
		`{"pms_token":"TEST_s"}`:                                                                         "",
	} {
		assert.Equal(t, want, of(t, doc).ServerOrigin, doc)
	}
}

func TestCertificate(t *testing.T) {
	const doc = `{"server_url":"https://box:32400","machine_id":"m1","pms_token":"TEST_s","pms_token_server":"https://box:32400"`
	c := of(t, doc+`}`)
	assert.False(t, c.Insecure)
	assert.Empty(t, c.Direct)
	assert.True(t, of(t, doc+`,"verify_ssl":false}`).Insecure)
	assert.False(t, of(t, doc+`,"verify_ssl":false,"server_url_found":"https://box:32400"}`).Insecure, "no person has typed the address")
	assert.Contains(t, of(t, doc+`,"_server_certificate":"abc m1 https://box:32400"}`).Direct, "abc")
	assert.Empty(t, of(t, doc+`,"_server_certificate":"abc m2 https://box:32400"}`).Direct, "another machine's")
}

// A device's JWT is renewed before its end. One without a key is good until its end, and
// a long-lived token for ever.
func TestCheckAt(t *testing.T) {
	issued := time.Unix(1_800_000_000, 0)
	end := issued.Add(7 * 24 * time.Hour)
	assert.Zero(t, of(t, `{"account_token":"TEST_a"}`).CheckAt)
	assert.Equal(t, end.Add(-time.Minute), of(t, `{"account_token":"`+jwt(issued)+`"}`).CheckAt)

	key, err := devicekey.New("dev")
	require.NoError(t, err)
	stored, err := profile.Parse([]byte(`{}`))
	require.NoError(t, err)
	p := stored.Document().Profile("default")
	p.SignIn(profile.Credential{Token: secret.New(jwt(issued)), Device: key})
	c := credential.New(p, program, time.Time{})
	assert.True(t, c.Life.Renewable())
	assert.True(t, c.CheckAt.After(issued) && c.CheckAt.Before(end.Add(-24*time.Hour)), "%s", c.CheckAt)

	p.SetRejected()
	c = credential.New(p, program, time.Time{})
	assert.Nil(t, c.Life)
	assert.Zero(t, c.CheckAt, "what is rejected is not renewed on the way")
}

// The program's own headers stay, and its request is left alone.
func TestSign(t *testing.T) {
	for name, c := range map[string]struct {
		doc        string
		set, added http.Header
	}{
		"nothing set": {
			`{"account_token":"TEST_a"}`, http.Header{},
			http.Header{"X-Plex-Token": {"TEST_a"}, "X-Plex-Client-Identifier": {"program"}, "Accept": {"application/json"}},
		},
		"the token was made under another identifier": {
			`{"account_token":"TEST_a","client_id":"app"}`, http.Header{"X-Other": {"1", "2"}},
			http.Header{"X-Plex-Token": {"TEST_a"}, "X-Plex-Client-Identifier": {"app"}, "Accept": {"application/json"}, "X-Other": {"1", "2"}},
		},
		"all set": {
			`{"account_token":"TEST_a"}`,
			http.Header{"X-Plex-Token": {"TEST_own"}, "X-Plex-Client-Identifier": {"own"}, "Accept": {"text/xml"}},
			http.Header{"X-Plex-Token": {"TEST_own"}, "X-Plex-Client-Identifier": {"own"}, "Accept": {"text/xml"}},
		},
		"no token wanted": {
			`{"account_token":"TEST_a"}`, http.Header{"X-Plex-Token": nil},
			http.Header{"X-Plex-Token": nil, "X-Plex-Client-Identifier": {"program"}, "Accept": {"application/json"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, "https://plex.tv/x", nil)
			require.NoError(t, err)
			before := c.set.Clone()
			req.Header = c.set
			credential := of(t, c.doc)
			signed := credential.Sign(req, credential.For(true, "").Header)
			assert.Equal(t, c.added, signed.Header)
			assert.Equal(t, req.URL, signed.URL)
			assert.Equal(t, before, req.Header)
		})
	}
}
