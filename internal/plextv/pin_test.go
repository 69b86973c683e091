package plextv_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
)

// G4: what a login needs of a PIN is read in any shape. An answer about another PIN, or
// with something that is not a token, is not accepted.
func TestCheckPIN(t *testing.T) {
	for name, tc := range map[string]struct {
		body  string
		want  plextv.PINReply
		token string
		fails string // part of the error, "" for success
	}{
		"pending":                  {body: `{"id":42,"code":"ABCD","expiresIn":900,"authToken":null}`, want: plextv.PINReply{ID: 42, Code: "ABCD", ExpiresIn: 15 * time.Minute, Expires: true}},
		"approved":                 {body: `{"id":42,"code":"ABCD","authToken":"tok-1"}`, want: plextv.PINReply{ID: 42, Code: "ABCD"}, token: "tok-1"},
		"drifted":                  {body: `{"id":"42","code":1234,"expiresIn":"900.5","location":[],"authToken":" tok-1 "}`, want: plextv.PINReply{ID: 42, Code: "1234", ExpiresIn: 900500 * time.Millisecond, Expires: true}, token: "tok-1"},
		"past its life":            {body: `{"id":42,"expiresIn":-3600}`, want: plextv.PINReply{ID: 42, ExpiresIn: -time.Second, Expires: true}},
		"a life without end":       {body: `{"id":42,"expiresIn":1e12}`, want: plextv.PINReply{ID: 42, ExpiresIn: plextv.MaxPINLifetime, Expires: true}},
		"an empty token":           {body: `{"id":42,"authToken":""}`, want: plextv.PINReply{ID: 42}},
		"approved despite errors":  {body: `{"id":42,"authToken":"tok-1","errors":[{"code":1}]}`, want: plextv.PINReply{ID: 42}, token: "tok-1"},
		"a life that is no number": {body: `{"id":42,"expiresIn":"soon"}`, want: plextv.PINReply{ID: 42}},
		"no errors":                {body: `{"id":42,"errors":[]}`, want: plextv.PINReply{ID: 42}},
		"errors in another form":   {body: `{"id":42,"errors":"none"}`, want: plextv.PINReply{ID: 42}},
		"no number":                {body: `{"authToken":"tok-1"}`, token: "tok-1"},
		"with two dots":            {body: `{"id":42,"authToken":"a.b"}`, want: plextv.PINReply{ID: 42}, token: "a.b"},
		"another PIN":              {body: `{"id":43}`, fails: "another PIN than the one asked for"},
		"a number as token":        {body: `{"id":42,"authToken":5}`, fails: "a token that no header can carry"},
		"a token with a space":     {body: `{"id":42,"authToken":"a b"}`, fails: "a token that no header can carry"},
		"an endless token":         {body: `{"id":42,"authToken":"` + strings.Repeat("x", 5000) + `"}`, fails: "a token that no header can carry"},
		"an error":                 {body: `{"errors":[{"code":1020}]}`, fails: "an error where a PIN was asked for"},
		"no object":                {body: `[]`, fails: "not the JSON that was asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(reply{status: 200, body: tc.body})
			r, sent, err := c.CheckPIN(t.Context(), t.Context(), plextv.PINRef{ID: 42, Code: "ABCD", ClientID: clientID}, nil)
			assert.WithinDuration(t, time.Now(), sent, time.Minute)
			if tc.fails != "" {
				require.ErrorIs(t, err, fault.ErrUnavailable)
				assert.Contains(t, err.Error(), tc.fails)
				assert.True(t, plextv.FailureIn(err).Temporary)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.token, r.Token.Secret())
			r.Token = tc.want.Token
			assert.Equal(t, tc.want, r)
		})
	}
}

