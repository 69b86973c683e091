package mediaserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
)

// errReserved refuses an address that no media server has. One rule is for all
// addresses: typed, stored, listed by plex.tv, or where a name leads.
var errReserved = fmt.Errorf("%w that may go there: the address is reserved for one machine, one link, many machines at once, or a cloud's own credentials", fault.ErrServerToken)

// reservedRanges have no media server, like the ranges that netip knows by name
// (RFC 6890). Most single addresses are where a cloud gives out credentials, as its
// documentation says.
var reservedRanges = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("240.0.0.0/4"),        // 255.255.255.255 among them
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.0/24"),       // IETF protocols; Oracle Cloud
	netip.MustParsePrefix("fd00:ec2::/32"),      // Amazon
	netip.MustParsePrefix("fd20:ce::/32"),       // Google
	netip.MustParsePrefix("fd00:c1::/32"),       // Oracle Cloud
	netip.MustParsePrefix("fd00:42::42/128"),    // Scaleway
}

// reservedNames lead to such an address if they lead anywhere. They matter if it cannot
// be seen which address is dialled.
var reservedNames = []string{
	"metadata.google.internal", "metadata.goog", "instance-data.ec2.internal", "instance-data",
	"metadata.tencentyun.com", "api.metadata.cloud.ibm.com",
}

// podmanHost is where a container of Podman finds its host (host.containers.internal),
// on which a media server may run. It is the one link-local address that is allowed.
var podmanHost = netip.MustParseAddr("169.254.1.2")

// reserved reports whether no request is sent to ip.
func reserved(ip netip.Addr) bool {
	for ip = ip.WithZone("").Unmap(); ip.IsValid() && ip != podmanHost; ip = embeddedIPv4(ip) {
		if ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() ||
			slices.ContainsFunc(reservedRanges, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			return true
		}
	}
	return false
}

// embeddedIPv4 returns the IPv4 address that a translator makes of ip: NAT64 (RFC 6052),
// SIIT (RFC 2765), IPv4-compatible (RFC 4291) or 6to4 (RFC 3056). It returns the zero Addr for any other.
func embeddedIPv4(ip netip.Addr) netip.Addr {
	if !ip.Is6() || ip.IsLoopback() {
		return netip.Addr{}
	}
	b := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/32").Contains(ip), netip.MustParsePrefix("::/96").Contains(ip), netip.MustParsePrefix("::ffff:0:0:0/96").Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:]))
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return netip.Addr{}
}

// reservedHost reports whether no request is sent to a host, as it is written.
func reservedHost(host string) bool {
	host = strings.TrimSuffix(netaddr.ASCIIHost(host), ".")
	return reserved(writtenIP(host)) || reserved(netaddr.DirectIP(host)) || slices.Contains(reservedNames, host)
}

// writtenIP reads an address as resolvers do (inet_aton of POSIX): 0xA9FEA9FE,
// 0251.0376.0251.0376 and 169.254.43518 are 169.254.169.254, too. It returns the zero
// Addr for a name.
func writtenIP(host string) netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip
	}
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}
	}
	var ip uint64
	for i, part := range parts {
		n, ok := writtenNumber(part)
		bits := 8 // of this part: the last one fills what is left
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		if !ok || n >= 1<<bits {
			return netip.Addr{}
		}
		ip = ip<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)})
}

// writtenNumber reads one part of an address: decimal, octal with a leading 0, or
// hexadecimal with 0x.
func writtenNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		s, base = s[2:], 16
		if s == "" { // as inet_aton reads it
			return 0, true
		}
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, err == nil
}
