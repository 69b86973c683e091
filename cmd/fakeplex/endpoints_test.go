package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/plextest"
)

// Content types.
const (
	asJSON = "application/json; charset=utf-8"
	asXML  = "application/xml; charset=utf-8"
	asHTML = "text/html; charset=utf-8"
)

// A row is one request that curl sends, and the answer that it expects.
type row struct {
	args   []string // arguments of curl; the URL is the last
	status int
	kind   string // Content-Type, "" for none
	body   string // text that the body contains
}

// headers returns the complete set of expected headers for an answer, with a
// regular expression for each value.
//
// Three kinds of headers that plex.tv was seen to send are missing on purpose.
// Access-Control-Allow-Origin and Access-Control-Expose-Headers need -cors, so
// that a client that depends on them fails without it. No recording shows the
// name or the purpose of the session cookie. The recorded 429s have no
// Retry-After, so only a fault can add one.
func (r row) headers(path string) map[string]string {
	h := map[string]string{"Date": `\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`}
	if r.kind != "" {
		h["Content-Type"] = regexp.QuoteMeta(r.kind)
	}
	if r.status != http.StatusNoContent {
		h["Content-Length"] = `\d+`
	}
	if strings.HasPrefix(path, "/api/") {
		h["Vary"] = "Origin"
		h["X-Request-Id"] = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
		h["X-Runtime"] = `\d+\.\d+`
		if r.status == http.StatusOK || r.status == http.StatusCreated {
			h["Cache-Control"] = "max-age=0, private, must-revalidate"
			h["Etag"] = `W/"[0-9a-f]{32}"`
		}
	}
	if strings.HasPrefix(path, "/api/v2/pins") && r.status == http.StatusCreated {
		h["Location"] = `http://127\.0\.0\.1:\d+/api/v2/pins/\d+`
	}
	if r.kind == asHTML {
		h["Cache-Control"], h["Content-Security-Policy"] = "no-store", ".+"
	}
	return h
}

// check sends the request and compares the answer with the row, including every
// header. It returns the body.
func (r row) check(t *testing.T) string {
	t.Helper()
	url := r.args[len(r.args)-1]
	resp, body := curl(t, r.args...)
	name := strings.Join(r.args, " ")
	assert.Equal(t, r.status, resp.StatusCode, name)
	assert.Contains(t, body, r.body, name)
	path := "/" + strings.SplitN(url, "/", 4)[3]
	want := r.headers(path)
	assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(resp.Header)), name)
	for header, value := range want {
		assert.Regexp(t, "^("+value+")$", strings.Join(resp.Header.Values(header), "|"), "%s of %s", header, name)
	}
	return body
}

// signIn signs in a user of the fake on the link page, as a person does.
func signIn(t *testing.T, base, title string) (token, uuid string) {
	t.Helper()
	pin := ask(t, "POST", base+"/api/v2/pins")
	_, page := curl(t, base+"/link")
	m := regexp.MustCompile(`value="([0-9a-f]{16})"[^>]*> <label[^>]*>` + title).FindStringSubmatch(page)
	require.NotNil(t, m, page)
	resp, _ := curl(t, "-d", "code="+pin.Code, "-d", "user="+m[1], base+"/link")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	pin = ask(t, "GET", fmt.Sprintf("%s/api/v2/pins/%d", base, pin.ID))
	require.NotNil(t, pin.AuthToken)
	return *pin.AuthToken, m[1]
}

