package plextv

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/plexauth/plexauth/internal/fault"
)

// Kind is the way in which a request failed.
type Kind string

// The kinds of failure.
const (
	KindPINExpired  Kind = "pin_expired"  // plex.tv does not know the PIN any more
	KindRateLimited Kind = "rate_limited" // plex.tv asks to slow down
	KindRejected    Kind = "rejected"     // plex.tv rejects the token
	KindExpired     Kind = "expired"      // the token is a JWT that has expired
	KindDNS         Kind = "dns"          // the name does not resolve
	KindMisdirected Kind = "misdirected"  // plex.tv's name leads to another machine
	KindConnect     Kind = "connect"      // no connection, or a broken one
	KindProxy       Kind = "proxy"        // the proxy refuses the connection
	KindTLS         Kind = "tls"          // the handshake failed
	KindTimeout     Kind = "timeout"      // no answer in time
	KindContent     Kind = "content"      // a success with another body than the call expects
	KindStatus      Kind = "status"       // an error status that will pass
	KindRefused     Kind = "refused"      // an error status that trying again does not change
)

// Advice is what people are told about a kind of failure.
type Advice struct {
	Problem string // what failed: a sentence without its full stop
	Help    string // what to do, or what may be the reason: a clause; "" if nothing helps
	Later   bool   // it may pass by itself, so trying again later helps
}

// adviceFor is the one table of what to tell people about each kind. The texts of
// errors and of the panel are made from it.
var adviceFor = map[Kind]Advice{
	KindPINExpired:  {"The sign-in was not approved at Plex in time", "start again", false},
	KindRateLimited: {"Plex asks to slow down", "", true},
	KindRejected:    {"Plex does not accept this sign-in any more: it was ended elsewhere, or the password was changed", "sign in again", false},
	KindExpired:     {"The sign-in has run out and could not be renewed yet", "try again to renew it", false},
	KindDNS:         {"The name plex.tv could not be found", "check this machine's DNS and its connection to the internet", false},
	KindMisdirected: {"The name plex.tv leads to another machine here", "check the DNS server, a DNS blocker and the hosts file of this machine, and whether the network has a sign-in page of its own (captive portal)", false},
	KindConnect:     {"Could not connect to plex.tv", "check the network, the firewall and the proxy of this machine", false},
	KindProxy:       {"The proxy did not let the request to plex.tv through", "check the proxy settings", false},
	KindTLS:         {"The connection to plex.tv is not trusted", "check this machine's clock and its CA certificates; if a proxy inspects TLS, its root certificate must be among them", false},
	KindTimeout:     {"plex.tv did not answer in time", "the connection is slow or filtered, or Plex has trouble", true},
	KindContent:     {"What answered in the place of plex.tv is not Plex", "a proxy or a sign-in page of the network (captive portal) may stand in between", true},
	KindStatus:      {"plex.tv answered with an error", "", true},
	KindRefused:     {"plex.tv refuses this, for the reason in the details; trying again does not change it", "", false},
}

// Advice returns what to tell people about k; the zero Advice for an unknown kind.
func (k Kind) Advice() Advice { return adviceFor[k] }

// Word returns the word for k in the log and in the panel's HTTP API. Two kinds share
// the word of a more general one.
func (k Kind) Word() string {
	switch k {
	case KindMisdirected:
		return string(KindDNS)
	case KindRefused:
		return string(KindStatus)
	}
	return string(k)
}

// Message returns problem and help as sentences. When to try again is left to the
// caller, who may know the time.
func (a Advice) Message() string {
	if a.Help == "" {
		return a.Problem + "."
	}
	first, size := utf8.DecodeRuneInString(a.Help)
	return a.Problem + ". " + string(unicode.ToUpper(first)) + a.Help[size:] + "."
}

// Kind returns the kind of f.
func (f *Failure) Kind() Kind {
	switch f.Sentinel {
	case fault.ErrPinExpired:
		return KindPINExpired
	case fault.ErrRateLimited:
		return KindRateLimited
	case fault.ErrTokenRejected:
		return KindRejected
	case fault.ErrTokenExpired:
		return KindExpired
	}
	switch {
	case f.Cause != nil:
		return f.Cause.kind()
	case !f.Temporary:
		return KindRefused
	case f.StatusCode < 300:
		return KindContent
	}
	return KindStatus
}

// kind returns the kind of a failure that c caused.
func (c *Cause) kind() Kind {
	var (
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(c, &op) && op.Op == "proxyconnect", isReason(c.Text):
		return KindProxy
	case errors.As(c, new(*misdirectedError)):
		return KindMisdirected
	case errors.As(c, new(*net.DNSError)):
		return KindDNS
	case c.isTLS():
		return KindTLS
	case errors.As(c, &timeout) && timeout.Timeout():
		return KindTimeout
	}
	return KindConnect
}

// isTLS reports whether a handshake failed. A transport beneath another one may
// leave nothing of the error but its text.
func (c *Cause) isTLS() bool {
	return errors.As(c, new(*tls.CertificateVerificationError)) || errors.As(c, new(tls.RecordHeaderError)) || errors.As(c, new(tls.AlertError)) ||
		strings.Contains(c.Text, "tls: ") || strings.Contains(c.Text, "x509: ")
}
