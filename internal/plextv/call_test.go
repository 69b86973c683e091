package plextv_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
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
		"a short rate limit":             {replies: []reply{{status: 429, header: http.Header{"Retry-After": {"1"}}}, account}, ok: true, least: time.Second, most: time.Second, sent: 2},
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
	err := calls["account"](t.Context(), repeating(func(*http.Request) (*http.Response, error) { return nil, nil }), t)
	require.ErrorContains(t, err, "the transport returned neither an answer nor an error")
	assert.True(t, plextv.FailureIn(err).Temporary)

	withoutBody := repeating(func(r *http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200, Request: r}, nil })
	assert.ErrorContains(t, calls["account"](t.Context(), withoutBody, t), "an empty answer")
	assert.NoError(t, calls["revoke"](t.Context(), withoutBody, t))
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

// readAccount makes a call that may be repeated.
func readAccount(ctx context.Context, c *plextv.Client) error {
	_, err := c.ReadAccount(ctx, token, clientID, false)
	return err
}

// repeating returns a client that repeats requests, which rt sends.
func repeating(rt transport) *plextv.Client {
	return plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}, Retries: 3})
}

// G14: a request to a media server is sent by its route alone, which may refuse it, and
// follows no redirect.
func TestRoute(t *testing.T) {
	c, bodies := retrying(reply{status: 200})
	q := serverCall(c, token)
	routed := 0
	state := &tls.ConnectionState{ServerName: "box"}
	q.Route = func(*url.URL) (http.RoundTripper, error) {
		return transport(func(r *http.Request) (*http.Response, error) {
			routed++
			resp, err := reply{status: 302, header: http.Header{"Location": {"/elsewhere"}}}.response(r)
			resp.TLS = state
			return resp, err
		}), nil
	}
	assert.ErrorContains(t, c.Do(t.Context(), q), "the server answered 302")
	assert.Equal(t, 1, routed)
	assert.Same(t, state, q.TLS)

	q = serverCall(c, token)
	q.Route = func(*url.URL) (http.RoundTripper, error) { return nil, io.EOF }
	assert.ErrorIs(t, c.Do(t.Context(), q), io.EOF)
	assert.Empty(t, *bodies)
}

// G8: what has arrived when the context ends is not lost.
func TestContextEndsWithTheAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := repeating(func(r *http.Request) (*http.Response, error) {
		cancel()
		return reply{status: 200, body: `{"id":7}`}.response(r)
	})
	assert.NoError(t, calls["account"](ctx, c, t))
}

// G9: a context that ends between two attempts ends the call.
func TestContextEndsInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, bodies := retrying(reply{status: 502})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		assert.ErrorIs(t, readAccount(ctx, c), context.Canceled)
		assert.Equal(t, 100*time.Millisecond, time.Since(began))
		assert.Len(t, *bodies, 1)
	})
}

// G6: a poll makes one attempt, which ends with the context of this attempt.
func TestPollIsOneAttempt(t *testing.T) {
	c, bodies := retrying(reply{status: 502})
	require.Error(t, calls["check PIN"](t.Context(), c, t))
	assert.Len(t, *bodies, 1)

	synctest.Test(t, func(t *testing.T) {
		c := repeating(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		attempt, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, _, err := c.CheckPIN(t.Context(), attempt, plextv.PINRef{ID: 42, Code: "ABCD", ClientID: clientID}, nil)
		require.Error(t, err)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

// Each attempt is as limited as the first one, and a read has no body in any.
func TestAttemptsAreAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		c := repeating(func(r *http.Request) (*http.Response, error) {
			sent++
			assert.Nil(t, r.Body)
			if sent == 1 {
				return reply{status: 502}.response(r)
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*plextv.AttemptLimit)
		defer cancel()
		f := plextv.FailureIn(readAccount(plextv.WithAttemptLimit(ctx, 3*time.Second), c))
		require.NotNil(t, f)
		assert.Equal(t, plextv.KindTimeout, f.Kind())
		assert.Equal(t, 4, sent)
	})
}

// closing is a body that must not be used after it was closed.
type closing struct {
	t      *testing.T
	err    error // of Read
	closed bool
}

func (c *closing) Read([]byte) (int, error) {
	assert.False(c.t, c.closed)
	return 0, c.err
}

func (c *closing) Close() error {
	assert.False(c.t, c.closed)
	c.closed = true
	return nil
}

// A body is closed once, and not read if the status says it all.
func TestBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []*closing
		c := repeating(func(r *http.Request) (*http.Response, error) {
			body := &closing{t: t, err: io.EOF}
			bodies = append(bodies, body)
			return &http.Response{StatusCode: 502, Header: http.Header{}, Body: body, Request: r}, nil
		})
		require.Error(t, readAccount(t.Context(), c))
		require.Len(t, bodies, 4)
		for _, body := range bodies {
			assert.True(t, body.closed)
		}
	})

	for status, decode := range map[int]func([]byte) error{200: nil, 204: func([]byte) error { return nil }} {
		body := &closing{t: t, err: errors.New("broken")}
		c := repeating(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: r}, nil
		})
		q := serverCall(c, token)
		q.Decode = decode
		assert.NoError(t, c.Do(t.Context(), q), status)
		assert.True(t, body.closed)
	}

	c, _ := answering(reply{status: 300, body: page})
	q := serverCall(c, token)
	q.Decode = nil
	assert.ErrorContains(t, c.Do(t.Context(), q), "an HTML page")
}

// An answer with more than a call reads is not what it asked for.
func TestAnswerIsTooLong(t *testing.T) {
	for body, isTooLong := range map[string]bool{"12345": false, "123456": true} {
		c, _ := answering(reply{status: 200, body: body})
		q := serverCall(c, token)
		q.MaxBody = 5
		err := c.Do(t.Context(), q)
		if !isTooLong {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, "the answer is too long")
		assert.Equal(t, plextv.KindContent, plextv.FailureIn(err).Kind())
	}
}
