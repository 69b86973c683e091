package plexauth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// whyNot says what a failed probe means and what helps. entered: a person has
// given the address; else it was plex.tv.
func whyNot(u *url.URL, err error, entered bool) string {
	e := failureOf(err)
	if e == nil {
		return oneLine(err.Error())
	}
	switch {
	case e.cause != nil && (strings.Contains(e.cause.text, "server gave HTTP response") || errors.As(err, new(tls.RecordHeaderError))):
		return "plain http is spoken here, not https"
	case errors.Is(err, errReserved):
		return "this name leads to an address that is reserved for one machine, one link or a cloud's own services"
	case errors.Is(err, errInClear):
		return "plain http to an address that is not private: a token must not go there in clear, use https"
	case errors.As(err, new(x509.HostnameError)):
		return whyOtherName(u, err, entered)
	}
	switch e.kind() {
	case "dns":
		return whyNoName(u)
	case "timeout":
		return fmt.Sprintf("no answer within %d seconds: another network, a firewall, or the server is off", int(probeLimit.Seconds()))
	case "tls":
		return whyNoTLS(e)
	case "proxy":
		return "the proxy does not let this through: " + e.cause.words()
	case "connect":
		return whyNoConnection(u, e)
	case "status":
		return e.state.finding(e.StatusCode, e.Message)
	}
	return "what answers is no Plex media server"
}

// whyOtherName explains a certificate for another name. It recommends a name only
// from a certificate of a known authority.
func whyOtherName(u *url.URL, err error, entered bool) string {
	var vouched errVouchedName
	if !entered {
		return "another machine answers here: its certificate is for another name"
	}
	help := "enter the address by the name that the certificate is for"
	if errors.As(err, &vouched) {
		if direct := directName(u, vouched.Certificate); direct != "" {
			help = "use " + direct
		} else if len(directHashes(vouched.Certificate)) > 0 {
			help = "it is of a media server that plex.tv does not list for this account"
		}
	}
	return "the certificate is for another name: " + help
}

// whyNoTLS explains a handshake that failed.
func whyNoTLS(e *failure) string {
	if !errors.As(e.cause, new(*tls.CertificateVerificationError)) && !strings.Contains(e.cause.text, "x509: ") {
		return "no secure connection comes about: " + e.cause.words()
	}
	return "the certificate cannot be verified: " + e.cause.words()
}

// whyNoName explains a name that does not resolve.
func whyNoName(u *url.URL) string {
	switch ip := encodedIP(u.Hostname()); {
	case private(ip):
		return "the resolver withholds this name of a private address (DNS rebinding protection): allow plex.direct in the router or resolver"
	case ip.IsValid():
		return "the name does not resolve here: check this machine's DNS, or allow plex.direct in the router or resolver"
	}
	return "the name does not resolve here; inside a container only the container network's and public names do"
}

// whyNoConnection explains a connection that failed or broke.
func whyNoConnection(u *url.URL, e *failure) string {
	var op *net.OpError
	broken := errors.Is(e.cause, io.EOF) || errors.Is(e.cause, io.ErrUnexpectedEOF)
	switch why := e.cause.words(); {
	case broken, errors.As(e.cause, &op) && op.Op != "dial":
		return "the connection is broken off (" + why + "): another program has this port, or the server takes https only"
	case op == nil:
		return "no answer that can be read: " + why
	case isLoopback(u.Hostname()):
		return "nothing listens there; inside a container this is the container itself, use the host's address or name"
	case strings.Contains(why, "refused"):
		return "nothing listens there: " + why
	default:
		return "it cannot be reached from here: " + why
	}
}

// words are what the system or a library says of a cause, without the calls and
// addresses that net puts before it: "connection refused".
func (c *cause) words() string {
	var sys *os.SyscallError
	switch {
	case errors.As(c, &sys):
		return sys.Err.Error()
	case errors.Is(c, io.EOF), errors.Is(c, io.ErrUnexpectedEOF):
		return "no answer"
	}
	text := c.text
	for _, prefix := range []string{"proxyconnect tcp: ", "the proxy refuses the connection: ", "tls: failed to verify certificate: ", "remote error: ", "tls: ", "x509: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
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
type unreachableError struct{ addresses []address }

func unreachable(addresses []address) error { return &unreachableError{addresses} }

// enteredError is an unreachableError of addresses that a person has just entered,
// perhaps to see what is there.
type enteredError struct{ error }

func (e enteredError) Unwrap() error { return e.error }

// longestFindings bounds the text of an unreachableError, in bytes.
const longestFindings = 1300

func (e *unreachableError) Error() string {
	var b strings.Builder
	b.WriteString("plexauth: the media server answers at none of its addresses")
	if len(e.addresses) == 0 {
		return b.String() + ": plex.tv lists none, the server may be off"
	}
	for i, a := range e.addresses {
		text := oneLine(a.URL) + " " + oneLine(a.Finding)
		if b.Len()+len(text) > longestFindings {
			fmt.Fprintf(&b, "; and %d more", len(e.addresses)-i)
			break
		}
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		b.WriteString(separator + text)
	}
	return b.String()
}

func (e *unreachableError) Is(target error) bool { return target == ErrUnavailable }

// As finds what went wrong at an address. It is none of the sentinels of the
// whole: that one address may get no token, or took too long, says nothing of
// the others.
func (e *unreachableError) As(target any) bool {
	return slices.ContainsFunc(e.addresses, func(a address) bool { return a.Err != nil && errors.As(a.Err, target) })
}
