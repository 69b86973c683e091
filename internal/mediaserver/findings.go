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
	"strconv"
	"strings"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/words"
)

// The keys of the findings at addresses that are used, were not tried, or were refused.
// Those of a probe that failed come from explainFailure.
const (
	findingAnswers    = "finding.answers"
	findingHiddenName = "finding.answers_hidden"

	skipMalformed = "finding.malformed"
	skipReserved  = "finding.reserved"
	skipTooMany   = "finding.too_many"
	skipPath      = "finding.has_path"
	skipHTTP      = "finding.https_only"
	skipInClear   = "finding.unencrypted"

	notAwaited = "finding.not_awaited"
	notNeeded  = "finding.not_needed"

	refusedOther       = "finding.other_server"
	refusedCertificate = "finding.other_certificate"
	refusedBadHTTPS    = "finding.bad_https"
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
func explainFailure(u *url.URL, err error, entered bool) words.Sentence {
	f := plextv.FailureIn(err)
	switch {
	case errors.Is(err, errReserved):
		return words.Sentence{Key: "finding.name_reserved"}
	case errors.Is(err, errInClear):
		return words.Sentence{Key: "finding.public_http"}
	case f == nil:
		return because("finding.as_said", plain.Short(err.Error()))
	case f.Cause != nil && (strings.Contains(f.Cause.Text, "server gave HTTP response") || errors.As(err, new(tls.RecordHeaderError))):
		return words.Sentence{Key: "finding.speaks_http"}
	case errors.As(err, new(x509.HostnameError)):
		return explainOtherName(u, err, entered)
	}
	switch f.Kind() {
	case plextv.KindDNS:
		return explainNoName(u)
	case plextv.KindTimeout:
		return words.Sentence{Key: "finding.timeout", N: int(ProbeLimit.Seconds())}
	case plextv.KindTLS:
		return explainNoTLS(f)
	case plextv.KindProxy:
		return because("finding.proxy", f.Cause.Words())
	case plextv.KindConnect:
		return explainNoConnection(u, f)
	case plextv.KindStatus, plextv.KindRefused:
		return explainState(f.State, f.StatusCode, f.Message)
	}
	return words.Sentence{Key: "finding.not_plex"}
}

// because returns the finding of key with a reason that was found in other words.
func because(key, why string) words.Sentence {
	return words.Sentence{Key: key, Args: map[string]string{"why": why}}
}

// explainOtherName explains a certificate for another name. It recommends a name only
// from a certificate of a known authority.
func explainOtherName(u *url.URL, err error, entered bool) words.Sentence {
	if !entered {
		return words.Sentence{Key: "finding.other_machine"}
	}
	var known otherNameError
	if errors.As(err, &known) {
		if direct := directAddress(u, known.Certificate); direct != "" {
			return words.Sentence{Key: "finding.other_name_use", Args: map[string]string{"address": direct}}
		}
		if len(directHashes(known.Certificate)) > 0 {
			return words.Sentence{Key: "finding.other_name_unlisted"}
		}
	}
	return words.Sentence{Key: "finding.other_name"}
}

// explainNoTLS explains a handshake that failed.
func explainNoTLS(f *plextv.Failure) words.Sentence {
	if !errors.As(f.Cause, new(*tls.CertificateVerificationError)) && !strings.Contains(f.Cause.Text, "x509: ") {
		return because("finding.no_tls", f.Cause.Words())
	}
	return because("finding.certificate", f.Cause.Words())
}

// explainNoName explains a name that does not resolve.
func explainNoName(u *url.URL) words.Sentence {
	switch ip := netaddr.DirectIP(u.Hostname()); {
	case netaddr.IsPrivate(ip):
		return words.Sentence{Key: "finding.name_withheld"}
	case ip.IsValid():
		return words.Sentence{Key: "finding.direct_name"}
	}
	return words.Sentence{Key: "finding.no_name"}
}

// explainNoConnection explains a connection that could not be made, or that broke.
func explainNoConnection(u *url.URL, f *plextv.Failure) words.Sentence {
	var op *net.OpError
	isOp := errors.As(f.Cause, &op)
	broken := errors.Is(f.Cause, io.EOF) || errors.Is(f.Cause, io.ErrUnexpectedEOF)
	switch why := f.Cause.Words(); {
	case broken, isOp && op.Op != "dial":
		return because("finding.interrupted", why)
	case !isOp:
		return because("finding.unreadable", why)
	case netaddr.IsLoopback(u.Hostname()):
		return words.Sentence{Key: "finding.loopback"}
	case strings.Contains(why, "refused"):
		return because("finding.nothing_listens", why)
	default:
		return because("finding.unreachable", why)
	}
}

// explainState says what an error answer means and what helps. said are the server's
// own words, "" if it gave none.
func explainState(s plextv.ServerState, status int, said string) words.Sentence {
	args := map[string]string{"status": strconv.Itoa(status), "said": strings.TrimRight(said, ". ")}
	says := args["said"] != ""
	switch {
	case s == plextv.ServerStarting && says:
		return words.Sentence{Key: "finding.starting_says", Args: args}
	case s == plextv.ServerStarting:
		return words.Sentence{Key: "finding.starting"}
	case s == plextv.ServerFailing && says:
		return words.Sentence{Key: "finding.failing_says", Args: args}
	case s == plextv.ServerFailing:
		return words.Sentence{Key: "finding.failing", Args: args}
	case s == plextv.ServerBehindProxy:
		return words.Sentence{Key: "finding.behind_proxy", Args: args}
	case status < 400:
		return words.Sentence{Key: "finding.redirects", Args: args}
	}
	return words.Sentence{Key: "finding.not_plex_status", Args: args}
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
