package mediaserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
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
		"https://0300.0250.1.5":                 true,
		"https://0xC0A80105":                    true,
		"https://10.254.43518":                  true,
		"https://1.2.3.4.5":                     true, // a name
		"https://169.254.169.254.0":             true, // a name
		"https://169.254.169.254.0.0":           true, // a name
		"https://0.0.0.256":                     true, // a name
		"https://0":                             false,
		"https://0x":                            false,
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
// does not resolve, or leads elsewhere, the address in it is dialled. No connection
// stays open but the one that is used.
func TestDialledAddress(t *testing.T) {
	const (
		name   = "192-168-1-5." + hash + ".plex.direct"
		public = "203-0-113-5." + hash + ".plex.direct"
		byName = name + ":32400"
		byIP   = "192.168.1.5:32400"
		late   = 700 * time.Millisecond
	)
	here, elsewhere := place{at: "192.168.1.5"}, place{at: "203.0.113.9"}
	for what, tc := range map[string]struct {
		names   map[string]place
		address string
		dialled []string
		is      error // part of the error; nil: the server answers
	}{
		"a name of this network":            {map[string]place{"plex": here}, "http://plex:32400", []string{"plex:32400"}, nil},
		"a Unix socket":                     {map[string]place{"plex": {socket: true}}, "http://plex:32400", []string{"plex:32400"}, nil},
		"a name out in the world":           {map[string]place{"plex": elsewhere}, "http://plex:32400", []string{"plex:32400"}, fault.ErrServerToken},
		"it is not seen where":              {map[string]place{"plex": {}}, "http://plex:32400", []string{"plex:32400"}, fault.ErrServerToken},
		"a name of a reserved address":      {map[string]place{"plex": {at: "169.254.169.254"}}, "http://plex:32400", []string{"plex:32400"}, fault.ErrServerToken},
		"the same over https":               {map[string]place{"plex": {at: "::ffff:169.254.169.254"}}, "https://plex:32400", []string{"plex:32400"}, fault.ErrServerToken},
		"no such name":                      {nil, "http://plex:32400", []string{"plex:32400"}, new(net.DNSError)},
		"a plex.direct name":                {map[string]place{name: here}, "http://" + byName, []string{byName}, nil},
		"refused at its own address":        {map[string]place{name: {at: "::ffff:192.168.1.5", refuses: true}}, "http://" + byName, []string{byName}, new(net.OpError)},
		"refused at another":                {map[string]place{name: {at: "0.0.0.0", refuses: true}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"refused, not seen where":           {map[string]place{name: {refuses: true}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"an error of the dialer's own":      {map[string]place{name: {err: net.ErrClosed}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"an error without an address":       {map[string]place{name: {err: &net.OpError{Op: "dial", Err: net.ErrClosed}}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"a resolver at that address":        {map[string]place{name: {err: &net.OpError{Op: "dial", Addr: here.addr(), Err: &net.DNSError{}}}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"a withheld name":                   {map[string]place{"192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"a withheld name, nothing behind":   {map[string]place{"192.168.1.5": {at: "192.168.1.5", refuses: true}}, "http://" + byName, []string{byName, byIP}, new(net.DNSError)},
		"a withheld name, through a tunnel": {map[string]place{"192.168.1.5": {at: "10.9.9.9"}}, "http://" + byName, []string{byName, byIP}, nil},
		"a misled name":                     {map[string]place{name: elsewhere, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"a misled name, nothing behind":     {map[string]place{name: elsewhere}, "http://" + byName, []string{byName, byIP}, fault.ErrServerToken},
		"misled, https decides":             {map[string]place{name: elsewhere}, "https://" + byName, []string{byName, byIP}, nil},
		"both through a tunnel":             {map[string]place{name: {at: "10.9.9.9"}, "192.168.1.5": {at: "10.9.9.9"}}, "https://" + byName, []string{byName, byIP}, nil},
		"it is not seen where it leads":     {map[string]place{name: {}}, "https://" + byName, []string{byName}, nil},
		"the resolver is silent":            {map[string]place{name: {silent: true}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"the name comes late":               {map[string]place{name: {at: "192.168.1.5", after: late}, "192.168.1.5": here}, "http://" + byName, []string{byName, byIP}, nil},
		"the name fails late":               {map[string]place{name: {refuses: true, after: late}, "192.168.1.5": {at: "192.168.1.5", after: late}}, "http://" + byName, []string{byName, byIP}, nil},
		"a public plex.direct name":         {map[string]place{"203.0.113.5": {at: "203.0.113.5"}}, "http://" + public + ":32400", []string{public + ":32400"}, new(net.DNSError)},
		"a public one over https":           {map[string]place{"203.0.113.5": {at: "203.0.113.5"}}, "https://" + public + ":32400", []string{public + ":32400", "203.0.113.5:32400"}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				known := newAuthority(t)
				n := &network{names: tc.names, serve: serveHTTP}
				if strings.HasPrefix(tc.address, "https") {
					n.serve = serveServer("m1", known.certificate(t, time.Hour, "*."+hash+".plex.direct"))
				}
				err := get(t, n.transport(&tls.Config{RootCAs: known.pool()}), tc.address, false, nil)
				switch is := tc.is.(type) {
				case nil:
					assert.NoError(t, err)
				case *net.DNSError:
					assert.ErrorAs(t, err, &is)
				case *net.OpError:
					assert.ErrorAs(t, err, &is)
				default:
					assert.ErrorIs(t, err, is)
				}
				time.Sleep(2 * late)
				assert.Equal(t, tc.dialled, n.dials())
				assert.Zero(t, n.connections())
			})
		})
	}
}

// G14: what was made for one address sends nothing to a reserved one either.
func TestRouteRefusesReserved(t *testing.T) {
	n := &network{serve: serveHTTP}
	routes := &mediaserver.Routes{Base: n.transport(nil)}
	rt, err := routes.To(parse(t, "http://192.168.1.5:32400"), false, nil, true)
	require.NoError(t, err)
	_, err = rt.RoundTrip(&http.Request{Method: http.MethodGet, URL: parse(t, "http://metadata.google.internal"), Header: http.Header{}})
	require.ErrorIs(t, err, fault.ErrServerToken)
	assert.Empty(t, n.dials())
}

// Requests are dialled as the caller's transport does it, and go to no reserved address
// there either.
func TestCallersDials(t *testing.T) {
	for name, setUp := range map[string]func(*http.Transport, *network){
		"Dial": func(base *http.Transport, n *network) {
			//lint:ignore SA1019 some callers still set it
			base.Dial = func(network, addr string) (net.Conn, error) { return n.dial(context.Background(), network, addr) }
		},
		"DialContext": func(base *http.Transport, n *network) {
			base.DialContext = n.dial
			//lint:ignore SA1019 some callers still set it
			base.Dial = func(string, string) (net.Conn, error) { return nil, net.ErrClosed }
		},
		"DialTLS": func(base *http.Transport, n *network) {
			//lint:ignore SA1019 some callers still set it
			base.DialTLS = func(network, addr string) (net.Conn, error) { return n.dial(context.Background(), network, addr) }
		},
		"DialTLSContext": func(base *http.Transport, n *network) {
			base.DialTLSContext = n.dial
			//lint:ignore SA1019 some callers still set it
			base.DialTLS = func(string, string) (net.Conn, error) { return nil, net.ErrClosed }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{names: map[string]place{"plex": {at: "192.168.1.5"}, "meta": {at: "169.254.169.254"}}, serve: serveHTTP}
				base := &http.Transport{}
				setUp(base, n)
				scheme := "http://"
				if strings.Contains(name, "TLS") {
					scheme = "https://" // what DialTLS returns has made its handshake
				}
				require.NoError(t, get(t, base, scheme+"plex:32400", false, nil))
				require.ErrorIs(t, get(t, base, scheme+"meta:32400", false, nil), fault.ErrServerToken)
				assert.Equal(t, []string{"plex:32400", "meta:32400"}, n.dials())
				synctest.Wait()
				assert.Zero(t, n.connections())
			})
		})
	}
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	assert.NoError(t, get(t, &http.Transport{}, server.URL, false, nil), "without a function of its own")
}

// An idle connection stays open for a minute and a half, or for as long as the caller's
// transport says. Close ends it.
func TestIdleConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		limit, open, closed time.Duration
	}{
		"no limit":   {0, 89 * time.Second, 91 * time.Second},
		"a limit":    {time.Hour, 59 * time.Minute, 61 * time.Minute},
		"until then": {time.Hour, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{names: map[string]place{"plex": {at: "192.168.1.5"}}, serve: serveHTTP}
				base := n.transport(nil)
				base.IdleConnTimeout = tc.limit
				routes := &mediaserver.Routes{Base: base}
				rt, err := routes.To(parse(t, "http://plex:32400"), false, nil, true)
				require.NoError(t, err)
				_, err = rt.RoundTrip(&http.Request{Method: http.MethodGet, URL: parse(t, "http://plex:32400"), Header: http.Header{}})
				require.NoError(t, err)
				time.Sleep(tc.open)
				assert.Equal(t, 1, n.connections())
				if tc.closed == 0 {
					routes.Close()
				}
				time.Sleep(max(0, tc.closed-tc.open))
				synctest.Wait()
				assert.Zero(t, n.connections())
				routes.Close()
			})
		})
	}
}

// Requests that have scheme, checks and certificates in common share their connections.
func TestRoutesAreKept(t *testing.T) {
	routes := &mediaserver.Routes{Base: &http.Transport{}}
	owners := mediaserver.DirectOwners{}
	for i := range 16 {
		owners.Add(strconv.Itoa(i), "m1")
	}
	seen := map[http.RoundTripper]string{}
	for range 20 { // owners has no order
		for _, tc := range []struct {
			name, address string
			insecure      bool
			direct        mediaserver.DirectOwners
		}{
			{"https", "https://plex", false, nil},
			{"http", "http://plex", false, nil},
			{"http", "http://plex", true, nil},
			{"http", "http://plex", false, owners},
			{"insecure", "https://plex", true, nil},
			{"insecure", "https://nas", true, owners},
			{"a certificate for another name", "https://plex", false, owners},
			{"at another host", "https://nas", false, owners},
		} {
			rt, err := routes.To(parse(t, tc.address), tc.insecure, tc.direct, false)
			require.NoError(t, err)
			if seen[rt] == "" {
				seen[rt] = tc.name
			}
			assert.Equal(t, tc.name, seen[rt])
		}
	}
	assert.Len(t, seen, 5)
}

// A NO_PROXY for an address counts for the plex.direct name of that address. Plain http
// goes through no proxy, which would read along.
func TestProxyOfRoutes(t *testing.T) {
	proxy := parse(t, "http://proxy.example:3128")
	base := &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) {
		switch host := r.URL.Hostname(); {
		case host == "192.168.1.5" && r.URL.Port() != "8443", !strings.Contains(host, "."):
			return nil, nil
		case host == "203.0.113.6":
			return nil, net.ErrClosed
		case host == "broken.example":
			return proxy, net.ErrClosed
		}
		return proxy, nil
	}}
	routes := &mediaserver.Routes{Base: base}
	for address, want := range map[string]*url.URL{
		directLocal:                 nil,
		"https://192.168.1.5:32400": nil,
		directRemote:                proxy,
		"https://192-168-1-5." + hash + ".plex.direct:8443": proxy,
		"https://203-0-113-6." + hash + ".plex.direct":      proxy,
		"https://plex.example":                              proxy,
	} {
		got, err := proxyFor(t, routes, address)
		require.NoError(t, err)
		assert.Equal(t, want, got, address)
	}
	_, err := proxyFor(t, routes, "https://broken.example")
	require.ErrorIs(t, err, net.ErrClosed)
	rt, err := routes.To(parse(t, "http://plex:32400"), false, nil, false)
	require.NoError(t, err)
	assert.Nil(t, rt.(interface{ Underlying() *http.Transport }).Underlying().Proxy)
}

// proxyFor returns the proxy that a request to address goes through.
func proxyFor(t *testing.T, routes *mediaserver.Routes, address string) (*url.URL, error) {
	t.Helper()
	rt, err := routes.To(parse(t, address), false, nil, false)
	require.NoError(t, err)
	return rt.(interface{ Underlying() *http.Transport }).Underlying().Proxy(&http.Request{URL: parse(t, address)})
}

// A proxy may have an address that no media server has.
func TestProxyAnywhere(t *testing.T) {
	const direct = "192-168-1-5." + hash + ".plex.direct:3128" // it does not resolve, and its address is not dialled
	for proxy, dialled := range map[string]string{
		"http://" + direct:        direct,
		"http://169.254.9.9:3128": "169.254.9.9:3128",
		"http://169.254.9.9":      "169.254.9.9:80",
		"https://169.254.9.9":     "169.254.9.9:443",
		"socks5://169.254.9.9":    "169.254.9.9:1080",
		"http://Proxy.example:80": "Proxy.example:80",
	} {
		there := place{at: "169.254.9.9"}
		n := &network{names: map[string]place{"169.254.9.9": there, "Proxy.example": there}, serve: func(conn net.Conn) { conn.Close() }}
		base := n.transport(nil)
		base.Proxy = http.ProxyURL(parse(t, proxy))
		err := get(t, base, "https://plex.example", false, nil)
		require.Error(t, err, proxy)
		assert.NotErrorIs(t, err, fault.ErrServerToken, proxy)
		assert.Equal(t, []string{dialled}, n.dials(), proxy)
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	with [][]byte // what comes with its certificates
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
	return authority{cert: cert, key: key}
}

// authority returns a new authority that a has signed, whose certificates come with its own.
func (a authority) authority(t *testing.T) authority {
	t.Helper()
	b := newAuthority(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "b"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, b.key.Public(), a.key)
	require.NoError(t, err)
	b.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	b.with = [][]byte{der}
	return b
}

// pool returns a pool with a in it.
func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// certificate returns a certificate for names that a has signed.
func (a authority) certificate(t *testing.T, expires time.Duration, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(expires)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: append([][]byte{der}, a.with...), PrivateKey: a.key}
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
		"one name of plex.direct's":         {known.certificate(t, time.Hour, "nas."+hash+".plex.direct"), false, listed, false},
		"another name":                      {known.certificate(t, time.Hour, "nas.example"), false, listed, false},
		"by another authority of a known":   {known.authority(t).certificate(t, time.Hour, "plex.example"), false, nil, true},
		"the same, plex.direct":             {known.authority(t).certificate(t, time.Hour, direct), false, listed, true},
		"not known":                         {stranger.certificate(t, time.Hour, "plex.example"), false, listed, false},
		"not checked":                       {stranger.certificate(t, -time.Hour, "nas.example"), true, listed, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{names: map[string]place{"plex.example": {at: "203.0.113.5"}}, serve: serveServer("m1", tc.cert)}
			err := get(t, n.transport(&tls.Config{RootCAs: known.pool()}), "https://plex.example:32400", tc.insecure, tc.direct)
			assert.Equal(t, tc.ok, err == nil, "%v", err)
			if !tc.ok {
				assert.ErrorAs(t, err, new(*tls.CertificateVerificationError))
			}
		})
	}
}

// The checks of the caller's own TLS settings are made besides, once. Settings that leave a
// certificate unchecked still do.
func TestCallersVerification(t *testing.T) {
	known := newAuthority(t)
	cert := known.certificate(t, time.Hour, "*."+hash+".plex.direct")
	listed := mediaserver.DirectOwners{hash: {"m1"}}
	n := &network{names: map[string]place{"plex.example": {at: "192.168.1.5"}, "192.168.1.5": {at: "192.168.1.5"}}, serve: serveServer("m1", cert)}
	checks, chains, states := 0, 0, 0
	byCertificate := func(raw [][]byte, verified [][]*x509.Certificate) error {
		checks++
		chains += len(verified)
		assert.Equal(t, cert.Certificate, raw)
		return nil
	}
	byConnection := func(state tls.ConnectionState) error {
		states += len(state.VerifiedChains)
		return nil
	}
	config := &tls.Config{RootCAs: known.pool(), VerifyPeerCertificate: byCertificate, VerifyConnection: byConnection}
	require.NoError(t, get(t, n.transport(config), "https://plex.example:32400", false, listed))
	assert.Equal(t, []int{1, 1, 1}, []int{checks, chains, states})

	refuseCertificate := func([][]byte, [][]*x509.Certificate) error { return fault.ErrStore }
	refuseConnection := func(tls.ConnectionState) error { return fault.ErrStore }
	tomorrow := func() time.Time { return time.Now().Add(24 * time.Hour) }
	for name, tc := range map[string]struct {
		config *tls.Config
		direct mediaserver.DirectOwners
		ok     bool
	}{
		"by certificate":                {&tls.Config{RootCAs: known.pool(), VerifyPeerCertificate: refuseCertificate}, listed, false},
		"by connection":                 {&tls.Config{RootCAs: known.pool(), VerifyConnection: refuseConnection}, listed, false},
		"by both":                       {&tls.Config{RootCAs: known.pool(), VerifyPeerCertificate: byCertificate, VerifyConnection: refuseConnection}, listed, false},
		"by time":                       {&tls.Config{RootCAs: known.pool(), Time: tomorrow}, listed, false},
		"nothing":                       {&tls.Config{InsecureSkipVerify: true}, listed, true},
		"by the system's authorities":   {nil, listed, false},
		"for an address, by its owners": {&tls.Config{RootCAs: known.pool()}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, address := range []string{"https://plex.example:32400", "https://192.168.1.5:32400"} {
				err := get(t, n.transport(tc.config), address, false, tc.direct)
				assert.Equal(t, tc.ok, err == nil, "%s: %v", address, err)
			}
		})
	}
	assert.NoError(t, get(t, n.transport(nil), "https://plex.example:32400", true, nil), "not checked at all")
}

// The hashes that plex.tv lists belong to the machines that it lists them for.
func TestOwnersOf(t *testing.T) {
	s := with(ownServer, local, remote, relayed, plextv.Connection{URI: "https://a b"}, plextv.Connection{URI: "https://nas.example"})
	owners := mediaserver.OwnersOf([]plextv.MediaServer{*s})
	owners.Add("", "m1")
	owners.Add("h2", "")
	assert.Equal(t, mediaserver.DirectOwners{hash: {"m1"}}, owners)
}
