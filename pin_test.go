package plexauth_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// A login with plex.tv's recorded answers succeeds.
func TestRecordedLogin(t *testing.T) {
	p, mock := mocked(t)
	mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	mock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(200, payload(t, "pin-approved.json")))
	mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", jsonAnswer(200, payload(t, "user.json")))
	pin, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	assert.Equal(t, int64(373040866), pin.ID)
	assert.Equal(t, "7RQZ", pin.Code)
	s, err := p.Finish(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
	v := mustSettings(t, p)
	assert.Equal(t, "TEST_account-token01", v.AccountToken.Secret())
	assert.Equal(t, "alice", v.Username)
	assert.Equal(t, "12345", v.CloudAccountID)
}

// G3: a short code is shown for plex.tv/link alone, and a long one for the web page
// alone.
func TestLinks(t *testing.T) {
	w := newWorld(t, func(o *plexauth.Options) { o.Product, o.ClientID = "Tom & Jerry's App", "id with + and &" })
	short, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	assert.Equal(t, "https://plex.tv/pin", short.VerificationURI())
	assert.Equal(t, "https://plex.tv/link/?pin="+short.Code, short.VerificationURIComplete())
	assert.Equal(t, short.VerificationURIComplete(), short.URL())
	assert.Empty(t, short.AuthURL(), "G3: a short code is never shown for the web page")

	strong, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true, ForwardURL: "https://app.example/back?a=1&b=two words"})
	require.NoError(t, err)
	assert.Len(t, strong.Code, 25)
	assert.Equal(t, "https://app.plex.tv/auth#?clientID=id%20with%20%2B%20and%20%26&code="+strong.Code+
		"&context%5Bdevice%5D%5Bproduct%5D=Tom%20%26%20Jerry%27s%20App&forwardUrl=https%3A%2F%2Fapp.example%2Fback%3Fa%3D1%26b%3Dtwo%20words", strong.AuthURL())
	assert.Equal(t, strong.AuthURL(), strong.URL())
	assert.Empty(t, strong.VerificationURI(), "G3: a long code is never shown for plex.tv/link")
	assert.Empty(t, strong.VerificationURIComplete())
	for _, pin := range []*plexauth.Pin{short, strong} {
		assert.NotContains(t, pin.URL(), fmt.Sprint(pin.ID))
	}
}

// The links lead to BaseURL if that is set.
func TestLinksOfBaseURL(t *testing.T) {
	plex := plextest.NewServer()
	defer plex.Close()
	p, err := plexauth.New(plexauth.Options{Product: "My App", BaseURL: plex.URL()})
	require.NoError(t, err)
	pin, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	assert.Equal(t, plex.URL()+"/link/?pin="+pin.Code, pin.URL())
	pin, err = p.Start(t.Context(), plexauth.PinOptions{Strong: true})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(pin.URL(), plex.URL()+"/auth#?clientID="))
}

// A ForwardURL that a browser should not follow is refused, without a request.
func TestForwardURL(t *testing.T) {
	w := newWorld(t)
	for _, o := range []plexauth.PinOptions{
		{ForwardURL: "https://app.example/"}, // without Strong
		{Strong: true, ForwardURL: "app://back"},
		{Strong: true, ForwardURL: "javascript:alert(1)"},
		{Strong: true, ForwardURL: "/relative"},
		{Strong: true, ForwardURL: "https://user:pw@app.example/"},
		{Strong: true, ForwardURL: "https://app.example/%zz"},
		{Strong: true, ForwardURL: "https://app.example/\xff"}, // it would be another one in the store
	} {
		_, err := w.Start(t.Context(), o)
		assert.ErrorContains(t, err, "ForwardURL", o.ForwardURL)
	}
	assert.Empty(t, w.plex.Requests())
}

// A PIN's QR code is an SVG image.
func TestQRCode(t *testing.T) {
	w := newWorld(t)
	for _, strong := range []bool{false, true} {
		pin, err := w.Start(t.Context(), plexauth.PinOptions{Strong: strong})
		require.NoError(t, err)
		svg, err := pin.QRCode()
		require.NoError(t, err)
		var doc struct {
			XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
			Paths   []struct {
				D string `xml:"d,attr"`
			} `xml:"path"`
		}
		require.NoError(t, xml.Unmarshal(svg, &doc))
		require.Len(t, doc.Paths, 2)
		assert.Greater(t, strings.Count(doc.Paths[1].D, "M"), 100)
		assert.NotContains(t, string(svg), "style")
	}
}

