package mediaserver_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/plextv"
)

// G14: no request goes to an address that no media server has, however it is written.
func TestReservedAddresses(t *testing.T) {
	routes := &mediaserver.Routes{Base: transport(nil)}
	for address, ok := range map[string]bool{
		"https://192.168.1.5:32400":             true,
		"https://10.0.0.1":                      true,
		"https://127.0.0.1":                     true,
		"https://203.0.113.5":                   true,
		"https://[fd12::5]":                     true,
		"https://[::1]":                         true,
		"https://plex.example":                  true,
		"https://169.254.1.2":                   true, // Podman's host
		"https://1.2.3.4.5":                     true, // a name
		"https://0.0.0.0":                       false,
		"https://0.1.2.3":                       false,
		"https://169.254.169.254":               false,
		"https://169.254.1.3":                   false,
		"https://0xA9FEA9FE":                    false,
		"https://2852039166":                    false,
		"https://0251.0376.0251.0376":           false,
		"https://169.254.43518":                 false,
		"https://169.254.169.254.":              false,
		"https://169-254-169-254.h.plex.direct": false,
		"https://[::ffff:169.254.169.254]":      false,
		"https://[64:ff9b::a9fe:a9fe]":          false,
		"https://[2002:a9fe:a9fe::1]":           false,
		"https://[::a9fe:a9fe]":                 false,
		"https://[fe80::1%25eth0]":              false,
		"https://[ff02::1]":                     false,
		"https://[::]":                          false,
		"https://[fd00:ec2::254]":               false,
		"https://224.0.0.1":                     false,
		"https://255.255.255.255":               false,
		"https://100.100.100.200":               false,
		"https://168.63.129.16":                 false,
		"https://192.0.0.192":                   false,
		"https://metadata.google.internal":      false,
		"https://METADATA.goog.":                false,
	} {
		_, err := routes.To(parse(t, address), false, nil, false)
		assert.Equal(t, ok, err == nil, address)
		if !ok {
			assert.ErrorIs(t, err, fault.ErrServerToken, address)
		}
	}
}

// G14: over a RoundTripper that hides where it dials, no token goes to a name by plain
// http.
func TestTokenOverUnknownTransport(t *testing.T) {
	routes := &mediaserver.Routes{Base: transport(nil)}
	for address, ok := range map[string]bool{
		"https://plex.example":     true,
		"http://192.168.1.5:32400": true,
		"http://localhost:32400":   true,
		"http://plex:32400":        false,
		"http://203.0.113.5:32400": false,
	} {
		_, err := routes.To(parse(t, address), false, nil, true)
		assert.Equal(t, ok, err == nil, address)
		_, err = routes.To(parse(t, address), false, nil, false)
		assert.NoError(t, err, address)
	}
}

// connTo is a connection that claims to lead to an address.
type connTo struct {
	net.Conn
	at net.Addr
}

func (c connTo) RemoteAddr() net.Addr { return c.at }

// network stands in for the network: names lead to addresses, at which a server answers.
type network struct {
	names map[string]string // a host that is missing does not resolve
	serve func(net.Conn)
}

// transport returns a transport over n.
func (n network) transport(config *tls.Config) *http.Transport {
	return &http.Transport{TLSClientConfig: config, DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(addr)
		at, ok := n.names[host]
		if !ok {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		here, there := net.Pipe()
		go n.serve(there)
		return connTo{here, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(at), 32400))}, nil
	}}
}

// serveHTTP answers one request with success.
func serveHTTP(conn net.Conn) {
	defer conn.Close()
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		_, _ = conn.Write([]byte("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"))
	}
}

// get asks for address by the routes of base.
func get(t *testing.T, base *http.Transport, address string, insecure bool, direct mediaserver.DirectOwners) error {
	t.Helper()
	routes := &mediaserver.Routes{Base: base}
	defer routes.Close()
	rt, err := routes.To(parse(t, address), insecure, direct, true)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	require.NoError(t, err)
	resp, err := rt.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// G14: the address that is dialled counts, whatever the name says. If a plex.direct name
// does not resolve, or leads elsewhere, the address in it is dialled.
func TestDialledAddress(t *testing.T) {
	const name = "192-168-1-5." + hash + ".plex.direct"
	for what, tc := range map[string]struct {
		names   map[string]string
		address string
		ok      bool
	}{
		"a name of this network":        {map[string]string{"plex": "192.168.1.5"}, "http://plex:32400", true},
		"a name out in the world":       {map[string]string{"plex": "203.0.113.5"}, "http://plex:32400", false},
		"a name of a reserved address":  {map[string]string{"plex": "169.254.169.254"}, "http://plex:32400", false},
		"a plex.direct name":            {map[string]string{name: "192.168.1.5"}, "http://" + name + ":32400", true},
		"a withheld plex.direct name":   {map[string]string{"192.168.1.5": "192.168.1.5"}, "http://" + name + ":32400", true},
		"a misled plex.direct name":     {map[string]string{name: "203.0.113.9", "192.168.1.5": "192.168.1.5"}, "http://" + name + ":32400", true},
		"a misled name, nothing behind": {map[string]string{name: "203.0.113.9"}, "http://" + name + ":32400", false},
		"a public plex.direct name":     {map[string]string{"203.0.113.5": "203.0.113.5"}, "http://203-0-113-5." + hash + ".plex.direct:32400", false},
		"no such name":                  {nil, "http://plex:32400", false},
	} {
		t.Run(what, func(t *testing.T) {
			err := get(t, network{tc.names, serveHTTP}.transport(nil), tc.address, false, nil)
			assert.Equal(t, tc.ok, err == nil, "%v", err)
		})
	}
}

// A NO_PROXY for an address counts for the plex.direct name of that address. Plain http
// goes through no proxy, which would read along.
func TestProxyOfRoutes(t *testing.T) {
	proxy := parse(t, "http://proxy.example:3128")
	base := &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) {
		if r.URL.Hostname() == "192.168.1.5" {
			return nil, nil
		}
		return proxy, nil
	}}
	routes := &mediaserver.Routes{Base: base}
	for address, want := range map[string]*url.URL{
		directLocal:            nil,
		directRemote:           proxy,
		"https://plex.example": proxy,
	} {
		rt, err := routes.To(parse(t, address), false, nil, false)
		require.NoError(t, err)
		got, err := rt.(interface{ Underlying() *http.Transport }).Underlying().Proxy(&http.Request{URL: parse(t, address)})
		require.NoError(t, err)
		assert.Equal(t, want, got, address)
	}
	rt, err := routes.To(parse(t, "http://plex:32400"), false, nil, false)
	require.NoError(t, err)
	assert.Nil(t, rt.(interface{ Underlying() *http.Transport }).Underlying().Proxy)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority returns a new authority.
