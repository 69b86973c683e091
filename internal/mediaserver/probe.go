// Package mediaserver finds out at which of its addresses a media server answers, how to
// get there, and why another address does not work. It keeps nothing.
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

	"github.com/plexauth/plexauth/internal/lax"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/secret"
	"github.com/plexauth/plexauth/internal/words"
)

const (
	// ProbeLimit bounds the probe of one address.
	ProbeLimit = 4 * time.Second
	// directGrace is how long better addresses may still answer once a direct one has.
	directGrace = time.Second
	// relayGrace is the same once only the relay has answered.
	relayGrace = 2 * time.Second
	// noGrace is longer than any probe.
	noGrace = time.Hour

	// maxIdentity bounds the answer that says which server is at an address, in bytes.
	maxIdentity = 64 << 10

	opProbe = "probe server"
)

// Prober probes addresses and uses what it finds. It is not safe for concurrent use.
type Prober struct {
	// Patient makes Probe wait for what becomes of the lesser addresses, because a
	// person wants to see it.
	Patient bool

	client *plextv.Client
	routes *Routes
}

// NewProber returns a Prober that sends with c. It must be closed.
func NewProber(c *plextv.Client) *Prober {
	return &Prober{client: c, routes: &Routes{Base: c.Transport()}}
}

// Close ends the connections of p that are idle.
func (p *Prober) Close() { p.routes.Close() }

// errEnough ends the wait for other addresses.
var errEnough = errors.New("another address answers")

// Probe asks all candidates at once which server is there, without a token, and returns
// what happened, in their order. expected says whether a machine identifier is that of
// the server to find. Probe returns once the best candidate that can still answer has,
// or a short grace after a lesser one has; a patient one waits out the grace in any case.
func (p *Prober) Probe(ctx context.Context, all []Candidate, expected func(machineID string) bool) []Address {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &round{all: all, found: make([]Address, len(all)), waiting: map[int]bool{}, best: -1}
	done := make(chan int, len(all))
	for i, c := range all {
		r.found[i] = newAddress(c)
		if c.skip != "" {
			continue
		}
		r.waiting[i] = true
		go func() {
			p.probeAddress(ctx, &r.found[i], expected, c.Entered)
			done <- i
		}()
	}
	grace := time.NewTimer(noGrace)
	defer grace.Stop()
	for stopped := false; len(r.waiting) > 0; {
		select {
		case i := <-done:
			delete(r.waiting, i)
			if !stopped {
				r.choose(grace)
			}
		case <-grace.C:
			stopped = true
			cancel(errEnough)
		}
		if !stopped && !p.Patient && r.isDecided() {
			stopped = true
			cancel(errEnough)
		}
	}
	r.choose(grace) // what came in at the last moment counts, too
	return r.found
}

// round is the state of one Probe.
type round struct {
	all     []Candidate
	found   []Address // those in waiting must not be read
	waiting map[int]bool
	best    int // of those that have answered; -1: none has
}

// choose finds the best address that has answered so far. If that is another one than
// before, it sets the grace for the others.
func (r *round) choose(grace *time.Timer) {
	before := r.best
	r.best = -1
	for i := range r.all {
		if r.waiting[i] || !r.found[i].OK {
			continue
		}
		if r.hidesBadCertificate(i) {
			r.found[i].refuse(refusedBadHTTPS)
			continue
		}
		if r.best < 0 || r.found[i].rank < r.found[r.best].rank {
			r.best = i
		}
	}
	switch {
	case r.best < 0:
		grace.Reset(noGrace)
	case r.best != before && (before < 0 || !r.all[r.best].relay):
		grace.Reset(graceAfter(r.all[r.best]))
	}
}

// hidesBadCertificate reports whether address i over plain http is made from one over
// https that has a bad certificate.
func (r *round) hidesBadCertificate(i int) bool {
	j := slices.IndexFunc(r.all, func(c Candidate) bool { return c.URL == r.all[i].https })
	return j >= 0 && !r.waiting[j] && errors.As(r.found[j].Err, new(*tls.CertificateVerificationError))
}

// isDecided reports whether no address better than the best can still answer.
func (r *round) isDecided() bool {
	if r.best < 0 {
		return false
	}
	for i := range r.waiting {
		if r.all[i].rank < r.found[r.best].rank {
			return false
		}
	}
	return true
}

// graceAfter returns how long other addresses may still answer once c has.
func graceAfter(c Candidate) time.Duration {
	if c.relay {
		return relayGrace
	}
	return directGrace
}

// probeAddress asks a which server is there, by GET /identity, which needs no token.
// entered says whether a person has entered the address.
func (p *Prober) probeAddress(ctx context.Context, a *Address, expected func(machineID string) bool, entered bool) {
	began := time.Now()
	q := &plextv.Call{
		Op: opProbe, Method: http.MethodGet, URL: a.URL + "/identity", Once: true, Limit: ProbeLimit, MaxBody: maxIdentity,
		Route: func(u *url.URL) (http.RoundTripper, error) { return p.routes.To(u, a.insecure, a.direct, false) },
		Decode: func(body []byte) (err error) {
			a.MachineID, a.Version, err = decodeIdentity(body)
			return err
		},
	}
	err := p.client.Do(ctx, q)
	a.Took = time.Since(began)
	u, _ := url.Parse(a.URL)
	switch {
	case err == nil:
		if a.direct != nil && !a.insecure && u.Scheme == "https" {
			a.noteCertificate(u.Hostname(), q.TLS)
		}
		p.judge(a, u, expected(a.MachineID))
	case context.Cause(ctx) == errEnough:
		a.note(words.Sentence{Key: notNeeded})
	case ctx.Err() != nil:
		a.note(words.Sentence{Key: notAwaited})
	default:
		a.Err = err
		a.note(explainFailure(u, err, entered))
	}
}

// judge decides whether the server that answers at a, whose URL is u, is used.
func (p *Prober) judge(a *Address, u *url.URL, expected bool) {
	switch {
	case a.DirectHash != "" && !slices.Contains(a.direct[a.DirectHash], a.MachineID):
		a.refuse(refusedCertificate)
	case !expected:
		a.refuse(refusedOther)
	default:
		a.OK = true
		key := findingAnswers
		if p.routes.isNameHidden(u.Hostname()) {
			key = findingHiddenName
		}
		a.note(words.Sentence{Key: key})
	}
}

// decodeIdentity reads the answer of GET /identity, in JSON or in the XML that some
// servers answer whatever was asked for.
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
		return "", "", errors.New("what answers is not a Plex media server")
	}
	return machineID, version, nil
}

// TryToken asks the server at a for something that needs a token (GET /), and that says
// which server it is: a proxy's page does not show that the token was accepted. The
// error matches [fault.ErrServerToken] if the server refuses t.
func (p *Prober) TryToken(ctx context.Context, a *Address, t secret.Value, clientID string) error {
	return p.client.Do(ctx, &plextv.Call{
		Op: "try the server token", Method: http.MethodGet, URL: a.URL + "/", Once: true, Limit: ProbeLimit, MaxBody: maxIdentity,
		Route: func(u *url.URL) (http.RoundTripper, error) { return p.routes.To(u, a.insecure, a.direct, true) },
		Token: t, ClientID: clientID,
		Decode: func(body []byte) error {
			_, _, err := decodeIdentity(body)
			return err
		},
	})
}
