package plexauth_test

import (
	"net/http"
	"testing"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/plextest"
)

// nowhere answers everything at once, so that what is measured is what stands
// before it.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// BenchmarkTransport is a request with a fresh token beside one through the bare
// transport. What it may allocate is the copy of the request and its headers.
func BenchmarkTransport(b *testing.B) {
	signedIn := func(b *testing.B, o plexauth.Options) *plexauth.PlexAuth {
		b.Helper()
		plex := plextest.NewServer()
		b.Cleanup(plex.Close)
		alice := plex.AddUser(plextest.User{Username: "alice"})
		o.Product, o.HTTPClient = "My App", plex.Client()
		p, err := plexauth.New(o)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Login(b.Context(), plexauth.PinOptions{}, func(pin *plexauth.Pin) error { return plex.Approve(pin.Code, alice) }); err != nil {
			b.Fatal(err)
		}
		return p
	}
	for _, bench := range []struct {
		name string
		rt   func(b *testing.B) http.RoundTripper
	}{
		{"bare", func(*testing.B) http.RoundTripper { return nowhere{} }},
		{"long-lived token", func(b *testing.B) http.RoundTripper { return signedIn(b, plexauth.Options{}).Transport(nowhere{}) }},
		{"device key", func(b *testing.B) http.RoundTripper {
			return signedIn(b, plexauth.Options{DeviceKey: true}).Transport(nowhere{})
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			rt := bench.rt(b)
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://plex.tv/api/v2/user", nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Accept", "application/json")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rt.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
