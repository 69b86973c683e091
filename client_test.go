package plexauth_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// G11: each failure is told apart and says what to do. G10: none of them changes the
// stored token.
func TestNamedFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		fault plextest.Fault
		is    error
		as    func(error) bool
		says  string
	}{
		"DNS": {plextest.Fault{Err: &net.DNSError{Err: "no such host", Name: "plex.tv", IsNotFound: true}}, plexauth.ErrUnavailable,
			func(err error) bool { var e *net.DNSError; return errors.As(err, &e) }, "DNS"},
		"connect": {plextest.Fault{Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}, plexauth.ErrUnavailable,
			func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }, "firewall"},
		"reset": {plextest.Fault{Reset: true}, plexauth.ErrUnavailable,
			func(err error) bool { var e *plexauth.Error; return errors.As(err, &e) && e.StatusCode == 0 }, "network"},
		"proxy": {plextest.Fault{Err: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: syscall.ECONNREFUSED}}, plexauth.ErrUnavailable,
			func(err error) bool { var e *net.OpError; return errors.As(err, &e) && e.Op == "proxyconnect" }, "proxy settings"},
		"proxy 407": {plextest.Fault{Err: errors.New("Proxy Authentication Required")}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, "proxy settings"},
		"TLS": {plextest.Fault{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, plexauth.ErrUnavailable,
			func(err error) bool { var e *tls.CertificateVerificationError; return errors.As(err, &e) }, "CA certificates"},
		"timeout": {plextest.Fault{Hang: true}, plexauth.ErrUnavailable,
			func(err error) bool { var e net.Error; return errors.As(err, &e) && e.Timeout() }, "slow or filtered"},
		"status": {plextest.Fault{Status: 502, Body: "<html></html>"}, plexauth.ErrUnavailable,
			func(err error) bool { var e *plexauth.Error; return errors.As(err, &e) && e.StatusCode == 502 }, "later"},
		"content": {plextest.Fault{Status: 200, Body: "<!doctype html>"}, plexauth.ErrUnavailable,
			func(err error) bool { var e *plexauth.Error; return errors.As(err, &e) && e.StatusCode == 200 }, "captive portal"},
		"XML": {plextest.Fault{Status: 200, Body: "<user id='1'/>"}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, "XML"},
		"403 HTML": {plextest.Fault{Status: 403, Body: "<html></html>"}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, "later"},
		"403": {plextest.Fault{Code: 1042, Status: 403}, plexauth.ErrUnavailable,
			func(err error) bool { var e *plexauth.Error; return errors.As(err, &e) && e.Code == 1042 }, "1042"},
		"401 HTML": {plextest.Fault{Status: 401, Body: "<html>proxy login</html>"}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, ""},
		"401 empty": {plextest.Fault{Status: 401}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, ""},
		"401 foreign JSON": {plextest.Fault{Status: 401, Body: `{"error":"unauthorized"}`}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, ""},
		"401/1031": {plextest.Fault{Status: 401, Code: 1031}, plexauth.ErrUnavailable,
			func(err error) bool { var e *plexauth.Error; return errors.As(err, &e) && e.Code == 1031 }, ""},
		"400/1000": {plextest.Fault{Code: 1000}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, ""},
		"422 other": {plextest.Fault{Status: 422, Code: 1008, Message: "Something else"}, plexauth.ErrUnavailable,
			func(err error) bool { return true }, ""},
		"498": {plextest.Fault{Status: 498}, plexauth.ErrTokenExpired,
			func(err error) bool { return true }, "renew"},
		"429": {plextest.Fault{Code: 1003, Header: http.Header{"Retry-After": {"7"}}}, plexauth.ErrRateLimited,
			func(err error) bool {
				var e *plexauth.Error
				return errors.As(err, &e) && e.RetryAfter == 7*time.Second
			}, "7s"},
		"503": {plextest.Fault{Status: 503, Header: http.Header{"Retry-After": {"9"}}}, plexauth.ErrUnavailable,
			func(err error) bool {
				var e *plexauth.Error
				return errors.As(err, &e) && e.RetryAfter == 9*time.Second
			}, "in 9s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, noRetries)
				w.signInNow(t)
				before := w.doc(t)
				tc.fault.Path, tc.fault.Times = "/api/v2/user", -1
				w.plex.Inject(tc.fault)
				s, err := w.Verify(t.Context())
				require.ErrorIs(t, err, tc.is)
				assert.NotErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.True(t, tc.as(err), err)
				var e *plexauth.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, "read account", e.Op)
				assert.Contains(t, err.Error(), tc.says)
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)
				assert.Equal(t, before, w.doc(t))
			})
		})
	}
}

