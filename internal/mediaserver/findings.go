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

// The findings at addresses that are used, were not tried, or were refused. Those of a
// probe that failed come from explainFailure.
const (
	findingAnswers    = "answers"
	findingHiddenName = "answers, though the resolver withholds its name (DNS rebinding protection): other programs need plex.direct to be allowed in the router or resolver"

	skipMalformed = "not tried: this is not a web address"
	skipReserved  = "not tried: this address is reserved for one machine, one link or a cloud's own services"
	skipTooMany   = "not tried: the server has too many addresses"
	skipPath      = "not tried: the address of another person's server has a path"
	skipHTTP      = "not tried: the server takes https only"
	skipInClear   = "not tried: a token must not cross the internet unencrypted"

	notAwaited = "not waited for"
	notNeeded  = "not waited for, since another address answers"

	refusedOther       = "another media server answers here"
	refusedCertificate = "another media server answers here: the certificate is not its own"
	refusedBadHTTPS    = "answers, but its https has a bad certificate, which plain http would only hide"
)

// whySkip says why a listed address of s is not tried, "" if it is.
func whySkip(s *plextv.MediaServer, u *url.URL, ip netip.Addr) string {
	switch {
	case reservedHost(u.Hostname()):
		return skipReserved
	case strings.Trim(u.Path, "/") != "" && !s.Owned: // other people must not choose what is asked for in this network
		return skipPath
	case u.Scheme == "http" && s.HTTPSRequired:
		return skipHTTP
	case u.Scheme == "http" && ip.IsValid() && !netaddr.IsPrivate(ip):
		return skipInClear
	}
	return ""
}

// explainFailure says what the failed probe of u means and what helps. What a kind of
// failure means at the address of a media server differs from what it means at plex.tv,
// so these texts are not plextv's. entered says whether a person has given the address;
// else plex.tv has.
func explainFailure(u *url.URL, err error, entered bool) string {
	f := plextv.FailureIn(err)
	switch {
	case errors.Is(err, errReserved):
		return "this name leads to an address that is reserved for one machine, one link or a cloud's own services"
	case errors.Is(err, errInClear):
		return "plain http to an address that is not private: a token must not go there unencrypted, use https"
	case f == nil:
		return plain.Short(err.Error())
	case f.Cause != nil && (strings.Contains(f.Cause.Text, "server gave HTTP response") || errors.As(err, new(tls.RecordHeaderError))):
		return "this port speaks plain http, not https"
	case errors.As(err, new(x509.HostnameError)):
		return explainOtherName(u, err, entered)
	}
	switch f.Kind() {
	case plextv.KindDNS:
		return explainNoName(u)
	case plextv.KindTimeout:
		return fmt.Sprintf("no answer within %d seconds: another network, a firewall, or the server is off", int(ProbeLimit.Seconds()))
	case plextv.KindTLS:
		return explainNoTLS(f)
	case plextv.KindProxy:
		return "the proxy does not let this through: " + f.Cause.Words()
	case plextv.KindConnect:
		return explainNoConnection(u, f)
	case plextv.KindStatus, plextv.KindRefused:
		return explainState(f.State, f.StatusCode, f.Message)
	}
	return "what answers is not a Plex media server"
}

// explainOtherName explains a certificate for another name. It recommends a name only
// from a certificate of a known authority.
func explainOtherName(u *url.URL, err error, entered bool) string {
	if !entered {
		return "another machine answers here: its certificate is for another name"
	}
	help := "enter the address by the name that the certificate is for"
	var known otherNameError
	if errors.As(err, &known) {
		if direct := directAddress(u, known.Certificate); direct != "" {
			help = "use " + direct
		} else if len(directHashes(known.Certificate)) > 0 {
			help = "it is of a media server that plex.tv does not list for this account"
		}
	}
	return "the certificate is for another name: " + help
}

