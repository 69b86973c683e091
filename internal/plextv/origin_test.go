package plextv_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/plextv"
)

// G14: the account token goes to plex.tv and its subdomains over https, and nowhere else.
func TestMayCarryToken(t *testing.T) {
	for address, want := range map[string]bool{
		"https://plex.tv/api/v2/user":            true,
		"https://plex.tv:443/":                   true,
		"https://clients.plex.tv/":               true,
		"https://Metadata.Provider.PLEX.tv/":     true,
		"https://plex.tv:8443/":                  false,
		"http://plex.tv/":                        false,
		"https://app.plex.tv/":                   false,
		"https://notplex.tv/":                    false,
		"https://plex.tv.example/":               false,
		"https://plex.tv@example.org/":           false,
		"https://192-168-1-5.abc.plex.direct/":   false,
		"https://plex.example.org/https/plex.tv": false,
	} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		assert.Equal(t, want, plextv.New(plextv.Config{}).MayCarryToken(u), address)
	}
	own := plextv.New(plextv.Config{BaseURL: "http://127.0.0.1:8080"})
	for address, want := range map[string]bool{"http://127.0.0.1:8080/x": true, "http://127.0.0.1:8081/": false, "https://plex.tv/": false} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		assert.Equal(t, want, own.MayCarryToken(u), address)
	}
}

// G14: a request counts as redirected away if any hop before it left the origin, except
// between the hosts of plex.tv's API.
func TestRedirectedAway(t *testing.T) {
	for name, c := range map[string]struct {
		hops []string // the first request to the last
		want bool
	}{
		"no redirect":          {[]string{"https://plex.tv/a"}, false},
		"the same origin":      {[]string{"https://plex.tv/a", "https://plex.tv/b"}, false},
		"within the API":       {[]string{"https://plex.tv/a", "https://clients.plex.tv/b"}, false},
		"from a foreign host":  {[]string{"https://example.org/", "https://plex.tv/b"}, true},
		"foreign at the start": {[]string{"https://example.org/", "https://plex.tv/b", "https://plex.tv/c"}, true},
		"there and back":       {[]string{"https://plex.tv/a", "https://example.org/", "https://plex.tv/c"}, true},
		"to http":              {[]string{"https://plex.tv/a", "http://plex.tv/a"}, true},
		"not known":            {[]string{"", "https://plex.tv/a"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var last *http.Request
			for i, hop := range c.hops {
				req := &http.Request{}
				if hop != "" {
					u, err := url.Parse(hop)
					require.NoError(t, err)
					req.URL = u
				}
				if i > 0 {
					req.Response = &http.Response{Request: last}
				}
				last = req
			}
			assert.Equal(t, c.want, plextv.New(plextv.Config{}).RedirectedAway(last))
		})
	}
}
