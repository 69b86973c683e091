package mediaserver

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

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
)

// How connections to media servers are made. All below needs an
// [http.Transport] beneath, of which it makes a clone; another RoundTripper
// does as it likes, and gets no token for plain http to a name.

// errInClear: a token would go over plain http to an address out in the world.
var errInClear = fmt.Errorf("%w that may go there: plain http to an address that is not private shows it to all on the way, use https", fault.ErrServerToken)

// nameLimit is how long a plex.direct name has to lead somewhere before the address
// in it is dialled as well: a resolver that is out keeps silent for longer.
const nameLimit = 500 * time.Millisecond

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer looks where connections to a media server go.
type dialer struct {
	dial dialFunc
	// inClear: what is sent can be read on the way, so that every address
	// must be private.
	inClear bool

	mu      sync.Mutex
	hidden  map[string]bool // names that lead nowhere or elsewhere, though their address answers
	proxies map[string]bool // addresses of the proxies that are used
}

// serverTransport clones base for requests to a media server.
func serverTransport(base *http.Transport, key routeKey) (*http.Transport, *dialer) {
	t := base.Clone()
	d := &dialer{dial: t.DialContext, inClear: key.scheme == "http", hidden: map[string]bool{}, proxies: map[string]bool{}}
	//lint:ignore SA1019 some callers still set it
	if old := base.Dial; d.dial == nil && old != nil {
		d.dial = func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) }
	}
	if d.dial == nil {
		d.dial = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	t.DialContext = d.dialContext
	//lint:ignore SA1019 some callers still set it
	if old := base.DialTLS; t.DialTLSContext == nil && old != nil {
		t.DialTLSContext = func(_ context.Context, network, addr string) (net.Conn, error) { return old(network, addr) }
	}
	if t.DialTLSContext != nil {
		t.DialTLSContext = d.allowed(t.DialTLSContext)
	}
	if t.Proxy = d.proxy(base.Proxy); d.inClear {
		t.Proxy = nil // a proxy would read along
	}
	if key.insecure || key.host != "" {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{}
		}
	}
	switch {
	case key.insecure:
		t.TLSClientConfig.InsecureSkipVerify = true
	case key.host != "" && !t.TLSClientConfig.InsecureSkipVerify:
		(&directVerifier{host: key.host, hashes: key.hashes}).install(t.TLSClientConfig)
	}
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = 90 * time.Second
	}
	return t, d
}

// proxy asks the caller's function for a proxy. A plex.direct name needs none where
// the address in it needs none, so that a NO_PROXY of addresses reaches it.
func (d *dialer) proxy(ask func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if ask == nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		proxy, err := ask(r)
		if err != nil || proxy == nil {
			return proxy, err
		}
		if ip := netaddr.EncodedIP(r.URL.Hostname()); ip.IsValid() {
			byIP, u := *r, *r.URL
			u.Host = net.JoinHostPort(ip.String(), portOf(&u))
			byIP.URL = &u
			if at, err := ask(&byIP); err == nil && at == nil {
				return nil, nil
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.proxies[net.JoinHostPort(netaddr.AsciiHost(proxy.Hostname()), portOf(proxy))] = true
		return proxy, nil
	}
}

// portOf is the port that a URL leads to.
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

func (d *dialer) isProxy(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proxies[strings.ToLower(addr)]
}

// allowed makes dial refuse reserved addresses, as they are written and as they are
// dialled.
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

func (d *dialer) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dialDirect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if d.inClear && !privateConn(conn) {
		conn.Close()
		return nil, errInClear
	}
	return conn, nil
}

