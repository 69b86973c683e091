package plexauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plexauth/plexauth"
)

// memoryWire answers every request in process with one body.
type memoryWire struct {
	status int
	body   []byte
}

var wireHeader = http.Header{"Content-Type": {"application/json; charset=utf-8"}}

func (w memoryWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	return &http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: wireHeader, Request: r,
		ContentLength: int64(len(w.body)), Body: io.NopCloser(bytes.NewReader(w.body)),
	}, nil
}

func benchWire(b *testing.B, status int, name string) memoryWire {
	b.Helper()
	body, err := os.ReadFile("testdata/" + name)
	require.NoError(b, err)
	return memoryWire{status, body}
}

// plainPIN is every field of the answer, as one writes it down from a sample.
type plainPIN struct {
	ID               int64  `json:"id"`
	Code             string `json:"code"`
	Product          string `json:"product"`
	Trusted          bool   `json:"trusted"`
	QR               string `json:"qr"`
	ClientIdentifier string `json:"clientIdentifier"`
	Location         struct {
		Code                       string `json:"code"`
		EuropeanUnionMember        bool   `json:"european_union_member"`
		ContinentCode              string `json:"continent_code"`
		Country                    string `json:"country"`
		City                       string `json:"city"`
		TimeZone                   string `json:"time_zone"`
		PostalCode                 string `json:"postal_code"`
		InPrivacyRestrictedCountry bool   `json:"in_privacy_restricted_country"`
		InPrivacyRestrictedRegion  bool   `json:"in_privacy_restricted_region"`
		Subdivisions               string `json:"subdivisions"`
		Coordinates                string `json:"coordinates"`
	} `json:"location"`
	ExpiresIn       int     `json:"expiresIn"`
	CreatedAt       string  `json:"createdAt"`
	ExpiresAt       string  `json:"expiresAt"`
	AuthToken       *string `json:"authToken"`
	NewRegistration *bool   `json:"newRegistration"`
}

// plainRequest is the loop that one writes without thinking: the baseline.
func plainRequest(ctx context.Context, c *http.Client, method, url string) (*plainPIN, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Plex-Product", "My App")
	req.Header.Set("X-Plex-Version", "1.0")
	req.Header.Set("X-Plex-Platform", "linux")
	req.Header.Set("X-Plex-Device", "linux")
	req.Header.Set("X-Plex-Device-Name", "host")
	req.Header.Set("X-Plex-Client-Identifier", "000102030405060708090a0b")
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var pin plainPIN
	if err := json.Unmarshal(body, &pin); err != nil {
		return nil, err
	}
	return &pin, nil
}

func benchOptions(c *http.Client) plexauth.Options {
	return plexauth.Options{
		Product: "My App", Version: "1.0", Platform: "linux", Device: "linux", DeviceName: "host",
		ClientID: "000102030405060708090a0b", HTTPClient: c,
	}
}

// BenchmarkLook is one look at a pending PIN, store included, beside the plain
// loop.
func BenchmarkLook(b *testing.B) {
	created, pending := benchWire(b, 201, "pin-created.json"), benchWire(b, 200, "pin-pending.json")
	b.Run("baseline", func(b *testing.B) {
		c := &http.Client{Transport: pending}
		b.ReportAllocs()
		for b.Loop() {
			pin, err := plainRequest(b.Context(), c, "GET", "https://plex.tv/api/v2/pins/373040866")
			if err != nil || pin.AuthToken != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plexauth", func(b *testing.B) {
		c := &http.Client{Transport: created}
		p, err := plexauth.New(benchOptions(c))
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

// BenchmarkStart makes a PIN and remembers it, beside a plain request that
// remembers nothing.
func BenchmarkStart(b *testing.B) {
	created := benchWire(b, 201, "pin-created.json")
	b.Run("baseline", func(b *testing.B) {
		c := &http.Client{Transport: created}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := plainRequest(b.Context(), c, "POST", "https://plex.tv/api/v2/pins"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plexauth", func(b *testing.B) {
		wires := map[bool]memoryWire{false: created, true: benchWire(b, 201, "pin-strong-created.json")}
		c := &http.Client{}
		p, err := plexauth.New(benchOptions(c))
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

// BenchmarkPendingLogins says what one pending Wait costs at 10,000 of them.
func BenchmarkPendingLogins(b *testing.B) {
	const logins = 10_000
	created, pending := benchWire(b, 201, "pin-created.json"), benchWire(b, 200, "pin-pending.json")
	for b.Loop() {
		c := &http.Client{Transport: created}
		ctx, cancel := context.WithCancel(b.Context())
		all := make([]*plexauth.PlexAuth, logins)
		before, goroutines := heap(), runtime.NumGoroutine()
		for i := range all {
			p, err := plexauth.New(benchOptions(c))
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
		after := heap()
		b.ReportMetric(float64(after-before)/logins, "B/login")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/logins, "goroutines/login")
		cancel()
		for range all {
			<-done
		}
	}
}

// heap is the memory in use, goroutine stacks included.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
