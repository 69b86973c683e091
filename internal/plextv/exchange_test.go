package plextv_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// authority stands in for the part of plex.tv that gives JWTs.
type authority struct {
	device *devicekey.Key
	listed ed25519.PrivateKey // of which the public half is listed
	signer ed25519.PrivateKey // with which tokens are signed

	life   time.Duration
	keys   []reply // in turn; then it succeeds
	nonces []reply // in turn; then it succeeds
	tokens []reply // in turn; then it succeeds

	asked map[string]int // requests, by path
}

// newAuthority returns an authority that gives good JWTs to device.
func newAuthority(t *testing.T, device *devicekey.Key) *authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	return &authority{device: device, listed: key, signer: key, life: 7 * 24 * time.Hour, asked: map[string]int{}}
}

// client returns a client of a.
func (a *authority) client() *plextv.Client {
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(a.answer)}})
}

func (a *authority) answer(req *http.Request) (*http.Response, error) {
	a.asked[req.URL.Path]++
	r := reply{status: 404}
	switch req.URL.Path {
	case "/api/v2/auth/keys":
		x := base64.RawURLEncoding.EncodeToString(a.listed.Public().(ed25519.PublicKey))
		r = next(&a.keys, reply{status: 200, body: fmt.Sprintf(`{"keys":[{"kty":"RSA"},{"kty":"OKP","crv":"Ed25519","kid":"k1","x":%q}]}`, x)})
	case "/api/v2/auth/nonce":
		r = next(&a.nonces, reply{status: 200, body: `{"nonce":"n-1"}`})
	case "/api/v2/auth/token":
		var body struct {
			JWT string `json:"jwt"`
		}
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil || !strings.Contains(claimsOf(body.JWT), `"nonce":"n-1"`) {
			return reply{status: 400, body: plexError("1000", "the nonce is not signed")}.response(req)
		}
		r = next(&a.tokens, reply{status: 200, body: fmt.Sprintf(`{"auth_token":%q}`, a.token())})
	}
	return r.response(req)
}

// claimsOf returns the payload of a JWT.
func claimsOf(jwt string) string {
	b, _ := base64.RawURLEncoding.DecodeString(strings.Split(jwt+"..", ".")[1])
	return string(b)
}

// next takes the first of replies, or returns otherwise.
func next(replies *[]reply, otherwise reply) reply {
	if len(*replies) == 0 {
		return otherwise
	}
	r := (*replies)[0]
	*replies = (*replies)[1:]
	return r
}

// token returns a signed JWT for the device.
func (a *authority) token() string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: a.signer, KeyID: "k1"}}, nil)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	payload, _ := json.Marshal(map[string]any{
		"iss": "plex.tv", "aud": []string{"plex.tv", a.device.ClientID}, "thumbprint": a.device.Kid,
		"iat": now.Unix(), "exp": now.Add(a.life).Unix(), "user": map[string]any{"id": 7},
	})
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	compact, _ := jws.CompactSerialize()
	return compact
}

