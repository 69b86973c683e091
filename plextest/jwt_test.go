package plextest_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

var b64 = base64.RawURLEncoding

// deviceKey is a client's key and identity.
type deviceKey struct {
	kid  string
	priv ed25519.PrivateKey
	iss  string
}

func newDeviceKey(iss string, n byte) deviceKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return deviceKey{kid: fmt.Sprint("kid-", n), priv: ed25519.NewKeyFromSeed(seed), iss: iss}
}

func (k deviceKey) jwk() string {
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q,"kid":%q,"alg":"EdDSA","use":"sig"}`, b64.EncodeToString(k.priv.Public().(ed25519.PublicKey)), k.kid)
}

// sign returns a device JWT. The function change may edit its header and claims.
func (k deviceKey) sign(nonce string, change func(header, claims map[string]any)) string {
	now := time.Now()
	header := map[string]any{"kid": k.kid, "alg": "EdDSA", "typ": "JWT"}
	claims := map[string]any{"aud": "plex.tv", "iss": k.iss, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "scope": "username,friendly_name"}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if change != nil {
		change(header, claims)
	}
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	signed := b64.EncodeToString(h) + "." + b64.EncodeToString(c)
	return signed + "." + b64.EncodeToString(ed25519.Sign(k.priv, []byte(signed)))
}

type plexClaims struct {
	Nonce, Thumbprint, Iss string
	Aud                    []string
	Iat, Exp               int64
	User                   map[string]any
}

// verify checks a Plex JWT against auth/keys and returns its claims.
func verify(t *testing.T, a *api, jwt string) (claims plexClaims, place int) {
	t.Helper()
	status, body := a.do(t, "GET", "/api/v2/auth/keys", "")
	require.Equal(t, http.StatusOK, status)
	keys := decode[struct {
		Keys []struct{ Kid, X, Kty, Crv string }
	}](t, body).Keys
	require.Len(t, keys, 2)
	parts := strings.Split(jwt, ".")
	require.Len(t, parts, 3, jwt)
	part := func(i int) []byte { b, err := b64.DecodeString(parts[i]); require.NoError(t, err); return b }
	header := decode[struct{ Kid, Alg, Typ string }](t, string(part(0)))
	assert.Equal(t, "EdDSA", header.Alg)
	place = -1
	for i, k := range keys {
		x, err := b64.DecodeString(k.X)
		require.NoError(t, err)
		if k.Kid == header.Kid && ed25519.Verify(x, []byte(parts[0]+"."+parts[1]), part(2)) {
			place = i
		}
	}
	return decode[plexClaims](t, string(part(1))), place
}

// signIn signs a device in with its key and returns its Plex JWT.
func signIn(t *testing.T, srv *plextest.Server, a *api, k deviceKey, u *plextest.User) string {
	t.Helper()
	status, body := a.do(t, "POST", "/api/v2/pins", `{"jwk":`+k.jwk()+`,"strong":true}`)
	require.Equal(t, http.StatusCreated, status, body)
	p := decode[pin](t, body)
	require.NoError(t, srv.Approve(p.Code, u))
	status, body = a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d?deviceJWT=%s", p.ID, url.QueryEscape(k.sign("", nil))), "")
	require.Equal(t, http.StatusOK, status, body)
	token := decode[pin](t, body).AuthToken
	require.NotNil(t, token)
	return *token
}

func nonce(t *testing.T, a *api) string {
	t.Helper()
	status, body := a.do(t, "GET", "/api/v2/auth/nonce", "")
	require.Equal(t, http.StatusOK, status, body)
	return decode[struct{ Nonce string }](t, body).Nonce
}

func exchange(t *testing.T, a *api, jwt string) (int, string) {
	t.Helper()
	status, body := a.do(t, "POST", "/api/v2/auth/token", `{"jwt":"`+jwt+`"}`)
	if status == http.StatusOK {
		return status, decode[map[string]string](t, body)["auth_token"]
	}
	return status, body
}

// device is a fake with the user alice, and a client with a device key.
type device struct {
	srv   *plextest.Server
	alice *plextest.User
	a     *api
	k     deviceKey
}

func newDevice(t *testing.T) device {
	srv := plextest.NewServer()
	t.Cleanup(srv.Close)
	a := newAPI(srv).from("device-1")
	return device{srv, srv.AddUser(plextest.User{Username: "alice"}), a, newDeviceKey("device-1", 1)}
}

func TestPinWithAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t)
		legacy := d.srv.IssueToken(d.alice, d.a.clientID)
		other := d.srv.IssueToken(d.alice, "device-2")
		_, body := d.a.do(t, "POST", "/api/v2/pins", `{"jwk":`+d.k.jwk()+`}`)
		p := decode[pin](t, body)
		assert.Len(t, p.Code, 4, "a PIN without strong has a short code")
		path := fmt.Sprintf("/api/v2/pins/%d", p.ID)
		look := func(query string) (int, *string) {
			time.Sleep(time.Second)
			status, body := d.a.do(t, "GET", path+query, "")
			if status != http.StatusOK {
				return status, nil
			}
			return status, decode[pin](t, body).AuthToken
		}
		status, token := look("?deviceJWT=" + d.k.sign("", nil))
		assert.Equal(t, http.StatusOK, status)
		assert.Nil(t, token)
		require.NoError(t, d.srv.Approve(p.Code, d.alice))
		status, _ = look("?deviceJWT=" + newDeviceKey("device-1", 2).sign("", nil))
		assert.Equal(t, http.StatusUnprocessableEntity, status, "a JWT of another key")
		status, token = look("")
		assert.Equal(t, http.StatusOK, status)
		assert.Nil(t, token, "no token without a device JWT")
		status, _ = d.a.as(legacy).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, http.StatusOK, status, "the long-lived token ends only with the first JWT")

		_, token = look("?deviceJWT=" + d.k.sign("", nil))
		require.NotNil(t, token)
		claims, place := verify(t, d.a, *token)
		assert.Equal(t, 1, place, "the key that signs comes second")
		assert.Equal(t, "plex.tv", claims.Iss)
		assert.Equal(t, []string{"plex.tv", "device-1"}, claims.Aud)
		assert.Equal(t, d.k.kid, claims.Thumbprint)
		assert.EqualValues(t, 604800, claims.Exp-claims.Iat)
		assert.EqualValues(t, d.alice.ID, claims.User["id"])
		assert.Equal(t, "alice", claims.User["username"])
		assert.Nil(t, claims.User["friendly_name"])
		assert.Contains(t, claims.User, "friendly_name")
		assert.NotContains(t, claims.User, "email", "the scope does not include it")

		status, _ = d.a.as(*token).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, http.StatusOK, status)
		status, _ = d.a.as(legacy).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, http.StatusUnauthorized, status, "a JWT ends the device's long-lived token")
		status, _ = d.a.from("device-2").as(other).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, http.StatusOK, status, "other devices keep their tokens")
		assert.Empty(t, d.srv.Violations())
	})
}

func TestExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t)
		old := signIn(t, d.srv, d.a, d.k, d.alice)
		n := nonce(t, d.a)
		assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$`, n)
		status, fresh := exchange(t, d.a, d.k.sign(n, nil))
		require.Equal(t, http.StatusOK, status, fresh)
		assert.NotEqual(t, old, fresh)
		claims, _ := verify(t, d.a, fresh)
		assert.Equal(t, n, claims.Nonce)
		status, _ = d.a.as(old).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, http.StatusOK, status, "the earlier JWT remains valid")
		status, _ = exchange(t, d.a, d.k.sign(n, nil))
		assert.Equal(t, http.StatusUnprocessableEntity, status, "a nonce works once")

		time.Sleep(8 * 24 * time.Hour)
		status, body := d.a.as(fresh).do(t, "GET", "/api/v2/user", "")
		assert.Equal(t, 498, status)
		assert.Contains(t, body, `"errors":`)
		status, body = exchange(t, d.a, d.k.sign(nonce(t, d.a), nil))
		assert.Equal(t, http.StatusOK, status, "past the end as well: %s", body)

		d.srv.SetQuirks(plextest.Quirks{RefreshEndsJWT: true})
		_, newer := exchange(t, d.a, d.k.sign(nonce(t, d.a), nil))
		assert.Equal(t, 401, statusOf(d.a.as(body).do(t, "GET", "/api/v2/user", "")))
		assert.Equal(t, 200, statusOf(d.a.as(newer).do(t, "GET", "/api/v2/user", "")))
		assert.Empty(t, d.srv.Violations())
	})
}

