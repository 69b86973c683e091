package netaddr

import (
	"net/netip"
	"net/url"
	"strings"
)

// SplitDirect returns the two parts of a plex.direct name; ok is false for any other
// name. Such a name is <address>.<hash>.plex.direct: the hash belongs to one media
// server, which alone has a certificate for *.<hash>.plex.direct
// (https://support.plex.tv/articles/206225077-how-to-use-secure-server-connections/).
func SplitDirect(host string) (label, hash string, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	label, rest, _ := strings.Cut(host, ".")
	hash, ok = strings.CutSuffix(rest, ".plex.direct")
	return label, hash, ok && hash != ""
}

// DirectIP returns the address in a name like 192-168-1-5.<hash>.plex.direct, the zero
// Addr for any other name.
func DirectIP(host string) netip.Addr {
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

// IsPlexDirect reports whether the host of address is a plex.direct name, which plex.tv
// makes. A name that ends with a dot is the same one.
func IsPlexDirect(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), ".plex.direct")
}