// G5: only plex.tv's own word ends a login. Anything else is asked again.
func TestAnswerAboutAPIN(t *testing.T) {
	for name, tc := range map[string]struct {
		reply reply
		want  plextv.PINAnswer
	}{
		"pending":                       {reply{status: 200, body: `{"id":42,"authToken":null}`}, plextv.AnswerPending},
		"pending, and past its life":    {reply{status: 200, body: `{"id":42,"expiresIn":-5}`}, plextv.AnswerPending},
		"approved":                      {reply{status: 200, body: `{"id":42,"authToken":"tok-1"}`}, plextv.AnswerApproved},
		"unknown":                       {reply{status: 404, body: plexError("1020", "x")}, plextv.AnswerExpired},
		"gone":                          {reply{status: 410, body: plexError("1", "x")}, plextv.AnswerExpired},
		"refused":                       {reply{status: 400, body: plexError("1000", "x")}, plextv.AnswerRefused},
		"refused, with that code":       {reply{status: 400, body: plexError("1020", "x")}, plextv.AnswerRefused},
		"not found, as a proxy says it": {reply{status: 404, body: page}, plextv.AnswerNone},
		"a page in place of the answer": {reply{status: 200, body: page}, plextv.AnswerNone},
		"another PIN":                   {reply{status: 200, body: `{"id":43}`}, plextv.AnswerNone},
		"rate limit":                    {reply{status: 429}, plextv.AnswerNone},
		"not available":                 {reply{status: 503}, plextv.AnswerNone},
		"not reached":                   {reply{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, plextv.AnswerNone},
		"no answer in time":             {reply{err: context.DeadlineExceeded}, plextv.AnswerNone},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(tc.reply)
			r, _, err := c.CheckPIN(t.Context(), t.Context(), plextv.PINRef{ID: 42, Code: "ABCD", ClientID: clientID}, nil)
			assert.Equal(t, tc.want, r.Answer(err), "%v", err)
		})
	}
	assert.Equal(t, plextv.AnswerNone, plextv.PINReply{Token: token}.Answer(errors.New("for another device")), "a token that was not accepted")
}

// G13: a device JWT travels in the URL of a poll, and no error shows it.
func TestDeviceJWTOfAPoll(t *testing.T) {
	jwt := ""
	c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		jwt = r.URL.Query().Get("deviceJWT")
		return nil, errors.New("no route for " + jwt)
	})}})
	for _, code := range []string{"ABCD", "eyJ"} { // a JWT contains the second one
		_, _, err := c.CheckPIN(t.Context(), t.Context(), plextv.PINRef{ID: 42, Code: code, ClientID: clientID, Device: newKey(t)}, nil)
		assert.True(t, devicekey.IsJWT(jwt))
		assert.ErrorContains(t, err, "no route for [redacted] (")
	}

	jwt = ""
	_, _, err := c.CheckPIN(t.Context(), t.Context(), plextv.PINRef{ID: 42, Device: &devicekey.Key{}}, nil)
	assert.ErrorIs(t, err, devicekey.ErrUnreadable)
	_, _, err = c.CreatePIN(t.Context(), clientID, &devicekey.Key{}, false)
	assert.ErrorIs(t, err, devicekey.ErrUnreadable)
	assert.Empty(t, jwt, "nothing is sent without a key")
}

// A poll with a device key takes a long-lived token, but no JWT for another device.
func TestCheckDevicePIN(t *testing.T) {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	foreign := part(`{"alg":"EdDSA"}`) + "." + part(`{"iss":"plex.tv","aud":["other"],"exp":1}`) + "." + part("x")
	for name, tc := range map[string]struct{ token, fails string }{
		"long-lived":       {"tok-1", ""},
		"for another":      {foreign, "the token is for another device"},
		"not a signed JWT": {"a.b", "not a JWT that is signed with EdDSA"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(reply{status: 200, body: fmt.Sprintf(`{"id":42,"authToken":%q}`, tc.token)})
			r, _, err := c.CheckPIN(t.Context(), t.Context(), plextv.PINRef{ID: 42, ClientID: clientID, Device: newKey(t)}, nil)
			if tc.fails == "" {
				require.NoError(t, err)
				assert.Equal(t, tc.token, r.Token.Secret())
				return
			}
			require.ErrorContains(t, err, tc.fails)
			assert.True(t, plextv.FailureIn(err).Temporary, "the next poll may bring a better one")
		})
	}
}