func TestExchangeRefusals(t *testing.T) {
	claim := func(name string, value any) func(_, claims map[string]any) {
		return func(_, claims map[string]any) { claims[name] = value }
	}
	header := func(name string, value any) func(header, _ map[string]any) {
		return func(header, _ map[string]any) { header[name] = value }
	}
	for name, test := range map[string]struct {
		jwt    func(d device, nonce string) string
		status int
		code   string
	}{
		"audience":       {func(d device, n string) string { return d.k.sign(n, claim("aud", "example.com")) }, 422, "1008"},
		"issuer":         {func(d device, n string) string { return d.k.sign(n, claim("iss", "device-2")) }, 422, "1097"},
		"expired":        {func(d device, n string) string { return d.k.sign(n, claim("exp", time.Now().Unix())) }, 422, "1008"},
		"from tomorrow":  {func(d device, n string) string { return d.k.sign(n, claim("iat", time.Now().Unix()+86400)) }, 422, "1008"},
		"no iat":         {func(d device, n string) string { return d.k.sign(n, claim("iat", nil)) }, 422, "1008"},
		"no nonce":       {func(d device, _ string) string { return d.k.sign("", nil) }, 422, "1008"},
		"own nonce":      {func(d device, _ string) string { return d.k.sign("7c415b56-8f48-488a-98ab-847ef4460442", nil) }, 422, "1008"},
		"stale nonce":    {func(d device, n string) string { time.Sleep(5 * time.Minute); return d.k.sign(n, nil) }, 422, "1008"},
		"kid":            {func(d device, n string) string { return d.k.sign(n, header("kid", "another")) }, 422, "1008"},
		"no kid":         {func(d device, n string) string { return d.k.sign(n, header("kid", nil)) }, 422, "1008"},
		"alg none":       {func(d device, n string) string { return d.k.sign(n, header("alg", "none")) }, 422, "1008"},
		"alg RS256":      {func(d device, n string) string { return d.k.sign(n, header("alg", "RS256")) }, 422, "1008"},
		"signature":      {func(d device, n string) string { j := d.k.sign(n, nil); return j[:len(j)-4] + "AAAA" }, 422, "1008"},
		"unsigned":       {func(d device, n string) string { j := d.k.sign(n, nil); return j[:strings.LastIndex(j, ".")+1] }, 422, "1008"},
		"garbage":        {func(device, string) string { return "garbage" }, 422, "1008"},
		"missing":        {func(device, string) string { return "" }, 400, "1004"},
		"another's key":  {func(_ device, n string) string { return newDeviceKey("device-1", 7).sign(n, nil) }, 422, "1008"},
		"clock is wrong": {func(d device, n string) string { d.srv.SetClock(time.Hour); return d.k.sign(n, nil) }, 422, "1008"},
		"revoked device": {func(d device, n string) string { d.srv.RevokeDevice("device-1"); return d.k.sign(n, nil) }, 401, "1001"},
		"revoked user":   {func(d device, n string) string { d.srv.Revoke(d.alice); return d.k.sign(n, nil) }, 401, "1001"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(t)
				old := signIn(t, d.srv, d.a, d.k, d.alice)
				status, body := exchange(t, d.a, test.jwt(d, nonce(t, d.a)))
				assert.Equal(t, test.status, status)
				assert.Contains(t, body, `"code":`+test.code)
				if test.status == 401 {
					assert.Equal(t, 401, statusOf(d.a.as(old).do(t, "GET", "/api/v2/user", "")))
					again := signIn(t, d.srv, d.a, d.k, d.alice)
					assert.Equal(t, 200, statusOf(d.a.as(again).do(t, "GET", "/api/v2/user", "")), "a new sign-in authorizes the device again")
				}
				assert.Empty(t, d.srv.Violations())
			})
		})
	}
}

func TestNoncesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t)
		for range 20 {
			nonce(t, d.a)
		}
		status, body := d.a.do(t, "GET", "/api/v2/auth/nonce", "")
		assert.Equal(t, http.StatusTooManyRequests, status)
		assert.Contains(t, body, "1003")
		nonce(t, d.a.from("device-2"))
		time.Sleep(time.Minute)
		nonce(t, d.a)
		r := d.a.new(t, "GET", "/api/v2/auth/nonce", "")
		r.Header.Del("X-Plex-Client-Identifier")
		resp, _ := d.a.send(t, r)
		assert.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode, "not 400")
	})
}

func TestRegisterAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t)
		legacy := d.srv.IssueToken(d.alice, "device-1")
		post := func(a *api, body string) int { return statusOf(a.do(t, "POST", "/api/v2/auth/jwk", body)) }
		assert.Equal(t, 401, post(d.a, `{"jwk":`+d.k.jwk()+`}`))
		assert.Equal(t, 400, post(d.a.as(legacy), `{"jwk":{"kty":"RSA"}}`))
		assert.Equal(t, 400, post(d.a.as(legacy), `not json`))
		assert.Equal(t, 201, post(d.a.as(legacy), `{"jwk":`+d.k.jwk()+`}`))
		assert.Equal(t, 422, post(d.a.as(legacy), `{"jwk":`+d.k.jwk()+`}`), "the device itself has registered this key")
		status, jwt := exchange(t, d.a, d.k.sign(nonce(t, d.a), nil))
		require.Equal(t, 200, status, jwt)
		assert.Equal(t, 401, statusOf(d.a.as(legacy).do(t, "GET", "/api/v2/user", "")), "the long-lived token has ended")

		other := d.a.from("device-2")
		assert.Equal(t, 422, post(other.as(d.srv.IssueToken(d.alice, "device-2")), `{"jwk":`+d.k.jwk()+`}`), "another device has registered this key")
		status, body := other.do(t, "POST", "/api/v2/pins", `{"jwk":`+d.k.jwk()+`}`)
		assert.Equal(t, 422, status)
		assert.Contains(t, body, "Thumbprint has already been taken")
		assert.Equal(t, 201, statusOf(other.do(t, "POST", "/api/v2/pins", `{"jwk":`+newDeviceKey("device-2", 3).jwk()+`}`)))
		assert.Equal(t, 400, statusOf(other.do(t, "POST", "/api/v2/pins", `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"k"}}`)))
		assert.Empty(t, d.srv.Violations())
		post(other.as(d.srv.Token(d.alice, "device-2")), `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k","d":"TEST_private"}}`)
		assert.Equal(t, []string{"POST plex.tv/api/v2/auth/jwk: a private key is sent"}, d.srv.Violations())
	})
}