// G10: only plex.tv's own rejection counts. After it plex.tv is left alone, until any
// program writes another token.
func TestRejected(t *testing.T) {
	for name, fault := range map[string]*plextest.Fault{
		"revoked":     nil,
		"XML 1001":    {Status: 401, Body: `<?xml version="1.0"?><errors><error code="1001" message="User could not be authenticated" status="401"/></errors>`},
		"XML no code": {Status: 401, Body: `<?xml version="1.0"?><errors><error>Please sign in.</error></errors>`},
		"422 token":   {Status: 422, Body: `<?xml version="1.0"?><errors><error>Invalid authentication token.</error></errors>`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				if fault == nil {
					w.plex.Revoke(w.alice)
				} else {
					fault.Path = "/api/v2/user"
					w.plex.Inject(*fault)
				}
				s, err := w.Verify(t.Context())
				require.ErrorIs(t, err, plexauth.ErrTokenRejected)
				assert.True(t, s.NeedsLogin)
				assert.False(t, s.Connected)
				asked := w.fromNow()

				p := w.open(t)
				for range 60 {
					time.Sleep(time.Minute)
					_, err = p.Verify(t.Context())
					assert.ErrorIs(t, err, plexauth.ErrTokenRejected)
					_, err = p.Token(t.Context())
					assert.ErrorIs(t, err, plexauth.ErrTokenRejected)
					_, err = (&http.Client{Transport: p.Transport(w.plex.Client().Transport)}).Get("https://plex.tv/api/v2/user")
					assert.ErrorIs(t, err, plexauth.ErrTokenRejected)
				}
				assert.Empty(t, asked(), "plex.tv is left alone")
				assert.False(t, mustSettings(t, p).AccountToken.IsZero(), "and nothing was deleted")

				fresh := w.plex.IssueToken(w.alice, mustSettings(t, p).ClientID)
				old := mustSettings(t, p).AccountToken.Secret()
				put(t, w.store, strings.Replace(w.doc(t), old, fresh, 1))
				s, err = p.Status(t.Context())
				require.NoError(t, err)
				assert.True(t, s.Connected)
				assert.False(t, s.NeedsLogin)
				_, err = p.Verify(t.Context())
				assert.NoError(t, err)
			})
		})
	}
}

// A token that replaces the old one during its rejection is not marked as rejected.
func TestRejectedWhileRelinked(t *testing.T) {
	w := newWorld(t)
	w.signInNow(t)
	old := mustSettings(t, w.PlexAuth).AccountToken.Secret()
	swap := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		resp, err := w.plex.Client().Transport.RoundTrip(r)
		if r.Header.Get("X-Plex-Token") == old { // another replica signs in at this moment
			put(t, w.store, strings.Replace(w.doc(t), old, w.plex.IssueToken(w.alice, mustSettings(t, w.PlexAuth).ClientID), 1))
		}
		return resp, err
	})
	w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Code: 1001})
	s, err := w.open(t, withTransport(swap)).Verify(t.Context())
	require.NoError(t, err)
	assert.True(t, s.Connected)
}

// Verify completes a login whose account could not be read.
func TestVerifyCompletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Status: 500, Times: -1})
		w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
		assert.Empty(t, mustSettings(t, w.PlexAuth).Username)
		w.plex.ResetFaults()
		s, err := w.Verify(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "alice", s.User)
		assert.Equal(t, fmt.Sprint(w.alice.ID), mustSettings(t, w.PlexAuth).CloudAccountID)
	})
}

// A read is repeated while plex.tv is out of order, a write only if it had no
// effect. Nothing is repeated if plex.tv has refused it or asks to wait for long.
func TestRetries(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for name, tc := range map[string]struct {
		method string
		fault  plextest.Fault
		once   bool // the request is made once, and fails; else it succeeds after three failures
	}{
		"GET 500":            {method: "GET", fault: plextest.Fault{Status: 500}},
		"GET reset":          {method: "GET", fault: plextest.Fault{Reset: true}},
		"GET truncated":      {method: "GET", fault: plextest.Fault{Truncate: true}},
		"GET HTML":           {method: "GET", fault: plextest.Fault{Status: 200, Body: "<html>"}},
		"GET other redirect": {method: "GET", fault: plextest.Fault{Redirect: "https://elsewhere.example/"}},
		"POST dial":          {method: "POST", fault: plextest.Fault{Err: dial}},
		"POST 503":           {method: "POST", fault: plextest.Fault{Status: 503}},
		"GET 403":            {method: "GET", fault: plextest.Fault{Code: 1042, Status: 403}, once: true},
		"GET 429 hostile":    {method: "GET", fault: plextest.Fault{Code: 1003, Header: http.Header{"Retry-After": {"999999"}}}, once: true},
		"POST reset":         {method: "POST", fault: plextest.Fault{Reset: true}, once: true},
		"POST reset after":   {method: "POST", fault: plextest.Fault{ResetAfter: true}, once: true},
		"POST 500":           {method: "POST", fault: plextest.Fault{Status: 500}, once: true},
		"POST hang":          {method: "POST", fault: plextest.Fault{Hang: true}, once: true},
		"POST 302":           {method: "POST", fault: plextest.Fault{Redirect: "https://clients.plex.tv/api/v2/pins"}, once: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.signInNow(t)
				path, op := "/api/v2/user", func() error { return errOf(w.Verify(t.Context())) }
				if tc.method == "POST" {
					path, op = "/api/v2/pins", func() error { return errOf(w.Start(t.Context(), plexauth.PinOptions{})) }
				}
				tc.fault.Method, tc.fault.Path, tc.fault.Times = tc.method, path, 3
				w.plex.Inject(tc.fault)
				asked, began := w.fromNow(), time.Now()
				err := op()
				assert.LessOrEqual(t, time.Since(began), 40*time.Second)
				if tc.once {
					assert.Error(t, err)
					assert.Len(t, only(asked(), tc.method, path), 1)
				} else {
					assert.NoError(t, err)
				}
			})
		})
	}
}

