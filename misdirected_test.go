package plexauth_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// proxyThat answers every CONNECT so, and returns a transport that goes through it.
func proxyThat(t *testing.T, w *world, answer string) *http.Transport {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				fmt.Fprintf(conn, "%s\r\nContent-Length: 0\r\n\r\n", answer)
			}
			conn.Close()
		}
	}()
	rt := http.DefaultTransport.(*http.Transport).Clone()
	rt.TLSClientConfig = w.plex.Transport().TLSClientConfig
	rt.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()})
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

// G11: a proxy that refuses a CONNECT is named, whatever its answer is.
func TestProxyRefusesConnect(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 403 Forbidden", "HTTP/1.1 403", "HTTP/1.1 403 ", "HTTP/1.0 403 Blocked by policy: streaming", "HTTP/1.1 407 Proxy Authentication Required",
		"HTTP/1.1 302 Found", "HTTP/1.1 400 Bad Request", "HTTP/1.1 404 Not Found", "HTTP/1.1 405 Method Not Allowed", "HTTP/1.1 429 Too Many Requests",
		"HTTP/1.1 500 Internal Server Error", "HTTP/1.1 502 Bad Gateway", "HTTP/1.1 503 Service Unavailable", "HTTP/1.1 504 Gateway Timeout", "HTTP/1.1 599 Odd",
	} {
		t.Run(answer, func(t *testing.T) {
			w := newWorld(t)
			rt := proxyThat(t, w, answer)
			p := w.open(t, func(o *plexauth.Options) { o.HTTPClient, o.MaxRetries = &http.Client{Transport: rt}, -1 })
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.True(t, asOp("proxyconnect")(err), err)
			assert.Contains(t, err.Error(), "the proxy refuses the connection")
			assert.Contains(t, err.Error(), "check the proxy settings")
			f := openPanel(t, p)
			for range 2 { // no PIN was made, so that there is nothing to wait for
				v := f.refused(f.do(http.MethodPost, "/start", "{}"), http.StatusBadGateway, "proxy")
				assert.Contains(t, v.Message, "proxy")
			}
		})
	}
}

// G11: and so is a SOCKS proxy that refuses, whatever its reason is.
func TestSOCKSProxyRefuses(t *testing.T) {
	for reply := byte(1); reply <= 9; reply++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				head := make([]byte, 3) // version 5, one way to authenticate: none
				_, _ = io.ReadFull(c, head)
				_, _ = c.Write([]byte{5, 0})
				_, _ = io.ReadFull(c, make([]byte, 4+1+len("plex.tv")+2))
				_, _ = c.Write([]byte{5, reply, 0, 1, 0, 0, 0, 0, 0, 0})
				_ = c.Close()
			}
		}()
		w := newWorld(t)
		rt := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "socks5", Host: l.Addr().String()})}
		p := w.open(t, func(o *plexauth.Options) { o.HTTPClient, o.MaxRetries = &http.Client{Transport: rt}, -1 })
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, err.Error(), "the proxy refuses the connection: ")
		assert.NotContains(t, err.Error(), "unknown error")
		assert.Contains(t, err.Error(), "check the proxy settings")
	}
}

// G11: so it is with a media server.
func TestProxyRefusesConnectToAServer(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 403 Forbidden", "HTTP/1.1 503 Not for you", "HTTP/1.1 407 Proxy Authentication Required"} {
		w := newWorld(t)
		w.signInNow(t)
		w.plex.AddMediaServer(w.alice, plextest.MediaServer{HTTPSRequired: true, Connections: []plextest.Connection{{Address: "192.0.2.10"}}})
		rt := proxyThat(t, w, answer)
		proxy := rt.Proxy
		rt.Proxy = func(r *http.Request) (*url.URL, error) {
			if strings.HasSuffix(r.URL.Hostname(), "plex.tv") {
				return nil, nil
			}
			return proxy(r)
		}
		fake := w.plex.Transport()
		t.Cleanup(fake.CloseIdleConnections)
		rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, "plex.tv:443") {
				return fake.DialContext(ctx, network, addr)
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		p := w.open(t, func(o *plexauth.Options) { o.HTTPClient = &http.Client{Transport: rt} })
		_, err := p.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, err.Error(), "the proxy does not let this through", answer)
		assert.NotContains(t, err.Error(), "firewall", answer)
	}
}

// What is not the answer of a proxy is not called so, nor is a write repeated for it.
func TestOtherErrorsBehindAProxy(t *testing.T) {
	for name, err := range map[string]error{
		"EOF":             io.EOF,
		"cut":             io.ErrUnexpectedEOF,
		"closed":          errors.New("http: server closed idle connection"),
		"TLS":             errors.New("tls: server selected unsupported protocol version 301"),
		"a transport's":   errors.New("Forbidden by the test"),
		"a reason phrase": errors.New("Bad Gateway"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := 0
			p := w.open(t, func(o *plexauth.Options) {
				o.HTTPClient = &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
					n++
					return nil, err
				})}
			})
			_, got := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, got, plexauth.ErrUnavailable)
			assert.Equal(t, name == "a reason phrase", strings.Contains(got.Error(), "check the proxy settings"), got)
			assert.Equal(t, 1, n)
		})
	}
}

