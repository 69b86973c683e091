// Package netaddr compares and classifies the addresses of servers.
package netaddr

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Origin returns scheme, host and port of u in the one spelling that can be compared
// (RFC 6454): in lower case and ASCII, without the scheme's own port.
func Origin(u *url.URL) string {
	host := ASCIIHost(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

// BrowserOrigin returns the origin s as browsers send it. ok is false unless s is that, but
// for the spelling of an international name.
func BrowserOrigin(s string) (origin string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || !IsWeb(u) || strings.ContainsAny(s, "*;,'") {
		return "", false
	}
	typed, sent := u.Hostname(), ASCIIHost(u.Hostname())
	if !isASCII(typed) {
		s = strings.Replace(s, typed, sent, 1)
	}
	return s, sent != "" && Origin(u) == s && isASCII(s)
}

// BrowserOrigins returns all as browsers send them. Those that are no origin stay as they are.
func BrowserOrigins(all []string) []string {
	sent := slices.Clone(all)
	for i, s := range all {
		if origin, ok := BrowserOrigin(s); ok {
			sent[i] = origin
		}
	}
	return sent
}

// isASCII reports whether s has only characters of ASCII.
func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// ASCIIHost returns host in lower case and ASCII, as net/http dials it: müller.example
// becomes xn--mller-kva.example. A host that has no such form is only put in lower case.
func ASCIIHost(host string) string {
	if isASCII(host) {
		return strings.ToLower(host)
	}
	return strings.ToLower(dialledHost(host))
}

// dialledHost returns the host that net/http would dial for host. No other package of
// the standard library knows the rules of international names (RFC 5890).
func dialledHost(host string) string {
	dialled := make(chan string, 1)
	t := http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled <- addr
		return nil, net.ErrClosed
	}}
	// There is no response, because there is no connection.
	t.RoundTrip(&http.Request{Method: http.MethodHead, URL: &url.URL{Scheme: "http", Host: host}, Header: http.Header{}})
	select {
	case addr := <-dialled:
		host, _, _ = net.SplitHostPort(addr) // t puts both together
	default:
	}
	return host
}

// SetASCIIHost puts the host of u in ASCII, so that every program understands it.
func SetASCIIHost(u *url.URL) {
	host := ASCIIHost(u.Hostname())
	switch port := u.Port(); {
	case host == strings.ToLower(u.Hostname()): // as it was typed
	case port != "":
		u.Host = net.JoinHostPort(host, port)
	default:
		u.Host = host
	}
}
