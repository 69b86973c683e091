package plexauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
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

// probed gives the errors of found the form that callers see.
func probed(found []mediaserver.Address) []mediaserver.Address {
	for i := range found {
		found[i].Err = public(found[i].Err)
	}
	return found
}

// publicAddresses returns addresses as callers see them.
func publicAddresses(addresses []mediaserver.Address) []ProbedAddress {
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
	saved := b.Server()
	var t probeTarget
	if serverURL = strings.TrimSpace(serverURL); serverURL == "" {
		t, err = p.savedTarget(ctx, saved, b.CloudID())
	} else if t.candidates = typedFor(saved, serverURL); len(t.candidates) == 0 {
		err = mediaserver.ErrNoAddress
	}
	if err != nil {
		return ProbeResult{}, err
	}
	run := mediaserver.NewProbe(p.client)
	run.Patient = true
	defer run.Close()
	expected := func(id string) bool { return saved.MachineID == "" || id == saved.MachineID }
	found := p.probeTarget(ctx, run, &t, saved, expected)
	if err := ctx.Err(); err != nil {
		return ProbeResult{Addresses: publicAddresses(found)}, fmt.Errorf("plexauth: probe server: %w", err)
	}
	r, best := resultOf(found, expected)
	if best == nil {
		return r, savedUnreachable(saved, found)
	}
	if saved.Token.IsZero() && !t.onlyJWT || !netaddr.SameServer(best.URL, saved.Url) || saved.MachineID != best.MachineID {
		return r, nil
	}
	if t.onlyJWT {
		err = p.tryJWT(ctx, run, best)
	} else {
		err = public(run.Try(ctx, best, saved.Token, b.ClientID()))
	}
	r.TokenAccepted = err == nil
	return r, err
}

// resultOf sums up what was found. best is nil where the expected server does not
// answer.
func resultOf(found []mediaserver.Address, expected func(machineID string) bool) (r ProbeResult, best *mediaserver.Address) {
	r.Addresses = publicAddresses(found)
	if best = mediaserver.BestOf(found); best == nil {
		for _, a := range found {
			if a.MachineID != "" && !expected(a.MachineID) {
				r.MachineID, r.Version = a.MachineID, a.Version
				break
			}
		}
		return r, nil
	}
	r.URL, r.MachineID, r.Version, r.Local, r.Relay = best.URL, best.MachineID, best.Version, best.Local, best.Relay
	if slices.ContainsFunc(found, func(a mediaserver.Address) bool { return a.OK && !a.Relay }) {
		r.Relay = false // it was typed
	}
	return r, best
}

// probeTarget probes what a Probe is to try. Where a media server's certificate
// stands at a typed name, plex.tv is asked whose it is.
func (p *PlexAuth) probeTarget(ctx context.Context, r *mediaserver.ProbeRun, t *probeTarget, saved profile.SavedServer, expected func(machineID string) bool) []mediaserver.Address {
	mediaserver.Vouch(t.candidates, t.owners(saved))
	found := probed(r.Probe(ctx, t.candidates, expected))
	if t.servers != nil || mediaserver.BestOf(found) != nil || !slices.ContainsFunc(found, mediaserver.Address.ShowsDirectName) {
		return found
	}
	servers, err := p.serversWithin(ctx, mediaserver.ProbeLimit)
	if err != nil {
		return found
	}
	t.servers = servers
	mediaserver.Vouch(t.candidates, t.owners(saved))
	return probed(r.Probe(ctx, t.candidates, expected))
}

// probeTarget is what a Probe tries.
type probeTarget struct {
	candidates []mediaserver.Candidate
	servers    []plextv.MediaServer // as plex.tv lists them, nil where it was not asked
	onlyJWT    bool                 // plex.tv gives no other token for the server
}

// owners are those whose certificates are known.
func (t *probeTarget) owners(saved profile.SavedServer) mediaserver.DirectOwners {
	owners := mediaserver.OwnersOf(t.servers)
	owners.Add(saved.Certificate, saved.MachineID)
	return owners
}

// savedTarget is the saved server: its saved address and those that plex.tv lists.
func (p *PlexAuth) savedTarget(ctx context.Context, saved profile.SavedServer, account int64) (t probeTarget, err error) {
	if saved.Url == "" && saved.MachineID == "" {
		return t, fmt.Errorf("%w: none is saved", fault.ErrServerChoice)
	}
	t.candidates = savedCandidates(saved)
	if saved.MachineID == "" {
		return t, nil
	}
	limit := plextv.AttemptLimit
	if saved.Url != "" { // which can be tried without plex.tv
		limit = mediaserver.ProbeLimit
	}
	t.servers, err = p.serversWithin(ctx, limit)
	if err != nil && saved.Url == "" {
		return t, err
	}
	if s := listed(saved, t.servers, account); s != nil {
		t.candidates = mediaserver.Addresses(t.candidates, s)
		t.onlyJWT = s.OnlyJWT && s.Owned && (saved.Token.IsZero() || devicekey.IsJWT(saved.Token.Secret()))
	}
	return t, nil
}

func (p *PlexAuth) serversWithin(ctx context.Context, limit time.Duration) (servers []plextv.MediaServer, err error) {
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
func (p *PlexAuth) tryJWT(ctx context.Context, run *mediaserver.ProbeRun, server *mediaserver.Address) error {
	t, clientID, err := p.credential(ctx)
	if err != nil {
		return err
	}
	if !devicekey.IsJWT(t.Secret()) { // somebody has signed in otherwise meanwhile
		return nil
	}
	err = public(run.Try(ctx, server, t, clientID))
	if errors.Is(err, fault.ErrServerToken) {
		err = deviceKeyError{err}
	}
	if err == nil || errors.Is(err, fault.ErrServerToken) {
		err = errors.Join(err, p.update(ctx, func(b *profile.Profile) error {
			if b.Server().MachineID == server.MachineID && devicekey.IsJWT(b.AccountToken().Secret()) {
				b.SetTakesJWT(server.MachineID, server.URL, err == nil)
			}
			return nil
		}))
	}
	return err
}