func TestKeysRotate(t *testing.T) {
	d := newDevice(t)
	jwt := signIn(t, d.srv, d.a, d.k, d.alice)
	for _, want := range []int{1, 0, -1} {
		_, place := verify(t, d.a, jwt)
		assert.Equal(t, want, place)
		d.srv.RotateKeys()
	}
	_, place := verify(t, d.a, signIn(t, d.srv, d.a, d.k, d.alice))
	assert.Equal(t, 1, place)
	resp, err := d.srv.Client().Get("https://plex.tv/api/v2/auth/keys.json")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode, "the call needs no headers")
	assert.Empty(t, d.srv.Violations())
}

func TestJWTsAtMediaServers(t *testing.T) {
	d := newDevice(t)
	bob := d.srv.AddUser(plextest.User{Username: "bob"})
	box := d.srv.AddMediaServer(d.alice, plextest.MediaServer{Connections: []plextest.Connection{{Address: "192.168.1.5", Local: true}}})
	modern := d.srv.AddMediaServer(d.alice, plextest.MediaServer{AcceptsJWT: true, Connections: []plextest.Connection{{Address: "192.168.1.6", Local: true}}})
	shared := d.srv.AddMediaServer(bob, plextest.MediaServer{SharedWith: []*plextest.User{d.alice}})
	jwt := signIn(t, d.srv, d.a, d.k, d.alice)
	a := d.a.as(jwt)
	status, body := a.do(t, "GET", allKinds, "")
	require.Equal(t, http.StatusOK, status)
	got := decode[[]resource](t, body)
	assert.Equal(t, jwt, *got[0].AccessToken, "the user's own server gets the JWT itself")
	assert.Equal(t, d.srv.ServerToken(d.alice, shared), *got[2].AccessToken, "a shared server gets an opaque token")

	status, body = a.do(t, "GET", modern.Connections[0].URI+"/library/sections", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "Films")
	assert.Empty(t, d.srv.Violations())
	status, body = a.do(t, "GET", box.Connections[0].URI+"/library/sections", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Contains(t, body, "<html>")
	assert.Empty(t, d.srv.Violations(), "the first JWT breaks no rule")
	_, _ = a.do(t, "GET", box.Connections[0].URI+"/library/sections", "")
	require.Len(t, d.srv.Violations(), 1)
	assert.Contains(t, d.srv.Violations()[0], "a JWT is sent to a media server that has refused one")

	status, body = a.do(t, "POST", "/api/v2/home/users/"+d.alice.UUID+"/switch", "")
	assert.Equal(t, http.StatusCreated, status)
	opaque := decode[map[string]any](t, body)["authToken"].(string)
	assert.NotContains(t, opaque, ".")
	assert.Equal(t, 200, statusOf(a.as(opaque).do(t, "GET", "/api/v2/user", "")))

	assert.Equal(t, 204, statusOf(a.do(t, "DELETE", "/api/v2/users/signout", "")))
	status, _ = exchange(t, d.a, d.k.sign(nonce(t, d.a), nil))
	assert.Equal(t, http.StatusUnauthorized, status, "a sign-out removes the device")
}

// TestForeignDeviceJWT uses the key of RFC 8037 and a device JWT that another
// implementation signed with it.
func TestForeignDeviceJWT(t *testing.T) {
	const vector = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsifQ." +
		"eyJhdWQiOiJwbGV4LnR2IiwiaXNzIjoiMGYyZDZlMWMtY2xpZW50LWlkIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3NjcyMjU5MDAsIm5vbmNlIjoiN2M0MTViNTYtOGY0OC00ODhhLTk4YWItODQ3ZWY0NDYwNDQyIiwic2NvcGUiOiJ1c2VybmFtZSxlbWFpbCxmcmllbmRseV9uYW1lIn0." +
		"MG0Pn5SkJG4QQxhE9XBFUSD5B1c4qaWZiObub1Wx96b-ACSw0BOdQmjwjM_jkYhhw-evVHH11waU09KqaunUCQ"
	synctest.Test(t, func(t *testing.T) {
		srv := plextest.NewServer()
		defer srv.Close()
		srv.SetClock(time.Until(time.Unix(1767225600, 0)))
		alice := srv.AddUser(plextest.User{Username: "alice"})
		a := newAPI(srv).from("0f2d6e1c-client-id")
		_, body := a.do(t, "POST", "/api/v2/pins", `{"jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","alg":"EdDSA"}}`)
		p := decode[pin](t, body)
		require.NoError(t, srv.Approve(p.Code, alice))
		_, body = a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d?deviceJWT=%s", p.ID, vector), "")
		token := decode[pin](t, body).AuthToken
		require.NotNil(t, token)
		claims, _ := verify(t, a, *token)
		assert.EqualValues(t, 1767225600, claims.Iat)
		assert.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", claims.Thumbprint)
		assert.Equal(t, "alice@example.com", claims.User["email"])
		time.Sleep(5 * time.Minute)
		assert.Equal(t, 422, statusOf(a.do(t, "GET", fmt.Sprintf("/api/v2/pins/%d?deviceJWT=%s", p.ID, vector), "")), "the JWT has expired")
	})
}
