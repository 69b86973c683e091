package plexauth

import (
	"context"
	"errors"
	"fmt"
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
}

// address is an address that was probed, and what happened there.
type address struct {
	URL       string
	Local     bool
	Relay     bool
	OK        bool
	MachineID string
	Took      time.Duration
	Finding   string
	Err       error

	version  string
	class    int // 0 is best
	tried    bool
	insecure bool         // its certificate was not checked
	direct   directOwners // whose plex.direct certificates will do there
	hash     string       // of the plex.direct certificate that was accepted there, which is for another name
}

// publicAddresses returns addresses as callers see them.
func publicAddresses(addresses []address) []ProbedAddress {
	if addresses == nil {
		return nil
	}
	all := make([]ProbedAddress, len(addresses))
	for i, a := range addresses {
		all[i] = ProbedAddress{a.URL, a.Local, a.Relay, a.OK, a.MachineID, a.Took, a.Finding, a.Err}
	}
	return all
}

// Probe finds out whether a media server can be reached at serverURL, as a
// person may have typed it: "192.168.1.5" and "plex:32400" will do, https and
// http are both tried then. An empty serverURL stands for the saved server:
// its saved address and those that plex.tv lists for it.
//
// All addresses are tried at once, for four seconds at most, by a request that
// carries neither token nor identity. Once the best has answered, the others have
// a second to show what is wrong with them. plex.tv has four seconds to list the
// addresses; without it the saved one is tried alone. The server that answers must
// be the saved one, if one is saved. At a typed name a media server's own
// plex.direct certificate will do, if plex.tv lists it for the server that answers.
// At the saved address, and there alone, the saved token is tried as well.
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
	found := run.probeTarget(ctx, &t, saved, expected)
	if err := ctx.Err(); err != nil {
		return ProbeResult{Addresses: publicAddresses(found)}, fmt.Errorf("plexauth: probe server: %w", err)
	}
	r, best := resultOf(found, expected)
	if best == nil {
		return r, saved.unreachable(found)
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

// resultOf sums up what was found. best is nil where the expected server does not
// answer.
func resultOf(found []address, expected func(machineID string) bool) (r ProbeResult, best *address) {
	r.Addresses = publicAddresses(found)
	if best = bestOf(found); best == nil {
		for _, a := range found {
			if a.MachineID != "" && !expected(a.MachineID) {
				r.MachineID, r.Version = a.MachineID, a.version
				break
			}
		}
		return r, nil
	}
	r.URL, r.MachineID, r.Version, r.Local, r.Relay = best.URL, best.MachineID, best.version, best.Local, best.Relay
	if slices.ContainsFunc(found, func(a address) bool { return a.OK && !a.Relay }) {
		r.Relay = false // it was typed
	}
	return r, best
}

// probeTarget probes what a Probe is to try. Where a media server's certificate
// stands at a typed name, plex.tv is asked whose it is.
func (r *probeRun) probeTarget(ctx context.Context, t *probeTarget, saved savedServer, expected func(machineID string) bool) []address {
	vouch(t.candidates, t.owners(saved))
	found := r.probe(ctx, t.candidates, expected)
	if t.servers != nil || bestOf(found) != nil || !slices.ContainsFunc(found, address.showsDirectName) {
		return found
	}
	servers, err := r.p.serversWithin(ctx, probeLimit)
	if err != nil {
		return found
	}
	t.servers = servers
	vouch(t.candidates, t.owners(saved))
	return r.probe(ctx, t.candidates, expected)
}

// probeTarget is what a Probe tries.
type probeTarget struct {
	candidates []candidate
	servers    []mediaServer // as plex.tv lists them, nil where it was not asked
	onlyJWT    bool          // plex.tv gives no other token for the server
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

func (p *PlexAuth) serversWithin(ctx context.Context, limit time.Duration) (servers []mediaServer, err error) {
	err = within(ctx, limit, "list servers", func(ctx context.Context) (err error) {
		servers, err = p.servers(ctx)
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
func (p *PlexAuth) tryJWT(ctx context.Context, run *probeRun, server *address) error {
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
