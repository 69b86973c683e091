package plexauth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// whyNot says what a failed probe means and what helps.
func whyNot(u *url.URL, err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return oneLine(err.Error())
	}
	var name x509.HostnameError
	switch {
	case e.cause != nil && strings.Contains(e.cause.text, "server gave HTTP response"):
		return "plain http is spoken here, not https"
	case errors.Is(err, errInClear):
		return "plain http to an address that is not private: a token must not go there in clear, use https"
	case errors.As(err, &name):
		help := "enter the address by the name that the certificate is for"
		if direct := directName(u, name.Certificate); direct != "" {
			help = "use " + direct
		}
		return "the certificate is for another name: " + help
	}
	switch e.kind() {
	case "dns":
		if private(encodedIP(u.Hostname())) {
			return "the resolver withholds this name of a private address (DNS rebinding protection): allow plex.direct in the router or resolver"
		}
		return "the name does not resolve here; inside a container only the container network's and public names do"
	case "timeout":
		return fmt.Sprintf("no answer within %d seconds: another network, a firewall, or the server is off", int(probeLimit.Seconds()))
	case "tls":
		return "the certificate cannot be verified: " + e.cause.text
	case "proxy":
		return "the proxy does not let this through: " + e.cause.text
	case "connect":
		if host := u.Hostname(); host == "localhost" || isLoopback(host) {
			return "nothing listens there; inside a container this is the container itself, use the host's address or name"
		}
		return "nothing listens there, or it cannot be reached from here: " + e.cause.text
	case "status":
		if e.StatusCode >= 300 && e.StatusCode < 400 {
			return fmt.Sprintf("it redirects elsewhere (%d): enter the address that it leads to", e.StatusCode)
		}
		return fmt.Sprintf("what answers is no Plex media server (status %d)", e.StatusCode)
	}
	return "what answers is no Plex media server"
}

// directName is u by the plex.direct name that the certificate is for.
func directName(u *url.URL, cert *x509.Certificate) string {
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil || cert == nil {
		return ""
	}
	for _, name := range cert.DNSNames {
		if rest, ok := strings.CutPrefix(name, "*."); ok && strings.HasSuffix(name, ".plex.direct") {
			host := strings.NewReplacer(".", "-", ":", "-").Replace(ip.String()) + "." + rest
			if u.Port() != "" {
				host += ":" + u.Port()
			}
			return "https://" + host
		}
	}
	return ""
}

// unreachableError names what was tried in vain.
type unreachableError struct{ addresses []ProbedAddress }

func unreachable(addresses []ProbedAddress) error { return &unreachableError{addresses} }

func (e *unreachableError) Error() string {
	const most = 8
	var b strings.Builder
	b.WriteString("plexauth: the media server answers at none of its addresses")
	if len(e.addresses) == 0 {
		return b.String() + ": plex.tv lists none, the server may be off"
	}
	for i, a := range e.addresses {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(e.addresses)-most)
			break
		}
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		b.WriteString(separator + oneLine(a.URL) + " " + oneLine(a.Finding))
	}
	return b.String()
}

func (e *unreachableError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap returns what went wrong at each address.
func (e *unreachableError) Unwrap() []error {
	var errs []error
	for _, a := range e.addresses {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	return errs
}
