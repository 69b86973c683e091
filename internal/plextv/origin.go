package plextv

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// CheckBaseURL returns what is wrong with a Config.BaseURL, as the rest of a sentence that
// begins with its name.
func CheckBaseURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !netaddr.IsWeb(u):
		return errors.New("must be an absolute URL such as https://plex.example")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return errors.New("must be scheme and host alone")
	case u.Scheme == "http" && !netaddr.IsLoopback(u.Hostname()):
		return errors.New("must be https: a token would cross the network unencrypted")
	}
	return nil
}

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