// G3: no malformed answer reaches a URL, a person or the store.
func TestOnlyRealPINs(t *testing.T) {
	strong := payload(t, "pin-strong-created.json")
	for name, tc := range map[string]struct {
		status int
		body   string
		strong bool
	}{
		"XML":                {201, payload(t, "pin-created.xml"), false},
		"HTML":               {200, "<!DOCTYPE html><title>plex</title>", false},
		"empty":              {201, "", false},
		"empty object":       {201, "{}", false},
		"null":               {201, "null", false},
		"list":               {201, "[]", false},
		"error with 200":     {200, payload(t, "error-1003-rate-limit.json"), false},
		"error and PIN":      {200, `{"errors":[{"code":1007}],"id":1,"code":"ABCD"}`, false},
		"id 0":               {201, `{"id":0,"code":"ABCD","expiresIn":900}`, false},
		"id negative":        {201, `{"id":-4,"code":"ABCD"}`, false},
		"id a word":          {201, `{"id":"undefined","code":"ABCD"}`, false},
		"no code":            {201, `{"id":5,"code":null}`, false},
		"code with markup":   {201, `{"id":5,"code":"<b>"}`, false},
		"code with space":    {201, `{"id":5,"code":"AB CD"}`, false},
		"long where short":   {201, strong, false},
		"short where strong": {201, payload(t, "pin-created.json"), true},
		"truncated":          {201, payload(t, "pin-created.json")[:200], false},
		"204":                {204, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, mock := mocked(t)
			mock.RegisterResponder("POST", `=~^`+pinsURL, jsonAnswer(tc.status, tc.body))
			pin, err := p.Start(t.Context(), plexauth.PinOptions{Strong: tc.strong})
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			var e *plexauth.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.status, e.StatusCode)
			assert.Nil(t, pin)
			s, err := p.Status(t.Context())
			require.NoError(t, err)
			assert.Nil(t, s.Pending)
		})
	}
}

// G4: a change in a field that the library does not need does not break a login.
func TestDrift(t *testing.T) {
	created, approved, user := payload(t, "pin-created.json"), payload(t, "pin-approved.json"), payload(t, "user.json")
	drifted := func(t *testing.T, doc, field string, value any) string {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(doc), &m))
		if value == nil {
			delete(m, field)
		} else {
			m[field] = value
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		return string(b)
	}
	var fields []string
	for _, doc := range []string{created, user} {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(doc), &m))
		for field := range m {
			if field != "id" && field != "code" && field != "authToken" {
				fields = append(fields, field)
			}
		}
	}
	login := func(t *testing.T, createStatus int, created, approved, user, token string) {
		for _, open := range []func(*testing.T) (*plexauth.PlexAuth, *httpmock.MockTransport){mocked, linkedMock} { // a first login, and another one
			p, mock := open(t)
			mock.RegisterResponder("POST", pinsURL, jsonAnswer(createStatus, created))
			mock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(200, approved))
			mock.RegisterResponder("GET", "https://plex.tv/api/v2/user", jsonAnswer(200, user))
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			s, err := p.Finish(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			v := mustSettings(t, p)
			assert.Equal(t, token, v.AccountToken.Secret())
			assert.Equal(t, "12345", v.CloudAccountID)
		}
	}
	for _, field := range fields {
		for name, value := range map[string]any{
			"absent": nil, "null": json.RawMessage("null"), "number": 7, "text": "x", "list": []int{1}, "object": map[string]int{"a": 1}, "true": true,
		} {
			t.Run(field+" "+name, func(t *testing.T) {
				login(t, 201, drifted(t, created, field, value), drifted(t, approved, field, value), drifted(t, user, field, value), "TEST_account-token01")
			})
		}
	}
	t.Run("200 for 201", func(t *testing.T) { login(t, 200, created, approved, user, "TEST_account-token01") })
	t.Run("ids as text", func(t *testing.T) {
		login(t, 201, drifted(t, created, "id", "373040866"), drifted(t, approved, "id", "373040866"), drifted(t, user, "id", "12345"), "TEST_account-token01")
	})
	for _, token := range []string{"x", "TEST_with.dots-and_more", "TEST_like.a.JWT", strings.Repeat("TEST_long", 100)} {
		t.Run("token of another form", func(t *testing.T) { login(t, 201, created, drifted(t, approved, "authToken", token), user, token) })
	}
}

