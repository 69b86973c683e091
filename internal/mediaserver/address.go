package mediaserver

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
)

// Candidate is an address that may be probed.
type Candidate struct {
	Url          string
	local, relay bool
	class        int          // 0 is best
	skip         string       // why it is left alone
	Entered      bool         // by a person: plex.tv need not know it
	Insecure     bool         // its certificate is not checked
	direct       DirectOwners // whose plex.direct certificates will do at an entered address; nil: none
	https        string       // the same address with https, which plex.tv lists and this one is made of
}

const (
	classTyped  = -8
	ClassLocal  = 0
	classRemote = 8
	classRelay  = 16
	plusOther   = 4 // a typed address with a certificate for another name
	plusHTTP    = 2
	plusInner   = 1

	maxCandidates = 40 // addresses that are tried of one server
)

// errNoAddress does not quote: people paste addresses with a token in them.
var ErrNoAddress = errors.New("plexauth: not the address of a media server (expected something like https://192.168.1.5:32400)")

// Typed makes candidates of an address that a person entered, or copied from the
// browser; it makes none where s is not an address. verify checks their certificates.
func Typed(s string, verify bool) []Candidate {
	var all []Candidate
	for i, t := range netaddr.TypedURLs(s) {
		c := Candidate{Url: t.String(), local: netaddr.StaysPrivate(t) || netaddr.Private(netaddr.EncodedIP(t.Hostname())), class: classTyped + i, Entered: true, Insecure: !verify}
		if reservedHost(t.Hostname()) {
			c.skip = skipReserved
		}
		all = append(all, c)
	}
	return all
}

// Vouch lets the servers of owners show their plex.direct certificates at the
// addresses that a person entered.
func Vouch(all []Candidate, owners DirectOwners) {
	for i := range all {
		if all[i].Entered {
			all[i].direct = owners
		}
	}
}

// Addresses returns the saved address of a server, then all that plex.tv lists.
func Addresses(saved []Candidate, s *plextv.MediaServer) []Candidate {
	all := slices.Clone(saved)
	listed := map[string]bool{}
	for _, c := range Candidates(s) {
		key := netaddr.AddressKey(c.Url)
		if listed[key] {
			continue
		}
		listed[key] = true
		i := slices.IndexFunc(all[:min(len(all), len(saved))], func(have Candidate) bool { return netaddr.SameServer(have.Url, c.Url) })
		switch {
		case i < 0:
			all = append(all, c)
		case c.relay && !all[i].Entered: // it was found when nothing else answered, and comes last again
			c.Url, c.Insecure = all[i].Url, all[i].Insecure
			all = append(slices.Delete(all, i, i+1), c)
		case all[i].class < ClassLocal: // the same again, but plex.tv knows where it leads
			all[i].local, all[i].relay = c.local, c.relay
		}
	}
	return all
}

// Candidates orders the server's addresses, the better ones first. To those
// that plex.tv lists it adds the plain ones of the server's own network.
func Candidates(s *plextv.MediaServer) []Candidate {
	var all []Candidate
	known := map[string]bool{}
	add := func(raw string, c plextv.Connection, https string) {
		if known[raw] {
			return
		}
		known[raw] = true
		k := candidateAt(s, raw, c)
		k.https = https
		all = append(all, k)
	}
	for _, c := range s.Connections {
		add(c.URI, c, "")
	}
	for _, c := range s.Connections {
		ip, err := netip.ParseAddr(c.Address)
		if err == nil && c.Local && !c.Relay && !s.HTTPSRequired && netaddr.Private(ip) && 0 < c.Port && c.Port < 1<<16 {
			add("http://"+net.JoinHostPort(ip.String(), strconv.Itoa(c.Port)), c, c.URI)
		}
	}
	slices.SortStableFunc(all, func(a, b Candidate) int { return a.class - b.class })
	tried := 0
	for i := range all {
		if all[i].skip != "" {
			continue
		}
		if tried++; tried > maxCandidates {
			all[i].skip = "not tried: the server has too many addresses"
		}
	}
	return all
}

// skipReserved is the finding at an address that is never asked for anything.
const skipReserved = "not tried: this address is reserved for one machine, one link or a cloud's own services"

func candidateAt(s *plextv.MediaServer, raw string, c plextv.Connection) Candidate {
	k := Candidate{Url: raw, local: c.Local, relay: c.Relay, class: classRemote}
	switch {
	case c.Relay:
		k.class = classRelay
	case c.Local:
		k.class = ClassLocal
	}
	u, err := url.Parse(raw)
	if err != nil || !netaddr.IsPlainAddress(raw, u) {
		k.skip = "not tried: this is no web address"
		return k
	}
	ip := hostIP(u.Hostname())
	if u.Scheme == "http" {
		k.class += plusHTTP
	}
	if inContainer(ip) {
		k.class += plusInner
	}
	k.skip = whySkip(s, u, ip)
	return k
}

// hostIP is the address that a host is or has in its name.
func hostIP(host string) netip.Addr {
	if literal := writtenIP(host); literal.IsValid() {
		return literal.Unmap()
	}
	return netaddr.EncodedIP(host)
}

// whySkip says why a listed address is not tried; empty: it is.
func whySkip(s *plextv.MediaServer, u *url.URL, ip netip.Addr) string {
	switch {
	case reservedHost(u.Hostname()):
		return skipReserved
	case strings.Trim(u.Path, "/") != "" && !s.Owned: // others do not choose what is asked for in this network
		return "not tried: the address of another person's server has a path"
	case u.Scheme == "http" && s.HTTPSRequired:
		return "not tried: the server takes https only"
	case u.Scheme == "http" && ip.IsValid() && !netaddr.Private(ip):
		return "not tried: a token must not cross the internet in clear"
	}
	return ""
}

// inContainer recognizes the networks that Docker makes by itself.
func inContainer(ip netip.Addr) bool {
	if !ip.Is4() {
		return false
	}
	b := ip.As4()
	return b[0] == 172 && b[1] >= 17 && b[1] <= 31
}
