// Package plextv speaks plex.tv's HTTP API. Every request leaves through [Client.Do],
// and one judge decides what an answer means. There is one file for each group of
// endpoints. The package stores nothing.
//
// The protocol has two sources: Plex's documentation of its API
// (https://developer.plex.tv/pms/), which covers PINs, device keys and resources, and
// answers of plex.tv itself, which are recorded in this repository's fake, plextest.
package plextv

import (
	"net/http"
	"net/url"

	"github.com/plexauth/plexauth/internal/netaddr"
)

const (
	// MaxBody bounds the body of an answer, in bytes.
	MaxBody = 1 << 20
	// maxServerList bounds the list of servers, which grows with what is shared.
	maxServerList = 8 << 20
	// maxRedirects bounds how often one request is redirected.
	maxRedirects = 3
)

// Client sends requests to plex.tv, and to media servers for package mediaserver. It is
// safe for concurrent use.
type Client struct {
	PlexTV     string      // origin of the API
	App        string      // origin of the web sign-in page
	Link       string      // origin of the pages on which a person types a code
	SameOrigin bool        // all of these are one origin, Config.BaseURL
	Identity   Identity    // headers that describe the device
	Guard      rateGuard   // holds requests back after a 429
	Clock      serverClock // plex.tv's time

	clients    string       // origin of the endpoints for resources and device keys
	httpClient *http.Client // the caller's; nil: http.DefaultTransport, as it is at each request
	retries    int
	senders    senders
	keys       keyset
}

// Config is what a [Client] is made from.
type Config struct {
	HTTPClient *http.Client // nil: http.DefaultTransport, as it is at each request
	Retries    int          // attempts after the first one
	BaseURL    string       // one origin in the place of plex.tv's; "": the real ones
	Device     DeviceInfo
}

// New returns a client. BaseURL must be empty or an absolute URL.
func New(o Config) *Client {
	c := &Client{
		httpClient: o.HTTPClient,
		retries:    o.Retries,
		PlexTV:     "https://plex.tv",
		clients:    "https://clients.plex.tv",
		App:        "https://app.plex.tv",
		Link:       "https://plex.tv",
		Identity:   newIdentity(o.Device),
	}
	if o.BaseURL != "" {
		u, _ := url.Parse(o.BaseURL)
		base := netaddr.Origin(u)
		c.PlexTV, c.clients, c.App, c.Link, c.SameOrigin = base, base, base, base, true
	}
	return c
}

// Transport returns what the caller's client sends with, as it is now.
func (c *Client) Transport() http.RoundTripper {
	if c.httpClient != nil && c.httpClient.Transport != nil {
		return c.httpClient.Transport
	}
	return http.DefaultTransport
}

// isAPI reports whether u is on one of the two hosts of plex.tv's API (or on BaseURL).
func (c *Client) isAPI(u *url.URL) bool {
	o := netaddr.Origin(u)
	return o == c.PlexTV || o == c.clients
}

// clientFor returns a client that sends q through the caller's transport. It has no timeout
// of its own, and no cookie jar: plex.tv needs no cookies, and one jar would show each account
// those of the others (G23).
func (c *Client) clientFor(q *Call) *http.Client {
	return &http.Client{Transport: plexTVSender{q}, CheckRedirect: c.checkRedirect}
}

// checkRedirect follows a redirect only for GET, and only to where the token may go:
// net/http takes X-Plex-Token along to any host.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet || len(via) > maxRedirects || !c.isAPI(req.URL) {
		return http.ErrUseLastResponse
	}
	return nil
}

// keepRedirect returns a redirect as the answer that it is.
func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