// explainNoTLS explains a handshake that failed.
func explainNoTLS(f *plextv.Failure) string {
	if !errors.As(f.Cause, new(*tls.CertificateVerificationError)) && !strings.Contains(f.Cause.Text, "x509: ") {
		return "could not make a secure connection: " + f.Cause.Words()
	}
	return "the certificate cannot be verified: " + f.Cause.Words()
}

// explainNoName explains a name that does not resolve.
func explainNoName(u *url.URL) string {
	switch ip := netaddr.DirectIP(u.Hostname()); {
	case netaddr.IsPrivate(ip):
		return "the resolver withholds this name of a private address (DNS rebinding protection): allow plex.direct in the router or resolver"
	case ip.IsValid():
		return "the name does not resolve here: check this machine's DNS, or allow plex.direct in the router or resolver"
	}
	return "the name does not resolve here; inside a container only the container network's and public names do"
}

// explainNoConnection explains a connection that could not be made, or that broke.
func explainNoConnection(u *url.URL, f *plextv.Failure) string {
	var op *net.OpError
	isOp := errors.As(f.Cause, &op)
	broken := errors.Is(f.Cause, io.EOF) || errors.Is(f.Cause, io.ErrUnexpectedEOF)
	switch why := f.Cause.Words(); {
	case broken, isOp && op.Op != "dial":
		return "the connection was interrupted (" + why + "): another program has this port, or the server takes https only"
	case !isOp:
		return "no answer that can be read: " + why
	case netaddr.IsLoopback(u.Hostname()):
		return "nothing listens there; inside a container this is the container itself, use the host's address or name"
	case strings.Contains(why, "refused"):
		return "nothing listens there: " + why
	default:
		return "it cannot be reached from here: " + why
	}
}

// explainState says what an error answer means and what helps. words are the server's
// own, "" if it gave none.
func explainState(s plextv.ServerState, status int, words string) string {
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
	return fmt.Sprintf("what answers is not a Plex media server (status %d)", status)
}

// directAddress returns the address of u by the plex.direct name that cert is for, "" if
// there is none, or if u has a name.
func directAddress(u *url.URL, cert *x509.Certificate) string {
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil || cert == nil || len(directHashes(cert)) == 0 {
		return ""
	}
	host := strings.NewReplacer(".", "-", ":", "-").Replace(ip.String()) + "." + directHashes(cert)[0] + ".plex.direct"
	if u.Port() != "" {
		host += ":" + u.Port()
	}
	return "https://" + host
}

// UnreachableError is the error for a media server that answers at none of its
// addresses. It matches [fault.ErrUnavailable].
type UnreachableError struct{ Addresses []Address }

// Unreachable returns an [*UnreachableError] for what was found at addresses.
func Unreachable(addresses []Address) error { return &UnreachableError{addresses} }

// maxFindings bounds the text of an UnreachableError, in bytes.
const maxFindings = 1300

// Error names each address and what was found there.
func (e *UnreachableError) Error() string {
	var b strings.Builder
	b.WriteString("plexauth: the media server answers at none of its addresses")
	if len(e.Addresses) == 0 {
		return b.String() + ": plex.tv lists none, the server may be off"
	}
	for i, a := range e.Addresses {
		text := plain.Short(a.URL) + " " + plain.Short(a.Finding)
		if b.Len()+len(text) > maxFindings {
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

// Is reports whether target is [fault.ErrUnavailable].
func (e *UnreachableError) Is(target error) bool { return target == fault.ErrUnavailable }

// As finds target in what went wrong at one of the addresses. Is does not: if one address
// may get no token, or took too long, that says nothing about the others.
func (e *UnreachableError) As(target any) bool {
	return slices.ContainsFunc(e.Addresses, func(a Address) bool { return a.Err != nil && errors.As(a.Err, target) })
}

// EnteredError wraps an error of [Unreachable] about addresses that a person has just
// entered, perhaps to find out what is there.
type EnteredError struct{ error }

// Entered returns err as an EnteredError.
func Entered(err error) error { return EnteredError{err} }

// Unwrap returns the error about the addresses.
func (e EnteredError) Unwrap() error { return e.error }