// A new PIN is whole, and of the kind that was asked for.
func TestCreatePIN(t *testing.T) {
	const short, long, ten, eleven = "ABCD", "abcdefghijklmnopqrstuvwxy", "abcdefghij", "abcdefghijk"
	for name, tc := range map[string]struct {
		strong bool
		body   string
		fails  string
	}{
		"short":         {false, `{"id":42,"code":"` + short + `"}`, ""},
		"strong":        {true, `{"id":42,"code":"` + long + `"}`, ""},
		"too short":     {true, `{"id":42,"code":"` + short + `"}`, "a short code where a strong one was asked for"},
		"too long":      {false, `{"id":42,"code":"` + long + `"}`, "a strong code where a short one was asked for"},
		"no number":     {false, `{"code":"ABCD"}`, "a PIN without a number"},
		"ten":           {false, `{"id":42,"code":"` + ten + `"}`, ""},
		"strong, ten":   {true, `{"id":42,"code":"` + ten + `"}`, "a short code where a strong one was asked for"},
		"eleven":        {false, `{"id":42,"code":"` + eleven + `"}`, "a strong code where a short one was asked for"},
		"strong eleven": {true, `{"id":42,"code":"` + eleven + `"}`, ""},
		"all letters":   {false, `{"id":42,"code":"AZaz09_-"}`, ""},
		"a bad token":   {false, `{"id":42,"code":"` + short + `","authToken":"a b"}`, "a token that no header can carry"},
		"no code":       {false, `{"id":42}`, "a PIN without a code"},
		"a bad code":    {false, `{"id":42,"code":"A&B"}`, "a PIN without a code"},
		"a break in it": {false, `{"id":42,"code":"AB\n"}`, "a PIN without a code"},
	} {
		t.Run(name, func(t *testing.T) {
			query := ""
			c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				query = r.URL.RawQuery
				return reply{status: 201, body: tc.body}.response(r)
			})}})
			r, _, err := c.CreatePIN(t.Context(), clientID, nil, tc.strong)
			assert.Equal(t, tc.strong, query == "strong=true")
			assert.Equal(t, !tc.strong, query == "")
			if tc.fails != "" {
				assert.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			assert.EqualValues(t, 42, r.ID)
		})
	}
	for _, bad := range "@[`{/:" { // beside the letters and digits
		c, _ := answering(reply{status: 201, body: fmt.Sprintf(`{"id":42,"code":"AB%c"}`, bad)})
		_, _, err := c.CreatePIN(t.Context(), clientID, nil, false)
		assert.ErrorContains(t, err, "a PIN without a code", "%c", bad)
	}
}

// A failed request for a PIN is known to have made none only if plex.tv was not reached, or
// says so.
func TestMadeNoPIN(t *testing.T) {
	broken := func(op string) reply { return reply{err: &net.OpError{Op: op, Err: errors.New("connection reset")}} }
	for name, tc := range map[string]struct {
		reply reply
		none  bool
	}{
		"no connection":              {broken("dial"), true},
		"the proxy is not reached":   {broken("proxyconnect"), true},
		"the proxy refuses, beneath": {reply{err: errors.New("Forbidden")}, true},
		"the answer is lost":         {broken("read"), false},
		"the request may be lost":    {broken("write"), false},
		"no answer in time":          {reply{err: os.ErrDeadlineExceeded}, false},
		"refused":                    {reply{status: 403, body: plexError("1009", "x")}, true},
		"refused by something else":  {reply{status: 403, body: page}, false},
		"rate limit":                 {reply{status: 429}, true},
		"not available":              {reply{status: 503}, true},
		"a proxy has lost plex.tv":   {reply{status: 502}, false},
		"an error behind the proxy":  {reply{status: 500}, false},
		"an answer without a PIN":    {reply{status: 201, body: page}, false},
		"a PIN that cannot be shown": {reply{status: 201, body: `{"id":42,"code":"A&B"}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(tc.reply)
			f := plextv.FailureIn(calls["create PIN"](t.Context(), c, t))
			require.NotNil(t, f)
			assert.Equal(t, tc.none, f.MadeNoPIN())
		})
	}
	c, _ := answering(reply{status: 403, body: plexError("1009", "x")})
	assert.False(t, plextv.FailureIn(calls["check PIN"](t.Context(), c, t)).MadeNoPIN(), "it is about a PIN that was made")
	assert.False(t, plextv.FailureIn(nil).MadeNoPIN())
}

// A poll follows a redirect within plex.tv's API only, once its own attempt has time.
func TestPollRedirect(t *testing.T) {
	for name, tc := range map[string]struct {
		to      string
		follows bool
	}{
		"to the other host of the API": {"https://clients.plex.tv/api/v2/pins/42", true},
		"elsewhere":                    {"https://evil.example/api/v2/pins/42", false},
		"to plain http":                {"http://plex.tv/api/v2/pins/42", false},
		"nowhere":                      {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, sent := answering(reply{status: 302, header: http.Header{"Location": {tc.to}}}, reply{status: 200, body: `{"id":42}`})
			err := calls["check PIN"](t.Context(), c, t)
			assert.Equal(t, tc.follows, err == nil, err)
			assert.Equal(t, tc.follows, *sent == 2)
		})
	}
}

// What ends a poll is its own context, not the caller's: the caller sees a failure that
// passes.
func TestPollEndsWithItsAttempt(t *testing.T) {
	rt := transport(func(req *http.Request) (*http.Response, error) { return nil, req.Context().Err() })
	c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}})
	attempt, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := c.CheckPIN(t.Context(), attempt, plextv.PINRef{ID: 42}, nil)
	require.NotNil(t, plextv.FailureIn(err))
	assert.True(t, plextv.FailureIn(err).Temporary)
	_, _, err = c.CheckPIN(attempt, attempt, plextv.PINRef{ID: 42}, nil)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Nil(t, plextv.FailureIn(err))
}