// selfSigned is a certificate for names, good or over.
func selfSigned(t *testing.T, until time.Duration, names ...string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(until),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// leadingTo is a transport for which every name leads to a server of ours.
func leadingTo(t *testing.T, at string) *http.Transport {
	rt := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, at)
	}}
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

// refuses is a transport whose dials fail at an address.
func refuses(ip string, port int, err error) *http.Transport {
	return &http.Transport{DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: port}, Err: err}
	}}
}

// G11: where plex.tv's name leads to a machine that cannot be plex.tv, that is what
// is said, instead of advice on the clock, certificates or a firewall.
func TestMisdirected(t *testing.T) {
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	server := func(conf *tls.Config, h http.Handler) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if s.TLS = conf; conf != nil {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	withCert := func(c tls.Certificate) *http.Transport {
		return leadingTo(t, server(&tls.Config{Certificates: []tls.Certificate{c}}, http.NotFoundHandler()))
	}
	for name, c := range map[string]struct {
		rt   *http.Transport
		says string // empty: nothing of the kind
	}{
		"unspecified":              {refuses("0.0.0.0", 443, refused), "leads to 0.0.0.0 here"},
		"unspecified, IPv6":        {refuses("::", 443, refused), "leads to :: here"},
		"loopback":                 {refuses("127.0.0.1", 443, refused), "leads to 127.0.0.1 here"},
		"loopback, IPv6":           {refuses("::1", 443, refused), "leads to ::1 here"},
		"private":                  {refuses("192.168.1.1", 443, os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "leads to 192.168.1.1 here"},
		"private, in silence":      {refuses("10.1.2.3", 443, os.ErrDeadlineExceeded), "leads to 10.1.2.3 here"},
		"private, IPv6":            {refuses("fd00::1", 443, refused), "leads to fd00::1 here"},
		"another certificate":      {withCert(selfSigned(t, time.Hour, "router.example")), "a certificate for router.example"},
		"another one that is over": {withCert(selfSigned(t, -time.Hour, "router.example")), "a certificate for router.example"},
		"no TLS":                   {leadingTo(t, server(nil, http.NotFoundHandler())), "without TLS"},
		"public":                   {refuses("203.0.113.1", 443, refused), ""},
		"a local proxy":            {refuses("127.0.0.1", 3128, refused), ""},
		"a certificate for it":     {withCert(selfSigned(t, time.Hour, "plex.tv", "*.plex.tv")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(c.rt.CloseIdleConnections)
			w := newWorld(t)
			w.signInNow(t)
			p := w.open(t, func(o *plexauth.Options) { o.HTTPClient, o.MaxRetries = &http.Client{Transport: c.rt}, -1 })
			f := openPanel(t, p.Instance("PLEX-P01"))
			message := func(path string) string {
				rec := f.do(http.MethodPost, path, "{}")
				return rec.Body.String()
			}("/start")
			for op, err := range map[string]error{
				"Start": second(p.Start(t.Context(), plexauth.PinOptions{})), "Verify": second(p.Verify(t.Context())), "Servers": second(p.Servers(t.Context())),
			} {
				require.ErrorIs(t, err, plexauth.ErrUnavailable)
				if c.says == "" {
					assert.NotContains(t, err.Error(), "hosts file", op)
					assert.NotContains(t, message, "hosts file", op)
					continue
				}
				assert.Contains(t, err.Error(), c.says, op)
				for _, text := range []string{err.Error(), message} {
					assert.Contains(t, text, "hosts file", op)
					for _, wrong := range []string{"clock", "CA cert", "firewall", "root"} {
						assert.NotContains(t, text, wrong, op)
					}
				}
			}
		})
	}
}

// G11: the address is known as well where the connection is made and then goes
// wrong. One that shows plex.tv's certificate is plex.tv's, whatever its address.
func TestMisdirectedByAddress(t *testing.T) {
	w := newWorld(t)
	fake := w.plex.Transport()
	t.Cleanup(fake.CloseIdleConnections)
	for name, c := range map[string]struct {
		broken bool
		says   bool
	}{"it hangs up": {true, true}, "a relay": {false, false}} {
		t.Run(name, func(t *testing.T) {
			rt := fake.Clone()
			t.Cleanup(rt.CloseIdleConnections)
			rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, err := (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:443") // as far as a trace goes
				require.Error(t, err)
				if c.broken {
					near, far := net.Pipe()
					far.Close()
					return near, nil
				}
				return fake.DialContext(ctx, network, addr)
			}
			w.plex.Inject(plextest.Fault{Method: "POST", Path: "/api/v2/pins", Reset: true})
			defer w.plex.ResetFaults()
			p := w.open(t, func(o *plexauth.Options) { o.HTTPClient, o.MaxRetries = &http.Client{Transport: rt}, -1 })
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.Equal(t, c.says, strings.Contains(err.Error(), "leads to 127.0.0.1 here"), err)
		})
	}
}
