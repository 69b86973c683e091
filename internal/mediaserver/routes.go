package mediaserver

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// privateConn reports whether a connection has not left one's own network.
func privateConn(conn net.Conn) bool {
	switch a := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		return netaddr.Private(a.AddrPort().Addr())
	case *net.UnixAddr:
		return true
	}
	return false
}

// ServerRoutes are the ways from one transport to media servers, made when
// they are first needed.
type ServerRoutes struct {
	Base http.RoundTripper

	mu   sync.Mutex
	made map[routeKey]*serverRoute
}

type routeKey struct {
	scheme   string
	insecure bool
	// host is of an address that a person entered, where a plex.direct certificate
	// with one of hashes will do as well; empty: it will not.
	host, hashes string
}

type serverRoute struct {
	*http.Transport
	dialer *dialer
}

// Underlying returns the transport that requests are sent with.
func (r *serverRoute) Underlying() *http.Transport { return r.Transport }

// To returns the way to u, for a request with or without a token. insecure leaves
// the certificate unchecked. direct, where it is not nil, names the plex.direct
// certificates that will do beside one for the host.
func (r *ServerRoutes) To(u *url.URL, insecure bool, direct DirectOwners, token bool) (http.RoundTripper, error) {
	if reservedHost(u.Hostname()) {
		return nil, errReserved
	}
	base, ok := r.Base.(*http.Transport)
	if !ok {
		if token && u.Scheme != "https" && !netaddr.StaysPrivate(u) {
			return nil, fmt.Errorf("%w (behind a RoundTripper that is no *http.Transport it cannot be seen where %s leads)", errInClear, u.Host)
		}
		return r.Base, nil
	}
	key := routeKey{scheme: u.Scheme, insecure: insecure && u.Scheme == "https"}
	if direct != nil && u.Scheme == "https" && !insecure {
		key.host, key.hashes = u.Hostname(), direct.hashes()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	route := r.made[key]
	if route == nil {
		if r.made == nil {
			r.made = map[routeKey]*serverRoute{}
		}
		route = &serverRoute{}
		route.Transport, route.dialer = serverTransport(base, key)
		r.made[key] = route
	}
	return route, nil
}

// hides reports whether the name in u leads nowhere or elsewhere though its address
// answered.
func (r *ServerRoutes) hides(u *url.URL) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, route := range r.made {
		if route.dialer.hides(u.Hostname()) {
			return true
		}
	}
	return false
}

// Close ends the connections that are idle, and the dials and handshakes that
// net/http goes on with though their requests were given up.
func (r *ServerRoutes) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, route := range r.made {
		route.CloseIdleConnections()
	}
}
