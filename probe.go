package plexauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	probeLimit  = 4 * time.Second // for one address
	graceDirect = time.Second     // how much longer a better address may take
	graceRelay  = 2 * time.Second // the same, where only the relay has answered
)

// ProbeResult is what [PlexAuth.Probe] found at a media server's addresses.
type ProbeResult struct {
	URL       string `json:"url"`        // the best address at which the expected server answers; empty: none
	MachineID string `json:"machine_id"` // of the server that answered. With an empty URL it is the wrong one
	Version   string `json:"version"`    // of that server
	Local     bool   `json:"local"`      // URL is in the server's own network
	Relay     bool   `json:"relay"`      // nothing but Plex's relay answers, which is slow

	TokenAccepted bool            `json:"token_accepted"` // the server took the saved token
	Addresses     []ProbedAddress `json:"addresses"`      // all that were considered, the better ones first
}

// ProbedAddress is one address of a [ProbeResult], and what happened there.
type ProbedAddress struct {
	URL       string        `json:"url"`
	Local     bool          `json:"local"`
	Relay     bool          `json:"relay"`
	OK        bool          `json:"ok"`         // the expected server answers there
	MachineID string        `json:"machine_id"` // of the media server that answers there; empty: none does
	Took      time.Duration `json:"took"`       // in nanoseconds
	Finding   string        `json:"finding"`    // what happened and what helps, for a person
	Err       error         `json:"-"`          // an [*Error] where something was tried and failed

	version  string
	class    int // 0 is best
	tried    bool
	insecure bool         // its certificate was not checked
	direct   directOwners // whose plex.direct certificates will do there
	hash     string       // of the plex.direct certificate that was accepted there, which is for another name
}

// Probe finds out whether a media server can be reached at serverURL, as a
// person may have typed it: "192.168.1.5" and "plex:32400" will do, https and
// http are both tried then. An empty serverURL stands for the saved server:
// its saved address and those that plex.tv lists for it.
//
// All addresses are tried at once, for four seconds at most, by a request that
// carries neither token nor identity. Once the best has answered, the others have
// a second to show what is wrong with them. plex.tv has four seconds to list the
// addresses; without it the saved one is tried alone. The server that answers must be the
// saved one, if one is saved. At a typed name a media server's own plex.direct
// certificate will do, if plex.tv lists it for the server that answers. At the saved address, and there alone, the saved
// token is tried as well.
//
// To a login with a device key plex.tv gives only its own JWT for a server that
// the account owns, and few servers, if any, take that. The Probe of such a
// server, with an empty serverURL, is the one place where it is tried. If the
// server accepts it, it is the server's token from then on, until a Probe finds
// it refused.
//
// The error is nil if the expected server answers, and takes the token if that
// was tried. If none does it matches [ErrUnavailable] or [ErrServerToken], and the
// result says for each address what happened and what to do about it. Other
// errors match [ErrStore], or say that serverURL is no address; for an empty one
// they are those of [PlexAuth.Servers], where no address is saved, and
// [ErrServerChoice] where no server is.
func (p *PlexAuth) Probe(ctx context.Context, serverURL string) (ProbeResult, error) {
	b, err := p.load(ctx)
	if err != nil {
		return ProbeResult{}, err
	}
	saved := b.server()
	var t probeTarget
	if serverURL = strings.TrimSpace(serverURL); serverURL == "" {
		t, err = p.savedTarget(ctx, saved, b.cloudID())
	} else if t.candidates = saved.typed(serverURL); len(t.candidates) == 0 {
		err = errNoAddress
	}
	if err != nil {
		return ProbeResult{}, err
	}
	run := p.newProbe()
	run.patient = true
	defer run.close()
	expected := func(id string) bool { return saved.machineID == "" || id == saved.machineID }
	vouch(t.candidates, t.owners(saved))
	found := run.probe(ctx, t.candidates, expected)
	if serverURL != "" && bestOf(found) == nil && slices.ContainsFunc(found, ProbedAddress.showsDirectName) {
		// plex.tv knows whose certificate that is.
		if t.servers, err = p.serversWithin(ctx, probeLimit); err == nil {
			vouch(t.candidates, t.owners(saved))
			found = run.probe(ctx, t.candidates, expected)
		}
	}
	if err := ctx.Err(); err != nil {
		return ProbeResult{Addresses: found}, fmt.Errorf("plexauth: probe server: %w", err)
	}
	r := ProbeResult{Addresses: found}
	best := bestOf(found)
	if best == nil {
		for _, a := range found {
			if a.MachineID != "" && !expected(a.MachineID) {
				r.MachineID, r.Version = a.MachineID, a.version
				break
			}
		}
		return r, saved.unreachable(found)
	}
	r.URL, r.MachineID, r.Version, r.Local, r.Relay = best.URL, best.MachineID, best.version, best.Local, best.Relay
	if slices.ContainsFunc(found, func(a ProbedAddress) bool { return a.OK && !a.Relay }) {
		r.Relay = false // it was typed
	}
	if saved.token.IsZero() && !t.onlyJWT || !sameServer(best.URL, saved.url) || saved.machineID != best.MachineID {
		return r, nil
	}
	if t.onlyJWT {
		err = p.tryJWT(ctx, run, best)
	} else {
		err = run.try(ctx, best, saved.token, b.clientID())
	}
	r.TokenAccepted = err == nil
	return r, err
}

