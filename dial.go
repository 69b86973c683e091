package plexauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// How connections to media servers are made. What follows needs an
// [http.Transport] beneath, of which it makes a clone; another RoundTripper
// does as it likes, and gets no token for plain http to a name.

// errInClear: a token would go over plain http to an address out in the world.
var errInClear = fmt.Errorf("%w that may go there: plain http to an address that is not private shows it to all on the way, use https", ErrServerToken)

// dialer looks where connections to a media server go.
type dialer struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// inClear: what is sent can be read on the way, so that every address
	// must be private.
	inClear bool

	mu     sync.Mutex
	hidden map[string]bool // names that the resolver withholds, though their address answers
}

// serverTransport clones base for requests to a media server. insecure leaves
// its certificate unchecked.
func serverTransport(base *http.Transport, scheme string, insecure bool) (*http.Transport, *dialer) {
	t := base.Clone()
	d := &dialer{dial: t.DialContext, inClear: scheme == "http"}
	//lint:ignore SA1019 some callers still set it
	if old := base.Dial; d.dial == nil && old != nil {
		d.dial = func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) }
	}
	if d.dial == nil {
		d.dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	t.DialContext = d.dialContext
	if d.inClear {
		t.Proxy = nil // a proxy would read along
	}
	if insecure {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{}
		}
		t.TLSClientConfig.InsecureSkipVerify = true
	}
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = 90 * time.Second
	}
	return t, d
}

func (d *dialer) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, addr)
	if err != nil && ctx.Err() == nil {
		if host, port, ok := withheld(addr, err); ok {
			// TLS is verified against the name all the same.
			again, againErr := d.dial(ctx, network, net.JoinHostPort(encodedIP(host).String(), port))
			if againErr == nil {
				conn, err = again, nil
				d.mu.Lock()
				if d.hidden == nil {
					d.hidden = map[string]bool{}
				}
				d.hidden[host] = true
				d.mu.Unlock()
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if d.inClear && !privateConn(conn) {
		conn.Close()
		return nil, errInClear
	}
	return conn, nil
}

// hides reports whether the resolver withheld a name whose address answered.
func (d *dialer) hides(host string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hidden[strings.ToLower(host)]
}

// withheld recognizes that the resolver keeps back a plex.direct name of a
// private address, or points it elsewhere: DNS rebinding protection, which
// many home routers have.
func withheld(addr string, err error) (host, port string, ok bool) {
	host, port, splitErr := net.SplitHostPort(addr)
	host = strings.ToLower(host)
	ip := encodedIP(host)
	if splitErr != nil || !private(ip) {
		return "", "", false
	}
	if errors.As(err, new(*net.DNSError)) {
		return host, port, true
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr == nil {
		return "", "", false
	}
	at, parseErr := netip.ParseAddrPort(op.Addr.String())
	return host, port, parseErr == nil && at.Addr().Unmap().WithZone("") != ip
}

// encodedIP is the address that stands in a name like
// 192-168-1-5.<hash>.plex.direct; the zero Addr for any other name.
func encodedIP(host string) netip.Addr {
	label, rest, _ := strings.Cut(strings.ToLower(host), ".")
	if hash, ok := strings.CutSuffix(rest, ".plex.direct"); !ok || hash == "" {
		return netip.Addr{}
	}
	for _, separator := range []string{".", ":"} {
		if ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", separator)); err == nil {
			return ip.Unmap()
		}
	}
	return netip.Addr{}
}

// private reports whether an address is in one's own network: loopback,
// link-local or private.
func private(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
}

// privateConn reports whether a connection has not left one's own network.
func privateConn(conn net.Conn) bool {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		return private(a.AddrPort().Addr())
	case *net.UnixAddr:
		return true
	}
	return false
}

// staysPrivate reports whether a URL's host is private as it is written.
func staysPrivate(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && private(ip)
}

// serverRoutes are the ways from one transport to media servers, made when
// they are first needed.
type serverRoutes struct {
	base http.RoundTripper

	mu   sync.Mutex
	made map[routeKey]*serverRoute
}

type routeKey struct {
	scheme   string
	insecure bool
}

type serverRoute struct {
	*http.Transport
	dialer *dialer
}

// to returns the way to u, for a request with or without a token.
func (r *serverRoutes) to(u *url.URL, insecure, token bool) (http.RoundTripper, error) {
	base, ok := r.base.(*http.Transport)
	if !ok {
		if token && u.Scheme != "https" && !staysPrivate(u) {
			return nil, fmt.Errorf("%w (behind a RoundTripper that is no *http.Transport it cannot be seen where %s leads)", errInClear, u.Host)
		}
		return r.base, nil
	}
	key := routeKey{u.Scheme, insecure && u.Scheme == "https"}
	r.mu.Lock()
	defer r.mu.Unlock()
	route := r.made[key]
	if route == nil {
		if r.made == nil {
			r.made = map[routeKey]*serverRoute{}
		}
		route = &serverRoute{}
		route.Transport, route.dialer = serverTransport(base, key.scheme, key.insecure)
		r.made[key] = route
	}
	return route, nil
}

// hides reports whether the resolver withheld the name in u.
func (r *serverRoutes) hides(u *url.URL) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, route := range r.made {
		if route.dialer.hides(u.Hostname()) {
			return true
		}
	}
	return false
}

// close ends the connections that are idle, and the dials and handshakes that
// net/http goes on with though their requests were given up.
func (r *serverRoutes) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, route := range r.made {
		route.CloseIdleConnections()
	}
}
