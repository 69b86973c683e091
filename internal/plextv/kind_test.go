package plextv_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/plextv"
)

// hidden is an error of a RoundTripper with a text of its own.
type hidden struct{ err error }

func (hidden) Error() string   { return "not sent" }
func (h hidden) Unwrap() error { return h.err }

// G11: each way in which a request fails has a kind, and its error says what to do.
func TestKinds(t *testing.T) {
	otherName := &x509.Certificate{DNSNames: []string{"router.example"}}
	plexName := &x509.Certificate{DNSNames: []string{"plex.tv"}}
	for name, tc := range map[string]struct {
		reply reply
		kind  plextv.Kind
		word  string
		says  string
	}{
		"no such name":              {reply{err: &net.DNSError{Err: "no such host", Name: "plex.tv"}}, plextv.KindDNS, "dns", "(check this machine's DNS"},
		"refused":                   {reply{err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}, plextv.KindConnect, "connect", "(check the network"},
		"interrupted":               {reply{err: io.ErrUnexpectedEOF}, plextv.KindConnect, "connect", "(check the network"},
		"proxy":                     {reply{err: &net.OpError{Op: "proxyconnect", Err: errors.New("x")}}, plextv.KindProxy, "proxy", "(check the proxy settings)"},
		"proxy, by its phrase":      {reply{err: errors.New("Proxy Authentication Required")}, plextv.KindProxy, "proxy", "(check the proxy settings)"},
		"certificate":               {reply{err: &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{plexName}, Err: x509.UnknownAuthorityError{}}}, plextv.KindTLS, "tls", "its CA certificates"},
		"certificate, its text":     {reply{err: fmt.Errorf("wrapped: %s", "x509: certificate has expired")}, plextv.KindTLS, "tls", "its CA certificates"},
		"alert":                     {reply{err: tls.AlertError(40)}, plextv.KindTLS, "tls", "its CA certificates"},
		"another certificate":       {reply{err: &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{otherName}, Err: x509.HostnameError{Certificate: otherName, Host: "plex.tv"}}}, plextv.KindMisdirected, "dns", "another machine answers for plex.tv, with a certificate for router.example (check the DNS server"},
		"no TLS":                    {reply{err: tls.RecordHeaderError{Msg: "x"}}, plextv.KindMisdirected, "dns", "without TLS"},
		"a private address":         {reply{err: &net.OpError{Op: "dial", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.168.1.1:443")), Err: syscall.ECONNREFUSED}}, plextv.KindMisdirected, "dns", "leads to 192.168.1.1 here"},
		"a private address, a port": {reply{err: &net.OpError{Op: "dial", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.168.1.1:8443")), Err: syscall.ECONNREFUSED}}, plextv.KindConnect, "connect", "(check the network"},
		"timeout":                   {reply{err: os.ErrDeadlineExceeded}, plextv.KindTimeout, "timeout", "slow or filtered, or Plex has trouble; try again later)"},
		"content":                   {reply{status: 200, body: page}, plextv.KindContent, "content", "an HTML page where JSON was asked for (a proxy or"},
		"XML":                       {reply{status: 200, body: "<user/>"}, plextv.KindContent, "content", "XML where JSON was asked for"},
		"other JSON":                {reply{status: 200, body: `["x"`}, plextv.KindContent, "content", "not the JSON that was asked for"},
		"a choice of answers":       {reply{status: 300}, plextv.KindStatus, "status", "plex.tv answered 300"},
		"certificate, hidden":       {reply{err: hidden{&tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{plexName}, Err: x509.UnknownAuthorityError{}}}}, plextv.KindTLS, "tls", "its CA certificates"},
		"alert, hidden":             {reply{err: hidden{tls.AlertError(40)}}, plextv.KindTLS, "tls", "its CA certificates"},
		"TLS, its text":             {reply{err: errors.New("tls: handshake failure")}, plextv.KindTLS, "tls", "its CA certificates"},
		"status":                    {reply{status: 502}, plextv.KindStatus, "status", "plex.tv answered 502 (try again later)"},
		"status with a time":        {reply{status: 503, header: http.Header{"Retry-After": {"9"}}}, plextv.KindStatus, "status", "plex.tv answered 503 (try again in 9s)"},
		"refused for good":          {reply{status: 403, body: plexError("1009", "Not yours")}, plextv.KindRefused, "status", "plex.tv answered 403, code 1009: Not yours"},
		"rate limit":                {reply{status: 429, header: http.Header{"Retry-After": {"7"}}}, plextv.KindRateLimited, "rate_limited", "(try again in 7s)"},
		"rejected":                  {reply{status: 401, body: plexError("1001", "x")}, plextv.KindRejected, "rejected", "(sign in again)"},
		"expired":                   {reply{status: 498}, plextv.KindExpired, "expired", "renew it)"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answering(tc.reply)
			err := calls["account"](t.Context(), c, t)
			f := plextv.FailureIn(err)
			require.NotNil(t, f)
			assert.Equal(t, tc.kind, f.Kind())
			assert.Equal(t, tc.word, f.Kind().Word())
			assert.Contains(t, err.Error(), tc.says)
			assert.Contains(t, err.Error(), "plexauth: read account: ")
			assert.NotContains(t, err.Error(), "()")
			assert.Equal(t, err.Error(), fmt.Sprintf("%v", err))
			assert.NotEmpty(t, f.Kind().Advice().Problem)
			if tc.reply.err != nil {
				assert.ErrorIs(t, err, tc.reply.err)
			}
		})
	}
}

// A message for people is made of whole sentences.
func TestAdviceMessage(t *testing.T) {
	assert.Equal(t, "Could not connect to plex.tv. Check the network, the firewall and the proxy of this machine.", plextv.KindConnect.Advice().Message())
	assert.Equal(t, "Plex asks to slow down.", plextv.KindRateLimited.Advice().Message())
	assert.Zero(t, plextv.Kind("unknown").Advice())
}

// ownFields is an error as a package makes it that has fields of its own.
type ownFields struct{ failure *plextv.Failure }

func (ownFields) Error() string          { return "own fields" }
func (e ownFields) Is(target error) bool { return e.failure.Is(target) }

// The first failure in an error is found, wherever it is.
func TestFailureIn(t *testing.T) {
	f, other := plextv.HeldBack("a", 0), plextv.HeldBack("b", 0)
	for _, err := range []error{f, ownFields{f}, fmt.Errorf("x: %w", fault.Inside(ownFields{f})), errors.Join(io.EOF, f, other)} {
		assert.Same(t, f, plextv.FailureIn(err))
	}
	assert.Nil(t, plextv.FailureIn(nil))
	assert.Nil(t, plextv.FailureIn(errors.Join(io.EOF, fault.ErrRateLimited)))
}

// G13: no error quotes a token, a PIN or the URL of a request, however it is printed.
func TestErrorsQuoteNoSecret(t *testing.T) {
	for name, secrets := range map[string][]string{
		"account":   {token.Secret()},
		"check PIN": {"ABCD", "/pins/42"},
		"switch":    {token.Secret(), "1234"},
	} {
		t.Run(name, func(t *testing.T) {
			quoting := func(s string) reply {
				return reply{err: &url.Error{Op: "Get", URL: "https://plex.tv/" + s, Err: errors.New("cannot send " + s)}}
			}
			for _, s := range secrets {
				for _, r := range []reply{quoting(s), {status: 400, body: plexError("1000", "wrong: "+s)}} {
					c, _ := answering(r)
					err := calls[name](t.Context(), c, t)
					require.Error(t, err)
					assert.NotContains(t, err.Error(), "Get ", "the cause is enough")
					for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
						assert.NotContains(t, fmt.Sprintf(verb, err), s)
					}
				}
			}
		})
	}
}

// The failures that are made here match their sentinels, and a nil Failure says nothing.
func TestMadeFailures(t *testing.T) {
	assert.ErrorIs(t, plextv.OutOfTime("x", "plex.tv", os.ErrDeadlineExceeded), fault.ErrUnavailable)
	assert.ErrorIs(t, plextv.HeldBack("x", 3), fault.ErrRateLimited)
	assert.ErrorIs(t, plextv.TokenRetired("x"), fault.ErrTokenRejected)
	assert.True(t, plextv.NotGenuine(errors.New("x")).IsNotGenuine())
	assert.False(t, plextv.OutOfTime("x", "plex.tv", os.ErrDeadlineExceeded).IsNotGenuine())
	var none *plextv.Failure
	assert.False(t, none.IsPermanent() || none.IsKeyRefused() || none.IsNotGenuine() || none.IsExchangeRefused() || none.NamesToken())
}

// An attempt ends after its limit. If the caller gives up before, the error is its own.
func TestAttemptLimit(t *testing.T) {
	rt := transport(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	c := plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}})
	for name, tc := range map[string]struct {
		limit time.Duration // of each attempt; 0: the usual one
		took  time.Duration
	}{
		"usual":   {0, plextv.AttemptLimit},
		"shorter": {time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, ctx := time.Now(), t.Context()
				if tc.limit > 0 {
					ctx = plextv.WithAttemptLimit(ctx, tc.limit)
				}
				f := plextv.FailureIn(calls["account"](ctx, c, t))
				require.NotNil(t, f)
				assert.Equal(t, plextv.KindTimeout, f.Kind())
				assert.Equal(t, tc.took, time.Since(began))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := calls["account"](ctx, c, t)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Nil(t, plextv.FailureIn(err))
	})
}

