package plexauth

import (
	"context"
	"time"
)

// ProbeResult is what [PlexAuth.Probe] found at a media server's addresses.
type ProbeResult struct {
	URL       string `json:"url"`        // the best address at which the expected server answers; empty: none
	MachineID string `json:"machine_id"` // of the server that answered. With an empty URL it is the wrong one
	Version   string `json:"version"`    // of that server
	Local     bool   `json:"local"`
	Relay     bool   `json:"relay"` // nothing but Plex's relay answers, which is slow

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
	Err       error         `json:"-"`          // what went wrong, an [*Error] where it was tried; nil where OK

	version string
}

func (p *PlexAuth) Probe(ctx context.Context, serverURL string) (ProbeResult, error) {
	return ProbeResult{}, nil
}
func (p *PlexAuth) Inspect(ctx context.Context) (Settings, error) { return p.Settings(ctx) }
func (p *PlexAuth) UseServer(ctx context.Context, machineID string) (Settings, error) {
	return p.Settings(ctx)
}
