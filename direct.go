package plexauth

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Names at plex.direct: <address>.<hash>.plex.direct. The address stands in the
// name, and the hash belongs to one media server, which alone has a certificate
// for *.<hash>.plex.direct.

// splitDirect returns the two parts of a plex.direct name, ok where host is one.
func splitDirect(host string) (label, hash string, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	label, rest, _ := strings.Cut(host, ".")
	hash, ok = strings.CutSuffix(rest, ".plex.direct")
	return label, hash, ok && hash != ""
}

// encodedIP is the address that stands in a name like
// 192-168-1-5.<hash>.plex.direct; the zero Addr for any other name.
func encodedIP(host string) netip.Addr {
	label, _, ok := splitDirect(host)
	if !ok {
		return netip.Addr{}
	}
	for _, separator := range []string{".", ":"} {
		if ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", separator)); err == nil {
			return ip.Unmap()
		}
	}
	return netip.Addr{}
}

// plexDirect reports whether an address goes by a name that plex.tv makes.
func plexDirect(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Hostname()), ".plex.direct")
}

// directOwners are the media servers that may show a plex.direct certificate at an
// address that goes by another name: machine identifiers by hash.
type directOwners map[string][]string

// ownersOf collects the hashes that plex.tv lists for servers.
func ownersOf(servers []mediaServer) directOwners {
	owners := directOwners{}
	for _, s := range servers {
		for _, c := range s.Connections {
			u, err := url.Parse(c.URI)
			if err != nil {
				continue
			}
			if _, hash, ok := splitDirect(u.Hostname()); ok {
				owners.add(hash, s.MachineID)
			}
		}
	}
	return owners
}

func (o directOwners) add(hash, machineID string) {
	if hash != "" && machineID != "" && !slices.Contains(o[hash], machineID) {
		o[hash] = append(o[hash], machineID)
	}
}

// hashes names the hashes in one text that can be compared.
func (o directOwners) hashes() string {
	var all []string
	for hash := range o {
		all = append(all, hash)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// acceptedHash is the hash of a certificate that was accepted at host though it is
// for a plex.direct name; "" where it is for host.
func (o directOwners) acceptedHash(host string, state *tls.ConnectionState) string {
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
		if label, hash, ok := splitDirect(name); ok && label == "*" {
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
