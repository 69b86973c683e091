package plexauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/plexauth/plexauth/internal/choice"
	"github.com/plexauth/plexauth/internal/elapsed"
	"github.com/plexauth/plexauth/internal/fault"
	"github.com/plexauth/plexauth/internal/gate"
	"github.com/plexauth/plexauth/internal/homeuser"
	"github.com/plexauth/plexauth/internal/inspect"
	"github.com/plexauth/plexauth/internal/mediaserver"
	"github.com/plexauth/plexauth/internal/panel"
	"github.com/plexauth/plexauth/internal/plain"
	"github.com/plexauth/plexauth/internal/plextv"
	"github.com/plexauth/plexauth/internal/problem"
	"github.com/plexauth/plexauth/internal/profile"
	"github.com/plexauth/plexauth/internal/secret"
)

// Handler returns this profile's panel: the page, its assets and the HTTP API
// behind them. It has no login of its own: EVERYONE WHO REACHES IT CAN LINK AND
// UNLINK THE ACCOUNT, AND CAN HAVE THE MEDIA SERVER'S TOKEN SENT TO A SERVER OF
// THEIR OWN. Mount it behind the program's own login.
//
// If the program has no login, a page on the internet can reach the panel
// through a browser in the same network: it points a name of its own to the
// program (DNS rebinding). [Options].TrustedOrigins prevents this, because the
// panel then refuses all other names. Set it to the origins that the panel has.
//
//	mux.Handle("/plex/", requireAdmin(http.StripPrefix("/plex", auth.Handler(ctx))))
//
// The panel works under any prefix, stripped or not, and behind a proxy; see
// [Options].TrustedOrigins for a proxy that rewrites Host. docs/web.md shows how
// to mount it in chi, gin and echo. The mount point without its slash redirects
// to the page. If the router does not say what the mount point is, like echo's,
// this works only in browsers.
//
// A background worker waits for each login until its PIN or ctx ends, even if no
// browser is open. It also takes up a login that is pending already. After the
// end of ctx every request is answered with 503. The handler is safe for
// concurrent use.
//
// docs/web.md describes the HTTP API that the panel uses, for a front end of your own.
func (p *PlexAuth) Handler(ctx context.Context) http.Handler {
	h := panel.New(ctx, &panelHost{auth: p, ctx: ctx}, p.panelConfig())
	if p.invalid == nil {
		go h.Run()
	}
	return h
}

func (p *PlexAuth) panelConfig() panel.Config {
	return panel.Config{Product: plain.HeaderValue(p.options.Product), TrustedOrigins: p.options.TrustedOrigins, FrameAncestors: p.options.FrameAncestors, Language: p.options.Language}
}

// ProfilesHandler returns a page that lists every profile of the document, with the panel
// of each below profile/{id}/. "Add a profile" offers the first free one of PLEX-P01 to
// PLEX-P09, as in CrossWatch. It is stored when its login starts. To remove a profile,
// disconnect it in its panel: it stays in the list, to be connected again.
//
// All that [PlexAuth.Handler] says holds here too: MOUNT IT BEHIND THE PROGRAM'S OWN LOGIN.
// A profile has a background worker from the first request for its panel, or once the
// list shows its pending login. Strip a prefix whose last element but one is "profile".
func (p *PlexAuth) ProfilesHandler(ctx context.Context) http.Handler {
	return panel.NewProfiles(ctx, panelDocument{p}, p.panelConfig())
}

// panelDocument is a document as the list of its profiles sees it.
type panelDocument struct{ auth *PlexAuth }

// Profiles implements [panel.Document]. It leaves out ids that Instance does not accept.
func (d panelDocument) Profiles(ctx context.Context) ([]*panel.State, *panel.Problem) {
	b, err := d.auth.load(ctx)
	if err != nil {
		return nil, problemOf(err)
	}
	var all []*panel.State
	for _, id := range b.IDs() {
		if p := d.auth.Instance(id); p.invalid == nil {
			all = append(all, p.panelState(b.Document.Profile(id)))
		}
	}
	return all, nil
}

