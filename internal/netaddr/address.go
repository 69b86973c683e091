package netaddr

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	serverPort = "32400" // of a media server whose address names none
)

// TypedURLs returns what s may mean, the likeliest first, where s is an address of a
// media server that a person entered or copied from the browser; nothing if s is not
// an address. If scheme or port are missing, all that s may mean are returned.
func TypedURLs(s string) []*url.URL {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "#") // where the browser was
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
		s = "[" + s + "]"
	}
	schemes := []string{""}
	if !strings.Contains(s, "://") {
		schemes = []string{"https://", "http://"}
	}
	var all []*url.URL
	for _, scheme := range schemes {
		u, err := url.Parse(scheme + s)
		if err != nil || !IsPlainAddress(s, u) {
			return nil
		}
		u.Host = strings.TrimSuffix(u.Host, ":")
		setASCIIHost(u)
		u.Path, u.RawPath = webPage.ReplaceAllString(u.Path, ""), ""
		tries := []*url.URL{u}
		if u.Port() == "" && u.Path == "" {
			withPort := *u
			withPort.Host += ":" + serverPort
			tries = append(tries, &withPort)
			if scheme != "" { // then it is more likely the server itself than a proxy
				slices.Reverse(tries)
			}
		}
		all = append(all, tries...)
	}
	return all
}

// webPage is what the path of a server's own web app ends with.
var webPage = regexp.MustCompile(`(/web(/(index\.html)?)?)?/*$`)

// SameServer reports whether two addresses lead to the same place, however its
// name is spelled.
func SameServer(a, b string) bool {
	u, err := url.Parse(strings.TrimSpace(a))
	return err == nil && u.Host != "" && AddressKey(a) == AddressKey(b)
}

// AddressKey is the one spelling of an address that can be compared.
func AddressKey(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" {
		return address
	}
	return Origin(u) + strings.TrimRight(u.Path, "/")
}
