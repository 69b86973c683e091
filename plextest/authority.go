package plextest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// An authority signs the certificates of everything that the fake plays. It
// lives in memory and nobody else trusts it.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	err  error

	mu     sync.Mutex // guards below
	leaves map[string]*tls.Certificate
	serial int64
}

// A synctest bubble begins in the year 2000.
var (
	validFrom = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	validTo   = time.Date(2089, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newAuthority() *authority {
	a := &authority{leaves: map[string]*tls.Certificate{}, serial: 1}
	if a.key, a.err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); a.err != nil {
		return a
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Fake plex.tv, for tests only"},
		NotBefore: validFrom, NotAfter: validTo,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		a.err = err
		return a
	}
	a.cert, a.err = x509.ParseCertificate(der)
	return a
}

// certify returns the server's authority, made at first use.
func (s *Server) certify() *authority {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.authority == nil {
		s.authority = newAuthority()
	}
	return s.authority
}

// CACertificate returns the certificate, in PEM, of the authority behind
// [Server.Transport] and [Server.TLSConfig]. It is made anew for each Server.
func (s *Server) CACertificate() []byte {
	a := s.certify()
	if a.err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// TLSConfig returns a configuration for a TLS listener of one's own in front
// of [Server.Handler] or [MediaServer.Handler]. It has a certificate for
// every name that a client asks for, and for the address that it dialled.
func (s *Server) TLSConfig() *tls.Config {
	a := s.certify()
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(hello.ServerName)
			if name == "" {
				if host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String()); err == nil {
					name = host
				}
			}
			return a.leaf(name)
		},
	}
}

// leaf makes a certificate for a name or an address.
func (a *authority) leaf(name string) (*tls.Certificate, error) {
	if a.err != nil {
		return nil, a.err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[name]; c != nil {
		return c, nil
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: validFrom, NotAfter: validTo,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key, Leaf: leaf}
	a.leaves[name] = c
	return c, nil
}

// forConnection is the certificate that a media server shows to a client that
// asks for a name: the one of its plex.direct names, or the one of a name of
// its own.
func (a *authority) forConnection(conn *Connection, name string) (*tls.Certificate, error) {
	if conn.BadCert {
		a = newAuthority()
	}
	hash := conn.hash
	if conn.Impostor {
		sum := sha256.Sum256([]byte("impostor " + hash))
		hash = hex.EncodeToString(sum[:16])
	}
	if name == conn.host && !strings.HasSuffix(name, ".plex.direct") && net.ParseIP(name) == nil {
		return a.leaf(name)
	}
	return a.leaf("*." + hash + ".plex.direct")
}
