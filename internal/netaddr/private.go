package netaddr

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// IsPrivate reports whether ip is in one's own network: loopback, link-local or private
// (RFC 1918, RFC 4193).
func IsPrivate(ip netip.Addr) bool {
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
}

// IsPrivateHost reports whether the host of u is localhost or a private IP address. Where
// any other name leads cannot be seen from u.
func IsPrivateHost(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	ip, _ := netip.ParseAddr(host)
	return host == "localhost" || IsPrivate(ip)
}

// IsWeb reports whether u is an absolute http or https URL.
func IsWeb(u *url.URL) bool { return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" }

// IsWebAddress reports whether address is an absolute http or https URL without user and
// password. It must be UTF-8, as all that is stored.
func IsWebAddress(address string) bool {
	u, err := url.Parse(address)
	return err == nil && IsWeb(u) && u.User == nil && utf8.ValidString(address)
}

// IsLoopback reports whether host is localhost or a loopback IP address.
func IsLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