// TestEndpoints compares the status and all headers of every endpoint.
func TestEndpoints(t *testing.T) {
	needCurl(t)
	out, stop, ended := start(t, "-q")
	require.True(t, out.Scan())
	base := out.Text()
	token, _ := signIn(t, base, "alice")
	_, kids := signIn(t, base, "Kids")
	signed := "X-Plex-Token: " + token
	const id = "X-Plex-Client-Identifier: test-1" // the token belongs to it
	api := func(args ...string) []string {        // the last argument is the path
		args[len(args)-1] = base + args[len(args)-1]
		return append([]string{"-H", "Accept: application/json", "-H", "X-Plex-Product: My App"}, args...)
	}
	own := func(args ...string) []string { return api(append([]string{"-H", id}, args...)...) }
	as := func(args ...string) []string { return own(append([]string{"-H", signed}, args...)...) }
	plain := func(args ...string) []string { return append(args[:len(args)-1:len(args)-1], base+args[len(args)-1]) }

	var pin struct {
		ID   int64
		Code string
	}
	body := row{own("-X", "POST", "/api/v2/pins"), 201, asJSON, `"expiresIn":900`}.check(t)
	require.NoError(t, json.Unmarshal([]byte(body), &pin))
	var resources []struct {
		AccessToken string
		Connections []struct{ URI string }
	}
	body = row{as("/api/v2/resources?includeHttps=1&includeRelay=1&includeIPv6=1"), 200, asJSON, `"provides":"server"`}.check(t)
	require.NoError(t, json.Unmarshal([]byte(body), &resources))
	box, boxToken := resources[0].Connections[0].URI, "X-Plex-Token: "+resources[0].AccessToken

	jwk := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q,"kid":"k1","alg":"EdDSA","use":"sig"}`, encode(testKey.Public().(ed25519.PublicKey)))
	const jsonBody = "Content-Type: application/json"
	pinPath := fmt.Sprintf("/api/v2/pins/%d", pin.ID)
	for _, r := range []row{
		// PINs
		{own("-X", "POST", "/api/v2/pins?strong=true"), 201, asJSON, `"expiresIn":1800`},
		{api("-X", "POST", "/api/v2/pins"), 400, asJSON, `{"errors":[{"code":1000,"message":"X-Plex-Client-Identifier is missing","status":400}]}`},
		{own(pinPath), 200, asJSON, `"authToken":null`},
		{own("/api/v2/pins/1"), 404, asJSON, `{"errors":[{"code":1020,"message":"Code not found or expired","status":404}]}`},
		{api("-H", "X-Plex-Client-Identifier: another", pinPath), 404, asJSON, `"code":1020`},
		{api(pinPath), 400, asJSON, `"code":1000`},
		{plain("/api/v2/pins/qr/" + pin.Code), 200, "image/png", "PNG"},
		{own("-X", "PUT", "-d", "code="+pin.Code, "/api/v2/pins/link"), 401, asJSON, `"code":1001`},
		{as("-X", "PUT", "-d", "code=NONE", "/api/v2/pins/link"), 404, asJSON, `"code":1020`},
		{as("-X", "PUT", "-d", "code="+pin.Code, "/api/v2/pins/link"), 204, "", ""},
	} {
		r.check(t)
	}
	// The approval ended the earlier token of this account and identifier.
	row{as("/api/v2/user"), 401, asJSON, `{"errors":[{"code":1001,"message":"User could not be authenticated","status":401}]}`}.check(t)
	var approved struct{ AuthToken string }
	require.NoError(t, json.Unmarshal([]byte(row{own(pinPath), 200, asJSON, `"newRegistration":false`}.check(t)), &approved))
	signed = "X-Plex-Token: " + approved.AuthToken

	for _, r := range []row{
		// the account
		{as("/api/v2/user"), 200, asJSON, `"username":"alice"`},
		{api("-H", signed, "/api/v2/user"), 400, asJSON, `"code":1000`},
		{as("/api/v2/ping"), 200, asJSON, `{"pong":true}`},
		{own("/api/v2/ping"), 401, asJSON, `"code":1001`},
		{as("/api/v2/home/users"), 200, asJSON, `"title":"Kids"`},
		{own("/api/v2/home/users"), 401, asJSON, `"code":1001`},
		{as("-X", "POST", "/api/v2/home/users/"+kids+"/switch?pin=1234"), 201, asJSON, `"authToken":"FAKE_`},
		{as("-X", "POST", "/api/v2/home/users/"+kids+"/switch?pin=9"), 403, asJSON, `{"errors":[{"code":1041,"message":"A valid PIN is required to perform this action","status":403}]}`},
		{as("-X", "POST", "/api/v2/home/users/12345/switch"), 404, asJSON, `"code":1002`},
		{own("-X", "POST", "/api/v2/home/users/"+kids+"/switch?pin=1234"), 401, asJSON, `"code":1001`},
		{own("/api/v2/resources"), 401, asJSON, `"code":1001`},

		// device keys
		{plain("/api/v2/auth/keys"), 200, asJSON, `"kty":"OKP"`},
		{own("/api/v2/auth/nonce"), 200, asJSON, `{"nonce":"`},
		{api("/api/v2/auth/nonce"), 422, asJSON, `"code":1000`},
		{own("-H", jsonBody, "-d", `{"jwk":`+jwk+`}`, "/api/v2/auth/jwk"), 401, asJSON, `"code":1001`},
		{as("-H", jsonBody, "-d", `{"jwk":{}}`, "/api/v2/auth/jwk"), 400, asJSON, `"code":1004`},
		{as("-H", jsonBody, "-d", `{"jwk":`+jwk+`}`, "/api/v2/auth/jwk"), 201, asJSON, ""},
		{as("-H", jsonBody, "-d", `{"jwk":`+jwk+`}`, "/api/v2/auth/jwk"), 422, asJSON, "taken"},
		{own("-H", jsonBody, "-d", `{}`, "/api/v2/auth/token"), 400, asJSON, `"code":1004`},
		{own("-H", jsonBody, "-d", `{"jwt":"a.b.c"}`, "/api/v2/auth/token"), 422, asJSON, `"errors":[{"code":`},

		// the first API
		{plain("-H", signed, "/users/account"), 200, asXML, `authenticationToken="`},
		{plain("-H", signed, "/users/account.json"), 200, asJSON, `{"user":{`},
		{plain("-H", signed, "/api/resources?includeHttps=1"), 200, asXML, `<Device name="Box"`},
		{as("/api/home/users"), 200, asXML, `<User id="`},
		{plain("/api/home/users"), 401, asXML, "<errors><error>"},
		{as("/api/users"), 200, asXML, `username="bob"`},
		{plain("/api/users"), 401, asXML, "<errors><error>"},
		{plain("-H", signed, "/devices.xml"), 200, asXML, `clientIdentifier="test-1"`},
		{plain("-H", signed, "/devices.json"), 200, asJSON, `"clientIdentifier":"test-1"`},
		{plain("/devices.xml"), 401, asXML, "<errors><error>"},
		{as("-X", "DELETE", "/devices/1.xml"), 404, asXML, "Not Found"},
		{as("/api/servers"), 200, asXML, `<Server accessToken="`},
		{as("/api/servers/none"), 404, asXML, "Not Found"},
		{as("/api/invites/requested"), 200, asXML, `size="0"`},
		{plain("-H", signed, "/pms/resources.xml"), 200, asXML, `<Device name="Box"`},
		{as("/api/v2/user/webhooks"), 200, asJSON, "[]"},

		// calls that do not exist; the fake has no sign-in by password
		{own("/api/v2/nothing"), 404, asJSON, `"code":1002`},
		{own("-d", "login=alice&password=TEST", "/api/v2/users/signin"), 404, asJSON, `"code":1002`},
		{own("-X", "PATCH", "/api/v2/user"), 404, asJSON, `"code":1002`},

		// the media server
		{[]string{"-H", "Accept: application/json", box + "/identity"}, 200, "application/json", `"machineIdentifier":"`},
		{[]string{box + "/identity"}, 200, asXML, `<MediaContainer size="0" claimed="1" machineIdentifier="`},
		{[]string{"-H", boxToken, box + "/accounts"}, 200, asXML, `<Account id="1" key="/accounts/1" name="alice"`},
		{[]string{box + "/accounts"}, 401, "text/html", `<html><head><title>Unauthorized</title></head><body><h1>401 Unauthorized</h1></body></html>`},

		// the pages
		{plain("/link"), 200, asHTML, "<form"},
		{plain("/pin"), 200, asHTML, "<form"},
		{plain("/auth"), 200, asHTML, "<form"},
	} {
		r.check(t)
	}

	// The first exchange of a device JWT for a Plex JWT ends the long-lived token.
	_, body = curl(t, own("/api/v2/auth/nonce")...)
	var auth struct{ Nonce string }
	require.NoError(t, json.Unmarshal([]byte(body), &auth))
	claims := fmt.Sprintf(`{"aud":"plex.tv","iss":"test-1","iat":%d,"exp":%d,"nonce":%q,"scope":"username"}`, time.Now().Unix(), time.Now().Unix()+300, auth.Nonce)
	jwt := encode([]byte(`{"alg":"EdDSA","typ":"JWT","kid":"k1"}`)) + "." + encode([]byte(claims))
	jwt += "." + encode(ed25519.Sign(testKey, []byte(jwt)))
	exchange := own("-H", jsonBody, "-d", `{"jwt":"`+jwt+`"}`, "/api/v2/auth/token")
	row{exchange, 200, asJSON, `{"auth_token":"eyJ`}.check(t)
	row{exchange, 422, asJSON, `"code":1008`}.check(t) // a nonce works once
	row{as("/api/v2/user"), 401, asJSON, `"code":1001`}.check(t)

	token, _ = signIn(t, base, "bob")
	signed = "X-Plex-Token: " + token
	row{as("-X", "DELETE", "/api/v2/users/signout"), 204, "", ""}.check(t)
	row{as("-X", "DELETE", "/api/v2/users/signout"), 401, asJSON, `"code":1001`}.check(t)
	stop()
	assert.NoError(t, <-ended)
}