// G4: a login works with each quirk of the fake, and with all of them.
func TestQuirks(t *testing.T) {
	for name, q := range map[string]plextest.Quirks{
		"201 is 200": {Create200: true}, "ids as text": {StringIDs: true}, "nulls": {NullOptionals: true}, "new fields": {ExtraFields: true},
		"2019": {OldShape: true}, "no dates": {OmitDates: true}, "long tokens": {LongTokens: true}, "no status in errors": {OmitErrorStatus: true},
		"read once": {ConsumeOnRead: true},
		"all":       {Create200: true, StringIDs: true, NullOptionals: true, ExtraFields: true, OmitDates: true, LongTokens: true, OmitErrorStatus: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.plex.SetQuirks(q)
			pin, err := w.Start(t.Context(), plexauth.PinOptions{})
			require.NoError(t, err)
			require.NoError(t, w.plex.Approve(pin.Code, w.alice))
			s, err := w.Finish(t.Context())
			require.NoError(t, err)
			assert.True(t, s.Connected)
			assert.Equal(t, fmt.Sprint(w.alice.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
		})
	}
}

// Several answers to a look mean that the PIN is still pending.
func TestPendingAnswers(t *testing.T) {
	for _, body := range []string{payload(t, "pin-pending.json"), `{"id":373040866,"authToken":""}`, `{"id":"373040866"}`, `{}`} {
		p, mock := mocked(t)
		mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
		mock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(200, body))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		s, err := p.Finish(t.Context())
		require.NoError(t, err)
		assert.False(t, s.Connected)
		assert.NotNil(t, s.Pending)
	}
}

// A malformed token in the answer to a look is not saved.
func TestMalformedTokens(t *testing.T) {
	for _, body := range []string{
		`{"id":373040866,"authToken":{"secret":"TEST_x"}}`, `{"id":373040866,"authToken":12}`, `{"id":373040866,"authToken":true}`,
		`{"id":373040866,"authToken":"TEST_with space"}`, `{"id":373040866,"authToken":"TEST_line\nbreak"}`,
		`{"id":373040866,"authToken":"` + strings.Repeat("x", 5000) + `"}`, `{"id":7,"authToken":"TEST_of-another-pin"}`,
	} {
		p, mock := mocked(t)
		mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
		mock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(200, body))
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		_, err = p.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.NotContains(t, err.Error(), "TEST_")
		assert.True(t, mustSettings(t, p).AccountToken.IsZero())
	}
}

// A refusal for good ends the login with plex.tv's own words.
func TestRefused(t *testing.T) {
	p, mock := mocked(t)
	mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	mock.RegisterResponder("GET", pinsURL+"/373040866", jsonAnswer(400, payload(t, "error-1000-client-identifier.json")))
	_, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	_, err = p.Finish(t.Context())
	var e *plexauth.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 1000, e.Code)
	assert.Equal(t, "X-Plex-Client-Identifier is missing", e.Message)
	assert.NotErrorIs(t, err, plexauth.ErrUnavailable)
	_, err = p.Wait(t.Context())
	assert.ErrorIs(t, err, plexauth.ErrNoPendingPin)
}

// The address of each request is part of the contract, because programs mock it.
func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	_, err := w.Start(t.Context(), plexauth.PinOptions{Strong: true})
	require.NoError(t, err)
	_, err = w.SignOut(t.Context())
	require.NoError(t, err)
	var got []string
	for _, r := range w.plex.Requests() {
		got = append(got, r.Method+" https://"+r.Host+r.Path+query(r.Query))
	}
	assert.Equal(t, []string{
		"POST https://plex.tv/api/v2/pins",
		"GET https://plex.tv/api/v2/pins/{id}",
		"GET https://plex.tv/api/v2/user",
		"POST https://plex.tv/api/v2/pins?strong=true",
		"GET https://plex.tv/api/v2/pins/{id}", // it may have been approved
		"DELETE https://plex.tv/api/v2/users/signout",
	}, got)
}

