package plextv_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/plextv"
)

// address is where a dial led, in the words of the dialer.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// failedAt is an error of the network at an address.
func failedAt(op, at string) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: address(at), Err: syscall.ECONNREFUSED}
}

// certified is the error of a handshake with a machine that shows cert.
func certified(cert *x509.Certificate) error {
	return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert}, Err: x509.HostnameError{Certificate: cert, Host: "plex.tv"}}
}

// G11: an attempt that has met another machine than plex.tv's says how that is known. Where
// it cannot be known, it says nothing of the kind.
func TestMisdirected(t *testing.T) {
	router := certified(&x509.Certificate{DNSNames: []string{"router.example", "www.router.example"}})
	for name, c := range map[string]struct {
		base string
		err  error
		says string // "": it is not misdirected
	}{
		"another name":              {"", router, "another machine answers for plex.tv, with a certificate for router.example ("},
		"a name of the old kind":    {"", certified(&x509.Certificate{Subject: pkix.Name{CommonName: "Router"}}), "with a certificate for Router ("},
		"an address":                {"", certified(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(192, 168, 1, 1)}}), "with a certificate for 192.168.1.1 ("},
		"no name":                   {"", certified(&x509.Certificate{}), "with a certificate for no name ("},
		"no certificate":            {"", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, ""},
		"no TLS":                    {"", http.ErrSchemeMismatch, "another machine answers for plex.tv, without TLS ("},
		"an unknown name":           {"", &net.OpError{Op: "remote error", Err: errors.New("tls: unrecognized name")}, "another machine answers for plex.tv, which does not know that name ("},
		"another alert":             {"", &net.OpError{Op: "remote error", Err: errors.New("tls: internal error")}, ""},
		"nowhere":                   {"", failedAt("dial", "0.0.0.0:443"), "the name plex.tv leads to 0.0.0.0 here, where Plex is not: "},
		"nowhere, in IPv6":          {"", failedAt("dial", "[::ffff:0.0.0.0]:443"), "leads to ::ffff:0.0.0.0 here"},
		"at home":                   {"", failedAt("dial", "192.168.1.1:443"), "leads to 192.168.1.1 here"},
		"at a public address":       {"", failedAt("dial", "203.0.113.1:443"), ""},
		"at another port":           {"", failedAt("dial", "192.168.1.1:3128"), ""},
		"not at an address":         {"", failedAt("dial", "/run/tunnel.sock"), ""},
		"later than the dial":       {"", failedAt("read", "192.168.1.1:443"), ""},
		"the proxy's certificate":   {"", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: router}, ""},
		"another API, at home":      {"https://plex.example", failedAt("dial", "192.168.1.1:443"), ""},
		"another API, another name": {"https://plex.example", router, "another machine answers for plex.example, with"},
		"another API, without TLS":  {"http://127.0.0.1:8080", http.ErrSchemeMismatch, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rt := transport(func(*http.Request) (*http.Response, error) { return nil, c.err })
			err := calls["account"](t.Context(), plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}, BaseURL: c.base}), t)
			require.ErrorIs(t, err, c.err)
			if c.says == "" {
				assert.NotEqual(t, plextv.KindMisdirected, plextv.FailureIn(err).Kind())
				assert.NotContains(t, err.Error(), "another machine")
				assert.NotContains(t, err.Error(), "leads to")
				return
			}
			assert.Equal(t, plextv.KindMisdirected, plextv.FailureIn(err).Kind())
			assert.Contains(t, err.Error(), c.says)
		})
	}
	// A media server may be anywhere.
	c, _ := answering(reply{err: router})
	q := serverCall(c, token)
	q.URL = "https://192.0.2.1:32400/"
	assert.Equal(t, plextv.KindTLS, plextv.FailureIn(c.Do(t.Context(), q)).Kind())
}

// G11: the address that was dialled counts also if the connection breaks later, unless it is
// a proxy's, or plex.tv's certificate was shown there.
func TestMisdirectedByTheDialledAddress(t *testing.T) {
	certificate, roots := selfSigned(t, "plex.tv")
	hangUp := func(conn net.Conn) { conn.Close() }
	for name, c := range map[string]struct {
		serve       func(net.Conn)
		also        string // what the dialer tries afterwards
		isProxied   bool
		misdirected bool
	}{
		"it hangs up":                    {hangUp, "", false, true},
		"it hangs up, a socket is tried": {hangUp, "/nowhere/tunnel.sock", false, true},
		"it hangs up after the handshake": {func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}).Handshake()
			conn.Close()
		}, "", false, false},
		"a proxy hangs up": {hangUp, "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			rt := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				if conn, err := new(net.Dialer).DialContext(ctx, network, "127.0.0.1:443"); err == nil { // the trace sees it
					conn.Close()
				}
				if c.also != "" {
					_, err := new(net.Dialer).DialContext(ctx, "unix", c.also)
					assert.Error(t, err)
				}
				near, far := net.Pipe()
				go c.serve(far)
				return near, nil
			}}
			if c.isProxied {
				rt.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:443"})
			}
			defer rt.CloseIdleConnections()
			err := calls["account"](t.Context(), plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: rt}}), t)
			f := plextv.FailureIn(err)
			require.NotNil(t, f)
			assert.Equal(t, c.misdirected, f.Kind() == plextv.KindMisdirected, err)
		})
	}
}
