package plextv_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/plextv"
)

// retrying returns a client that repeats requests, and gets each of replies in turn. bodies
// are what it has sent.
func retrying(replies ...reply) (c *plextv.Client, bodies *[]string) {
	bodies = new([]string)
	rt := transport(func(req *http.Request) (*http.Response, error) {
		body := ""
		if req.Body != nil {
			b, _ := io.ReadAll(req.Body)
			body = string(b)
		}
		*bodies = append(*bodies, body)
		return replies[min(len(*bodies), len(replies))-1].response(req)
	})
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}, Retries: 3}), bodies
}

// A write is repeated only if it certainly had no effect, and then it is the same.
func TestRepeatedWrites(t *testing.T) {
	broken := func(op string) reply { return reply{err: &net.OpError{Op: op, Err: errors.New("x")}} }
	for name, tc := range map[string]struct {
		first    reply
		repeated bool
	}{
		"no connection":            {broken("dial"), true},
		"the proxy is not reached": {broken("proxyconnect"), true},
		"the answer is lost":       {broken("read"), false},
		"another failure":          {reply{err: errors.New("x")}, false},
		"rate limit":               {reply{status: 429}, true},
		"not available":            {reply{status: 503}, true},
		"a proxy has lost plex.tv": {reply{status: 502}, false},
		"refused":                  {reply{status: 400, body: plexError("1000", "x")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, bodies := retrying(tc.first, reply{status: 201, body: `{"id":42,"code":"ABCD"}`})
				_, _, err := c.CreatePIN(t.Context(), clientID, newKey(t), false)
				assert.Equal(t, tc.repeated, err == nil, "%v", err)
				assert.Equal(t, tc.repeated, len(*bodies) == 2)
				for _, body := range *bodies {
					assert.Contains(t, body, `"jwk"`)
					assert.Equal(t, (*bodies)[0], body)
				}
			})
		})
	}
}

// A read is repeated after pauses that double, and a refusal is not.
func TestRepeatedReads(t *testing.T) {
	account := reply{status: 200, body: `{"id":7}`}
	for name, tc := range map[string]struct {
		replies     []reply
		ok          bool
		least, most time.Duration
		sent        int
		life        time.Duration // of the context; 0: for ever
	}{
		"three failures":                 {replies: []reply{{status: 502}, {status: 500}, {err: io.EOF}, account}, ok: true, least: 3500 * time.Millisecond, most: 4250 * time.Millisecond, sent: 4},
		"four failures":                  {replies: []reply{{status: 502}}, least: 3500 * time.Millisecond, most: 4250 * time.Millisecond, sent: 4},
		"refused":                        {replies: []reply{{status: 400, body: plexError("1000", "x")}, account}, sent: 1},
		"plex.tv names a time":           {replies: []reply{{status: 503, header: http.Header{"Retry-After": {"1"}}}, account}, ok: true, least: time.Second, most: time.Second, sent: 2},
		"the context lasts as long":      {replies: []reply{{status: 503, header: http.Header{"Retry-After": {"1"}}}, account}, sent: 1, life: time.Second},
		"the context lasts a bit longer": {replies: []reply{{status: 503, header: http.Header{"Retry-After": {"1"}}}, account}, ok: true, least: time.Second, most: time.Second, sent: 2, life: time.Second + time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tc.life > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.life)
					defer cancel()
				}
				c, bodies := retrying(tc.replies...)
				began := time.Now()
				_, err := c.ReadAccount(ctx, token, clientID, false)
				assert.Equal(t, tc.ok, err == nil, "%v", err)
				assert.Len(t, *bodies, tc.sent)
				assert.GreaterOrEqual(t, time.Since(began), tc.least)
				assert.LessOrEqual(t, time.Since(began), tc.most)
			})
		})
	}
}

// The transport of a program may be careless: it then answers with nothing.
func TestCarelessTransports(t *testing.T) {
	by := func(rt transport) *plextv.Client {
		return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}})
	}
	err := calls["account"](t.Context(), by(func(*http.Request) (*http.Response, error) { return nil, nil }), t)
	require.ErrorContains(t, err, "the transport returned neither an answer nor an error")
	assert.True(t, plextv.FailureIn(err).Temporary)

	noBody := by(func(r *http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200, Request: r}, nil })
	assert.ErrorContains(t, calls["account"](t.Context(), noBody, t), "an empty answer")
	assert.NoError(t, calls["revoke"](t.Context(), noBody, t))
}

// A call whose address cannot be used makes no request.
func TestBadAddress(t *testing.T) {
	for _, toServer := range []bool{false, true} {
		c, bodies := retrying(reply{status: 200})
		q := serverCall(c, token)
		q.URL = "http://[box"
		if !toServer {
			q.Route = nil
		}
		err := c.Do(t.Context(), q)
		assert.ErrorContains(t, err, "the address could not be used")
		assert.NotContains(t, err.Error(), "[box")
		assert.Empty(t, *bodies)
	}
}
