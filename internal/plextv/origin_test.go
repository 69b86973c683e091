package plextv_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

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
		"within a server":      {[]string{"http://box:32400/a", "http://box:32400/b"}, false},
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
	assert.True(t, plextv.New(plextv.Config{}).RedirectedAway(&http.Request{Response: &http.Response{}}), "a transport that does not say")
}

// A base URL is one origin, to which a token does not cross the network in clear.
func TestCheckBaseURL(t *testing.T) {
	for address, says := range map[string]string{
		"":                          "",
		"https://plex.example":      "",
		"https://plex.example:8443": "",
		"https://plex.example/":     "",
		"http://127.0.0.1:8080":     "",
		"http://localhost":          "",
		"http://plex.example":       "must be https",
		"http://192.168.1.5":        "must be https",
		"plex.example":              "must be an absolute URL",
		"ftp://plex.example":        "must be an absolute URL",
		"https://[plex":             "must be an absolute URL",
		"https://u@plex.example":    "must be scheme and host alone",
		"https://plex.example?x":    "must be scheme and host alone",
		"https://plex.example#x":    "must be scheme and host alone",
		"https://plex.example/x":    "must be scheme and host alone",
	} {
		err := plextv.CheckBaseURL(address)
		if says == "" {
			assert.NoError(t, err, address)
		} else {
			assert.ErrorContains(t, err, says, address)
		}
	}
}

// Redirects are followed three times, within the API, and only where a request can be repeated.
func TestRedirectsAreFew(t *testing.T) {
	for call, want := range map[string]int{"account": 4, "create PIN": 1, "revoke": 1} {
		c, sent := answering(reply{status: http.StatusFound, header: http.Header{"Location": {"https://clients.plex.tv/again"}}})
		assert.Error(t, calls[call](t.Context(), c, t), call)
		assert.Equal(t, want, *sent, call)
	}
	c, sent := answering(reply{status: http.StatusFound, header: http.Header{"Location": {"https://example.org/"}}})
	assert.Error(t, calls["account"](t.Context(), c, t))
	assert.Equal(t, 1, *sent, "elsewhere")
}

// Requests go out by the program's transport, or by the standard one as it is then.
func TestTransport(t *testing.T) {
	own := transport(nil)
	assert.IsType(t, own, plextv.New(plextv.Config{HTTPClient: &http.Client{Transport: own}}).Transport())
	assert.Same(t, http.DefaultTransport, plextv.New(plextv.Config{HTTPClient: &http.Client{}}).Transport())
	assert.Same(t, http.DefaultTransport, plextv.New(plextv.Config{}).Transport())
}

// An attempt takes no longer than the program's client allows.
func TestLimitAttempt(t *testing.T) {
	for _, c := range []struct {
		client      *http.Client
		limit, want time.Duration
	}{
		{nil, 0, plextv.AttemptLimit},
		{nil, time.Minute, time.Minute},
		{&http.Client{}, time.Minute, time.Minute},
		{&http.Client{Timeout: 3 * time.Second}, 0, 3 * time.Second},
		{&http.Client{Timeout: 3 * time.Second}, time.Second, time.Second},
	} {
		assert.Equal(t, c.want, plextv.New(plextv.Config{HTTPClient: c.client}).LimitAttempt(c.limit))
	}
}
