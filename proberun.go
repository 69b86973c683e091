package plexauth

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
)

// probeRun is one round of probing. All its connections end with it.
type probeRun struct {
	p       *PlexAuth
	routes  *serverRoutes
	patient bool // a person wants to see what became of the lesser addresses, too
}

func (p *PlexAuth) newProbe() *probeRun {
	return &probeRun{p: p, routes: &serverRoutes{base: p.client.transport()}}
}

func (r *probeRun) close() { r.routes.close() }

// noGrace is longer than any probe.
const noGrace = time.Hour

// errEnough ends the wait for other addresses.
var errEnough = errors.New("another address answers")

// probe tries all candidates at once and returns what happened, in their
// order. It ends when the best that can still answer has, or a short grace
// after a lesser one has; a patient run waits out the grace in any case.
func (r *probeRun) probe(ctx context.Context, all []candidate, expected func(machineID string) bool) []address {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &round{all: all, found: make([]address, len(all)), waiting: map[int]bool{}, best: -1}
	done := make(chan int, len(all))
	for i, c := range all {
		v.found[i] = address{URL: c.url, Local: c.local, Relay: c.relay, Finding: c.skip, class: c.class, insecure: c.insecure, direct: c.direct}
		if c.skip != "" {
			continue
		}
		v.waiting[i] = true
		go func() {
			r.knock(ctx, &v.found[i], expected, c.entered)
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
		if !stopped && !r.patient && v.enough() {
			stopped = true
			cancel(errEnough)
		}
	}
	v.choose(grace) // what came in at the last moment, too
	return v.found
}

// round is the state of one call of probe.
type round struct {
	all     []candidate
	found   []address // of those in waiting, not to be read
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
		if v.best < 0 || v.found[i].class < v.found[v.best].class {
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
	j := slices.IndexFunc(v.all, func(c candidate) bool { return c.url == v.all[i].https })
	return j >= 0 && !v.waiting[j] && errors.As(v.found[j].Err, new(*tls.CertificateVerificationError))
}

// enough reports whether nothing better than the best can still answer.
func (v *round) enough() bool {
	if v.best < 0 {
		return false
	}
	for i := range v.waiting {
		if v.all[i].class < v.found[v.best].class {
			return false
		}
	}
	return true
}

func graceFor(c candidate) time.Duration {
	if c.relay {
		return graceRelay
	}
	return graceDirect
}

// knock asks one address, which a person has entered or not, who is there.
func (r *probeRun) knock(ctx context.Context, a *address, expected func(string) bool, entered bool) {
	began := time.Now()
	q := &call{
		op: "probe server", method: http.MethodGet, url: a.URL + "/identity", once: true, limit: probeLimit, most: maxIdentity,
		server: r.routes, insecure: a.insecure, direct: a.direct,
		decode: func(body []byte) (err error) {
			a.MachineID, a.version, err = decodeIdentity(body)
			return err
		},
	}
	err := public(r.p.client.do(ctx, q))
	a.tried, a.Took = true, time.Since(began)
	u, _ := url.Parse(a.URL)
	if err == nil && a.direct != nil && !a.insecure && u.Scheme == "https" {
		a.noteCertificate(u.Hostname(), q.tls)
	}
	switch {
	case err == nil && a.hash != "" && !slices.Contains(a.direct[a.hash], a.MachineID):
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
func (a *address) noteCertificate(host string, state *tls.ConnectionState) {
	a.hash = a.direct.acceptedHash(host, state)
	if a.hash == "" {
		a.direct = nil
		return
	}
	a.direct = directOwners{a.hash: a.direct[a.hash]}
	a.class += plusOther
}

// showsDirectName reports whether the certificate at the address is a media
// server's, by its plex.direct name, and the address has another name. One that is
// an IP address has a plex.direct name of its own, which the finding tells.
func (a address) showsDirectName() bool {
	var name errVouchedName
	u, err := url.Parse(a.URL)
	return err == nil && errors.As(a.Err, &name) && len(directHashes(name.Certificate)) > 0 && !writtenIP(u.Hostname()).IsValid()
}

// refuse notes why an address is not used though a media server answers there.
func (a *address) refuse(why string) {
	a.OK, a.Finding = false, why
	a.Err = public(&failure{Op: "probe server", where: "the server", StatusCode: http.StatusOK, is: ErrUnavailable, Message: why})
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
				MachineID laxText `json:"machineIdentifier"`
				Version   laxText `json:"version"`
			}
		}
		if err := unmarshal(body, &j); err != nil {
			return "", "", err
		}
		machineID, version = string(j.MediaContainer.MachineID), string(j.MediaContainer.Version)
	}
	if machineID == "" {
		return "", "", errors.New("what answers is no Plex media server")
	}
	return machineID, version, nil
}

// try asks the server at an address for something that needs a token, and tells
// who it is: a proxy's page is no sign that the token was taken.
func (r *probeRun) try(ctx context.Context, at *address, t secretValue, clientID string) error {
	return public(r.p.client.do(ctx, &call{
		op: "try the server token", method: http.MethodGet, url: at.URL + "/", once: true, limit: probeLimit, most: maxIdentity,
		server: r.routes, insecure: at.insecure, direct: at.direct, token: t, clientID: clientID,
		decode: func(body []byte) error {
			_, _, err := decodeIdentity(body)
			return err
		},
	}))
}

// bestOf returns the address to use, nil where none will do.
func bestOf(addresses []address) *address {
	var best *address
	for i := range addresses {
		if a := &addresses[i]; a.OK && (best == nil || a.class < best.class) {
			best = a
		}
	}
	return best
}
