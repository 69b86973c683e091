// Package mediaserver finds out at which of its addresses a media server answers, how to
// get there, and why another address does not work.
package mediaserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
)

// ProbeRun is one round of probing. All its connections end with it.
type ProbeRun struct {
	client  *plextv.Client
	routes  *ServerRoutes
	Patient bool // a person wants to see what became of the lesser addresses, too
}

func NewProbe(c *plextv.Client) *ProbeRun {
	return &ProbeRun{client: c, routes: &ServerRoutes{Base: c.Transport()}}
}

func (r *ProbeRun) Close() { r.routes.Close() }

// noGrace is longer than any probe.
const noGrace = time.Hour

// errEnough ends the wait for other addresses.
var errEnough = errors.New("another address answers")

// Probe tries all candidates at once and returns what happened, in their
// order. It ends when the best that can still answer has, or a short grace
// after a lesser one has; a patient run waits out the grace in any case.
func (r *ProbeRun) Probe(ctx context.Context, all []Candidate, expected func(machineID string) bool) []Address {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &round{all: all, found: make([]Address, len(all)), waiting: map[int]bool{}, best: -1}
	done := make(chan int, len(all))
	for i, c := range all {
		v.found[i] = Address{URL: c.Url, Local: c.local, Relay: c.relay, Finding: c.skip, Class: c.class, insecure: c.Insecure, direct: c.direct}
		if c.skip != "" {
			continue
		}
		v.waiting[i] = true
		go func() {
			r.knock(ctx, &v.found[i], expected, c.Entered)
			done <- i
		}()
	}
	grace := time.NewTimer(noGrace)
	defer grace.Stop()
	for stopped := false; len(v.waiting) > 0; {
		select {
		case i := <-done:
			delete(v.waiting, i)
			if !stopped {
				v.choose(grace)
			}
		case <-grace.C:
			stopped = true
			cancel(errEnough)
		}
		if !stopped && !r.Patient && v.enough() {
			stopped = true
			cancel(errEnough)
		}
	}
	v.choose(grace) // what came in at the last moment, too
	return v.found
}

// round is the state of one call of probe.
type round struct {
	all     []Candidate
	found   []Address // of those in waiting, not to be read
	waiting map[int]bool
	best    int // of those that have answered; -1: none has
}

// choose finds the best that has answered so far, and sets the grace for the
// others where that changes it.
func (v *round) choose(grace *time.Timer) {
	before := v.best
	v.best = -1
	for i := range v.all {
		if v.waiting[i] || !v.found[i].OK {
			continue
		}
		if v.hides(i) {
			v.found[i].refuse("answers, but its https has a bad certificate, which plain http would only hide")
			continue
		}
		if v.best < 0 || v.found[i].Class < v.found[v.best].Class {
			v.best = i
		}
	}
	switch {
	case v.best < 0:
		grace.Reset(noGrace)
	case v.best != before && (before < 0 || !v.all[v.best].relay):
		grace.Reset(graceFor(v.all[v.best]))
	}
}

// hides reports whether an address over plain http is made of one over https that
// has a bad certificate.
func (v *round) hides(i int) bool {
	j := slices.IndexFunc(v.all, func(c Candidate) bool { return c.Url == v.all[i].https })
	return j >= 0 && !v.waiting[j] && errors.As(v.found[j].Err, new(*tls.CertificateVerificationError))
}

// enough reports whether nothing better than the best can still answer.
func (v *round) enough() bool {
	if v.best < 0 {
		return false
	}
	for i := range v.waiting {
		if v.all[i].class < v.found[v.best].Class {
			return false
		}
	}
	return true
}

func graceFor(c Candidate) time.Duration {
	if c.relay {
		return graceRelay
	}
	return graceDirect
}

// knock asks one address, which a person has entered or not, who is there.
func (r *ProbeRun) knock(ctx context.Context, a *Address, expected func(string) bool, entered bool) {
	began := time.Now()
	q := &plextv.Call{
		Op: "probe server", Method: http.MethodGet, Url: a.URL + "/identity", Once: true, Limit: ProbeLimit, Most: plextv.MaxIdentity,
		Route: func(u *url.URL) (http.RoundTripper, error) { return r.routes.To(u, a.insecure, a.direct, false) },
		Decode: func(body []byte) (err error) {
			a.MachineID, a.Version, err = decodeIdentity(body)
			return err
		},
	}
	err := r.client.Do(ctx, q)
	a.tried, a.Took = true, time.Since(began)
	u, _ := url.Parse(a.URL)
	if err == nil && a.direct != nil && !a.insecure && u.Scheme == "https" {
		a.noteCertificate(u.Hostname(), q.Tls)
	}
	switch {
	case err == nil && a.Hash != "" && !slices.Contains(a.direct[a.Hash], a.MachineID):
		a.refuse("another media server answers here: the certificate is not its own")
	case err == nil && expected(a.MachineID):
		a.OK = true
		a.Finding = "answers"
		if r.routes.hides(u) {
			a.Finding = "answers, though the resolver withholds its name (DNS rebinding protection): other programs need plex.direct to be allowed in the router or resolver"
		}
	case err == nil:
		a.refuse("another media server answers here")
	case context.Cause(ctx) == errEnough:
		a.Finding = "not waited for, since another address answers"
	case ctx.Err() != nil:
		a.Finding = "not waited for"
	default:
		a.Err = err
		a.Finding = whyNot(u, err, entered)
	}
}

