package plexauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
	"github.com/plexauth/plexauth/internal/measure"
	"github.com/plexauth/plexauth/plextest"
)

// recorded returns a recorded answer of plex.tv.
func recorded(b *testing.B, status int, name string) measure.Answer {
	b.Helper()
	body, err := os.ReadFile("testdata/" + name)
	require.NoError(b, err)
	return measure.Answer{Status: status, Header: measure.JSON, Body: body}
}

// BenchmarkLook measures one look at a pending PIN, including the store. The baseline
// is a plain request.
func BenchmarkLook(b *testing.B) {
	created, pending := recorded(b, 201, "pin-created.json"), recorded(b, 200, "pin-pending.json")
	b.Run("baseline", func(b *testing.B) {
		c := &measure.Client{HTTP: &http.Client{Transport: pending}, Origin: measure.PlexTV}
		pin, err := c.Create(b.Context()) // it is pending from the beginning
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if token, err := c.Check(b.Context(), pin); err != nil || token != "" {
				b.Fatal(err)
			}
		}
	})
	b.Run("plexauth", func(b *testing.B) {
		c := &http.Client{Transport: created}
		p, err := plexauth.New(measure.Options(c))
		require.NoError(b, err)
		_, err = p.Start(b.Context(), plexauth.PinOptions{})
		require.NoError(b, err)
		c.Transport = pending
		look, err := plexauth.Looker(b.Context(), p)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			if err := look(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkStart makes a PIN and saves it. The baseline is a plain request that saves
// nothing.
func BenchmarkStart(b *testing.B) {
	created := recorded(b, 201, "pin-created.json")
	b.Run("baseline", func(b *testing.B) {
		c := &measure.Client{HTTP: &http.Client{Transport: created}, Origin: measure.PlexTV}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Create(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plexauth", func(b *testing.B) {
		wires := map[bool]measure.Answer{false: created, true: recorded(b, 201, "pin-strong-created.json")}
		c := &http.Client{}
		p, err := plexauth.New(measure.Options(c))
		require.NoError(b, err)
		strong := false
		b.ReportAllocs()
		for b.Loop() {
			strong = !strong // else the pending PIN would be returned
			c.Transport = wires[strong]
			if _, err := p.Start(b.Context(), plexauth.PinOptions{Strong: strong}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPendingLogins measures what one pending Wait costs when there are 10,000.
func BenchmarkPendingLogins(b *testing.B) {
	const logins = 10_000
	created, pending := recorded(b, 201, "pin-created.json"), recorded(b, 200, "pin-pending.json")
	for b.Loop() {
		c := &http.Client{Transport: created}
		ctx, cancel := context.WithCancel(b.Context())
		all := make([]*plexauth.PlexAuth, logins)
		before, goroutines := measure.InUse(), runtime.NumGoroutine()
		for i := range all {
			p, err := plexauth.New(measure.Options(c))
			require.NoError(b, err)
			_, err = p.Start(ctx, plexauth.PinOptions{})
			require.NoError(b, err)
			all[i] = p
		}
		c.Transport = pending
		done := make(chan struct{}, logins)
		for _, p := range all {
			go func() {
				_, _ = p.Wait(ctx)
				done <- struct{}{}
			}()
		}
		for runtime.NumGoroutine() < goroutines+logins {
			runtime.Gosched()
		}
		after := measure.InUse()
		b.ReportMetric(float64(after-before)/logins, "B/login")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/logins, "goroutines/login")
		cancel()
		for range all {
			<-done
		}
	}
}

// deviceList returns an account's list of n devices, every second one a server.
func deviceList(n int) string {
	var b strings.Builder
	b.WriteString("[")
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		provides := "server"
		if i%2 == 1 {
			provides = "client,player"
		}
		fmt.Fprintf(&b, `{"name":"Device %d","product":"Plex","productVersion":"1.43.2.10687-563d026ea","platform":"Linux","platformVersion":"6.8.0","device":"Docker Container",
"clientIdentifier":"%040x","createdAt":"2021-01-01T12:12:24Z","lastSeenAt":"2026-01-01T13:43:34Z","provides":%q,"ownerId":null,"sourceTitle":null,"publicAddress":"203.0.113.7",
"accessToken":"TEST_server-token-%d","searchEnabled":true,"owned":true,"home":false,"synced":false,"relay":true,"presence":true,"httpsRequired":false,"publicAddressMatches":false,
"dnsRebindingProtection":false,"natLoopbackSupported":false,"connections":[`, i, i, provides, i)
		for c := range 5 {
			if c > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, `{"protocol":"https","address":"192.168.%d.%d","port":32400,"uri":"https://192-168-%d-%d.0123456789abcdef0123456789abcdef.plex.direct:32400","local":true,"relay":false,"IPv6":false}`, c, i, c, i)
		}
		b.WriteString("]}")
	}
	return b.String() + "]"
}

// BenchmarkServers reads the list of an account with 200 devices.
func BenchmarkServers(b *testing.B) {
	store := plexauth.NewMemoryStore()
	require.NoError(b, store.Update(b.Context(), plexauth.Namespace, func(jsonRaw) (jsonRaw, error) {
		return jsonRaw(`{"client_id":"0123456789abcdef01234567","account_token":"TEST_account-token"}`), nil
	}))
	body := deviceList(200)
	rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		return httpmock.NewStringResponse(200, body), nil
	})
	p, err := plexauth.New(plexauth.Options{Product: "My App", Store: store, HTTPClient: &http.Client{Transport: rt}})
	require.NoError(b, err)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		servers, err := p.Servers(b.Context())
		if err != nil || len(servers) != 100 {
			b.Fatal(err, len(servers))
		}
	}
}

// nowhere answers at once, so that the benchmark measures what comes before it.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// BenchmarkTransport measures a request with a fresh token. The baseline is the bare
// transport. It may allocate the copy of the request and its headers.
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

// BenchmarkFileStoreUpdate measures one Update. The baseline is the same read, edit
// and rename without lock and sync.
func BenchmarkFileStoreUpdate(b *testing.B) {
	doc, err := os.ReadFile("internal/ordered/testdata/crosswatch.json")
	require.NoError(b, err)
	b.Run("FileStore", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "config.json")
		require.NoError(b, os.WriteFile(path, doc, 0o600))
		store := plexauth.NewFileStore(path)
		n := 0
		for b.Loop() {
			n++
			if err := store.Update(b.Context(), "plex", becomes(fmt.Sprintf(`{"n":%d}`, n))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("without lock and sync", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "config.json")
		require.NoError(b, os.WriteFile(path, doc, 0o600))
		n := 0
		for b.Loop() {
			n++
			data, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			var all map[string]json.RawMessage
			if err := json.Unmarshal(data, &all); err != nil {
				b.Fatal(err)
			}
			all["plex"] = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
			if data, err = json.MarshalIndent(all, "", "  "); err != nil {
				b.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(path+".tmp", data, 0o600), os.Rename(path+".tmp", path)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
