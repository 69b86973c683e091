package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/devicekey"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/netaddr"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/profile"
)

// Result is what Probe found at a media server's addresses.
type Result struct {
	URL       string // the best address at which the expected server answers; "": none
	MachineID string // of the server that answered. If URL is "", it is not the expected one
	Version   string // of that server
	Local     bool   // URL is in the server's own network
	Relay     bool   // only Plex's relay answers

	TokenAccepted bool                  // the server accepted the saved token
	Addresses     []mediaserver.Address // all that were considered, the better ones first
}

// Probe finds out whether a media server can be reached at serverURL or, if that is "", at
// the addresses of the saved server. The saved token is tried at the saved address alone.
// The only thing that is saved is whether the server takes the account's JWT. The requests
// to the server are sent with client.
//
// The error is nil if the expected server answers, and accepts the token if that was tried.
// It matches fault.ErrUnavailable if no server does, fault.ErrServerToken if the server
// refuses the token, fault.ErrServerChoice if there is nothing to probe, and
// mediaserver.ErrNoAddress if serverURL is no address. Others are those of l.
func Probe(ctx context.Context, client *plextv.Client, l Login, serverURL string) (Result, error) {
	b, err := l.Load(ctx)
	if err != nil {
		return Result{}, err
	}
	t := &probing{Login: l, saved: b.SavedServer(), run: mediaserver.NewProber(client)}
	t.run.Patient = true
	defer t.run.Close()
	if serverURL = strings.TrimSpace(serverURL); serverURL == "" {
		err = t.targetSaved(ctx, b.AccountID())
	} else if t.candidates = choice.Typed(t.saved, serverURL); len(t.candidates) == 0 {
		err = mediaserver.ErrNoAddress
	}
	if err != nil {
		return Result{}, err
	}
	found := t.try(ctx)
	if err := ctx.Err(); err != nil {
		return Result{Addresses: found}, fmt.Errorf("plexauth: probe server: %w", err)
	}
	r, best := t.result(found)
	if best == nil {
		return r, choice.Unreachable(t.saved, found)
	}
	isSaved := netaddr.SameAddress(best.URL, t.saved.URL) && t.saved.MachineID == best.MachineID
	switch {
	case isSaved && t.onlyJWT:
		r.TokenAccepted, err = t.tryJWT(ctx, best)
	case isSaved && !t.saved.Token.IsZero():
		err = l.Public(t.run.TryToken(ctx, best, t.saved.Token, b.ClientID()))
		if errors.Is(err, fault.ErrServerToken) {
			err = choice.Refused(t.saved, t.offers, b.AccountID(), err)
		}
		r.TokenAccepted = err == nil
	}
	return r, err
}

// probing is one Probe.
type probing struct {
	Login
	run        *mediaserver.Prober
	saved      profile.SavedServer
	candidates []mediaserver.Candidate
	offers     []plextv.MediaServer // as plex.tv lists them; nil: it was not asked
	onlyJWT    bool                 // plex.tv gives no other token for the server
}

// targetSaved makes the saved server the one to probe, at its saved address and those
// that plex.tv lists.
func (t *probing) targetSaved(ctx context.Context, account int64) (err error) {
	if t.saved.URL == "" && t.saved.MachineID == "" {
		return fmt.Errorf("%w: none is saved", fault.ErrServerChoice)
	}
	t.candidates = choice.Saved(t.saved)
	if t.saved.MachineID == "" {
		return nil
	}
	limit := plextv.AttemptLimit
	if t.saved.URL != "" { // it can be tried without plex.tv
		limit = mediaserver.ProbeLimit
	}
	err = t.listServers(ctx, limit)
	if err != nil && t.saved.URL == "" {
		return err
	}
	if s := choice.Listed(t.saved, t.offers, account); s != nil {
		t.candidates = mediaserver.SavedAndListed(t.candidates, s)
		t.onlyJWT = s.OnlyJWT && s.Owned && (t.saved.Token.IsZero() || devicekey.IsJWT(t.saved.Token.Secret()))
	}
	return nil
}

// listServers asks plex.tv for the account's servers.
func (t *probing) listServers(ctx context.Context, limit time.Duration) error {
	return within(ctx, t.Login, limit, "list servers", func(ctx context.Context) (err error) {
		t.offers, err = t.Servers(ctx)
		return err
	})
}

// try probes the candidates. If a media server shows its own certificate at a typed
// name, plex.tv is asked whose it is, and they are probed again.
func (t *probing) try(ctx context.Context) []mediaserver.Address {
	found := t.tryOnce(ctx)
	if t.offers != nil || mediaserver.Best(found) != nil || !slices.ContainsFunc(found, mediaserver.Address.ShowsDirectName) {
		return found
	}
	if t.listServers(ctx, mediaserver.ProbeLimit) != nil {
		return found
	}
	return t.tryOnce(ctx)
}

func (t *probing) tryOnce(ctx context.Context) []mediaserver.Address {
	owners := mediaserver.OwnersOf(t.offers)
	owners.Add(t.saved.Certificate, t.saved.MachineID)
	mediaserver.AcceptDirect(t.candidates, owners)
	return probe(ctx, t.Login, t.run, t.candidates, t.isExpected)
}

// isExpected reports whether a media server that answers is the one to probe.
func (t *probing) isExpected(machineID string) bool {
	return t.saved.MachineID == "" || machineID == t.saved.MachineID
}

// result sums up what was found. best is nil if the expected server does not answer.
func (t *probing) result(found []mediaserver.Address) (r Result, best *mediaserver.Address) {
	r.Addresses = found
	if best = mediaserver.Best(found); best == nil {
		for _, a := range found {
			if a.MachineID != "" && !t.isExpected(a.MachineID) {
				r.MachineID, r.Version = a.MachineID, a.Version
				break
			}
		}
		return r, nil
	}
	r.URL, r.MachineID, r.Version, r.Local, r.Relay = best.URL, best.MachineID, best.Version, best.Local, best.Relay
	if slices.ContainsFunc(found, func(a mediaserver.Address) bool { return a.OK && !a.Relay }) {
		r.Relay = false // the relay was typed
	}
	return r, best
}

// tryJWT finds out whether a server accepts the account's JWT, and saves the answer.
func (t *probing) tryJWT(ctx context.Context, server *mediaserver.Address) (accepted bool, err error) {
	token, clientID, err := t.UsableToken(ctx)
	if err != nil || !devicekey.IsJWT(token.Secret()) { // another login may have been made in the meantime
		return false, err
	}
	err = t.Public(t.run.TryToken(ctx, server, token, clientID))
	refused := errors.Is(err, fault.ErrServerToken)
	if refused {
		err = choice.NeedsLongLived(err)
	}
	if err == nil || refused {
		err = errors.Join(err, t.Update(ctx, func(b *profile.Profile) error {
			if b.SavedServer().MachineID == server.MachineID && devicekey.IsJWT(b.AccountToken().Secret()) {
				b.SetTakesJWT(server.MachineID, server.URL, !refused)
			}
			return nil
		}))
	}
	return err == nil, err
}
