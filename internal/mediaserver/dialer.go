package mediaserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
)

// errInClear refuses to send a token over plain http to a public address.
var errInClear = fmt.Errorf("%w that may go there: plain http to an address that is not private would show it to others on the way, use https", fault.ErrServerToken)

const (
	// dialLimit and keepAlive are those of http.DefaultTransport.
	dialLimit = 30 * time.Second
	keepAlive = 30 * time.Second
	// idleLimit bounds how long a connection stays open without a request, if the
	// caller's transport sets no limit.
	idleLimit = 90 * time.Second
)

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer makes connections to media servers and looks where they go.
type dialer struct {
	dial dialFunc
	// inClear says that others can read what is sent, so that every address must be
	// private.
	inClear bool

	mu      sync.Mutex
	hidden  map[string]bool // names that lead nowhere or elsewhere, though the address in them answers
	proxies map[string]bool // addresses of the proxies that are used
}

// newRoute returns a clone of base for the requests of key.
func newRoute(base *http.Transport, key routeKey) *route {
	t := base.Clone()
	d := &dialer{dial: dialOf(base), inClear: key.scheme == "http", hidden: map[string]bool{}, proxies: map[string]bool{}}
	t.DialContext = d.dialContext
	if dialTLS := dialTLSOf(base); dialTLS != nil {
		t.DialTLSContext = d.allowed(dialTLS)
	}
	if t.Proxy = d.proxy(base.Proxy); d.inClear {
		t.Proxy = nil // a proxy would read along
	}
	setVerification(t, key)
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = idleLimit
	}
	return &route{t, d}
}

// dialOf returns how base dials.
func dialOf(base *http.Transport) dialFunc {
	//lint:ignore SA1019 some callers still set it
	old := base.Dial
	switch {
	case base.DialContext != nil:
		return base.DialContext
	case old != nil:
		return func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) }
	}
	return (&net.Dialer{Timeout: dialLimit, KeepAlive: keepAlive}).DialContext
}

// dialTLSOf returns how base dials with TLS, nil if it has no function of its own.
func dialTLSOf(base *http.Transport) dialFunc {
	//lint:ignore SA1019 some callers still set it
	old := base.DialTLS
	if base.DialTLSContext == nil && old != nil {
		return func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) }
	}
	return base.DialTLSContext
}

// setVerification makes t verify certificates as key says.
func setVerification(t *http.Transport, key routeKey) {
	if !key.insecure && key.host == "" {
		return
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	switch {
	case key.insecure:
		t.TLSClientConfig.InsecureSkipVerify = true
	case !t.TLSClientConfig.InsecureSkipVerify:
		(&directVerifier{host: key.host, hashes: key.hashes}).install(t.TLSClientConfig)
	}
}

// proxy returns ask, the caller's function, for plex.direct names as well: such a name
// needs no proxy if the address in it needs none, so that a NO_PROXY of addresses
// reaches it.
func (d *dialer) proxy(ask func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if ask == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		proxy, err := ask(r)
		if err != nil || proxy == nil {
			return proxy, err
		}
		if ip := netaddr.DirectIP(r.URL.Hostname()); ip.IsValid() {
			byIP, u := *r, *r.URL
			u.Host = net.JoinHostPort(ip.String(), portOf(&u))
			byIP.URL = &u
			if at, err := ask(&byIP); err == nil && at == nil {
				return nil, nil
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.proxies[net.JoinHostPort(netaddr.ASCIIHost(proxy.Hostname()), portOf(proxy))] = true
		return proxy, nil
	}
}

// portOf returns the port to which u leads.
func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	case strings.HasPrefix(u.Scheme, "socks5"):
		return "1080"
	}
	return "80"
}

// isProxy reports whether addr is a proxy's.
func (d *dialer) isProxy(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proxies[strings.ToLower(addr)]
}

// allowed returns dial without reserved addresses, as they are written and as they are
// dialled. A proxy may be anywhere.
func (d *dialer) allowed(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if d.isProxy(addr) {
			return dial(ctx, network, addr)
		}
		host, _, err := net.SplitHostPort(addr)
		if err == nil && reservedHost(host) {
			return nil, errReserved
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if ip, ok := remoteIP(conn); ok && reserved(ip) {
			conn.Close()
			return nil, errReserved
		}
		return conn, nil
	}
}

// dialContext is the [http.Transport.DialContext] of a route.
func (d *dialer) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dialDirect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if d.inClear && !isPrivateConn(conn) {
		conn.Close()
		return nil, errInClear
	}
	return conn, nil
}

// dialDirect dials addr. If its host is a plex.direct name that leads nowhere or
// elsewhere, it dials the address in the name: many home routers withhold such names
// (DNS rebinding protection). TLS is verified against the name all the same.
func (d *dialer) dialDirect(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := d.allowed(d.dial)
	host, port, err := net.SplitHostPort(addr)
	ip := netaddr.DirectIP(host)
	byIP := ip.IsValid() && (!d.inClear || netaddr.IsPrivate(ip))
	if err != nil || !byIP || d.isProxy(addr) {
		return dial(ctx, network, addr)
	}
	ctx, stop := context.WithCancel(ctx)
	r := &race{ip: ip, byIP: net.JoinHostPort(ip.String(), port), results: make(chan dialResult, 2)}
	r.start = func(addr string) {
		r.running++
		go func() {
			conn, err := dial(ctx, network, addr)
			r.results <- dialResult{conn, err, addr == r.byIP}
		}()
	}
	defer r.end(stop)
	conn, err := r.run(addr)
	if r.misled && r.wonByIP {
		d.hide(host)
	}
	return conn, err
}

// hide notes that the name host leads nowhere or elsewhere.
func (d *dialer) hide(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hidden[strings.ToLower(host)] = true
}

// isHidden reports whether the name host leads nowhere or elsewhere, though the address
// in it has answered.
func (d *dialer) isHidden(host string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hidden[strings.ToLower(host)]
}

// isPrivateConn reports whether a connection has not left one's own network.
func isPrivateConn(conn net.Conn) bool {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		return netaddr.IsPrivate(a.AddrPort().Addr())
	case *net.UnixAddr:
		return true
	}
	return false
}

// remoteIP returns the address to which a connection leads; ok is false if it does not
// use IP.
func remoteIP(conn net.Conn) (ip netip.Addr, ok bool) {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return a.AddrPort().Addr().Unmap().WithZone(""), true
}
