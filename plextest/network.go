package plextest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

var errUnknownHost = errors.New("plextest: the fake has no such host")

// plexAddr is the address of plex.tv in the fake's network.
var plexAddr = netip.MustParseAddr("203.0.113.1")

// dialTimeout is the time after which the system gives up dialling a silent
// address.
const dialTimeout = 127 * time.Second

// SetRebindProtection makes the fake's resolver behave like those of many home
// routers: it does not resolve plex.direct names of private addresses.
func (s *Server) SetRebindProtection(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rebindProtection = on
}

// indexHosts rebuilds the maps of addresses and names. If several media servers
// share an address, the first one that answers gets it. s.mu must be held.
func (s *Server) indexHosts() {
	s.hosts = map[netip.AddrPort]*Connection{}
	s.former = map[netip.AddrPort]bool{}
	s.names = map[string]netip.Addr{}
	for _, m := range s.media {
		for _, at := range m.former {
			s.former[at] = true
		}
		for _, conn := range m.live {
			if have := s.hosts[conn.at]; have == nil || have.silent() && !conn.silent() {
				s.hosts[conn.at] = conn
			}
			for _, name := range []string{conn.host, strings.ToLower(conn.Address)} {
				if _, err := netip.ParseAddr(name); err != nil && s.names[name] == (netip.Addr{}) {
					s.names[name] = conn.at.Addr()
				}
			}
		}
	}
}

// silent reports whether nothing answers at conn.
func (conn *Connection) silent() bool {
	return conn.BlackHole || conn.Refused || conn.server.Offline
}

// resolve resolves a host name by the fake's DNS. s.mu must be held.
func (s *Server) resolve(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	ip, known := s.names[host]
	if label, ok := strings.CutSuffix(host, ".plex.direct"); ok {
		label, _, _ = strings.Cut(label, ".")
		if v4, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
			ip, known = v4, true
		} else if v6, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":")); err == nil {
			ip, known = v6, true
		}
		if known && s.rebindProtection && !isPublic(ip) {
			return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
	}
	if !known {
		return netip.Addr{}, errUnknownHost
	}
	return ip, nil
}

// findHost returns the connection that listens at a host and port, or the error
// of dialling it. s.mu must be held.
func (s *Server) findHost(host string, port uint16) (*Connection, error) {
	fail := func(ip netip.Addr, err error) error {
		e := &net.OpError{Op: "dial", Net: "tcp", Err: err}
		if ip.IsValid() {
			e.Addr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
		}
		return e
	}
	ip, err := s.resolve(host)
	if err != nil {
		if errors.Is(err, errUnknownHost) {
			err = fmt.Errorf("%w: %s", errUnknownHost, host)
		}
		return nil, fail(ip, err)
	}
	at := netip.AddrPortFrom(ip, port)
	if conn := s.hosts[at]; conn != nil {
		return conn, nil
	}
	if s.former[at] {
		return nil, fail(ip, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	return nil, fail(ip, fmt.Errorf("%w: %s port %d", errUnknownHost, host, port))
}

// connect waits as long as dialling conn takes, and returns the error of a silent
// address.
func (s *Server) connect(ctx context.Context, conn *Connection) error {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(conn.at), Err: err}
	}
	s.mu.Lock()
	silent := conn.silent()
	s.mu.Unlock()
	switch {
	case conn.BlackHole:
		if err := s.wait(ctx, dialTimeout); err != nil {
			return fail(err)
		}
		return fail(os.NewSyscallError("connect", syscall.ETIMEDOUT))
	case silent:
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case conn.Latency > 0:
		if err := s.wait(ctx, conn.Latency); err != nil {
			return fail(err)
		}
	}
	return nil
}

// handshake returns the error that the TLS handshake of u would give at conn. For
// plain http it returns an error if the server requires https.
func (s *Server) handshake(conn *Connection, u *url.URL) error {
	if u.Scheme != "https" {
		if s.needsTLS(conn) {
			return &net.OpError{Op: "read", Net: "tcp", Addr: net.TCPAddrFromAddrPort(conn.at), Err: os.NewSyscallError("read", syscall.ECONNRESET)}
		}
		return nil
	}
	cert, err := s.ca().serverCertificate(conn, strings.ToLower(u.Hostname()))
	if err != nil {
		return err
	}
	if conn.BadCert {
		return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert.Leaf}, Err: x509.UnknownAuthorityError{Cert: cert.Leaf}}
	}
	if err := cert.Leaf.VerifyHostname(u.Hostname()); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert.Leaf}, Err: err}
	}
	return nil
}

// needsTLS reports whether the server at conn requires https.
func (s *Server) needsTLS(conn *Connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return conn.server.HTTPSRequired
}

// isPublic reports whether ip is not a loopback, private or link-local address.
func isPublic(ip netip.Addr) bool {
	return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
}
