package plexauth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// proxyThat returns a transport that goes through a proxy with this answer to every
// CONNECT.
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

// G11: the error names a proxy that refuses a CONNECT, whatever it answers.
func TestProxyRefusesConnect(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 403 Forbidden", "HTTP/1.1 403", "HTTP/1.1 403 ", "HTTP/1.0 403 Blocked by policy: streaming", "HTTP/1.1 407 Proxy Authentication Required",
		"HTTP/1.1 302 Found", "HTTP/1.1 400 Bad Request", "HTTP/1.1 404 Not Found", "HTTP/1.1 405 Method Not Allowed", "HTTP/1.1 429 Too Many Requests",
		"HTTP/1.1 500 Internal Server Error", "HTTP/1.1 502 Bad Gateway", "HTTP/1.1 503 Service Unavailable", "HTTP/1.1 504 Gateway Timeout", "HTTP/1.1 599 Odd",
	} {
		t.Run(answer, func(t *testing.T) {
			w := newWorld(t)
			rt := proxyThat(t, w, answer)
			p := w.open(t, withTransport(rt), noRetries)
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.True(t, asOp("proxyconnect")(err), err)
			assert.Contains(t, err.Error(), "the proxy refuses the connection")
			assert.Contains(t, err.Error(), "check the proxy settings")
			panel := openPanel(t, p)
			for range 2 { // no PIN was made, so that there is nothing to wait for
				v := panel.refused(panel.do(http.MethodPost, "/start", "{}"), http.StatusBadGateway, "proxy")
				assert.Contains(t, v.Message, "proxy")
			}
		})
	}
}

// G11: the error names a SOCKS proxy that refuses, whatever its reason.
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
		p := w.open(t, withTransport(rt), noRetries)
		_, err = p.Start(t.Context(), plexauth.PinOptions{})
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, err.Error(), "the proxy refuses the connection: ")
		assert.NotContains(t, err.Error(), "unknown error")
		assert.Contains(t, err.Error(), "check the proxy settings")
	}
}

// G11: the finding at a media server names a proxy that refuses a CONNECT.
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
		p := w.open(t, withTransport(rt))
		_, err := p.Inspect(t.Context())
		require.ErrorIs(t, err, plexauth.ErrUnavailable)
		assert.Contains(t, err.Error(), "the proxy does not let this through", answer)
		assert.NotContains(t, err.Error(), "firewall", answer)
	}
}

// An error that is not a proxy's answer does not name the proxy. A write is not
// repeated.
func TestOtherErrorsBehindAProxy(t *testing.T) {
	for name, err := range map[string]error{
		"EOF":             io.EOF,
		"cut":             io.ErrUnexpectedEOF,
		"closed":          errors.New("http: server closed idle connection"),
		"TLS":             errors.New("tls: server selected unsupported protocol version 301"),
		"another error":   errors.New("Forbidden by the test"),
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
			assert.Equal(t, 1, n, "a write is not repeated")
		})
	}
}