// The caller's client is used as it is at each request. It is not changed, and its
// connections are not closed.
func TestHTTPClientIsTheCallers(t *testing.T) {
	rt := &countingTransport{}
	hc := &http.Client{Transport: rt}
	p, err := plexauth.New(plexauth.Options{Product: "x", HTTPClient: hc, MaxRetries: -1})
	require.NoError(t, err)
	before := *hc
	_, err = p.Start(t.Context(), plexauth.PinOptions{})
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
	assert.Equal(t, before.Timeout, hc.Timeout)
	assert.Nil(t, hc.CheckRedirect)
	assert.Same(t, rt, hc.Transport)
	assert.Zero(t, rt.closed)
	assert.Positive(t, rt.requests)

	httpmock.ActivateNonDefault(hc) // after New
	defer httpmock.DeactivateAndReset()
	httpmock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	_, err = p.Start(t.Context(), plexauth.PinOptions{})
	assert.NoError(t, err)
}

// countingTransport counts its requests, which all fail, and whether its connections
// were closed.
type countingTransport struct{ requests, closed int }

func (c *countingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	c.requests++
	return nil, io.ErrUnexpectedEOF
}
func (c *countingTransport) CloseIdleConnections() { c.closed++ }

// Without a client of the caller's, http.DefaultTransport is used as it is at each
// request, so that httpmock.Activate works.
func TestDefaultTransport(t *testing.T) {
	p, err := plexauth.New(plexauth.Options{Product: "x"})
	require.NoError(t, err)
	httpmock.Activate(t)
	httpmock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	_, err = p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
}

// G13: a transport's error may quote an address with secrets. The library's error does
// not, nor does that of a mock without an answer.
func TestErrorsAreClean(t *testing.T) {
	p, mock := linkedMock(t)
	mock.RegisterResponder("POST", pinsURL, jsonAnswer(201, payload(t, "pin-created.json")))
	_, err := p.Start(t.Context(), plexauth.PinOptions{})
	require.NoError(t, err)
	mock.RegisterNoResponder(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: fmt.Errorf("no responder for %s with %s\nsecond line", r.URL, r.Header)}
	})
	for _, err := range []error{errOf(p.Finish(t.Context())), errOf(p.Verify(t.Context()))} {
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			out := fmt.Sprintf(verb, err) + fmt.Sprintf(verb, struct{ Err error }{err})
			for _, leak := range []string{"TEST_account-token", "373040866", "7RQZ"} {
				assert.NotContains(t, out, leak, verb)
			}
			assert.NotContains(t, out, "\n", "one line")
		}
	}
}

// An endless answer does not use up the memory.
func TestEndlessBody(t *testing.T) {
	w := newWorld(t, noRetries)
	w.plex.Inject(plextest.Fault{Method: "POST", Endless: true})
	_, err := w.Start(t.Context(), plexauth.PinOptions{})
	require.ErrorIs(t, err, plexauth.ErrUnavailable)
}

// An answer is read up to one mebibyte.
func TestBodyLimit(t *testing.T) {
	for size, want := range map[int]error{1<<20 - 1: nil, 1<<20 + 1: plexauth.ErrUnavailable} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.signIn(t, w.PlexAuth, w.alice, plexauth.PinOptions{})
			body := fmt.Sprintf(`{"id":%d,"username":"alice","x":"`, w.alice.ID)
			body += strings.Repeat("x", size-len(body)-2) + `"}`
			w.plex.Inject(plextest.Fault{Path: "/api/v2/user", Body: body, ContentType: "application/json", Times: -1})
			_, err := w.Account(t.Context())
			assert.ErrorIs(t, err, want)
		})
	}
}

// The caller's client may have a shorter timeout than the library's.
func TestTimeoutOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := w.plex.Client()
		client.Timeout = 2 * time.Second
		p := w.open(t, func(o *plexauth.Options) { o.HTTPClient, o.MaxRetries = client, -1 })
		w.plex.Inject(plextest.Fault{Hang: true, Times: -1})
		began := time.Now()
		_, err := p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Equal(t, 2*time.Second, time.Since(began))
		w.plex.ResetFaults()
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.NoError(t, err)
		w.plex.Inject(plextest.Fault{Hang: true, Times: -1})
		began = time.Now()
		_, err = p.Finish(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Equal(t, 2*time.Second, time.Since(began))
	})
}
