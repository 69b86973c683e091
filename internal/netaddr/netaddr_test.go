package netaddr_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// parse returns an URL.
func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	return u
}

// There is one notion of an origin: case, international names and the scheme's own port
// make no difference, and other ports do.
func TestOrigin(t *testing.T) {
	for address, want := range map[string]string{
		"https://Plex.TV/path?x":      "https://plex.tv",
		"https://plex.tv:443":         "https://plex.tv",
		"http://plex.tv:80":           "http://plex.tv",
		"http://plex.tv:443":          "http://plex.tv:443",
		"https://plex.tv:80":          "https://plex.tv:80",
		"https://plex.tv:8443":        "https://plex.tv:8443",
		"https://[FD12::5]:32400":     "https://[fd12::5]:32400",
		"https://müller.example":      "https://xn--mller-kva.example",
		"https://MÜLLER.example:8443": "https://xn--mller-kva.example:8443",
	} {
		assert.Equal(t, want, netaddr.Origin(parse(t, address)), address)
	}
}

// A browser sends the name of an origin in ASCII. Only an international name may be spelled in
// another way.
func TestBrowserOrigin(t *testing.T) {
	for typed, want := range map[string]string{
		"https://app.example":       "https://app.example",
		"http://app.example:8080":   "http://app.example:8080",
		"https://xn--mller-kva.app": "https://xn--mller-kva.app",
		"https://müller.app":        "https://xn--mller-kva.app",
		"https://MÜLLER.app:8443":   "https://xn--mller-kva.app:8443",
		"https://App.example":       "",
		"https://müller.app:443":    "",
		"https://müller.app/":       "",
		"https://m%C3%BCller.app":   "",
		"https://u@müller.app":      "",
		"https://müller.app/ü":      "",
		"https://*.example":         "",
		"https://\u180f":            "",
		"ftp://app.example":         "",
		"app.example":               "",
		"":                          "",
	} {
		got, ok := netaddr.BrowserOrigin(typed)
		assert.Equal(t, want != "", ok, typed)
		if ok {
			assert.Equal(t, want, got, typed)
		}
	}
	all := []string{"https://müller.app", "no origin"}
	assert.Equal(t, []string{"https://xn--mller-kva.app", "no origin"}, netaddr.BrowserOrigins(all))
	assert.Equal(t, "https://müller.app", all[0], "the caller's stays")
}

// Two spellings of one address are the same place.
func TestSameAddress(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"https://Plex:32400", " https://plex:32400/ ", true},
		{"https://plex", "https://plex:443", true},
		{"https://plex/a/", "https://plex/a", true},
		{"https://plex/a", "https://plex/b", false},
		{"https://plex/a%2Fb", "https://plex/a/b", false},
		{"https://plex/a%2Fb/", "https://plex/a%2fb", true},
		{"https://plex/%7Ea%20b", "https://plex/~a b", true},
		{"https://plex/%2F", "https://plex/", false},
		{"https://plex", "http://plex", false},
		{"https://plex", "https://plex:32400", false},
		{"plex", "plex", false},
		{"", "", false},
		{"%", "%", false},
	} {
		assert.Equal(t, tc.want, netaddr.SameAddress(tc.a, tc.b), "%q %q", tc.a, tc.b)
	}
	assert.Equal(t, "https://plex/a", netaddr.Comparable("HTTPS://Plex:443/a/"))
	assert.Equal(t, "no address", netaddr.Comparable("no address"))
	assert.Equal(t, "http://[plex", netaddr.Comparable("http://[plex"))
}

// A plex.direct name has the address in it.
func TestDirectNames(t *testing.T) {
	for host, want := range map[string]struct {
		label, hash string
		ok          bool
		ip          string // "": none
	}{
		"192-168-1-5.abc.plex.direct":        {"192-168-1-5", "abc", true, "192.168.1.5"},
		"192-168-1-5.ABC.Plex.Direct.":       {"192-168-1-5", "abc", true, "192.168.1.5"},
		"fd12-0-0-0-0-0-0-5.abc.plex.direct": {"fd12-0-0-0-0-0-0-5", "abc", true, "fd12::5"},
		"*.abc.plex.direct":                  {"*", "abc", true, ""},
		"nas.abc.plex.direct":                {"nas", "abc", true, ""},
		"192-168-1-5..plex.direct":           {"192-168-1-5", "", false, ""},
		"192-168-1-5.plex.direct":            {"192-168-1-5", "", false, ""},
		"192-168-1-5.abc.plex.example":       {"192-168-1-5", "", false, ""},
		"plex.direct":                        {"plex", "", false, ""},
		"":                                   {"", "", false, ""},
	} {
		label, hash, ok := netaddr.SplitDirect(host)
		assert.Equal(t, want.ok, ok, host)
		if ok {
			assert.Equal(t, []string{want.label, want.hash}, []string{label, hash}, host)
		}
		ip := netaddr.DirectIP(host)
		assert.Equal(t, want.ip != "", ip.IsValid(), host)
		if want.ip != "" {
			assert.Equal(t, netip.MustParseAddr(want.ip), ip, host)
		}
	}
	assert.True(t, netaddr.IsPlexDirect("https://a.b.PLEX.direct:32400/x"))
	assert.True(t, netaddr.IsPlexDirect("https://a.b.plex.direct.:32400"), "the same name")
	assert.False(t, netaddr.IsPlexDirect("https://plex.direct.example"))
	assert.False(t, netaddr.IsPlexDirect("https://notplex.direct.evil"))
	assert.False(t, netaddr.IsPlexDirect("https://a.plex.direct:port"))
}

