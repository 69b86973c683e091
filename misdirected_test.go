package plexauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
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

// selfSigned returns a certificate for names that is valid until then.
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

// leadingTo returns a transport that dials one address for every name.
func leadingTo(t *testing.T, at string) *http.Transport {
	rt := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, at)
	}}
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

// refuses returns a transport whose dials fail at an address.
func refuses(ip string, port int, err error) *http.Transport {
	return &http.Transport{DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: port}, Err: err}
	}}
}

// G11: if plex.tv's name leads to a machine that cannot be plex.tv, the error says so.
// It gives no advice on the clock, certificates or a firewall.
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
		says string // empty: no such hint
	}{
		"unspecified":                  {refuses("0.0.0.0", 443, refused), "leads to 0.0.0.0 here"},
		"unspecified, IPv6":            {refuses("::", 443, refused), "leads to :: here"},
		"loopback":                     {refuses("127.0.0.1", 443, refused), "leads to 127.0.0.1 here"},
		"loopback, IPv6":               {refuses("::1", 443, refused), "leads to ::1 here"},
		"private":                      {refuses("192.168.1.1", 443, os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "leads to 192.168.1.1 here"},
		"private, in silence":          {refuses("10.1.2.3", 443, os.ErrDeadlineExceeded), "leads to 10.1.2.3 here"},
		"private, IPv6":                {refuses("fd00::1", 443, refused), "leads to fd00::1 here"},
		"another certificate":          {withCert(selfSigned(t, time.Hour, "router.example")), "a certificate for router.example"},
		"another, expired certificate": {withCert(selfSigned(t, -time.Hour, "router.example")), "a certificate for router.example"},
		"no TLS":                       {leadingTo(t, server(nil, http.NotFoundHandler())), "without TLS"},
		"public":                       {refuses("203.0.113.1", 443, refused), ""},
		"a local proxy":                {refuses("127.0.0.1", 3128, refused), ""},
		"a certificate for it":         {withCert(selfSigned(t, time.Hour, "plex.tv", "*.plex.tv")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(c.rt.CloseIdleConnections)
			w := newWorld(t)
			w.signInNow(t)
			p := w.open(t, withTransport(c.rt), noRetries)
			panel := openPanel(t, p.Instance("PLEX-P01"))
			message := func(path string) string {
				rec := panel.do(http.MethodPost, path, "{}")
				return rec.Body.String()
			}("/start")
			for op, err := range map[string]error{
				"Start": errOf(p.Start(t.Context(), plexauth.PinOptions{})), "Verify": errOf(p.Verify(t.Context())), "Servers": errOf(p.Servers(t.Context())),
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

// G11: the address counts even if the connection is made and breaks later. A machine
// with plex.tv's certificate is plex.tv, whatever its address.
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
				_, err := (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:443") // a trace sees this connection
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
			p := w.open(t, withTransport(rt), noRetries)
			_, err := p.Start(t.Context(), plexauth.PinOptions{})
			require.ErrorIs(t, err, plexauth.ErrUnavailable)
			assert.Equal(t, c.says, strings.Contains(err.Error(), "leads to 127.0.0.1 here"), err)
		})
	}
}