// What a failure says about a token or a key.
func TestFailureQuestions(t *testing.T) {
	keyRefused := &plextv.Failure{StatusCode: 422}
	assert.True(t, keyRefused.IsKeyRefused())
	assert.False(t, (&plextv.Failure{StatusCode: 422, Sentinel: fault.ErrTokenRejected}).IsKeyRefused())
	assert.False(t, (&plextv.Failure{StatusCode: 400}).IsKeyRefused())

	for status, want := range map[int]bool{0: false, 200: false, 399: false, 400: true, 401: true, 500: true} {
		assert.Equal(t, want, (&plextv.Failure{Op: plextv.OpRenew, StatusCode: status}).IsExchangeRefused(), status)
		assert.False(t, (&plextv.Failure{Op: plextv.OpRenew, StatusCode: status, Temporary: true}).IsExchangeRefused(), status)
		assert.False(t, (&plextv.Failure{Op: plextv.OpReadAccount, StatusCode: status}).IsExchangeRefused(), status)
	}
	for message, want := range map[string]bool{"Invalid authentication token.": true, "invalid request": false, "no token": false, "": false} {
		assert.Equal(t, want, (&plextv.Failure{Message: message}).NamesToken(), message)
	}
}

// What a person reads of a cause is its end.
func TestWordsOfACause(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused":            &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"no answer":                     fmt.Errorf("read: %w", io.EOF),
		"certificate has expired":       errors.New("tls: failed to verify certificate: x509: certificate has expired"),
		"Proxy Authentication Required": errors.New("proxyconnect tcp: Proxy Authentication Required"),
	} {
		c, _ := answering(reply{err: err})
		f := plextv.FailureIn(calls["account"](t.Context(), c, t))
		require.NotNil(t, f)
		assert.Equal(t, want, f.Cause.Words())
	}
	c, _ := answering(reply{err: io.ErrUnexpectedEOF})
	assert.Equal(t, "no answer", plextv.FailureIn(calls["account"](t.Context(), c, t)).Cause.Words())
	c, _ = answering(reply{err: tls.RecordHeaderError{Msg: "x"}})
	assert.Equal(t, plextv.KindTLS, plextv.FailureIn(calls["server"](t.Context(), c, t)).Kind(), "a media server may be elsewhere")
	c, _ = answering(reply{err: hidden{tls.RecordHeaderError{Msg: "x"}}})
	assert.Equal(t, plextv.KindTLS, plextv.FailureIn(calls["server"](t.Context(), c, t)).Kind())
}
