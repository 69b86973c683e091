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

// DirectOwners are the media servers whose plex.direct certificates are accepted at an
// address with another name: machine identifiers by the hash in the certificate's name.
type DirectOwners map[string][]string

// OwnersOf returns the hashes that plex.tv lists for servers.
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

// Add adds a machine to the owners of hash. It does nothing if one of them is empty.
func (o DirectOwners) Add(hash, machineID string) {
	if hash != "" && machineID != "" && !slices.Contains(o[hash], machineID) {
		o[hash] = append(o[hash], machineID)
	}
}

// hashes returns the hashes in one text that can be compared.
func (o DirectOwners) hashes() string {
	var all []string
	for hash := range o {
		all = append(all, hash)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// acceptedHash returns the hash of the certificate that was accepted at host, "" if the
// certificate is for host.
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

// directHashes returns the hashes of the plex.direct names that cert is for.
func directHashes(cert *x509.Certificate) (all []string) {
	for _, name := range cert.DNSNames {
		if label, hash, ok := netaddr.SplitDirect(name); ok && label == "*" {
			all = append(all, hash)
		}
	}
	return all
}

// otherNameError is the error for a certificate of a known authority that is for
// another name than the host's. That name may be recommended.
type otherNameError struct{ x509.HostnameError }

func (e otherNameError) Unwrap() error { return e.HostnameError }

// directVerifier verifies the certificate at an address that a person entered. It must
// be for host, or for a plex.direct name with one of hashes.
type directVerifier struct {
	host   string
	hashes string
	config *tls.Config // the caller's
}

// install makes config verify with v. What the caller's own config verifies besides is
// still verified.
func (v *directVerifier) install(config *tls.Config) {
	v.config = config.Clone()
	config.InsecureSkipVerify = true // verify does it
	config.VerifyPeerCertificate = nil
	config.VerifyConnection = v.verify
}

// verify is a [tls.Config.VerifyConnection].
func (v *directVerifier) verify(state tls.ConnectionState) error {
	name := cmp.Or(state.ServerName, v.host) // ServerName is empty for an IP address
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

// otherName verifies a certificate that is for another name. wrong is the
// [x509.HostnameError] that says so.
func (v *directVerifier) otherName(state tls.ConnectionState, wrong error) ([][]*x509.Certificate, error) {
	chains, err := v.chains(state, "")
	if err != nil {
		return nil, err // no known authority has signed it
	}
	for _, hash := range directHashes(state.PeerCertificates[0]) {
		if slices.Contains(strings.Fields(v.hashes), hash) {
			return chains, nil
		}
	}
	var name x509.HostnameError
	errors.As(wrong, &name)
	return nil, otherNameError{name}
}

// chains verifies the certificate for name, and only its signatures if name is "".
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
