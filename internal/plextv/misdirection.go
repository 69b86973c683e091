package plextv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// misdirectedError is the error of an attempt that met another machine than plex.tv's: a
// DNS blocker, the hosts file or the sign-in page of a network leads its name there.
type misdirectedError struct {
	text string
	err  error
}

func (e *misdirectedError) Error() string { return e.text }
func (e *misdirectedError) Unwrap() error { return e.err }

// misdirected returns err, or a *misdirectedError around it if the attempt has met
// another machine than plex.tv's.
func (q *Call) misdirected(err error) error {
	u, parseErr := url.Parse(q.URL)
	if parseErr != nil || q.Route != nil || u.Scheme != "https" {
		return err
	}
	var op *net.OpError
	isOp := errors.As(err, &op)
	if isOp && op.Op == "proxyconnect" {
		return err
	}
	host := u.Hostname()
	if who := stranger(err, host); who != "" {
		return &misdirectedError{"another machine answers for " + host + who, err}
	}
	at, ok := q.dialled.last()
	if isOp && op.Op == "dial" && op.Addr != nil {
		at, ok = parseAddrPort(op.Addr.String())
	}
	if ok && !q.client.SameOrigin && at.Port() == 443 && impossible(at.Addr()) { // BaseURL may be anywhere
		return &misdirectedError{"the name " + host + " leads to " + at.Addr().String() + " here, where Plex is not: " + err.Error(), err}
	}
	return err
}

// stranger says how a handshake has shown that another machine than host answers, "" if
// it has not.
func stranger(err error, host string) string {
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert) && len(cert.UnverifiedCertificates) > 0 && cert.UnverifiedCertificates[0].VerifyHostname(host) != nil:
		return ", with a certificate for " + holder(cert.UnverifiedCertificates[0])
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return ", without TLS"
	case strings.Contains(err.Error(), "remote error: tls: unrecognized name"): // crypto/tls does not export the alert's type
		return ", which does not know that name"
	}
	return ""
}

// impossible reports whether plex.tv cannot have the address ip.
func impossible(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsUnspecified() || netaddr.IsPrivate(ip)
}

// holder returns a name that cert is for.
func holder(cert *x509.Certificate) string {
	switch {
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case cert.Subject.CommonName != "":
		return cert.Subject.CommonName
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	}
	return "no name"
}

// dialledAddress is the address that was dialled last for a call, as long as it is not
// known to be plex.tv's. Dials may go on, and note theirs, after the call has ended.
type dialledAddress struct {
	at atomic.Pointer[netip.AddrPort]
}

// trace returns a context whose dials note their address. A handshake in which
// plex.tv's certificate was shown clears it.
func (d *dialledAddress) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart: func(_, addr string) {
			if at, ok := parseAddrPort(addr); ok {
				d.at.Store(&at)
			}
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				d.at.Store(nil)
			}
		},
	})
}

// last returns the noted address, ok if there is one.
func (d *dialledAddress) last() (at netip.AddrPort, ok bool) {
	if at := d.at.Load(); at != nil {
		return *at, true
	}
	return netip.AddrPort{}, false
}

func parseAddrPort(s string) (netip.AddrPort, bool) {
	at, err := netip.ParseAddrPort(s)
	return at, err == nil
}
