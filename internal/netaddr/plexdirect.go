package netaddr

import (
	"net/netip"
	"net/url"
	"strings"
)

// Names at plex.direct: <address>.<hash>.plex.direct. The address stands in the
// name, and the hash belongs to one media server, which alone has a certificate
// for *.<hash>.plex.direct.

// SplitDirect returns the two parts of a plex.direct name, ok where host is one.
func SplitDirect(host string) (label, hash string, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	label, rest, _ := strings.Cut(host, ".")
	hash, ok = strings.CutSuffix(rest, ".plex.direct")
	return label, hash, ok && hash != ""
}

// EncodedIP is the address that stands in a name like
// 192-168-1-5.<hash>.plex.direct; the zero Addr for any other name.
func EncodedIP(host string) netip.Addr {
	label, _, ok := SplitDirect(host)
	if !ok {
		return netip.Addr{}
	}
	for _, separator := range []string{".", ":"} {
		if ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", separator)); err == nil {
			return ip.Unmap()
		}
	}
	return netip.Addr{}
}

// PlexDirect reports whether an address goes by a name that plex.tv makes.
func PlexDirect(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Hostname()), ".plex.direct")
}