// What stays in one's own network is private, and a name may lead anywhere.
func TestPrivate(t *testing.T) {
	for ip, want := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.1.5": true, "169.254.1.1": true,
		"::1": true, "fd12::5": true, "fe80::1": true, "::ffff:10.0.0.1": true,
		"172.32.0.1": false, "203.0.113.5": false, "100.64.0.1": false, "2001:db8::1": false, "0.0.0.0": false,
	} {
		assert.Equal(t, want, netaddr.IsPrivate(netip.MustParseAddr(ip)), ip)
	}
	assert.False(t, netaddr.IsPrivate(netip.Addr{}))
	for address, want := range map[string]bool{
		"http://LOCALHOST:32400": true, "http://192.168.1.5": true, "http://[fd12::5]:80": true,
		"http://plex": false, "http://203.0.113.5": false, "http://192-168-1-5.abc.plex.direct": false,
	} {
		assert.Equal(t, want, netaddr.IsPrivateHost(parse(t, address)), address)
	}
	for host, want := range map[string]bool{"localhost": true, "127.1.2.3": true, "::1": true, "10.0.0.1": false, "plex": false, "": false} {
		assert.Equal(t, want, netaddr.IsLoopback(host), host)
	}
}

// Only an address of a web server can be opened, sent to or compared.
func TestIsWeb(t *testing.T) {
	for address, want := range map[string]bool{
		"https://plex": true, "http://plex:32400/x": true, "https:plex": false, "https:///x": false, "ftp://plex": false, "/x": false,
	} {
		assert.Equal(t, want, netaddr.IsWeb(parse(t, address)), address)
	}
}

// A plain address says where a server is, and no more.
func TestIsPlainAddress(t *testing.T) {
	for address, want := range map[string]bool{
		"https://plex:32400":      true,
		"http://plex/path":        true,
		"https://u@plex":          false,
		"https://plex?x":          false,
		"https://plex/?":          false,
		"https://plex#x":          false,
		`https://plex/\`:          false,
		"https:plex":              false,
		"https://":                false,
		"https://:32400":          false,
		"//plex":                  false,
		"ftp://plex":              false,
		"javascript:alert(1)":     false,
		"https://pl%FFex.example": false,
	} {
		u := parse(t, address)
		assert.Equal(t, want, netaddr.IsPlainAddress(address, u), address)
	}
}

// An address that a browser may be sent to is absolute, and has no user and no bytes that a
// store would change.
func TestIsWebAddress(t *testing.T) {
	for address, want := range map[string]bool{
		"https://app.example/?x#y": true,
		"http://app.example":       true,
		"app://back":               false,
		"https://u@app.example":    false,
		"https://app.example/%zz":  false,
		"https://app.example/\xff": false,
		"/relative":                false,
	} {
		assert.Equal(t, want, netaddr.IsWebAddress(address), address)
	}
}

// The path of the server's own web page is not a part of its address.
func TestTypedURLs(t *testing.T) {
	for typed, first := range map[string]string{
		"plex":                                   "https://plex:32400",
		"https://plex:32400/web":                 "https://plex:32400",
		" http://plex:32400/web/index.html#!/x ": "http://plex:32400",
		"https://plex.example/web/":              "https://plex.example",
		"https://plex.example/sub/web":           "https://plex.example/sub",
		"https://plex.example//web/":             "https://plex.example",
		"https://plex.example/web/web":           "https://plex.example",
		"https://plex.example/web//index.html/":  "https://plex.example",
		"https://plex.example/webcam":            "https://plex.example/webcam",
		"https://plex.example/a%2Fb/web":         "https://plex.example/a%2Fb",
		"https://müller.example":                 "https://xn--mller-kva.example",
		"https://müller.example:8080":            "https://xn--mller-kva.example:8080",
		"plex:":                                  "https://plex:32400",
		"plex:80 #":                              "https://plex:80",
		"::1":                                    "https://[::1]:32400",
	} {
		all := netaddr.TypedURLs(typed)
		if assert.NotEmpty(t, all, typed) {
			assert.Equal(t, first, all[0].String(), typed)
		}
	}
	for typed, want := range map[string][]string{
		"plex":           {"https://plex:32400", "https://plex", "http://plex:32400", "http://plex"},
		"plex:80":        {"https://plex:80", "http://plex:80"},
		"plex/sub":       {"https://plex/sub", "http://plex/sub"},
		"https://plex":   {"https://plex", "https://plex:32400"},
		"https://plex/a": {"https://plex/a"},
		"http://plex:80": {"http://plex:80"},
	} {
		var all []string
		for _, u := range netaddr.TypedURLs(typed) {
			all = append(all, u.String())
		}
		assert.Equal(t, want, all, typed)
	}
	for _, typed := range []string{"", " ", "a b", "plex?x", "user@plex", "plex:port", "http://", "mailto:x@example.com", "\u180f", "https://\u180f:80", strings.Repeat("ü", 30_000) + ".example"} {
		assert.Empty(t, netaddr.TypedURLs(typed), typed)
	}
}