// probeTarget is what a Probe tries.
type probeTarget struct {
	candidates []candidate
	servers    []Server // as plex.tv lists them, nil where it was not asked
	onlyJWT    bool     // plex.tv gives no other token for the server
}

// owners are those whose certificates are known.
func (t *probeTarget) owners(saved savedServer) directOwners {
	owners := ownersOf(t.servers)
	for hash := range saved.direct {
		owners.add(hash, saved.machineID)
	}
	return owners
}

// savedTarget is the saved server: its saved address and those that plex.tv lists.
func (p *PlexAuth) savedTarget(ctx context.Context, saved savedServer, account int64) (t probeTarget, err error) {
	if saved.url == "" && saved.machineID == "" {
		return t, fmt.Errorf("%w: none is saved", ErrServerChoice)
	}
	t.candidates = saved.candidates()
	if saved.machineID == "" {
		return t, nil
	}
	limit := attemptLimit
	if saved.url != "" { // which can be tried without plex.tv
		limit = probeLimit
	}
	t.servers, err = p.serversWithin(ctx, limit)
	if err != nil && saved.url == "" {
		return t, err
	}
	if s := saved.listed(t.servers, account); s != nil {
		t.candidates = addresses(t.candidates, s)
		t.onlyJWT = s.onlyJWT && s.Owned && (saved.token.IsZero() || isJWT(saved.token.Secret()))
	}
	return t, nil
}

func (p *PlexAuth) serversWithin(ctx context.Context, limit time.Duration) (servers []Server, err error) {
	err = within(ctx, limit, "list servers", func(ctx context.Context) (err error) {
		servers, err = p.Servers(ctx)
		return err
	})
	return servers, err
}

// within asks plex.tv for something, for so long at most.
func within(ctx context.Context, limit time.Duration, op string, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := ask(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return tooLate(op, "plex.tv", limited.Err())
	}
	return err
}

// tryJWT finds out whether a server takes the account's JWT, and notes it.
func (p *PlexAuth) tryJWT(ctx context.Context, run *probeRun, server *ProbedAddress) error {
	t, clientID, err := p.credential(ctx)
	if err != nil {
		return err
	}
	if !isJWT(t.Secret()) { // somebody has signed in otherwise meanwhile
		return nil
	}
	err = run.try(ctx, server, t, clientID)
	if errors.Is(err, ErrServerToken) {
		err = deviceKeyError{err}
	}
	if err == nil || errors.Is(err, ErrServerToken) {
		err = errors.Join(err, p.update(ctx, func(b *profile) error {
			if b.server().machineID == server.MachineID && isJWT(b.accountToken().Secret()) {
				b.setTakesJWT(server.MachineID, server.URL, err == nil)
			}
			return nil
		}))
	}
	return err
}

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

// errEnough ends the wait for other addresses.
var errEnough = errors.New("another address answers")