// noteCertificate notes whose plex.direct certificate was accepted for another name.
// From here on no other server's is.
func (a *Address) noteCertificate(host string, state *tls.ConnectionState) {
	a.Hash = a.direct.acceptedHash(host, state)
	if a.Hash == "" {
		a.direct = nil
		return
	}
	a.direct = DirectOwners{a.Hash: a.direct[a.Hash]}
	a.Class += plusOther
}

// ShowsDirectName reports whether the certificate at the address is a media
// server's, by its plex.direct name, and the address has another name. One that is
// an IP address has a plex.direct name of its own, which the finding tells.
func (a Address) ShowsDirectName() bool {
	var name errVouchedName
	u, err := url.Parse(a.URL)
	return err == nil && errors.As(a.Err, &name) && len(directHashes(name.Certificate)) > 0 && !writtenIP(u.Hostname()).IsValid()
}

// refuse notes why an address is not used though a media server answers there.
func (a *Address) refuse(why string) {
	a.OK, a.Finding = false, why
	a.Err = &plextv.Failure{Op: "probe server", Where: "the server", StatusCode: http.StatusOK, Sentinel: fault.ErrUnavailable, Message: why}
}

// decodeIdentity reads /identity, in JSON or in the XML that some servers
// answer whatever was asked for.
func decodeIdentity(body []byte) (machineID, version string, err error) {
	if b := bytes.TrimSpace(body); len(b) > 0 && b[0] == '<' {
		var x struct {
			XMLName   xml.Name
			MachineID string `xml:"machineIdentifier,attr"`
			Version   string `xml:"version,attr"`
		}
		if xml.Unmarshal(b, &x) == nil && x.XMLName.Local == "MediaContainer" {
			machineID, version = x.MachineID, x.Version
		}
	} else {
		var j struct {
			MediaContainer struct {
				MachineID lax.String `json:"machineIdentifier"`
				Version   lax.String `json:"version"`
			}
		}
		if err := lax.Unmarshal(body, &j); err != nil {
			return "", "", err
		}
		machineID, version = string(j.MediaContainer.MachineID), string(j.MediaContainer.Version)
	}
	if machineID == "" {
		return "", "", errors.New("what answers is no Plex media server")
	}
	return machineID, version, nil
}

// Try asks the server at an address for something that needs a token, and tells
// who it is: a proxy's page is no sign that the token was taken.
func (r *ProbeRun) Try(ctx context.Context, at *Address, t secret.Value, clientID string) error {
	return r.client.Do(ctx, &plextv.Call{
		Op: "try the server token", Method: http.MethodGet, Url: at.URL + "/", Once: true, Limit: ProbeLimit, Most: plextv.MaxIdentity,
		Route: func(u *url.URL) (http.RoundTripper, error) { return r.routes.To(u, at.insecure, at.direct, true) },
		Token: t, ClientID: clientID,
		Decode: func(body []byte) error {
			_, _, err := decodeIdentity(body)
			return err
		},
	})
}

// BestOf returns the address to use, nil where none will do.
func BestOf(addresses []Address) *Address {
	var best *Address
	for i := range addresses {
		if a := &addresses[i]; a.OK && (best == nil || a.Class < best.Class) {
			best = a
		}
	}
	return best
}

const (
	ProbeLimit  = 4 * time.Second // for one address
	graceDirect = time.Second     // how much longer a better address may take
	graceRelay  = 2 * time.Second // the same, where only the relay has answered
)

// Address is an address that was probed, and what happened there.
type Address struct {
	URL       string
	Local     bool
	Relay     bool
	OK        bool
	MachineID string
	Took      time.Duration
	Finding   string
	Err       error

	Version  string
	Class    int // 0 is best
	tried    bool
	insecure bool         // its certificate was not checked
	direct   DirectOwners // whose plex.direct certificates will do there
	Hash     string       // of the plex.direct certificate that was accepted there, which is for another name
}
