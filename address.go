package plexauth

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// candidate is an address that may be probed.
type candidate struct {
	url          string
	local, relay bool
	class        int          // 0 is best
	skip         string       // why it is left alone
	entered      bool         // by a person: plex.tv need not know it
	insecure     bool         // its certificate is not checked
	direct       directOwners // whose plex.direct certificates will do at an entered address; nil: none
	https        string       // the same address with https, which plex.tv lists and this one is made of
}

// Classes of addresses: within a tier https comes first, then what is inside
// a container's own network. A typed address is before all.
const (
	classTyped  = -8
	classLocal  = 0
	classRemote = 8
	classRelay  = 16
	plusOther   = 4 // a typed address with a certificate for another name
	plusHTTP    = 2
	plusInner   = 1

	maxCandidates = 40      // addresses that are tried of one server
	serverPort    = "32400" // of a media server whose address names none
)

// errNoAddress does not quote: people paste addresses with a token in them.
var errNoAddress = errors.New("plexauth: no address of a media server; one looks like https://192.168.1.5:32400")

// typed makes candidates of an address that a person entered, or copied from the
// browser; it makes none where s is not an address. If scheme or port are missing,
// all that s may mean are tried. verify checks their certificates.
func typed(s string, verify bool) []candidate {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "#") // where the browser was
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
		s = "[" + s + "]"
	}
	schemes := []string{""}
	if !strings.Contains(s, "://") {
		schemes = []string{"https://", "http://"}
	}
	var all []candidate
	for _, scheme := range schemes {
		u, err := url.Parse(scheme + s)
		if err != nil || !isPlainAddress(s, u) {
			return nil
		}
		u.Host = strings.TrimSuffix(u.Host, ":")
		setASCIIHost(u)
		u.Path, u.RawPath = webPage.ReplaceAllString(u.Path, ""), ""
		tries := []string{u.String()}
		if u.Port() == "" && u.Path == "" {
			u.Host += ":" + serverPort
			tries = append(tries, u.String())
			if scheme != "" { // then it is more likely the server itself than a proxy
				slices.Reverse(tries)
			}
		}
		for _, t := range tries {
			local := staysPrivate(u) || private(encodedIP(u.Hostname()))
			c := candidate{url: t, local: local, class: classTyped + len(all), entered: true, insecure: !verify}
			if reservedHost(u.Hostname()) {
				c.skip = skipReserved
			}
			all = append(all, c)
		}
	}
	return all
}

// webPage is what the path of a server's own web app ends with.
var webPage = regexp.MustCompile(`(/web(/(index\.html)?)?)?/*$`)

// vouch lets the servers of owners show their plex.direct certificates at the
// addresses that a person entered.
func vouch(all []candidate, owners directOwners) {
	for i := range all {
		if all[i].entered {
			all[i].direct = owners
		}
	}
}

// candidates are the saved address. One at which the server has answered is
// complete.
func (s savedServer) candidates() []candidate {
	all := typed(s.url, s.verify)
	if s.bound && len(all) > 1 {
		all = all[:1]
	}
	for i := range all {
		all[i].entered = !s.found
	}
	return all
}

// addresses returns the saved address of a server, then all that plex.tv lists.
func addresses(saved []candidate, s *mediaServer) []candidate {
	all := slices.Clone(saved)
	listed := map[string]bool{}
	for _, c := range s.candidates() {
		key := addressKey(c.url)
		if listed[key] {
			continue
		}
		listed[key] = true
		i := slices.IndexFunc(all[:min(len(all), len(saved))], func(have candidate) bool { return sameServer(have.url, c.url) })
		switch {
		case i < 0:
			all = append(all, c)
		case c.relay && !all[i].entered: // it was found when nothing else answered, and comes last again
			c.url, c.insecure = all[i].url, all[i].insecure
			all = append(slices.Delete(all, i, i+1), c)
		case all[i].class < classLocal: // the same again, but plex.tv knows where it leads
			all[i].local, all[i].relay = c.local, c.relay
		}
	}
	return all
}

// candidates orders the server's addresses, the better ones first. To those
// that plex.tv lists it adds the plain ones of the server's own network.
func (s *mediaServer) candidates() []candidate {
	var all []candidate
	known := map[string]bool{}
	add := func(raw string, c connection, https string) {
		if known[raw] {
			return
		}
		known[raw] = true
		k := s.candidate(raw, c)
		k.https = https
		all = append(all, k)
	}
	for _, c := range s.Connections {
		add(c.URI, c, "")
	}
	for _, c := range s.Connections {
		ip, err := netip.ParseAddr(c.Address)
		if err == nil && c.Local && !c.Relay && !s.HTTPSRequired && private(ip) && 0 < c.Port && c.Port < 1<<16 {
			add("http://"+net.JoinHostPort(ip.String(), strconv.Itoa(c.Port)), c, c.URI)
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return a.class - b.class })
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

func (s *mediaServer) candidate(raw string, c connection) candidate {
	k := candidate{url: raw, local: c.Local, relay: c.Relay, class: classRemote}
	switch {
	case c.Relay:
		k.class = classRelay
	case c.Local:
		k.class = classLocal
	}
	u, err := url.Parse(raw)
	if err != nil || !isPlainAddress(raw, u) {
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
	k.skip = s.whySkip(u, ip)
	return k
}

// hostIP is the address that a host is or has in its name.
func hostIP(host string) netip.Addr {
	if literal := writtenIP(host); literal.IsValid() {
		return literal.Unmap()
	}
	return encodedIP(host)
}

// whySkip says why a listed address is not tried; empty: it is.
func (s *mediaServer) whySkip(u *url.URL, ip netip.Addr) string {
	switch {
	case reservedHost(u.Hostname()):
		return skipReserved
	case strings.Trim(u.Path, "/") != "" && !s.Owned: // others do not choose what is asked for in this network
		return "not tried: the address of another person's server has a path"
	case u.Scheme == "http" && s.HTTPSRequired:
		return "not tried: the server takes https only"
	case u.Scheme == "http" && ip.IsValid() && !private(ip):
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

// sameServer reports whether two addresses lead to the same place, however its
// name is spelled.
func sameServer(a, b string) bool {
	u, err := url.Parse(strings.TrimSpace(a))
	return err == nil && u.Host != "" && addressKey(a) == addressKey(b)
}

// addressKey is the one spelling of an address that can be compared.
func addressKey(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" {
		return address
	}
	return origin(u) + strings.TrimRight(u.Path, "/")
}