// Profile implements [panel.Document].
func (d panelDocument) Profile(ctx context.Context, id string) panel.Host {
	return &panelHost{auth: d.auth.Instance(id), ctx: ctx}
}

// panelHost is a profile as its panel sees it.
type panelHost struct {
	auth *PlexAuth
	ctx  context.Context // of the panel, for work that a request must not end
}

// problemOf returns what the panel reports about an error, nil if err is nil.
func problemOf(err error) *panel.Problem { return withServers(problem.Of(err), err) }

// withServers adds to v the servers to choose from that err names.
func withServers(v *panel.Problem, err error) *panel.Problem {
	var choice *ServerChoiceError
	if errors.As(err, &choice) {
		v.Servers = panelServers(choice.Servers)
	}
	return v
}

// slowSave is how long a save may take before the panel shows that as a problem.
const slowSave = 2 * time.Second

// State implements [panel.Host].
func (h *panelHost) State(ctx context.Context) (*panel.State, *panel.Problem) {
	b, err := h.auth.load(ctx)
	if err != nil {
		return nil, problemOf(err)
	}
	return h.auth.panelState(b), nil
}

// panelState returns what b has stored, as the panel sees it.
func (p *PlexAuth) panelState(b *profile.Profile) *panel.State {
	s := &panel.State{Status: panelStatus(p.status(b)), Settings: panelSettings(settingsOf(b))}
	if b.CheckToken() == nil {
		s.TokenID = secret.Fingerprint(b.AccountToken())
	}
	if v := b.Pending(); v != nil {
		s.Pending = p.panelPending(v)
	}
	return s
}

// panelStatus returns s without its pending PIN, which State returns apart.
func panelStatus(s Status) panel.Status {
	v := panel.Status{Connected: s.Connected, Label: s.Label, Instance: s.Instance, Extra: panel.Extra{NeedsLogin: s.NeedsLogin}}
	if s.User != "" {
		v.User = &s.User
	}
	if !s.ExpiresAt.IsZero() {
		at := s.ExpiresAt.Unix()
		v.ExpiresAt = &at
	}
	if len(s.Scopes) > 0 {
		v.Scopes = s.Scopes
	}
	return v
}

// panelSettings returns s without its tokens.
func panelSettings(s Settings) panel.Settings {
	return panel.Settings{
		ClientID: s.ClientID, ServerURL: s.ServerURL, MachineID: s.MachineID, Username: s.Username,
		CloudAccountID: s.CloudAccountID, AccountID: s.AccountID, VerifySSL: s.VerifySSL,
	}
}

// panelPending returns a stored PIN, and what this process knows of it.
func (p *PlexAuth) panelPending(v *profile.PendingPIN) *panel.Pending {
	pin := p.shown(v)
	shown := &panel.Pending{
		Code: pin.Code, URL: pin.URL(), ExpiresAt: pin.ExpiresAt, Ends: elapsed.Now().Add(pin.left()), QRCode: pin.QRCode,
		Approved: !v.Token.IsZero(),
	}
	a := p.attemptFor(v.ID)
	if a == nil {
		return shown
	}
	switch unsaved, err := a.delay(); {
	case unsaved >= slowSave:
		shown.Unsaved, shown.Problem = true, problem.NotSaved()
	case err != nil:
		shown.Problem = problem.Delay(err)
	}
	return shown
}

// PendingLogin implements [panel.Host].
func (h *panelHost) PendingLogin(ctx context.Context) (panel.Login, *panel.Problem) {
	a, err := h.auth.resume(ctx)
	if err != nil {
		return nil, problemOf(err)
	}
	return panelLogin{h.auth, a}, nil
}

// panelLogin is a pending login as the panel's worker sees it.
type panelLogin struct {
	auth    *PlexAuth
	attempt *attempt
}

