package netaddr

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Private reports whether an address is in one's own network: loopback,
// link-local or private.
func Private(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
}

// StaysPrivate reports whether a URL's host is private as it is written.
func StaysPrivate(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && Private(ip)
}

// IsWeb reports whether u is absolute, and http or https.
func IsWeb(u *url.URL) bool { return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" }

func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
