package mediaserver

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// Routes holds the transports that send requests to media servers. They are clones of one
// base transport, made when they are first needed. Routes is safe for concurrent use.
type Routes struct {
	Base http.RoundTripper // must not be changed after the first use

	mu   sync.Mutex
	made map[routeKey]*route
}

// routeKey is what requests on one route have in common.
type routeKey struct {
	scheme   string
	insecure bool
	// host is that of an address that a person entered, at which a plex.direct
	// certificate with one of hashes is accepted, too. "": none is.
	host, hashes string
}

// route is a clone of the base transport for media servers.
type route struct {
	*http.Transport
	dialer *dialer
}

// Underlying returns the transport that requests are sent with. Package plextv asks it
// whether there is a proxy.
func (r *route) Underlying() *http.Transport { return r.Transport }

// To returns what sends a request to u. insecure leaves the certificate unchecked.
// direct names the plex.direct certificates that are accepted besides one for the host;
// nil: none. token says whether the request carries one. The error matches
// [fault.ErrServerToken] if nothing may be sent there.
func (r *Routes) To(u *url.URL, insecure bool, direct DirectOwners, token bool) (http.RoundTripper, error) {
	if reservedHost(u.Hostname()) {
		return nil, errReserved
	}
	base, ok := r.Base.(*http.Transport)
	if !ok {
		if token && u.Scheme != "https" && !netaddr.IsPrivateHost(u) {
			return nil, fmt.Errorf("%w (where %s leads is unknown, because the RoundTripper is not an *http.Transport)", errInClear, u.Host)
		}
		return r.Base, nil
	}
	key := routeKey{scheme: u.Scheme, insecure: insecure && u.Scheme == "https"}
	if direct != nil && u.Scheme == "https" && !insecure {
		key.host, key.hashes = u.Hostname(), direct.hashes()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	way := r.made[key]
	if way == nil {
		if r.made == nil {
			r.made = map[routeKey]*route{}
		}
		way = newRoute(base, key)
		r.made[key] = way
	}
	return way, nil
}

// isNameHidden reports whether the resolver withholds or changes the name host, though
// the address in it has answered.
func (r *Routes) isNameHidden(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, way := range r.made {
		if way.dialer.isHidden(host) {
			return true
		}
	}
	return false
}

// Close ends the connections that are idle, and the dials and handshakes that net/http
// goes on with though their requests were given up.
func (r *Routes) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, way := range r.made {
		way.CloseIdleConnections()
	}
}