// testKey is the public example key of RFC 8037.
var testKey = func() ed25519.PrivateKey {
	seed, _ := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	return ed25519.NewKeyFromSeed(seed)
}()

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// The fake reads each value from every place in a request where plex.tv does.
func TestRequests(t *testing.T) {
	needCurl(t)
	out, stop, ended := start(t, "-q")
	require.True(t, out.Scan())
	base := out.Text()
	token, _ := signIn(t, base, "alice")
	const accept, id = "Accept: application/json", "X-Plex-Client-Identifier: test-1"
	for _, r := range []row{
		// The identity: in a header, in the query, in a form, also with GET.
		{[]string{"-H", accept, "-X", "POST", base + "/api/v2/pins?X-Plex-Client-Identifier=test-1&X-Plex-Product=My+App"}, 201, asJSON, `"product":"My App","trusted":false`},
		{[]string{"-H", accept, "-d", "X-Plex-Client-Identifier=test-1&X-Plex-Product=My+App", base + "/api/v2/pins"}, 201, asJSON, `"product":"My App"`},
		{[]string{"-H", accept, "-H", "x-plex-client-identifier: test-1", "-X", "POST", base + "/api/v2/pins"}, 201, asJSON, `"product":"0"`},
		{[]string{"-H", accept, base + "/api/v2/user?X-Plex-Client-Identifier=test-1&X-Plex-Token=" + token}, 200, asJSON, `"username":"alice"`},
		{[]string{"-H", accept, "-X", "GET", "-d", "X-Plex-Client-Identifier=test-1&X-Plex-Token=" + token, base + "/api/v2/user"}, 200, asJSON, `"username":"alice"`},

		// The format: by an exact Accept header, or by the path's suffix.
		{[]string{"-H", id, "-X", "POST", base + "/api/v2/pins.json"}, 201, asJSON, `{"id":`},
		{[]string{"-H", id, "-H", accept, "-X", "POST", base + "/api/v2/pins.xml"}, 201, asXML, `<pin id="`},
		{[]string{"-H", id, "-X", "POST", base + "/api/v2/pins"}, 201, asXML, `<pin id="`},
		{[]string{"-H", id, "-H", "Accept;", "-X", "POST", base + "/api/v2/pins"}, 201, asXML, `authToken="" newRegistration=""`},
		{[]string{"-H", id, base + "/api/v2/pins/1"}, 404, asXML, `<errors><error code="1020" message="Code not found or expired" status="404"/></errors>`},
		{[]string{base + "/api/v2/user"}, 400, asXML, `<error code="1000"`},

		// The request for a strong code: in the query, in a form, in JSON, or in two.
		{[]string{"-H", accept, "-H", id, "-d", "strong=true", base + "/api/v2/pins"}, 201, asJSON, `"expiresIn":1800`},
		{[]string{"-H", accept, "-H", id, "-H", "Content-Type: application/json", "-d", `{"strong":true}`, base + "/api/v2/pins"}, 201, asJSON, `"expiresIn":1800`},
		{[]string{"-H", accept, "-H", id, "-H", "Content-Type: application/json", "-d", `{"strong":true}`, base + "/api/v2/pins?strong=true"}, 201, asJSON, `"expiresIn":1800`},
		{[]string{"-H", accept, "-H", id, "-H", "Content-Type: application/json", "-d", `{`, base + "/api/v2/pins"}, 400, asJSON, `"code":1004`},
	} {
		r.check(t)
	}

	// The fake limits nonces to 20 a minute; plex.tv's own limit is not known.
	nonce := row{[]string{"-H", accept, "-H", id, base + "/api/v2/auth/nonce"}, 200, asJSON, `{"nonce":"`}
	for range 20 {
		nonce.check(t)
	}
	nonce.status, nonce.body = 429, `{"errors":[{"code":1003,"message":"API rate limit exceeded","status":429}]}`
	nonce.check(t)
	stop()
	assert.NoError(t, <-ended)
}

// A fault can answer 429 without Retry-After, and with both of its forms.
func TestRetryAfter(t *testing.T) {
	needCurl(t)
	fake := plextest.NewServer()
	defer fake.Close()
	for _, after := range []string{"", "7", "Fri, 31 Dec 2049 23:59:59 GMT"} {
		f := plextest.Fault{Code: 1003}
		if after != "" {
			f.Header = http.Header{"Retry-After": {after}}
		}
		fake.Inject(f)
		resp, body := curl(t, plex("-X", "POST", fake.URL()+"/api/v2/pins")...)
		assert.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		assert.Equal(t, after, resp.Header.Get("Retry-After"))
		assert.Equal(t, `{"errors":[{"code":1003,"message":"API rate limit exceeded","status":429}]}`, body)
	}
}
