package netaddr

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// serverPort is the port of a media server whose address names none, as Plex documents.
const serverPort = "32400"

// maxHostBytes bounds the host of a typed address. No name is longer, and the time to find
// its form in ASCII is the square of its length.
const maxHostBytes = 1024

// TypedURLs returns the addresses that a person may have meant by s, the likeliest
// first; nil if s is not an address. s was typed, or copied from a browser. If its
// scheme or port is missing, there is more than one.
func TypedURLs(s string) []*url.URL {
	s, _, _ = strings.Cut(s, "#") // where the browser was
	s = strings.TrimSpace(s)
	if ip, _ := netip.ParseAddr(s); ip.Is6() {
		s = "[" + s + "]"
	}
	schemes := []string{""}
	if !strings.Contains(s, "://") {
		schemes = []string{"https://", "http://"}
	}
	var all []*url.URL
	for _, scheme := range schemes {
		u, err := url.Parse(scheme + s)
		if err != nil || !IsPlainAddress(s, u) || len(u.Host) > maxHostBytes {
			return nil
		}
		u.Host = strings.TrimSuffix(u.Host, ":")
		if SetASCIIHost(u); u.Hostname() == "" { // it had only characters that do not count
			return nil
		}
		u.RawPath = webPage.ReplaceAllString(u.EscapedPath(), "")
		u.Path, _ = url.PathUnescape(u.RawPath) // url.Parse has done it before
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

// webPage matches the end of a path that leads to a server's own web app, also one that was
// typed twice: what is left has no such end, so that it reads as itself when it was stored.
var webPage = regexp.MustCompile(`(/+web(/+index\.html)?)*/*$`)

// SameAddress reports whether two addresses lead to the same place, however they are
// spelled.
func SameAddress(a, b string) bool {
	u, err := url.Parse(strings.TrimSpace(a))
	return err == nil && u.Host != "" && Comparable(a) == Comparable(b)
}

// Comparable returns address in the one spelling that can be compared.
func Comparable(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" {
		return address
	}
	return Origin(u) + comparablePath(u)
}

// comparablePath returns the path of u in one spelling, in which %2F is no slash.
func comparablePath(u *url.URL) string {
	elements := strings.Split(strings.TrimRight(u.EscapedPath(), "/"), "/")
	for i, e := range elements {
		plain, _ := url.PathUnescape(e) // url.Parse has done it before
		elements[i] = url.PathEscape(plain)
	}
	return strings.Join(elements, "/")
}
