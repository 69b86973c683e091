// Package panel serves the panel: a page on which a person signs in to Plex and chooses
// the media server and the user, and the HTTP API of that page. A background worker
// waits for each login and then finds the server, whether a browser is open or not.
//
// [Profiles] lists the profiles of a document, with the panel of each.
//
// The package knows neither plex.tv nor the store. It works through a [Host], and through a
// [Document].
package panel

import (
	"context"
	"maps"
	"net/http"

	"github.com/plexauth/plexauth/internal/gate"
)

// Config is what the program says about itself.
type Config struct {
	Product        string   // its name, on one line
	TrustedOrigins []string // from which a browser may use the panel; empty: its own origin
	FrameAncestors []string // origins that may show the panel in a frame, besides its own
	Language       string   // of the page; empty: the browser's

	// Profile names the profile of a panel that is below a list of profiles, at profile/{id}/.
	// It is empty otherwise.
	Profile string
}

// Panel serves the panel of one profile. It is safe for concurrent use.
type Panel struct {
	*site
	host   Host
	worker *worker
	gates  gate.Map // one request at a time reads the store, starts a login, chooses a user, or reads a list

	view    *view // what was read last, guarded by the gate of the view
	servers list[Server]
	users   list[User]
}

// New returns the panel of a host. It answers every request with 503 once ctx has
// ended.
func New(ctx context.Context, host Host, config Config) *Panel {
	p := &Panel{site: newSite(ctx, config), host: host, worker: newWorker(ctx, host)}
	maps.Copy(p.routes, map[string]route{
		"":           {http.MethodGet, p.servePage},
		returnName:   {http.MethodGet, p.serveReturn},
		"qr.svg":     {http.MethodGet, p.serveQRCode},
		"status":     {http.MethodGet, p.sameOriginOnly(p.serveStatus)},
		"servers":    {http.MethodGet, p.sameOriginOnly(p.serveServers)},
		"users":      {http.MethodGet, p.sameOriginOnly(p.serveUsers)},
		"start":      {http.MethodPost, p.start},
		"cancel":     {http.MethodPost, p.cancel},
		"disconnect": {http.MethodPost, p.disconnect},
		"inspect":    {http.MethodPost, p.inspect},
		"server":     {http.MethodPost, p.chooseServer},
		"user":       {http.MethodPost, p.chooseUser},
		"probe":      {http.MethodPost, p.probe},
	})
	return p
}

// Run waits for the profile's logins and finds the server of each, until the panel's
// context ends.
func (p *Panel) Run() { p.worker.run() }
