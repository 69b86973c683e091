package mediaserver

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
)

// ErrNoAddress is the error for text that is not an address. It does not quote the text:
// people paste addresses with a token in them.
var ErrNoAddress = errors.New("plexauth: not the address of a media server (expected something like https://192.168.1.5:32400)")

// Candidate is an address at which a media server may answer.
type Candidate struct {
	URL      string
	Entered  bool // by a person: plex.tv need not know it
	Insecure bool // its certificate is not checked

	local, relay bool
	rank         rank
	skip         string       // the key of the finding that says why it is not tried; "": it is
	direct       DirectOwners // whose plex.direct certificates are accepted at an entered address; nil: none
	https        string       // the listed address with https that this one over http is made from; "": none
}

// rank orders addresses. A smaller rank is better.
type rank int

// The ranks of addresses, and what is added for a drawback.
const (
	rankTyped  rank = -8
	rankLocal  rank = 0
	rankRemote rank = 8
	rankRelay  rank = 16

	addOtherName rank = 4 // a typed address with a certificate for another name
	addHTTP      rank = 2
	addContainer rank = 1 // an address inside a container's network
)

// maxCandidates bounds how many addresses of one server are tried.
const maxCandidates = 40

// Typed returns the addresses that a person may have meant by s, which was typed or
// copied from a browser; nil if s is not an address. verify says whether their
// certificates are checked.
func Typed(s string, verify bool) []Candidate {
	var all []Candidate
	for i, t := range netaddr.TypedURLs(s) {
		c := Candidate{
			URL: t.String(), Entered: true, Insecure: !verify, rank: rankTyped + rank(i),
			local: netaddr.IsPrivateHost(t) || netaddr.IsPrivate(netaddr.DirectIP(t.Hostname())),
		}
		if reservedHost(t.Hostname()) {
			c.skip = skipReserved
		}
		all = append(all, c)
	}
	return all
}

// AcceptDirect makes the plex.direct certificates of owners accepted at the addresses
// that a person entered.
func AcceptDirect(all []Candidate, owners DirectOwners) {
	for i := range all {
		if all[i].Entered {
			all[i].direct = owners
		}
	}
}

// SavedAndListed returns the saved addresses of s, then those that plex.tv lists. An
// address that is both is tried once, as what plex.tv says it is.
func SavedAndListed(saved []Candidate, s *plextv.MediaServer) []Candidate {
	all := slices.Clone(saved)
	seen := map[string]bool{}
	for _, c := range Listed(s) {
		key := netaddr.Comparable(c.URL)
		if seen[key] {
			continue
		}
		seen[key] = true
		i := slices.IndexFunc(all[:min(len(all), len(saved))], func(have Candidate) bool { return netaddr.SameAddress(have.URL, c.URL) })
		switch {
		case i < 0:
			all = append(all, c)
		case c.relay && !all[i].Entered: // it was found when nothing else answered, and comes last again
			c.URL, c.Insecure = all[i].URL, all[i].Insecure
			all = append(slices.Delete(all, i, i+1), c)
		case all[i].rank < rankLocal: // saved, and plex.tv knows where it leads
			all[i].local, all[i].relay = c.local, c.relay
		}
	}
	return all
}

// Listed returns the addresses that plex.tv lists for s, the better ones first. It adds
// the plain http ones in the server's own network, unless s requires https.
func Listed(s *plextv.MediaServer) []Candidate {
	var all []Candidate
	known := map[string]bool{}
	add := func(raw string, c plextv.Connection, https string) {
		if known[raw] {
			return
		}
		known[raw] = true
		k := listedCandidate(s, raw, c)
		k.https = https
		all = append(all, k)
	}
	for _, c := range s.Connections {
		add(c.URI, c, "")
	}
	for _, c := range s.Connections {
		if http := plainAddress(s, c); http != "" {
			add(http, c, c.URI)
		}
	}
	slices.SortStableFunc(all, func(a, b Candidate) int { return int(a.rank - b.rank) })
	skipBeyond(all, maxCandidates)
	return all
}

// plainAddress returns the address of c over plain http, "" if the token must not go
// there.
func plainAddress(s *plextv.MediaServer, c plextv.Connection) string {
	ip, err := netip.ParseAddr(c.Address)
	if err != nil || !c.Local || c.Relay || s.HTTPSRequired || !netaddr.IsPrivate(ip) || c.Port <= 0 || c.Port >= 1<<16 {
		return ""
	}
	return "http://" + net.JoinHostPort(ip.String(), strconv.Itoa(c.Port))
}

// skipBeyond keeps all addresses after the first limit ones from being tried.
func skipBeyond(all []Candidate, limit int) {
	for i := range all {
		if all[i].skip != "" {
			continue
		}
		if limit--; limit < 0 {
			all[i].skip = skipTooMany
		}
	}
}

// listedCandidate returns the address raw of the connection c of s.
func listedCandidate(s *plextv.MediaServer, raw string, c plextv.Connection) Candidate {
	k := Candidate{URL: raw, local: c.Local, relay: c.Relay, rank: rankRemote}
	switch {
	case c.Relay:
		k.rank = rankRelay
	case c.Local:
		k.rank = rankLocal
	}
	u, err := url.Parse(raw)
	if err != nil || !netaddr.IsPlainAddress(raw, u) {
		k.skip = skipMalformed
		return k
	}
	ip := hostIP(u.Hostname())
	if u.Scheme == "http" {
		k.rank += addHTTP
	}
	if isContainerNetwork(ip) {
		k.rank += addContainer
	}
	k.skip = whySkip(s, u, ip)
	return k
}

// hostIP returns the IP address that host is, or has in its name; else the zero Addr.
func hostIP(host string) netip.Addr {
	if literal := writtenIP(host); literal.IsValid() {
		return literal.Unmap()
	}
	return netaddr.DirectIP(host)
}

// dockerNetworks holds the networks that Docker makes by itself, 172.17.0.0 to
// 172.31.255.255, and 172.16.0.0/16, which it leaves alone.
var dockerNetworks = netip.MustParsePrefix("172.16.0.0/12")

// isContainerNetwork reports whether ip is in a network that Docker makes by itself.
func isContainerNetwork(ip netip.Addr) bool {
	return dockerNetworks.Contains(ip) && ip.As4()[1] != 16
}