// query returns v as the query of a URL.
func query(v url.Values) string {
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// G13: a Pin prints neither its number nor its code, and its JSON has no number.
func TestPinDoesNotPrintItself(t *testing.T) {
	p, mock := mocked(t)
	mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	pin, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{pin, *pin, struct{ P *plexauth.Pin }{pin}, struct{ P plexauth.Pin }{*pin}, []any{pin}, plexauth.Status{Pending: pin}} {
			out := fmt.Sprintf(verb, v)
			assert.NotContains(t, out, "373040866", verb)
			assert.NotContains(t, out, "7RQZ", verb)
		}
	}
	b, err := json.Marshal(pin)
	require.NoError(t, err)
	assert.NotContains(t, string(b), "373040866")
	assert.Contains(t, string(b), `"code":"7RQZ"`)
}

// A Pin as JSON has what a host needs to show it, as a pointer, as a value and inside
// other values. G13: neither the PIN's number nor, outside of the link, the client
// identifier is in it, in XML or in YAML.
func TestPinAsJSON(t *testing.T) {
	for name, o := range map[string]plexauth.PinOptions{"short": {}, "strong": {Strong: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				pin, err := w.Start(t.Context(), o)
				require.NoError(t, err)
				time.Sleep(100 * time.Millisecond)
				want := map[string]any{
					"code": pin.Code, "url": pin.URL(), "strong": o.Strong,
					"verification_uri": pin.VerificationURI(), "verification_uri_complete": pin.VerificationURIComplete(),
					"expires_in": math.Ceil(time.Until(pin.ExpiresAt).Seconds()),
					"expires_at": pin.ExpiresAt.Format(time.RFC3339Nano), "created_at": pin.CreatedAt.Format(time.RFC3339Nano),
				}
				var got map[string]any
				doc, clientID := jsonText(pin), mustSettings(t, w.PlexAuth).ClientID
				require.NoError(t, json.Unmarshal([]byte(doc), &got))
				assert.Equal(t, want, got)
				assert.NotContains(t, doc, fmt.Sprint(pin.ID))
				assert.Equal(t, strings.Count(pin.URL(), clientID), strings.Count(doc, clientID))
				for _, v := range []any{*pin, []any{*pin}, struct{ P plexauth.Pin }{*pin}, map[string]*plexauth.Pin{"P": pin}} {
					assert.Contains(t, jsonText(v), doc)
				}
				text, err := xml.Marshal(pin)
				require.NoError(t, err)
				assert.NotContains(t, string(text), fmt.Sprint(pin.ID))

				time.Sleep(time.Hour)
				var over struct {
					ExpiresIn *int64 `json:"expires_in"`
				}
				require.NoError(t, json.Unmarshal([]byte(jsonText(pin)), &over))
				require.NotNil(t, over.ExpiresIn)
				assert.Zero(t, *over.ExpiresIn, "not negative")
			})
		})
	}
}

// A Pin that was read from the store is valid JSON, whatever date is stored with it.
func TestStoredPinAsJSON(t *testing.T) {
	for _, created := range []int64{-1, 1, 253_402_300_799, 253_402_300_800, 1e15, math.MaxInt64} {
		w := newWorld(t)
		put(t, w.store, jsonText(map[string]any{"client_id": "TEST-client", "_pending_pin": map[string]any{"id": 7, "code": "ABCD", "created": created, "expires_at_ms": time.Now().Add(time.Minute).UnixMilli()}}))
		status, err := w.Status(t.Context())
		require.NoError(t, err)
		require.NotNil(t, status.Pending)
		text, err := json.Marshal(status.Pending)
		require.NoError(t, err, "created at %d", created)
		assert.Contains(t, string(text), `"ABCD"`)
	}
}