// probe tries all candidates at once and returns what happened, in their
// order. It ends when the best that can still answer has, or a short grace
// after a lesser one has; a patient run waits out the grace in any case.
func (r *probeRun) probe(ctx context.Context, all []candidate, expected func(machineID string) bool) []ProbedAddress {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	found := make([]ProbedAddress, len(all))
	done := make(chan int, len(all))
	waiting := map[int]bool{}
	for i, c := range all {
		found[i] = ProbedAddress{URL: c.url, Local: c.local, Relay: c.relay, Finding: c.skip, class: c.class, insecure: c.insecure, direct: c.direct}
		if c.skip != "" {
			continue
		}
		waiting[i] = true
		go func() {
			r.knock(ctx, &found[i], expected, c.entered)
			done <- i
		}()
	}
	best, grace := -1, (<-chan time.Time)(nil)
	// choose finds the best that has answered so far. An address over plain http
	// that is made of one over https does not count where that has a bad
	// certificate: it would only hide it.
	choose := func() (best int) {
		best = -1
		for i := range all {
			if waiting[i] || !found[i].OK {
				continue
			}
			j := slices.IndexFunc(all, func(c candidate) bool { return c.url == all[i].https })
			if j >= 0 && !waiting[j] && errors.As(found[j].Err, new(*tls.CertificateVerificationError)) {
				found[i].refuse("answers, but its https has a bad certificate, which plain http would only hide")
				continue
			}
			if best < 0 || found[i].class < found[best].class {
				best = i
			}
		}
		return best
	}
	enough := func() bool {
		if best < 0 || r.patient {
			return false
		}
		for i := range waiting {
			if all[i].class < found[best].class {
				return false
			}
		}
		return true
	}
	for stopped := false; len(waiting) > 0; {
		select {
		case i := <-done:
			delete(waiting, i)
			if stopped {
				break
			}
			before := best
			switch best = choose(); {
			case best < 0:
				grace = nil
			case best != before && (grace == nil || !all[best].relay):
				t := time.NewTimer(graceFor(all[best]))
				defer t.Stop()
				grace = t.C
			}
		case <-grace:
			grace, stopped = nil, true
			cancel(errEnough)
		}
		if !stopped && enough() {
			grace, stopped = nil, true
			cancel(errEnough)
		}
	}
	choose() // what came in at the last moment, too
	return found
}

func graceFor(c candidate) time.Duration {
	if c.relay {
		return graceRelay
	}
	return graceDirect
}

// knock asks one address, which a person has entered or not, who is there.
func (r *probeRun) knock(ctx context.Context, a *ProbedAddress, expected func(string) bool, entered bool) {
	began := time.Now()
	q := &call{
		op: "probe server", method: http.MethodGet, url: a.URL + "/identity", once: true, limit: probeLimit, most: maxIdentity,
		server: r.routes, insecure: a.insecure, direct: a.direct,
		decode: func(body []byte) (err error) {
			a.MachineID, a.version, err = decodeIdentity(body)
			return err
		},
	}
	err := r.p.client.do(ctx, q)
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
func (a *ProbedAddress) noteCertificate(host string, state *tls.ConnectionState) {
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
func (a ProbedAddress) showsDirectName() bool {
	var name errVouchedName
	u, err := url.Parse(a.URL)
	return err == nil && errors.As(a.Err, &name) && len(directHashes(name.Certificate)) > 0 && !writtenIP(u.Hostname()).IsValid()
}

// refuse notes why an address is not used though a media server answers there.
func (a *ProbedAddress) refuse(why string) {
	a.OK, a.Finding = false, why
	a.Err = &Error{Op: "probe server", where: "the server", StatusCode: http.StatusOK, is: ErrUnavailable, Message: why}
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
func (r *probeRun) try(ctx context.Context, at *ProbedAddress, t Token, clientID string) error {
	return r.p.client.do(ctx, &call{
		op: "try the server token", method: http.MethodGet, url: at.URL + "/", once: true, limit: probeLimit, most: maxIdentity,
		server: r.routes, insecure: at.insecure, direct: at.direct, token: t, clientID: clientID,
		decode: func(body []byte) error {
			_, _, err := decodeIdentity(body)
			return err
		},
	})
}

// bestOf returns the address to use, nil where none will do.
func bestOf(addresses []ProbedAddress) *ProbedAddress {
	var best *ProbedAddress
	for i := range addresses {
		if a := &addresses[i]; a.OK && (best == nil || a.class < best.class) {
			best = a
		}
	}
	return best
}
