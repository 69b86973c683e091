package plextv

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// MayCarryToken reports whether a program's own request to u may carry the account
// token: over https to plex.tv and its subdomains, or to Config.BaseURL.
func (c *Client) MayCarryToken(u *url.URL) bool {
	if c.SameOrigin {
		return netaddr.Origin(u) == c.PlexTV
	}
	host := strings.ToLower(u.Hostname())
	return u.Scheme == "https" && (u.Port() == "" || u.Port() == "443") &&
		(host == "plex.tv" || strings.HasSuffix(host, ".plex.tv") && host != "app.plex.tv") // a web page, not an API
}

// RedirectedAway reports whether a redirect of another origin led to req. All earlier
// hops count: a foreign host must not decide what a token is used for.
func (c *Client) RedirectedAway(req *http.Request) bool {
	for req.Response != nil {
		before := req.Response.Request
		if before == nil || before.URL == nil { // a transport has not set it
			return true
		}
		within := netaddr.Origin(before.URL) == netaddr.Origin(req.URL) || c.isAPI(before.URL) && c.isAPI(req.URL)
		if !within {
			return true
		}
		req = before
	}
	return false
}