// Wait implements [panel.Login].
func (l panelLogin) Wait(ctx context.Context) *panel.Problem {
	w := l.attempt.newWaiter(ctx)
	w.Wait()
	return problemOf(l.attempt.part(w))
}

// Left implements [panel.Login].
func (l panelLogin) Left() time.Duration { return l.attempt.pin.left() }

// Remove implements [panel.Login].
func (l panelLogin) Remove(ctx context.Context) *panel.Problem {
	return problemOf(l.auth.update(ctx, func(b *profile.Profile) error { b.DropPending(l.attempt.pin.ID); return nil }))
}

// NextLogin implements [panel.Host].
func (h *panelHost) NextLogin() (begun <-chan struct{}, stop func()) {
	e := h.auth.hold()
	return e.Known.attempts.NextBegin(), e.Release
}

// Start implements [panel.Host].
func (h *panelHost) Start(ctx context.Context, so panel.StartOptions) *panel.Problem {
	e := h.auth.hold()
	defer e.Release()
	b, err := h.auth.load(ctx)
	if err != nil {
		return problemOf(err)
	}
	attempts, pending := &e.Known.attempts, b.Pending()
	o := PinOptions{Strong: so.Strong, ForwardURL: so.ForwardURL}
	if so.SwitchAccount != nil {
		o.SwitchAccount = *so.SwitchAccount
	} else if pending != nil {
		o.SwitchAccount = pending.Options.SwitchAccount
	}
	if pending == nil || !pending.Suits(pending.ClientID, h.auth.options.DeviceKey, profile.PinOptions(o)) || !h.auth.lasts(pending) {
		if err := h.auth.check(ctx); err != nil { // before the start counts
			return problemOf(err)
		}
		if wait := max(time.Until(attempts.NextStart()), b.PanelPause(time.Now())); wait > 0 {
			return problem.StartTooSoon(wait)
		}
	}
	var a *attempt
	isNew := false
	attempts.PaceStart(profile.StartPause, func() (made bool) {
		a, err = h.auth.start(ctx, o, true)
		isNew = err == nil && (pending == nil || a.pin.ID != pending.ID)
		return isNew || err != nil && !plextv.FailureIn(err).MadeNoPIN()
	})
	e.Keep(profile.StartPause)
	if isNew {
		h.noteStart(ctx, a.pin)
	}
	return problemOf(err)
}

// noteStart saves when a PIN was made, for the pace of other processes and also after
// the PIN has left the store. If that fails, the pace holds in this process alone.
func (h *panelHost) noteStart(ctx context.Context, pin *Pin) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveGrace) // the PIN is made, even if the browser has gone
	defer cancel()
	err := h.auth.update(late, func(b *profile.Profile) error {
		b.NotePanelPIN(pin.CreatedAt)
		return nil
	})
	if err != nil {
		h.auth.warn(ctx, "could not save when the PIN was made", err)
	}
}

// Cancel implements [panel.Host].
func (h *panelHost) Cancel(ctx context.Context) *panel.Problem { return problemOf(h.auth.Cancel(ctx)) }

// Disconnect implements [panel.Host].
func (h *panelHost) Disconnect(ctx context.Context, revoke bool) *panel.Problem {
	disconnect := h.auth.Disconnect
	if revoke {
		disconnect = h.auth.SignOut
	}
	_, err := disconnect(ctx)
	v := problemOf(err)
	if errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrRateLimited) { // all but the revocation is done
		return problem.NotRevoked(v.Detail)
	}
	return v
}

// Inspect implements [panel.Host].
func (h *panelHost) Inspect(ctx context.Context) *panel.Problem {
	_, err := h.auth.Inspect(ctx)
	return problemOf(err)
}

// FindServer implements [panel.Host].
func (h *panelHost) FindServer(ctx context.Context) *panel.Problem {
	err := h.inspectPatiently(ctx)
	if err == nil || h.ctx.Err() != nil {
		return nil
	}
	h.auth.info(ctx, "connected, but not everything is known yet: "+plain.Short(err.Error()))
	if errors.Is(err, fault.ErrServerChoice) {
		return nil
	}
	return problemOf(err)
}

