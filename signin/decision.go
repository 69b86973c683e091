package signin

import (
	"context"
	"time"

	"github.com/plexauth/plexauth"
)

const (
	// decisionLimit bounds reading the account and asking the policy.
	decisionLimit = 30 * time.Second
	// revokeLimit bounds revoking the token afterwards.
	revokeLimit = 10 * time.Second
)

// decision is the policy's answer about a visitor.
type decision struct {
	account *plexauth.Account
	allowed bool
	missing setup // what the app lacks, if the visitor was refused for that
	notKept error // why the visitor's login could not be kept where Options.Link says
}

// setup is a part of the app's own setup that is missing, in words for the log. A policy
// that must refuse every visitor because of it reports it, so that they do not blame their
// account.
type setup string

const (
	nothing         setup = ""
	connection      setup = "it is not connected to Plex yet"
	serverOwnership setup = "it is connected to a Plex account that does not own its media server"
	serverChoice    setup = "no media server has been chosen in it yet"
)

// setupText has what to tell a visitor about each missing part.
var setupText = map[setup]string{
	connection:      "signin.setup_connection",
	serverOwnership: "signin.setup_ownership",
	serverChoice:    "signin.setup_choice",
}

// decide reads the account of the visitor's token, which p has, and asks the policy. It
// then keeps the login where Options.Link says, or revokes the token, even if the visitor
// has left or the policy panics.
func (h *Handler) decide(ctx context.Context, p *plexauth.PlexAuth) (d decision, err error) {
	ctx = context.WithoutCancel(ctx) // each step has a time limit of its own
	kept := false
	defer func() {
		if !kept {
			h.revoke(ctx, p)
		}
	}()
	if err = h.ask(ctx, p, &d); err == nil && d.allowed {
		kept, d.notKept = h.link(ctx, p, d.account)
	}
	return d, err
}

// ask reads the account of the visitor's token, which p has, and asks the policy.
func (h *Handler) ask(ctx context.Context, p *plexauth.PlexAuth, d *decision) (err error) {
	ctx, cancel := context.WithTimeout(ctx, decisionLimit)
	defer cancel()
	if d.account, err = p.Account(ctx); err != nil {
		return err
	}
	v := Visitor{Account: *d.account, visitor: p, plex: h.o.Plex, missing: &d.missing}
	d.allowed, err = h.o.Policy(ctx, v)
	return err
}

// revoke revokes the visitor's token at plex.tv.
func (h *Handler) revoke(ctx context.Context, p *plexauth.PlexAuth) {
	ctx, cancel := context.WithTimeout(ctx, revokeLimit)
	defer cancel()
	if _, err := p.SignOut(ctx); err != nil {
		h.pause.record(err)
		h.log.WarnContext(ctx, "could not revoke a visitor's token; it is not stored", "error", err)
	}
}