// G24: an exchange brings a JWT that plex.tv has signed for this device, or fails. A
// nonce that did not work is replaced once; a nonce that is not given is not asked for
// again.
func TestExchange(t *testing.T) {
	refused := reply{status: 401, body: plexError("1001", "x")}
	for name, tc := range map[string]struct {
		set      func(*authority)
		new      bool // the key is to take the place of a token
		sentinel error
		says     string
		exchange int // requests for a token
	}{
		"good":                       {exchange: 1},
		"a nonce that does not work": {set: func(a *authority) { a.tokens = []reply{{status: 422}} }, exchange: 2},
		"a failure that passes":      {set: func(a *authority) { a.tokens = []reply{{status: 500}} }, exchange: 2},
		"it does not pass":           {set: func(a *authority) { a.tokens = []reply{{status: 500}, {status: 500}} }, sentinel: fault.ErrUnavailable, exchange: 2},
		"the device is removed":      {set: func(a *authority) { a.tokens = []reply{refused} }, sentinel: fault.ErrTokenRejected, exchange: 1},
		"a new key is refused":       {set: func(a *authority) { a.tokens = []reply{refused} }, new: true, sentinel: fault.ErrUnavailable, exchange: 1},
		"refused by a proxy":         {set: func(a *authority) { a.tokens = []reply{{status: 401, body: page}, {status: 401, body: page}} }, sentinel: fault.ErrUnavailable, exchange: 2},
		"removed, without code":      {set: func(a *authority) { a.tokens = []reply{{status: 401, body: plexError("0", "x")}} }, sentinel: fault.ErrTokenRejected, exchange: 1},
		"refused for another reason": {set: func(a *authority) { a.tokens = []reply{{status: 401, body: plexError("1031", "x")}} }, sentinel: fault.ErrUnavailable, exchange: 1},
		"forbidden":                  {set: func(a *authority) { a.tokens = []reply{{status: 403, body: plexError("0", "x")}} }, sentinel: fault.ErrUnavailable, exchange: 1},
		"plex.tv refuses the nonce":  {set: func(a *authority) { a.tokens = []reply{{status: 422, body: plexError("1", "x")}} }, exchange: 2},
		"an empty nonce":             {set: func(a *authority) { a.nonces = []reply{{status: 200, body: `{"nonce":null}`}} }, sentinel: fault.ErrUnavailable, says: "no nonce"},
		"a broken nonce":             {set: func(a *authority) { a.nonces = []reply{{status: 200, body: `{"nonce":`}} }, sentinel: fault.ErrUnavailable, says: "not the JSON that was asked for"},
		"a nonce of another form":    {set: func(a *authority) { a.nonces = []reply{{status: 200, body: `5`}} }, sentinel: fault.ErrUnavailable, says: "not the JSON that was asked for"},
		"a broken token": {set: func(a *authority) {
			a.tokens = []reply{{status: 200, body: `{"auth_token":`}, {status: 200, body: `{"auth_token":`}}
		}, sentinel: fault.ErrUnavailable, says: "not the JSON that was asked for", exchange: 2},
		"an endless JWT": {set: func(a *authority) {
			long := reply{status: 200, body: `{"auth_token":"` + a.token() + strings.Repeat("x", 4096) + `"}`}
			a.tokens = []reply{long, long}
		}, sentinel: fault.ErrUnavailable, says: "no JWT", exchange: 2},
		"no keys":  {set: func(a *authority) { a.keys = []reply{{status: 500}} }, sentinel: fault.ErrUnavailable},
		"no nonce": {set: func(a *authority) { a.nonces = []reply{{status: 500}} }, sentinel: fault.ErrUnavailable},
		"an answer without a token": {set: func(a *authority) {
			a.tokens = []reply{{status: 200, body: `{}`}, {status: 200, body: `{"auth_token":"a b"}`}}
		}, sentinel: fault.ErrUnavailable, says: "no JWT", exchange: 2},
		"a long-lived token": {set: func(a *authority) {
			a.tokens = []reply{{status: 200, body: `{"auth_token":"tok"}`}, {status: 200, body: `{"authToken":"tok"}`}}
		}, sentinel: fault.ErrUnavailable, says: "no JWT", exchange: 2},
		"signed by another":            {set: func(a *authority) { _, a.signer, _ = ed25519.GenerateKey(nil) }, sentinel: fault.ErrUnavailable, says: "not signed with a key of plex.tv", exchange: 1},
		"expired already":              {set: func(a *authority) { a.life = -time.Hour }, sentinel: fault.ErrUnavailable, says: "has expired already", exchange: 1},
		"expired, but the clocks vary": {set: func(a *authority) { a.life = -time.Second }, exchange: 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newKey(t)
			a := newAuthority(t, d)
			if tc.set != nil {
				tc.set(a)
			}
			var before func() error
			if tc.new {
				before = func() error { return nil }
			}
			got, err := a.client().Exchange(t.Context(), d, nil, before)
			assert.Equal(t, tc.exchange, a.asked["/api/v2/auth/token"])
			if name == "no keys" {
				assert.Zero(t, a.asked["/api/v2/auth/nonce"], "a token that cannot be verified must not be asked for")
			}
			if tc.sentinel == nil {
				require.NoError(t, err)
				assert.True(t, devicekey.IsJWT(got.Secret()))
				return
			}
			assert.ErrorIs(t, err, tc.sentinel)
			assert.Equal(t, tc.sentinel == fault.ErrTokenRejected, errors.Is(err, fault.ErrTokenRejected))
			assert.ErrorContains(t, err, tc.says)
			assert.True(t, got.IsZero())
		})
	}
}

