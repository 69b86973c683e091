package mediaserver

import (
	"cmp"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/words"
)

// Address is a candidate that was probed, and what happened there.
type Address struct {
	URL        string
	Local      bool            // in the server's own network
	Relay      bool            // through Plex's relay
	OK         bool            // the expected server answers there
	MachineID  string          // of the media server that answers there; "": none does
	Version    string          // of that server
	Took       time.Duration   // until the answer or the failure
	Finding    string          // for people, in English: what happened, and what helps
	Words      words.Sentences // the finding in no language yet
	Err        error           // why it is not used, if it was tried; a *plextv.Failure if a request was sent
	DirectHash string          // of the plex.direct certificate that was accepted there for another name; "": none

	rank     rank
	insecure bool         // its certificate was not checked
	direct   DirectOwners // whose plex.direct certificates are accepted there
}

// newAddress returns c before it is probed.
func newAddress(c Candidate) Address {
	a := Address{URL: c.URL, Local: c.local, Relay: c.relay, rank: c.rank, insecure: c.Insecure, direct: c.direct}
	if c.skip != "" {
		a.note(words.Sentence{Key: c.skip})
	}
	return a
}

// Best returns the address to use, nil if none will do.
func Best(addresses []Address) *Address {
	var best *Address
	for i := range addresses {
		if a := &addresses[i]; a.OK && (best == nil || a.rank < best.rank) {
			best = a
		}
	}
	return best
}

// IsSaved reports whether the address was typed or saved, not only listed by plex.tv.
func (a *Address) IsSaved() bool { return a.rank < rankLocal }

// ShowsDirectName reports whether a media server's plex.direct certificate was refused
// at the address, which has another name or none.
func (a Address) ShowsDirectName() bool {
	var name otherNameError
	return errors.As(a.Err, &name) && len(directHashes(name.Certificate)) > 0
}

// Host returns host and port of the address for people: a plex.direct name as the IP
// address that it stands for.
func (a *Address) Host() string {
	u, err := url.Parse(a.URL)
	if err != nil || u.Host == "" {
		return plain.Short(a.URL)
	}
	if ip := netaddr.DirectIP(u.Hostname()); ip.IsValid() {
		return net.JoinHostPort(ip.String(), cmp.Or(u.Port(), "443"))
	}
	return plain.Short(u.Host)
}

// note sets the finding.
func (a *Address) note(finding words.Sentence) {
	a.Words = words.Sentences{finding}
	a.Finding = words.English.Say(a.Words)
}

// refuse notes why the address is not used though a media server answers there.
func (a *Address) refuse(key string) {
	a.OK = false
	a.note(words.Sentence{Key: key})
	a.Err = &plextv.Failure{Op: opProbe, Where: "the server", StatusCode: http.StatusOK, Sentinel: fault.ErrUnavailable, Message: a.Finding}
}

// noteCertificate notes whose plex.direct certificate was accepted at host, which has
// another name. From here on only that server's is accepted.
func (a *Address) noteCertificate(host string, state *tls.ConnectionState) {
	a.DirectHash = a.direct.acceptedHash(host, state)
	if a.DirectHash == "" {
		a.direct = nil
		return
	}
	a.direct = DirectOwners{a.DirectHash: a.direct[a.DirectHash]}
	a.rank += addOtherName
}
