package netaddr_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth/internal/netaddr"
)

// Whatever a person types, it is no address, or leads to servers and has nothing else in
// it. Each address reads as itself when it has been stored, and keeps its origin.
func FuzzTypedURLs(f *testing.F) {
	for _, typed := range []string{
		"plex", " http://plex:32400/web/index.html#!/x ", "https://müller.example:8080", "::1", "[::1]:80", "fe80::1%eth0", "https://[fe80::1%25eth0]:32400/a",
		"https://user:pass@plex", "plex:", "plex:port", "http://", "https://plex/%2e%2e/%41?x", "0251.0376.0251.0376", "https://192-168-1-5.abc.plex.direct:32400", "HTTPS://PLEX:443//web/",
	} {
		f.Add(typed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		for _, u := range netaddr.TypedURLs(typed) {
			at := u.String()
			stored, err := url.Parse(at)
			require.NoError(t, err, "%q: %q", typed, at)
			require.True(t, netaddr.IsPlainAddress(at, stored), "%q: %q", typed, at)
			require.Equal(t, netaddr.Origin(u), netaddr.Origin(stored), "%q: %q", typed, at)
			require.True(t, netaddr.SameAddress(at, at), "%q: %q", typed, at)
			again := netaddr.TypedURLs(at)
			require.NotEmpty(t, again, "%q: %q", typed, at)
			require.Equal(t, at, again[0].String(), "%q", typed)
		}
	})
}
