package mediaserver

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
)

// DirectOwners are the media servers that may show a plex.direct certificate at an
// address that goes by another name: machine identifiers by hash.
type DirectOwners map[string][]string

// OwnersOf collects the hashes that plex.tv lists for servers.
func OwnersOf(servers []plextv.MediaServer) DirectOwners {
	owners := DirectOwners{}
	for _, s := range servers {
		for _, c := range s.Connections {
			u, err := url.Parse(c.URI)
			if err != nil {
				continue
			}
			if _, hash, ok := netaddr.SplitDirect(u.Hostname()); ok {
				owners.Add(hash, s.MachineID)
			}
		}
	}
	return owners
}

func (o DirectOwners) Add(hash, machineID string) {
	if hash != "" && machineID != "" && !slices.Contains(o[hash], machineID) {
		o[hash] = append(o[hash], machineID)
	}
}

// hashes names the hashes in one text that can be compared.
func (o DirectOwners) hashes() string {
	var all []string
	for hash := range o {
		all = append(all, hash)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// acceptedHash is the hash of a certificate that was accepted at host though it is
// for a plex.direct name; "" where it is for host.
func (o DirectOwners) acceptedHash(host string, state *tls.ConnectionState) string {
	if state == nil || len(state.PeerCertificates) == 0 || state.PeerCertificates[0].VerifyHostname(host) == nil {
		return ""
	}
	for _, hash := range directHashes(state.PeerCertificates[0]) {
		if o[hash] != nil {
			return hash
		}
	}
	return ""
}

// directHashes are the hashes that a certificate is for.
func directHashes(cert *x509.Certificate) (all []string) {
	for _, name := range cert.DNSNames {
		if label, hash, ok := netaddr.SplitDirect(name); ok && label == "*" {
			all = append(all, hash)
		}
	}
	return all
}

// errVouchedName is a certificate of a known authority for another name than the
// host's, so that its own name may be recommended.
type errVouchedName struct{ x509.HostnameError }

func (e errVouchedName) Unwrap() error { return e.HostnameError }

// directVerifier verifies the certificate at an address that a person entered: it
// is for host, or for a plex.direct name with one of hashes.
type directVerifier struct {
	host   string
	hashes string
	config *tls.Config // the caller's
}

// install makes config verify by v. What the caller's own config verifies besides
// is verified still.
func (v *directVerifier) install(config *tls.Config) {
	v.config = config.Clone()
	config.InsecureSkipVerify = true // verify takes its place
	config.VerifyPeerCertificate = nil
	config.VerifyConnection = v.verify
}

func (v *directVerifier) verify(state tls.ConnectionState) error {
	name := cmp.Or(state.ServerName, v.host) // it is empty for an IP address
	chains, err := v.chains(state, name)
	if errors.As(err, new(x509.HostnameError)) {
		chains, err = v.otherName(state, err)
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	if f := v.config.VerifyPeerCertificate; f != nil {
		var raw [][]byte
		for _, cert := range state.PeerCertificates {
			raw = append(raw, cert.Raw)
		}
		if err := f(raw, chains); err != nil {
			return err
		}
	}
	if f := v.config.VerifyConnection; f != nil {
		state.VerifiedChains = chains
		return f(state)
	}
	return nil
}

// otherName judges a certificate that is for another name.
func (v *directVerifier) otherName(state tls.ConnectionState, wrong error) ([][]*x509.Certificate, error) {
	chains, err := v.chains(state, "")
	if err != nil {
		return nil, err // no authority vouches for its name
	}
	for _, hash := range directHashes(state.PeerCertificates[0]) {
		if slices.Contains(strings.Fields(v.hashes), hash) {
			return chains, nil
		}
	}
	var name x509.HostnameError
	errors.As(wrong, &name)
	return nil, errVouchedName{name}
}

func (v *directVerifier) chains(state tls.ConnectionState, name string) ([][]*x509.Certificate, error) {
	o := x509.VerifyOptions{Roots: v.config.RootCAs, DNSName: name, Intermediates: x509.NewCertPool()}
	if v.config.Time != nil {
		o.CurrentTime = v.config.Time()
	}
	for _, cert := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	return state.PeerCertificates[0].Verify(o)
}
