package mediaserver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
)

// whyNot says what a failed probe means and what helps. entered: a person has
// given the address; else it was plex.tv.
func whyNot(u *url.URL, err error, entered bool) string {
	e := plextv.FailureIn(err)
	if e == nil {
		return plain.Short(err.Error())
	}
	switch {
	case e.Cause != nil && (strings.Contains(e.Cause.Text, "server gave HTTP response") || errors.As(err, new(tls.RecordHeaderError))):
		return "plain http is spoken here, not https"
	case errors.Is(err, errReserved):
		return "this name leads to an address that is reserved for one machine, one link or a cloud's own services"
	case errors.Is(err, errInClear):
		return "plain http to an address that is not private: a token must not go there in clear, use https"
	case errors.As(err, new(x509.HostnameError)):
		return whyOtherName(u, err, entered)
	}
	switch e.Kind() {
	case plextv.KindDNS:
		return whyNoName(u)
	case plextv.KindTimeout:
		return fmt.Sprintf("no answer within %d seconds: another network, a firewall, or the server is off", int(ProbeLimit.Seconds()))
	case plextv.KindTLS:
		return whyNoTLS(e)
	case plextv.KindProxy:
		return "the proxy does not let this through: " + e.Cause.Words()
	case plextv.KindConnect:
		return whyNoConnection(u, e)
	case plextv.KindStatus, plextv.KindRefused:
		return stateFinding(e.State, e.StatusCode, e.Message)
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
func whyNoTLS(e *plextv.Failure) string {
	if !errors.As(e.Cause, new(*tls.CertificateVerificationError)) && !strings.Contains(e.Cause.Text, "x509: ") {
		return "no secure connection comes about: " + e.Cause.Words()
	}
	return "the certificate cannot be verified: " + e.Cause.Words()
}

// whyNoName explains a name that does not resolve.
func whyNoName(u *url.URL) string {
	switch ip := netaddr.EncodedIP(u.Hostname()); {
	case netaddr.Private(ip):
		return "the resolver withholds this name of a private address (DNS rebinding protection): allow plex.direct in the router or resolver"
	case ip.IsValid():
		return "the name does not resolve here: check this machine's DNS, or allow plex.direct in the router or resolver"
	}
	return "the name does not resolve here; inside a container only the container network's and public names do"
}

// whyNoConnection explains a connection that failed or broke.
func whyNoConnection(u *url.URL, e *plextv.Failure) string {
	var op *net.OpError
	broken := errors.Is(e.Cause, io.EOF) || errors.Is(e.Cause, io.ErrUnexpectedEOF)
	switch why := e.Cause.Words(); {
	case broken, errors.As(e.Cause, &op) && op.Op != "dial":
		return "the connection is broken off (" + why + "): another program has this port, or the server takes https only"
	case op == nil:
		return "no answer that can be read: " + why
	case netaddr.IsLoopback(u.Hostname()):
		return "nothing listens there; inside a container this is the container itself, use the host's address or name"
	case strings.Contains(why, "refused"):
		return "nothing listens there: " + why
	default:
		return "it cannot be reached from here: " + why
	}
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

// UnreachableError names what was tried in vain.
type UnreachableError struct{ Addresses []Address }

func Unreachable(addresses []Address) error { return &UnreachableError{addresses} }

// EnteredError is an unreachableError of addresses that a person has just entered,
// perhaps to see what is there.
type EnteredError struct{ error }

func Entered(err error) error { return EnteredError{err} }

func (e EnteredError) Unwrap() error { return e.error }

// longestFindings bounds the text of an unreachableError, in bytes.
const longestFindings = 1300

func (e *UnreachableError) Error() string {
	var b strings.Builder
	b.WriteString("plexauth: the media server answers at none of its addresses")
	if len(e.Addresses) == 0 {
		return b.String() + ": plex.tv lists none, the server may be off"
	}
	for i, a := range e.Addresses {
		text := plain.Short(a.URL) + " " + plain.Short(a.Finding)
		if b.Len()+len(text) > longestFindings {
			fmt.Fprintf(&b, "; and %d more", len(e.Addresses)-i)
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

func (e *UnreachableError) Is(target error) bool { return target == fault.ErrUnavailable }

// As finds what went wrong at an address. It is none of the sentinels of the
// whole: that one address may get no token, or took too long, says nothing of
// the others.
func (e *UnreachableError) As(target any) bool {
	return slices.ContainsFunc(e.Addresses, func(a Address) bool { return a.Err != nil && errors.As(a.Err, target) })
}

// stateFinding says for a person what the state is and what helps. words are the
// server's own.
func stateFinding(s plextv.ServerState, status int, words string) string {
	if words = strings.TrimRight(words, ". "); words != "" {
		words = " (" + words + ")"
	}
	switch s {
	case plextv.ServerStarting:
		return "the media server is starting" + words + ": try again in a minute"
	case plextv.ServerFailing:
		return fmt.Sprintf("the media server answers with an error (status %d)%s: its own log says more", status, words)
	case plextv.ServerBehindProxy:
		return fmt.Sprintf("a proxy answers, but the server behind it does not (status %d): check that the server runs and where the proxy leads", status)
	}
	if status < 400 {
		return fmt.Sprintf("it redirects elsewhere (%d): enter the address that it leads to", status)
	}
	return fmt.Sprintf("what answers is no Plex media server (status %d)", status)
}