func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{cert, key}
}

// certificate returns a certificate for names that a has signed.
func (a authority) certificate(t *testing.T, expires time.Duration, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(expires)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// G14: at an address that a person entered, a certificate is accepted for its host, or
// for a plex.direct name whose hash plex.tv has listed; at no other address for another
// name.
func TestCertificates(t *testing.T) {
	known, stranger := newAuthority(t), newAuthority(t)
	listed := mediaserver.DirectOwners{hash: {"m1"}}
	const direct = "*." + hash + ".plex.direct"
	for name, tc := range map[string]struct {
		cert     tls.Certificate
		insecure bool
		direct   mediaserver.DirectOwners
		ok       bool
	}{
		"for the host":                      {known.certificate(t, time.Hour, "plex.example"), false, nil, true},
		"for the host, others are listed":   {known.certificate(t, time.Hour, "plex.example"), false, listed, true},
		"plex.direct, listed":               {known.certificate(t, time.Hour, direct), false, listed, true},
		"plex.direct, not listed":           {known.certificate(t, time.Hour, direct), false, mediaserver.DirectOwners{"other": {"m2"}}, false},
		"plex.direct, not entered":          {known.certificate(t, time.Hour, direct), false, nil, false},
		"plex.direct, not known":            {stranger.certificate(t, time.Hour, direct), false, listed, false},
		"plex.direct, expired":              {known.certificate(t, -time.Hour, direct), false, listed, false},
		"another name beside plex.direct's": {known.certificate(t, time.Hour, "nas.example", direct), false, listed, true},
		"another name":                      {known.certificate(t, time.Hour, "nas.example"), false, listed, false},
		"not known":                         {stranger.certificate(t, time.Hour, "plex.example"), false, listed, false},
		"not checked":                       {stranger.certificate(t, -time.Hour, "nas.example"), true, listed, true},
	} {
		t.Run(name, func(t *testing.T) {
			roots := x509.NewCertPool()
			roots.AddCert(known.cert)
			n := network{map[string]string{"plex.example": "192.168.1.5"}, func(conn net.Conn) {
				serveHTTP(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{tc.cert}}))
			}}
			err := get(t, n.transport(&tls.Config{RootCAs: roots}), "https://plex.example:32400", tc.insecure, tc.direct)
			assert.Equal(t, tc.ok, err == nil, "%v", err)
			if !tc.ok {
				assert.ErrorAs(t, err, new(*tls.CertificateVerificationError))
			}
		})
	}
}

// What the caller's own TLS settings verify is verified besides.
func TestCallersVerification(t *testing.T) {
	known := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(known.cert)
	cert := known.certificate(t, time.Hour, "*."+hash+".plex.direct")
	n := network{map[string]string{"plex.example": "192.168.1.5"}, func(conn net.Conn) {
		serveHTTP(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}))
	}}
	for name, config := range map[string]*tls.Config{
		"by certificate": {RootCAs: roots, VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return fault.ErrStore }},
		"by connection":  {RootCAs: roots, VerifyConnection: func(tls.ConnectionState) error { return fault.ErrStore }},
		"by time":        {RootCAs: roots, Time: func() time.Time { return time.Now().Add(24 * time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Error(t, get(t, n.transport(config), "https://plex.example:32400", false, mediaserver.DirectOwners{hash: {"m1"}}))
		})
	}
}

// The hashes that plex.tv lists belong to the machines that it lists them for.
func TestOwnersOf(t *testing.T) {
	s := with(ownServer, local, remote, relayed)
	owners := mediaserver.OwnersOf([]plextv.MediaServer{*s})
	assert.Equal(t, mediaserver.DirectOwners{hash: {"m1"}}, owners)
}
