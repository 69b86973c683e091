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

// An authority is the CA that signs the certificates of all hosts of the fake. It
// exists only in memory.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	err  error

	mu     sync.Mutex // guards the fields below
	leaves map[string]*tls.Certificate
	serial int64
}

// The validity includes the year 2000, in which a synctest bubble begins.
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

// ca returns the server's authority. The first call makes it.
func (s *Server) ca() *authority {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.authority == nil {
		s.authority = newAuthority()
	}
	return s.authority
}

// CACertificate returns the PEM certificate of the authority that signs for
// [Server.Transport] and [Server.TLSConfig]. Each Server has its own.
func (s *Server) CACertificate() []byte {
	a := s.ca()
	if a.err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// TLSConfig returns a configuration for your own TLS listener in front of
// [Server.Handler] or [MediaServer.Handler]. It has a certificate for every name
// that a client asks for. For a client that asks for no name, it has one for the
// address that the client dialled.
func (s *Server) TLSConfig() *tls.Config {
	a := s.ca()
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
			return a.certificate(name)
		},
	}
}

// certificate returns the certificate for a name or an address.
func (a *authority) certificate(name string) (*tls.Certificate, error) {
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

// serverCertificate returns the certificate that the media server at conn shows
// to a client that asks for name. It is for the server's own name if the client
// asks for that, and for its plex.direct names otherwise.
func (a *authority) serverCertificate(conn *Connection, name string) (*tls.Certificate, error) {
	if conn.BadCert {
		a = newAuthority()
	}
	hash := conn.hash
	if conn.Impostor {
		sum := sha256.Sum256([]byte("impostor " + hash))
		hash = hex.EncodeToString(sum[:16])
	}
	if name == conn.host && !strings.HasSuffix(name, ".plex.direct") && net.ParseIP(name) == nil {
		return a.certificate(name)
	}
	return a.certificate("*." + hash + ".plex.direct")
}
