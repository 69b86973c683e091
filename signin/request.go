package signin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/mount"
)

const longestCallback = 500 // bytes; it stands in the cookie twice

// directory returns the path below which this handler is seen. It ends in "/".
func directory(r *http.Request) string {
	at := mount.Path(r)
	return at[:strings.LastIndex(at, "/")+1]
}

// callbackURL is where Plex is to send the browser.
func (h *Handler) callbackURL(r *http.Request) string {
	if h.external != nil {
		return h.external.JoinPath("callback").String()
	}
	return (&url.URL{Scheme: h.scheme(r), Host: r.Host, Path: "/"}).JoinPath(directory(r), "callback").String()
}

// knowsName reports whether the browser asked for the app by the name of
// Options.URL. Another name may be one that a stranger has pointed here: its
// pages would share the app's origin.
//
// Origin decides, since a proxy may rewrite Host and no page can forge Origin.
// It comes with every POST of a browser. Without it an address and a name
// without a dot are the proxy's, since a stranger can point neither here.
func (h *Handler) knowsName(r *http.Request) bool {
	if h.external == nil {
		return true
	}
	same := func(host string) bool { return strings.EqualFold(strings.TrimSuffix(host, "."), h.external.Hostname()) }
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err == nil && same(u.Hostname())
	}
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",")
	host := hostname(r.Host)
	_, err := netip.ParseAddr(host)
	return same(host) || same(hostname(strings.TrimSpace(forwarded))) || err == nil || !strings.Contains(host, ".")
}

// hostname returns what stands before the port.
func hostname(hostport string) string {
	return (&url.URL{Host: hostport}).Hostname()
}

// remoteAddress returns the client's address without its port. Of IPv6 it
// returns the network, since a single home has 2^64 addresses.
func remoteAddress(r *http.Request) string {
	host := r.RemoteAddr
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}

// scheme is the one by which the browser came.
func (h *Handler) scheme(r *http.Request) string {
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	switch {
	case h.external != nil:
		return h.external.Scheme
	case r.TLS != nil, strings.EqualFold(strings.TrimSpace(forwarded), "https"), r.Header.Get("Origin") == "https://"+r.Host:
		return "https"
	}
	return "http"
}

// answer notes whether OnSignIn has written one.
type answer struct {
	http.ResponseWriter
	written bool
}

func (a *answer) WriteHeader(status int) {
	a.written = true
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	a.written = true
	return a.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