// dialDirect dials addr. If its host is a plex.direct name that leads nowhere or
// elsewhere, it dials the address in the name: many home routers withhold such
// names (DNS rebinding protection). TLS is verified against the name all the same.
func (d *dialer) dialDirect(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := d.allowed(d.dial)
	host, port, err := net.SplitHostPort(addr)
	ip := netaddr.EncodedIP(host)
	byIP := ip.IsValid() && (!d.inClear || netaddr.Private(ip))
	if err != nil || !byIP || d.isProxy(addr) {
		return dial(ctx, network, addr)
	}
	ctx, stop := context.WithCancel(ctx)
	r := &race{ip: ip, byIP: net.JoinHostPort(ip.String(), port), results: make(chan dialOutcome, 2)}
	r.start = func(addr string) {
		r.running++
		go func() {
			conn, err := dial(ctx, network, addr)
			r.results <- dialOutcome{conn, err, addr == r.byIP}
		}()
	}
	defer r.end(stop)
	conn, err := r.run(addr)
	if r.misled && r.wonByIP {
		d.hide(host)
	}
	return conn, err
}

// race dials a name and, where the name does not lead there soon, the address in
// it.
type race struct {
	ip      netip.Addr
	byIP    string // ip with its port, to be dialled
	start   func(addr string)
	results chan dialOutcome
	running int

	late      bool     // byIP was started
	nameErr   error    // why the name cannot be dialled
	elsewhere net.Conn // where the name leads
	misled    bool     // the name leads nowhere or elsewhere
	wonByIP   bool
}

// run returns the connection to use.
func (r *race) run(name string) (net.Conn, error) {
	r.start(name)
	late := time.NewTimer(nameLimit)
	defer late.Stop()
	for r.running > 0 {
		select {
		case <-late.C:
			r.startByIP()
		case got := <-r.results:
			r.running--
			if conn := r.take(got); conn != nil {
				return conn, nil
			}
		}
	}
	if r.elsewhere != nil { // its certificate tells
		return r.elsewhere, nil
	}
	return nil, r.nameErr
}

func (r *race) startByIP() {
	if !r.late {
		r.late = true
		r.start(r.byIP)
	}
}

// take returns the connection to use, nil if it is not decided yet.
func (r *race) take(got dialOutcome) net.Conn {
	switch {
	case got.err == nil && (got.leadsTo(r.ip) || got.byIP && r.elsewhere == nil): // or where this dialer leads cannot be seen
		closeConn(r.elsewhere)
		r.wonByIP = got.byIP
		return got.conn
	case got.byIP:
		closeConn(got.conn)
	case got.err == nil:
		r.elsewhere, r.misled = got.conn, true
		r.startByIP()
	default:
		r.nameErr = got.err
		if r.misled = dialledElsewhere(got.err, r.ip); r.misled {
			r.startByIP()
		}
	}
	return nil
}

// end gives up what still runs, and closes what comes of it.
func (r *race) end(stop context.CancelFunc) {
	stop()
	if r.running == 0 {
		return
	}
	go func() {
		for range r.running {
			closeConn((<-r.results).conn)
		}
	}()
}

// dialOutcome is how one of the two ended.
type dialOutcome struct {
	conn net.Conn
	err  error
	byIP bool
}

// leadsTo reports whether a connection is to ip, as far as can be seen.
func (r dialOutcome) leadsTo(ip netip.Addr) bool {
	at, ok := remoteIP(r.conn)
	return !ok || at == ip
}

// dialledElsewhere reports whether a name that could not be dialled leads elsewhere
// than to ip, or nowhere.
func dialledElsewhere(err error, ip netip.Addr) bool {
	var op *net.OpError
	if errors.As(err, new(*net.DNSError)) || !errors.As(err, &op) || op.Addr == nil {
		return true
	}
	at, parseErr := netip.ParseAddrPort(op.Addr.String())
	return parseErr != nil || at.Addr().Unmap().WithZone("") != ip
}

func closeConn(conn net.Conn) {
	if conn != nil {
		conn.Close()
	}
}

// remoteIP is the address that a connection leads to; ok is false where it does
// not go by IP.
func remoteIP(conn net.Conn) (ip netip.Addr, ok bool) {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return a.AddrPort().Addr().Unmap().WithZone(""), true
}

// hide notes that a name leads nowhere or elsewhere.
func (d *dialer) hide(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hidden[strings.ToLower(host)] = true
}

// hides reports whether a name leads nowhere or elsewhere though its address
// answered.
func (d *dialer) hides(host string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hidden[strings.ToLower(host)]
}