// inspectPatiently calls Inspect, and calls it again after a rate limit if ctx leaves time.
func (h *panelHost) inspectPatiently(ctx context.Context) error {
	for {
		_, err := h.auth.Inspect(ctx)
		e := plextv.FailureIn(err)
		if !errors.Is(err, fault.ErrRateLimited) || e == nil {
			return err
		}
		pause := max(e.RetryAfter, time.Second)
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause || gate.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

// UseServer implements [panel.Host].
func (h *panelHost) UseServer(ctx context.Context, machineID string) *panel.Problem {
	_, err := h.auth.UseServer(ctx, machineID)
	if errors.As(err, new(mediaserver.EnteredError)) {
		h.auth.info(ctx, "found no media server at the address that was entered: "+plain.Long(err.Error()))
		return withServers(problem.WithoutFindings(err), err)
	}
	return problemOf(err)
}

// UseAddress implements [panel.Host].
func (h *panelHost) UseAddress(ctx context.Context, address string) *panel.Problem {
	if address = strings.TrimSpace(address); !choice.LooksTyped(address) {
		address += "/" // a bare name could be a machine's
	}
	return h.UseServer(ctx, address)
}

// Probe implements [panel.Host].
func (h *panelHost) Probe(ctx context.Context, address string) (panel.ProbeResult, *panel.Problem) {
	r, err := inspect.Probe(ctx, h.auth.client, profileLogin{&h.auth.session}, address)
	v := panel.ProbeResult{URL: r.URL, MachineID: r.MachineID, Version: r.Version, Local: r.Local, Relay: r.Relay, TokenAccepted: r.TokenAccepted}
	for _, a := range r.Addresses {
		v.Addresses = append(v.Addresses, panel.ProbedAddress{URL: a.URL, Local: a.Local, Relay: a.Relay, OK: a.OK, MachineID: a.MachineID, Took: a.Took, Finding: a.Finding, Words: a.Words})
	}
	return v, problemOf(err)
}

// CheckAccount implements [panel.Host].
func (h *panelHost) CheckAccount(ctx context.Context) *panel.Problem {
	_, err := h.auth.Verify(ctx)
	return problemOf(err)
}

// Servers implements [panel.Host].
func (h *panelHost) Servers(ctx context.Context) ([]panel.Server, *panel.Problem) {
	servers, err := h.auth.Servers(ctx)
	return panelServers(servers), problemOf(err)
}

// panelServers returns servers without their tokens.
func panelServers(servers []Server) []panel.Server {
	var all []panel.Server
	for _, s := range servers {
		v := panel.Server{
			Name: s.Name, MachineID: s.MachineID, Version: s.Version, Platform: s.Platform,
			Owned: s.Owned, Home: s.Home, OwnerID: s.OwnerID, Owner: s.Owner,
			Presence: s.Presence, HTTPSRequired: s.HTTPSRequired, Relay: s.Relay,
			PublicAddressMatches: s.PublicAddressMatches, PublicAddress: s.PublicAddress,
			Connections: []panel.Connection{},
		}
		for _, c := range s.Connections {
			v.Connections = append(v.Connections, panel.Connection(c))
		}
		all = append(all, v)
	}
	return all
}

// Users implements [panel.Host].
func (h *panelHost) Users(ctx context.Context) ([]panel.User, *panel.Problem) {
	users, err := h.auth.HomeUsers(ctx)
	var all []panel.User
	for _, u := range users {
		all = append(all, panel.User(u))
	}
	return all, problemOf(err)
}

// ChooseUser implements [panel.Host].
func (h *panelHost) ChooseUser(ctx context.Context, uuid, pin string) (complete bool, _ *panel.Problem) {
	complete, err := homeuser.Choose(ctx, h.ctx, profileLogin{&h.auth.session}, uuid, pin)
	return complete, problemOf(err)
}