// An error of before ends the exchange ahead of the request that ends the old token.
func TestExchangeStopsBefore(t *testing.T) {
	d := newKey(t)
	a := newAuthority(t, d)
	no := errors.New("not now")
	_, err := a.client().Exchange(t.Context(), d, nil, func() error { return no })
	assert.ErrorIs(t, err, no)
	assert.Zero(t, a.asked["/api/v2/auth/token"])
	assert.Equal(t, 1, a.asked["/api/v2/auth/nonce"], "not once more")
	_, err = a.client().Exchange(t.Context(), &devicekey.Key{}, nil, nil)
	assert.ErrorIs(t, err, devicekey.ErrUnreadable)
	assert.Zero(t, a.asked["/api/v2/auth/token"], "nothing is sent without a key")
}

// plex.tv's keys rotate: a token that no known key has signed makes them be read again.
func TestVerifyAfterRotation(t *testing.T) {
	d := newKey(t)
	a := newAuthority(t, d)
	c := a.client()
	_, err := c.Exchange(t.Context(), d, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, a.asked["/api/v2/auth/keys"])
	_, a.signer, _ = ed25519.GenerateKey(nil)
	a.listed = a.signer
	_, err = c.Exchange(t.Context(), d, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, 2, a.asked["/api/v2/auth/keys"])
}

// Keys that were just read are not read again, and a failure to read them says nothing about
// the token.
func TestVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newKey(t)
		a := newAuthority(t, d)
		c := a.client()
		_, err := c.Verify(t.Context(), secret.New("x"), d)
		assert.True(t, plextv.FailureIn(err).IsNotGenuine(), "%v", err)

		a.keys = []reply{{status: 500}}
		_, err = c.Verify(t.Context(), secret.New(a.token()), d)
		require.ErrorIs(t, err, fault.ErrUnavailable)
		assert.False(t, plextv.FailureIn(err).IsNotGenuine(), "%v", err)

		_, foreign, _ := ed25519.GenerateKey(nil)
		own := a.signer
		a.signer, a.asked["/api/v2/auth/keys"] = foreign, 0
		_, err = c.Verify(t.Context(), secret.New(a.token()), d)
		assert.True(t, plextv.FailureIn(err).IsNotGenuine(), "%v", err)
		assert.Equal(t, 1, a.asked["/api/v2/auth/keys"])

		a.keys = []reply{{status: 500}}
		_, err = c.Verify(t.Context(), secret.New(a.token()), d)
		require.ErrorIs(t, err, fault.ErrUnavailable)
		assert.False(t, plextv.FailureIn(err).IsNotGenuine(), "the keys could not be read again: %v", err)

		a.signer, a.asked["/api/v2/auth/keys"] = own, 0
		_, err = c.Verify(t.Context(), secret.New(a.token()), d)
		assert.NoError(t, err)
		assert.Zero(t, a.asked["/api/v2/auth/keys"])
		time.Sleep(time.Hour)
		_, err = c.Verify(t.Context(), secret.New(a.token()), d)
		assert.NoError(t, err)
		assert.Equal(t, 1, a.asked["/api/v2/auth/keys"], "once an hour")
	})
}

// The public half of a key is made known for a token.
func TestRegister(t *testing.T) {
	sent := ""
	c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		b, _ := io.ReadAll(r.Body)
		sent = string(b)
		return reply{status: 200}.response(r)
	})}})
	d := newKey(t)
	assert.ErrorIs(t, c.Register(t.Context(), &devicekey.Key{}, token), devicekey.ErrUnreadable)
	assert.Empty(t, sent)
	assert.NoError(t, c.Register(t.Context(), d, token))
	assert.Contains(t, sent, d.Kid)
	assert.NotContains(t, sent, d.Secret.Secret())
}
