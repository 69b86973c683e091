package signin

import (
	"cmp"
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
	reason  reason // why the visitor was refused
	notKept error  // why the visitor's login could not be kept where Options.Link says
}

// id returns the ID of the account, 0 if it is unknown.
func (d decision) id() int64 {
	if d.account == nil {
		return 0
	}
	return d.account.ID
}

// reason is why a policy refuses a visitor, in words for the log.
type reason string

const (
	noReason  reason = ""
	notOwner  reason = "the account does not own the app's media server"
	notInHome reason = "the account is not in the Plex Home of the server's owner"
	notShared reason = "the media server is not shared with the account"
	notListed reason = "the account is not in the app's list of accounts"
	ownRules  reason = "the app's own policy refuses the account"

	// A part of the app's setup is missing, so that no visitor gets in.
	noConnection reason = "the app is not connected to Plex yet"
	notOwned     reason = "the app is connected to a Plex account that does not own its media server"
	noServer     reason = "no media server has been chosen in the app yet"
)

// setupText has what to tell every visitor about a part of the setup that is missing, so
// that they do not blame their account.
var setupText = map[reason]string{
	noConnection: "signin.setup_connection",
	notOwned:     "signin.setup_ownership",
	noServer:     "signin.setup_choice",
}

// isSetup reports whether a part of the app's setup is missing.
func (r reason) isSetup() bool { return setupText[r] != "" }

// decide reads the account of the visitor's token, which v has, and asks the policy. It
// then keeps the login where Options.Link says, or revokes the token, even if the visitor
// has left or the policy panics. The token of the Home's admin who has approved for a member
// is always revoked. If unidentified is not nil, there is no decision.
func (h *Handler) decide(ctx context.Context, v visitorLogin, unidentified error) (d decision, err error) {
	ctx = context.WithoutCancel(ctx) // each step has a time limit of its own
	kept := false
	defer func() {
		if !kept {
			h.revoke(ctx, v.PlexAuth)
		}
		if v.approved != v.PlexAuth {
			h.revoke(ctx, v.approved)
		}
	}()
	if err = unidentified; err == nil {
		err = h.ask(ctx, v, &d)
	}
	if err == nil && d.allowed {
		kept, d.notKept = h.link(ctx, v.PlexAuth, d.account)
	}
	return d, err
}

// ask reads the account of the visitor's token, which v has, and asks the policy.
func (h *Handler) ask(ctx context.Context, v visitorLogin, d *decision) (err error) {
	ctx, cancel := context.WithTimeout(ctx, decisionLimit)
	defer cancel()
	if d.account, err = v.Account(ctx); err != nil {
		return err
	}
	if v.member != 0 && v.member != d.account.ID {
		return errOtherMember
	}
	visitor := Visitor{Account: *d.account, visitor: v.PlexAuth, plex: h.o.Plex, reason: &d.reason}
	d.allowed, err = h.o.Policy(ctx, visitor)
	d.reason = cmp.Or(d.reason, ownRules)
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
