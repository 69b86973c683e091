package signin

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/mount"
	"github.com/plexauth/plexauth/internal/netaddr"
)

const (
	maxCallbackBytes = 500  // the cookie contains the callback URL twice
	maxHostBytes     = 1024 // a name has at most 253 characters
)

// directory returns the path below which the browser sees this handler. It ends in "/".
func directory(r *http.Request) string {
	at := mount.Path(r)
	return at[:strings.LastIndex(at, "/")+1]
}

// callbackURL returns the address to which Plex sends the browser back. r is not used if
// Options.URL is set.
func (h *Handler) callbackURL(r *http.Request) string {
	if h.external != nil {
		return h.external.JoinPath("callback").String()
	}
	return (&url.URL{Scheme: h.scheme(r), Host: r.Host, Path: "/"}).JoinPath(directory(r), "callback").String()
}

// scheme returns the scheme of the address that the browser shows.
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

// knowsHost reports whether the browser used the host name of Options.URL. An attacker
// may have pointed another name at the app; pages under that name would share the app's
// origin.
//
// A proxy may rewrite Host, but no page can forge Origin, which browsers send with every
// POST. Without Origin, an IP address or a name without a dot must come from a proxy: an
// attacker cannot point either of them at the app.
func (h *Handler) knowsHost(r *http.Request) bool {
	if h.external == nil {
		return true
	}
	isOwn := func(host string) bool { // the time that ASCIIHost takes is the square of the length
		return len(host) <= maxHostBytes && netaddr.ASCIIHost(strings.TrimSuffix(host, ".")) == netaddr.ASCIIHost(h.external.Hostname())
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err == nil && isOwn(u.Hostname())
	}
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",")
	host := withoutPort(r.Host)
	_, err := netip.ParseAddr(host)
	return isOwn(host) || isOwn(withoutPort(strings.TrimSpace(forwarded))) || err == nil || !strings.Contains(host, ".")
}

func withoutPort(hostport string) string { return (&url.URL{Host: hostport}).Hostname() }
